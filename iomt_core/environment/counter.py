"""Random numbers by counter: a number is a function of (world seed, stream, step, index) and of nothing else.

So a world is the same in a batch of any size, a fork needs no generator state, and any step can be drawn alone.
The mixing function is SplitMix64's finaliser (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
generators"), applied to the key and to each counter.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
MIX_2 = 0x94D049BB133111EB - (1 << 64)
PART_BITS = 21


class Stream(IntEnum):
    """Independent sequences of one world; a new use takes a new number, so that old worlds stay what they were."""

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
    """An int as two's complement of 64 bits."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _mix_(z: Tensor) -> Tensor:
    """SplitMix64's finaliser, in place; int64 arithmetic wraps, and the masks make the shifts logical."""
    z.bitwise_xor_((z >> 30).bitwise_and_((1 << 34) - 1)).mul_(MIX_1)
    z.bitwise_xor_((z >> 27).bitwise_and_((1 << 37) - 1)).mul_(MIX_2)
    return z.bitwise_xor_((z >> 31).bitwise_and_((1 << 33) - 1))


@lru_cache(maxsize=32)
def _counters(count: int, device: torch.device) -> Tensor:
    return torch.arange(1, count + 1, device=device) * GOLDEN


def bits(seeds: Tensor, stream: Stream, step: int, count: int) -> Tensor:
    """64 random bits for each of `count` counters of every world; `seeds` (B,) int64 -> (B, count) int64."""
    key = _mix_(seeds + _wrapped(GOLDEN * (int(stream) + 1)))
    key = _mix_(key + _wrapped(step * MIX_1))
    return _mix_(key[:, None] + _counters(count, seeds.device))


def step_key(seeds: Tensor, step: int) -> Tensor:
    """A seed for every world and step, (B,) int64."""
    return _mix_(seeds + _wrapped((step + 1) * MIX_2))


def parts(seeds: Tensor, stream: Stream, step: int, count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Three uniforms in (0, 1) of 21 bits each a counter, from one mixing; each (B, count)."""
    z = bits(seeds, stream, step, count)
    mask, scale = (1 << PART_BITS) - 1, 2.0**-PART_BITS
    first = (z & mask).to(dtype).add_(0.5).mul_(scale)
    second = ((z >> PART_BITS) & mask).to(dtype).add_(0.5).mul_(scale)
    third = ((z >> 2 * PART_BITS) & mask).to(dtype).add_(0.5).mul_(scale)
    return first, second, third


def uniform(seeds: Tensor, stream: Stream, step: int, count: int, dtype: torch.dtype) -> Tensor:
    """Uniforms in (0, 1), (B, count); 23 bits, so that float32 and float64 worlds agree to rounding."""
    z = (bits(seeds, stream, step, count) >> 41) & ((1 << 23) - 1)
    return z.to(dtype).add_(0.5).mul_(2.0**-23)


def normal(seeds: Tensor, stream: Stream, step: int, count: int, dtype: torch.dtype) -> Tensor:
    """Standard normals, (B, count), by the inverse distribution function."""
    z = (bits(seeds, stream, step, count) >> 11) & ((1 << 52) - 1)
    score: Tensor = torch.special.ndtri(z.to(torch.float64).add_(0.5).mul_(2.0**-52))
    return score.to(dtype)


def world_seeds(seed: int, first: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Seeds of worlds first … first + count - 1 of a run; (count,) int64."""
    index = torch.arange(first, first + count, device=device)
    return _mix_(_mix_(torch.full_like(index, seed)) + index * GOLDEN)
