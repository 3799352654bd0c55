"""Gymnasium's vectorised environment: spaces, autoreset, repeatability."""

from __future__ import annotations

import numpy as np
import pytest

from iomt_core.adapters.agents import AgentOptions
from iomt_core.adapters.gymnasium_env import WardVectorEnv
from iomt_core.scenario import PRESETS

SHORT = PRESETS["lecture"].changed(T=3, Cap=1.0)


@pytest.mark.parametrize(
    "options",
    [AgentOptions(), AgentOptions("box"), AgentOptions("choice", "optimal"), AgentOptions("choice", agents="task")],
    ids=str,
)
def test_what_it_gives_out_lies_in_its_spaces_and_repeats(options: AgentOptions) -> None:
    one, other = (WardVectorEnv(SHORT, 4, options) for _ in range(2))
    np.testing.assert_array_equal(one.reset(seed=3)[0], other.reset(seed=3)[0])
    one.action_space.seed(0)
    for step in range(1, 8):
        action = one.action_space.sample()
        seen, reward, terminated, truncated, infos = one.step(action)
        assert one.observation_space.contains(seen)
        assert reward.shape == terminated.shape == truncated.shape == (4,)
        assert truncated.all() == (step % SHORT.T == 0)
        for a, b in zip((seen, reward, terminated, truncated), other.step(action), strict=False):
            np.testing.assert_array_equal(a, b)
        assert ("final_obs" in infos) == bool(truncated.any())


def test_an_episode_that_ends_gives_its_last_observation_and_the_next_ones_first() -> None:
    s = PRESETS["drained"]
    env = WardVectorEnv(s, 8)
    env.reset(seed=0)
    env.action_space.seed(0)
    battery = 3 * s.tasks + 1  # of the first user
    for _ in range(s.T):
        seen, _, terminated, _, infos = env.step(env.action_space.sample())
        if terminated.any():
            break
    assert not terminated.all(), "worlds end independently"
    np.testing.assert_array_equal(infos["_final_obs"], terminated)
    assert (seen[terminated, battery] == 1).all()
    assert (infos["final_obs"][terminated, battery] < 1).all()
    assert (seen[~terminated, battery] < 1).all()
