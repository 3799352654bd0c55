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
    u, j, k = size
    choice, devices = improved(problem, costs, pairs=True), k + 1 + skip
    reached = total(problem, costs, choice)
    for n in range(u * j):
        for to in range(devices):
            one = choice.clone()
            one[:, n] = to
            assert bool((total(problem, costs, one) > reached - GAIN).all())
        for m in range(u * j):
            for to in range(devices):  # n enters the server that m leaves for another device
                both = choice.clone()
                both[:, n], both[:, m] = choice[:, m], to
                server = (choice[:, m] > 0) & (choice[:, m] <= k) & (choice[:, n] != choice[:, m])
                one_cpu = (n // j == m // j) & (choice[:, n] == 0) & (to == 0)  # own CPU: not among the pairs
                best = server & ~one_cpu
                alone = choice.clone()
                alone[:, m] = to
                better = [choice.clone() for _ in range(devices)]
                for device, x in enumerate(better):
                    x[:, m] = device
                cheapest = torch.stack(
                    [torch.where(choice[:, m] == d, torch.inf, total(problem, costs, x)) for d, x in enumerate(better)]
                ).amin(0)
                best &= total(problem, costs, alone) <= cheapest + GAIN  # where m alone goes best
                assert bool(((total(problem, costs, both) > reached - GAIN) | ~best).all())


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
