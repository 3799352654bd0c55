"""The twin's what-if of all tasks at once equals moving one task at a time and pricing the whole ward again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from iomt_core.model.outcome import Outcome, outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.model.what_if import what_if
from iomt_core.nets.inputs import on_chosen
from iomt_core.scenario import PRESETS, Scenario
from tests.wards import random_action, steps


def moves(snapshot: Snapshot, action: Action, s: Scenario) -> Iterator[tuple[int, int, int, Outcome]]:
    """The outcome of each move of one task to one device: user, task, device and outcome."""
    for i, j, k in itertools.product(range(s.users), range(s.tasks), range(s.servers + 1)):
        choice = action.choice.clone()
        choice[:, i, j] = k
        yield i, j, k, outcome(snapshot, Action(choice, action.cpu, action.bandwidth), s)


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
    for i, j, k, then in moves(snapshot, action, s):
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
    on_servers = torch.stack([requested, action.bandwidth], -1)
    found = what_if(snapshot, action, outcome(snapshot, action, s), s, on_servers).cost
    for i in range(s.users):
        for j in range(s.tasks):
            for k in range(1, s.servers + 1):
                choice, cpu = action.choice.clone(), action.cpu.clone()
                choice[:, i, j], cpu[:, i, j] = k, requested[:, i, j]
                then = outcome(snapshot, Action(choice, cpu, action.bandwidth), s)
                torch.testing.assert_close(found[:, i, j, k], then.cost[:, i], rtol=2e-3, atol=1e-9)


def test_a_task_may_request_another_share_on_each_server() -> None:
    s = PRESETS["lecture"]
    snapshot = steps(s, 4)
    action = random_action(snapshot, 1)
    on_servers = 0.1 + 0.9 * torch.rand(*action.choice.shape, s.servers, 2, generator=torch.Generator().manual_seed(3))
    cpu, bandwidth = on_chosen(on_servers, action.choice).unbind(-1)
    action = Action(action.choice, torch.where(action.choice == 0, action.cpu, cpu), bandwidth)
    found = what_if(snapshot, action, outcome(snapshot, action, s), s, on_servers).cost
    for i in range(s.users):
        for j in range(s.tasks):
            for k in range(1, s.servers + 1):
                choice, cpu, band = action.choice.clone(), action.cpu.clone(), action.bandwidth.clone()
                choice[:, i, j], cpu[:, i, j], band[:, i, j] = k, *on_servers[:, i, j, k - 1].unbind(-1)
                then = outcome(snapshot, Action(choice, cpu, band), s)
                torch.testing.assert_close(found[:, i, j, k], then.cost[:, i], rtol=2e-3, atol=1e-9)


def test_making_others_late_costs_what_they_would_have_earned() -> None:
    """Where late tasks earn nothing, what a task causes for others contains what they lose by being late."""
    s = PRESETS["lecture"].changed(T_max=8e-3, alpha_T=0.3)
    snapshot = steps(s, 16)
    action = random_action(snapshot, 5)
    done = outcome(snapshot, action, s)
    causes = what_if(snapshot, action, done, s, late_earns_nothing=True).others

    def late(result: Outcome) -> Tensor:
        return result.delay > snapshot.deadline

    def lost(result: Outcome, user: int) -> Tensor:
        cost = torch.where(late(result), result.cost.clamp_min(1.0), result.cost) * snapshot.weight
        return cost.sum((1, 2)) - cost[:, user].sum(-1)

    became_late = 0
    for i, j, k, then in moves(snapshot, action, s):
        just = sum(((x.delay / snapshot.deadline - 1).abs() < 1e-2).sum((1, 2)) for x in (then, done))
        said = causes[:, i, j, k] - causes.gather(3, action.choice[..., None])[:, i, j, 0]
        rows = torch.as_tensor(just == 0)
        torch.testing.assert_close(
            said[rows], (lost(then, i) - lost(done, i))[rows], rtol=0.02, atol=0.02 * float(done.cost.mean())
        )
        became_late += int((late(then) & ~late(done))[rows].sum())
    assert became_late > 0


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
