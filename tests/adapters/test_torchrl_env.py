"""TorchRL accepts the ward, and rollouts repeat. That its QMIX learns is shown by docs/extending.md."""

from __future__ import annotations

import pytest
import torch
from torchrl.envs import check_env_specs

from iomt_core.adapters.agents import AgentOptions
from iomt_core.adapters.torchrl_env import WardTorchRLEnv
from iomt_core.scenario import PRESETS, ScenarioError

DRAINED = PRESETS["drained"].changed(users=3, tasks=4, servers=2, Cap=1e-3)


@pytest.mark.parametrize(
    "options",
    [AgentOptions("choice"), AgentOptions("choice", "optimal", "task", True, "team", True), AgentOptions("box")],
    ids=str,
)
def test_torchrl_accepts_it_and_rollouts_repeat_with_the_seed(options: AgentOptions) -> None:
    rollouts = []
    for seed in (1, 1, 2):
        env = WardTorchRLEnv(DRAINED, 5, options)
        if not rollouts:
            check_env_specs(env)
        env.set_seed(seed)
        torch.manual_seed(0)
        rollouts.append(env.rollout(20, break_when_any_done=False))
    assert bool((rollouts[0] == rollouts[1]).all())
    assert not bool((rollouts[0] == rollouts[2]).all())
    done = rollouts[0]["next", "done"]
    assert bool(done.any(1).all())
    assert not bool((done == done[:1]).all()), "worlds end independently"


def test_a_dict_of_actions_is_refused() -> None:
    with pytest.raises(ScenarioError, match="action is 'dict': allowed is 'box', 'choice'"):
        WardTorchRLEnv(DRAINED, 2, AgentOptions())
