"""The local search over the choices of a step: what its moves gain, by the cost that it lowers, written out once more here."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from iomt_core.policies.dual import DualProblem, solve_dual
from iomt_core.policies.search import Search, TaskCosts, server_roots
from iomt_core.policies.shares import own_cost
from iomt_core.scenario import PRESETS
from tests.wards import steps

GAIN = 1e-9  # less is rounding


def ward(users: int, tasks: int, servers: int, skip: bool) -> tuple[DualProblem, TaskCosts]:
    """Some steps, and the costs of their tasks; with `skip` tasks may be skipped, and on average that is as good."""
    s = PRESETS["hospital"].changed(users=users, tasks=tasks, servers=servers)
    snapshot = steps(s, 20)
    problem, dual = DualProblem(snapshot, s), solve_dual(snapshot, s)
    second = problem.costs.second[..., None]
    a, c = server_roots(problem, dual.prices.bandwidth, second, problem.w_tx[..., None])
    skipped = dual.values.amin(-1).median().expand(len(snapshot.D), users * tasks) if skip else None
    return problem, TaskCosts(problem.own_tasks, a, c, skipped=skipped)


def total(problem: DualProblem, costs: TaskCosts, choice: Tensor) -> Tensor:
    """What some choices cost, (B,)."""
    b, u, j, k = problem.shape
    on = torch.nn.functional.one_hot(choice, k + 2)[..., 1 : k + 1].to(costs.c.dtype)
    served = ((on * costs.a).sum(1) ** 2 / problem.F_k + (on * costs.c).sum(1) ** 2 / problem.B_k).sum(-1)
    own = own_cost(costs.own, choice.view(b, u, j) == 0, problem.F_i).sum(-1)
    skipped = 0.0 if costs.skipped is None else (costs.skipped * (choice > k)).sum(1)
    return served + own + skipped


def improved(problem: DualProblem, costs: TaskCosts, pairs: bool) -> Tensor:
    search = Search(problem, costs)
    search.start(torch.zeros_like(problem.active).flatten(1))
    return search.improve(pairs).flatten(1)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("size", [(3, 2, 2), (2, 4, 1), (4, 2, 3)])
def test_no_move_and_no_pair_of_moves_is_left_that_gains(size: tuple[int, int, int], skip: bool) -> None:
    problem, costs = ward(*size, skip)
    _, j, k = size
    choice = improved(problem, costs, pairs=True)
    reached, tasks, devices = total(problem, costs, choice), range(choice.shape[1]), range(k + 1 + skip)

    def cost(*moves: tuple[int, int | Tensor]) -> Tensor:
        """What it costs, (B,), if tasks move to devices; infinite where one is there already."""
        changed, stays = choice.clone(), torch.zeros_like(reached, dtype=torch.bool)
        for task, device in moves:
            changed[:, task] = device
            stays |= changed[:, task] == choice[:, task]
        return total(problem, costs, changed).masked_fill(stays, torch.inf)

    alone = torch.stack(
        [torch.stack([cost((task, device)) for device in devices]) for task in tasks]
    )  # (N, devices, B)
    assert bool((alone > reached - GAIN).all())
    for m in tasks:
        best = alone[m].argmin(0)  # where m alone goes best
        is_sent = (choice[:, m] > 0) & (choice[:, m] <= k)
        for n in tasks:
            together = cost((n, choice[:, m]), (m, best))
            one_cpu = (n // j == m // j) & (choice[:, n] == 0) & (best == 0)  # its cost is no sum of pairs
            assert bool((together > reached - GAIN)[is_sent & ~one_cpu].all())


@pytest.mark.parametrize("preset", ["paper", "crowded", "hospital"])
def test_pairs_lower_the_cost_further(preset: str) -> None:
    s = PRESETS[preset]
    problem, costs = ward(s.users, s.tasks, s.servers, skip=False)
    single, pairs = (total(problem, costs, improved(problem, costs, x)) for x in (False, True))
    assert bool((pairs <= single + GAIN).all())
    assert float((pairs / single).mean()) < 1 - 1e-3


def test_the_order_of_the_batch_does_not_matter() -> None:
    problem, costs = ward(4, 4, 3, skip=True)
    choice = improved(problem, costs, pairs=True)
    snapshot = steps(PRESETS["hospital"].changed(users=4, tasks=4, servers=3), 20)
    turned = DualProblem(
        snapshot.select(torch.arange(19, -1, -1)), PRESETS["hospital"].changed(users=4, tasks=4, servers=3)
    )
    assert costs.skipped is not None
    other = replace(costs, own=turned.own_tasks, a=costs.a.flip(0), c=costs.c.flip(0), skipped=costs.skipped.flip(0))
    assert torch.equal(improved(turned, other, pairs=True).flip(0), choice)
