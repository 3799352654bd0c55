"""Counter-based random numbers: each is a function of world seed, stream, step and index only.

A world is therefore the same in a batch of any size, a fork needs no generator state, and any step can be drawn alone.
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
    """Independent random sequences of a world. A new use gets a new number, so that existing worlds do not change."""

    TASKS = 1
    KINDS = 2
    POWER = 3
    LAYOUT = 4
    WAYPOINTS = 5
    BURST = 6
    BURST_SHARED = 7
    BACKGROUND = 8
    POLICY = 9
    MEASUREMENT = 10


def _wrapped(value: int) -> int:
    """Converts an int to a signed 64-bit value by wrapping around, like int64 arithmetic."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _mix_(z: Tensor) -> Tensor:
    """Applies SplitMix64's finaliser in place. int64 arithmetic wraps around; the masks make the shifts logical."""
    shifted = torch.empty_like(z)
    z.bitwise_xor_(torch.bitwise_right_shift(z, 30, out=shifted).bitwise_and_((1 << 34) - 1)).mul_(MIX_1)
    z.bitwise_xor_(torch.bitwise_right_shift(z, 27, out=shifted).bitwise_and_((1 << 37) - 1)).mul_(MIX_2)
    return z.bitwise_xor_(torch.bitwise_right_shift(z, 31, out=shifted).bitwise_and_((1 << 33) - 1))


@cached_tensors
def _counters(count: int, device: torch.device) -> Tensor:
    return torch.arange(1, count + 1, device=device) * GOLDEN


def keys_at(seeds: Tensor, stream: Stream, step: int | Tensor) -> Tensor:
    """Keys of all worlds at one step of a stream, (B,) int64.

    seeds: (B,) int64. step: one number; (B,) int64 with a step for each world; or (n, 1) int64, which gives (n, B) keys.
    """
    offset = step * MIX_1 if isinstance(step, Tensor) else _wrapped(step * MIX_1)
    return _mix_(_mix_(seeds + _wrapped(GOLDEN * (int(stream) + 1))) + offset)


def keyed_bits(key: Tensor, count: int, first: int = 0) -> Tensor:
    """64 random bits for each of `count` counters of every key from number `first` on, (B,) int64 -> (B, count) int64."""
    start = key + _wrapped(first * GOLDEN) if first else key
    return _mix_(start[:, None] + _counters(count, key.device))


def bits(seeds: Tensor, stream: Stream, step: int | Tensor, count: int, first: int = 0) -> Tensor:
    """64 random bits for each of `count` counters of every world from number `first` on; (B,) int64 -> (B, count) int64."""
    return keyed_bits(keys_at(seeds, stream, step), count, first)


def step_keys(seeds: Tensor, count: int) -> Tensor:
    """A seed for each world in each of the first `count` steps, (count, B) int64, for policies that draw at random."""
    return _mix_(seeds + torch.arange(1, count + 1, device=seeds.device)[:, None] * MIX_2)


@dataclass(frozen=True)
class Range:
    """The range of a uniform number of 21 bits: the integer n stands for `start` + n · `unit`."""

    start: Tensor  # 0-dimensional; its dtype is that of the numbers, so that one operation converts and scales
    unit: float

    @classmethod
    def between(cls, low: float, high: float, dtype: torch.dtype, device: torch.device) -> Range:
        """The range from `low` to `high`, both excluded."""
        unit = (high - low) * 2.0**-PART_BITS
        return cls(torch.tensor(low + unit / 2, dtype=dtype, device=device), unit)


def uniform_triples(
    key: Tensor, ranges: tuple[Range, Range, Range], count: int, first: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Three uniform numbers in three ranges for each of `count` counters; `key` (B,) int64 -> three times (B, count).

    One 64-bit random number gives all three, which is faster than three calls of `uniform`.
    """
    z = keyed_bits(key, count, first)
    part, mask = torch.empty_like(z), (1 << PART_BITS) - 1
    numbers = []
    for span in ranges:
        torch.bitwise_and(z, mask, out=part)
        numbers.append(torch.add(span.start, part, alpha=span.unit))
        z.bitwise_right_shift_(PART_BITS)
    return numbers[0], numbers[1], numbers[2]


def uniform(
    seeds: Tensor, stream: Stream, step: int | Tensor, count: int, dtype: torch.dtype, first: int = 0
) -> Tensor:
    """Uniform numbers in (0, 1), (B, count), of 23 bits, so that float32 and float64 worlds agree except for rounding."""
    z = (bits(seeds, stream, step, count, first) >> 41) & ((1 << 23) - 1)
    return z.to(dtype).add_(0.5).mul_(2.0**-23)


def normal(seeds: Tensor, stream: Stream, step: int | Tensor, count: int, dtype: torch.dtype, first: int = 0) -> Tensor:
    """Standard normal numbers, (B, count), by the inverse distribution function."""
    z = (bits(seeds, stream, step, count, first) >> 11) & ((1 << 52) - 1)
    score: Tensor = torch.special.ndtri(z.to(torch.float64).add_(0.5).mul_(2.0**-52))
    return score.to(dtype)


def world_seeds(seed: int, first: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Seeds of the worlds `first` to `first` + `count` - 1 of a run, (count,) int64."""
    return episode_seeds(seed, torch.arange(first, first + count, device=device))


def episode_seeds(seed: int, index: Tensor) -> Tensor:
    """Seeds of the worlds of a run with the numbers `index`, (B,) int64 -> (B,) int64."""
    return _mix_(_mix_(torch.full_like(index, seed)) + index * GOLDEN)
