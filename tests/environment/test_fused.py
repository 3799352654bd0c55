"""The compiled step is the eager step."""

from __future__ import annotations

import logging
from dataclasses import fields

import pytest
import torch

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.scenario import PRESETS, Scenario
from tests.compiler import needs_compiler
from tests.wards import random_action


def pair(s: Scenario, worlds: int, dtype: torch.dtype) -> tuple[Environment, Environment]:
    fused, eager = (Environment(s, world_seeds(5, 0, worlds), dtype, fuse=fuse) for fuse in (True, False))
    assert fused.fused
    assert not eager.fused
    return fused, eager


@needs_compiler
@pytest.mark.parametrize(
    ("s", "dtype", "tolerance"),
    [
        (PRESETS["paper"], torch.float32, 1e-4),
        (PRESETS["paper"].changed(channel="log-distance", users=3, tasks=5, servers=2), torch.float64, 1e-9),
        (PRESETS["lecture"].changed(Cap=3e-4), torch.float64, 1e-9),  # batteries bind and worlds end
    ],
)
def test_fused_and_eager_play_the_same_episode(s: Scenario, dtype: torch.dtype, tolerance: float) -> None:
    fused, eager = pair(s, 6, dtype)
    for round_ in range(2):
        while not eager.done:
            action = random_action(eager.snapshot, eager.t + 100 * round_)
            one, other = fused.step(action), eager.step(action)
            for field in fields(one.outcome):
                values = (getattr(x.outcome, field.name).double() for x in (one, other))
                torch.testing.assert_close(*values, rtol=tolerance, atol=tolerance * 1e-2, msg=field.name)
            for name in ("alive", "terminated", "truncated"):
                assert torch.equal(getattr(one, name), getattr(other, name)), name
            torch.testing.assert_close(one.reward, other.reward, rtol=tolerance, atol=tolerance)
            torch.testing.assert_close(fused.observation, eager.observation, rtol=tolerance, atol=tolerance)
            assert torch.equal(fused.snapshot.key, eager.snapshot.key)
        assert fused.done
        fused.reset(world_seeds(6, 0, 6))
        eager.reset(world_seeds(6, 0, 6))


@needs_compiler
def test_a_fused_fork_leaves_the_original_alone() -> None:
    fused, _ = pair(PRESETS["paper"], 6, torch.float32)
    before = fused.snapshot
    twin = fused.fork()
    twin.step(random_action(before, 1))
    assert fused.snapshot is before
    assert fused.t == 0
    torch.testing.assert_close(fused.observation, fused.fork().observation)


def test_a_ward_that_does_not_fit_says_so_and_is_stepped_eagerly(caplog: pytest.LogCaptureFixture) -> None:
    s = PRESETS["hospital"].changed(speed=1.0)
    with caplog.at_level(logging.WARNING):
        environment = Environment(s, world_seeds(0, 0, 2), fuse=True)
    assert not environment.fused
    assert "not fused" in caplog.text
    environment.step(random_action(environment.snapshot, 0))


def test_without_a_compiler_the_environment_still_steps(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object, **kwargs: object) -> object:
        def call(*args: object, **kwargs: object) -> None:
            raise RuntimeError("InvalidCxxCompiler: no working compiler\nmore")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    with caplog.at_level(logging.WARNING):
        environment = Environment(PRESETS["lecture"].changed(T=3), world_seeds(0, 0, 2), fuse=True)
    assert not environment.fused
    assert "no working compiler" in caplog.text
    environment.step(random_action(environment.snapshot, 0))
