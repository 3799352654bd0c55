"""Counter-based random numbers: each is a function of (world seed, stream, step, index) only.

Therefore a world is the same in a batch of any size, a fork needs no generator state, and any step can be drawn alone.
The mixing function is SplitMix64's finaliser (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
generators"), applied to the key and to each counter.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from iomt_core.model.batch import cached_tensors

GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
MIX_2 = 0x94D049BB133111EB - (1 << 64)
PART_BITS = 21


class Stream(IntEnum):
    """Independent random sequences of one world; a new use takes a new number, so that existing worlds do not change."""

    TASKS = 1
    KINDS = 2
    POWER = 3
    LAYOUT = 4
    WAYPOINTS = 5
    BURST = 6
    BURST_SHARED = 7
    BACKGROUND = 8
    POLICY = 9


def _wrapped(value: int) -> int:
    """Wraps an int to a signed 64-bit value, as int64 arithmetic would."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _mix_(z: Tensor) -> Tensor:
    """Applies SplitMix64's finaliser in place; int64 arithmetic wraps, and the masks make the shifts logical."""
    shifted = torch.empty_like(z)
    z.bitwise_xor_(torch.bitwise_right_shift(z, 30, out=shifted).bitwise_and_((1 << 34) - 1)).mul_(MIX_1)
    z.bitwise_xor_(torch.bitwise_right_shift(z, 27, out=shifted).bitwise_and_((1 << 37) - 1)).mul_(MIX_2)
    return z.bitwise_xor_(torch.bitwise_right_shift(z, 31, out=shifted).bitwise_and_((1 << 33) - 1))


@cached_tensors
def _counters(count: int, device: torch.device) -> Tensor:
    return torch.arange(1, count + 1, device=device) * GOLDEN


def keys(seeds: Tensor, stream: Stream, steps: range) -> Tensor:
    """Keys of all worlds at several steps of a stream; `seeds` (B,) int64 -> (len(steps), B) int64."""
    key = _mix_(seeds + _wrapped(GOLDEN * (int(stream) + 1)))
    offsets = torch.tensor([_wrapped(step * MIX_1) for step in steps], device=seeds.device)
    return _mix_(key + offsets[:, None])


def keys_at(seeds: Tensor, stream: Stream, step: int | Tensor) -> Tensor:
    """Keys of all worlds at one step of a stream, (B,) int64; `step` is one number, or (B,) int64 with a step per world."""
    offset = step * MIX_1 if isinstance(step, Tensor) else _wrapped(step * MIX_1)
    return _mix_(_mix_(seeds + _wrapped(GOLDEN * (int(stream) + 1))) + offset)


def keyed_bits(key: Tensor, count: int) -> Tensor:
    """64 random bits for each of `count` counters of every key, (B,) int64 -> (B, count) int64."""
    return _mix_(key[:, None] + _counters(count, key.device))


def bits(seeds: Tensor, stream: Stream, step: int | Tensor, count: int) -> Tensor:
    """64 random bits for each of `count` counters of every world; `seeds` (B,) int64 -> (B, count) int64."""
    return keyed_bits(keys_at(seeds, stream, step), count)


def step_keys(seeds: Tensor, steps: range) -> Tensor:
    """A seed for every world and step, (len(steps), B) int64, for policies that draw at random."""
    offsets = torch.tensor([_wrapped((step + 1) * MIX_2) for step in steps], device=seeds.device)
    return _mix_(seeds + offsets[:, None])


def parts(seeds: Tensor, stream: Stream, step: int, count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Three uniform numbers in (0, 1) per counter, 21 bits each, from one mixing; each (B, count)."""
    unit = Span.of(0.0, 1.0, dtype, seeds.device)
    return keyed_parts(keys_at(seeds, stream, step), (unit, unit, unit), count)


@dataclass(frozen=True)
class Span:
    """The range of a uniform number of 21 bits: the integer n stands for `start` + n · `unit`."""

    start: Tensor  # 0-dimensional; gives the result its dtype, so that one pass converts and scales
    unit: float

    @classmethod
    def of(cls, low: float, high: float, dtype: torch.dtype, device: torch.device) -> Span:
        """The range from `low` to `high`, both excluded."""
        unit = (high - low) * 2.0**-PART_BITS
        return cls(torch.tensor(low + unit / 2, dtype=dtype, device=device), unit)


def keyed_parts(key: Tensor, spans: tuple[Span, Span, Span], count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Uniform numbers in three spans per counter, from one mixing of the keys (B,); each (B, count)."""
    z = keyed_bits(key, count)
    part, mask = torch.empty_like(z), (1 << PART_BITS) - 1
    first, second, third = spans
    return (
        torch.add(first.start, torch.bitwise_and(z, mask, out=part), alpha=first.unit),
        torch.add(
            second.start, torch.bitwise_and(z.bitwise_right_shift_(PART_BITS), mask, out=part), alpha=second.unit
        ),
        torch.add(third.start, z.bitwise_right_shift_(PART_BITS).bitwise_and_(mask), alpha=third.unit),
    )


def uniform(seeds: Tensor, stream: Stream, step: int | Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """Uniform numbers in (0, 1), (B, count); 23 bits, so that float32 and float64 worlds agree to rounding."""
    z = (bits(seeds, stream, step, count) >> 41) & ((1 << 23) - 1)
    return z.to(dtype).add_(0.5).mul_(2.0**-23)


def normal(seeds: Tensor, stream: Stream, step: int | Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """Standard normal numbers, (B, count), by the inverse distribution function."""
    z = (bits(seeds, stream, step, count) >> 11) & ((1 << 52) - 1)
    score: Tensor = torch.special.ndtri(z.to(torch.float64).add_(0.5).mul_(2.0**-52))
    return score.to(dtype)


def world_seeds(seed: int, first: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Seeds of the worlds number first … first + count - 1 of a run, (count,) int64."""
    return episode_seeds(seed, torch.arange(first, first + count, device=device))


def episode_seeds(seed: int, index: Tensor) -> Tensor:
    """Seeds of the worlds of a run with the given numbers, (B,) int64 -> (B,) int64."""
    return _mix_(_mix_(torch.full_like(index, seed)) + index * GOLDEN)
