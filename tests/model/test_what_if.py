"""The twin's what-if of all tasks at once equals moving one task at a time and pricing the whole ward again."""

from __future__ import annotations

import pytest
import torch

from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action
from iomt_core.model.what_if import what_if
from iomt_core.scenario import PRESETS
from tests.wards import random_action, steps


# Transmission of those who stay is priced by the elasticity of (6), which is near 1 on the paper's channel.
@pytest.mark.parametrize(("preset", "within"), [("paper", 2e-3), ("lecture", 2e-3), ("hospital", 3e-2)])
def test_moving_one_task_at_a_time(preset: str, within: float) -> None:
    s = PRESETS[preset]
    snapshot = steps(s, 4)
    action = random_action(snapshot, 1)
    action = Action(action.choice, 0.1 + 0.9 * action.cpu, 0.1 + 0.9 * action.bandwidth)
    done = outcome(snapshot, action, s)
    found = what_if(snapshot, action, done, s)
    taken = action.choice[..., None]
    for i in range(s.users):
        for j in range(s.tasks):
            for k in range(s.servers + 1):
                choice = action.choice.clone()
                choice[:, i, j] = k
                then = outcome(snapshot, Action(choice, action.cpu, action.bandwidth), s)
                torch.testing.assert_close(found.cost[:, i, j, k], then.cost[:, i], rtol=within, atol=1e-9)
                rise = ((then.cost - done.cost) * snapshot.weight).sum(2)
                others = rise.sum(1) - rise[:, i]
                said = found.others[:, i, j, k] - found.others.gather(3, taken)[:, i, j, 0]
                torch.testing.assert_close(said, others, rtol=10 * within, atol=10 * within * float(done.cost.mean()))


def test_a_task_may_request_another_share_on_servers() -> None:
    """An agent that divides its own CPU itself requests shares for servers only; the alternatives of local tasks have them."""
    s = PRESETS["lecture"]
    snapshot = steps(s, 4)
    action = random_action(snapshot, 1)
    requested = 0.1 + 0.9 * random_action(snapshot, 2).cpu
    action = Action(action.choice, torch.where(action.choice == 0, action.cpu, requested), action.bandwidth)
    found = what_if(snapshot, action, outcome(snapshot, action, s), s, requested).cost
    for i in range(s.users):
        for j in range(s.tasks):
            for k in range(1, s.servers + 1):
                choice, cpu = action.choice.clone(), action.cpu.clone()
                choice[:, i, j], cpu[:, i, j] = k, requested[:, i, j]
                then = outcome(snapshot, Action(choice, cpu, action.bandwidth), s)
                torch.testing.assert_close(found[:, i, j, k], then.cost[:, i], rtol=2e-3, atol=1e-9)


def test_staying_changes_nothing() -> None:
    s = PRESETS["paper"]
    snapshot = steps(s, 8)
    action = random_action(snapshot, 2)
    done = outcome(snapshot, action, s)
    found = what_if(snapshot, action, done, s).cost
    stays = found.gather(3, action.choice[..., None, None].expand(*action.choice.shape, 1, s.tasks)).squeeze(3)
    torch.testing.assert_close(stays, done.cost[:, :, None].expand_as(stays), rtol=1e-9, atol=0.0)


def test_nobody_gains_from_company() -> None:
    s = PRESETS["crowded"]
    snapshot = steps(s, 8)
    action = random_action(snapshot, 3)
    others = what_if(snapshot, action, outcome(snapshot, action, s), s).others
    assert (others[..., 0] == 0).all()
    assert (others >= -1e-12).all()
