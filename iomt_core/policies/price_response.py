"""Price response: each user alone answers best to the servers' mean shadow prices.

The dual's prices (`dual.py`), averaged over a sample of a ward's steps and broadcast once, are all that couples the users.
A user keeps the set of tasks local that is cheapest at those prices, spreads the rest over the servers, and asks for the
shares the prices say, ∝ sqrt(p C) and sqrt(p D). Decentralised, no learning, works on every ward.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

import torch
from cachetools import LRUCache, cached
from torch import Tensor

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.world import World
from iomt_core.model.batch import concatenate, without_autograd
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import Policy
from iomt_core.policies.dual import DualProblem, DualSolution, Prices, TaskValues, solve_dual
from iomt_core.policies.shares import own_allocation, own_cost
from iomt_core.scenario import Scenario

# Tuned on the paper preset; the results move little around them.
CROWDING = 0.05  # how much dearer a server looks to a user for each task it already sends there
EAGERNESS = 2.0  # requests above what the prices say: scaling down pro rata costs little, idle capacity much
SAMPLE_STEPS = 8
SAMPLE_SEED = 0x5EED_0F_A_5A3F1E


def price_sample(s: Scenario) -> Snapshot:
    """Steps of the ward to average prices over, drawn from seeds that no evaluation uses.

    A given workload is known as a whole, and its steps may differ much: each of them is in the sample once.
    """
    if s.workload is not None:
        steps = World(s, world_seeds(SAMPLE_SEED, 0, SAMPLE_STEPS)).episode()
        return concatenate([step.select(slice(t % SAMPLE_STEPS, t % SAMPLE_STEPS + 1)) for t, step in enumerate(steps)])
    if s.speed == 0:  # all steps are drawn alike: first steps of many worlds
        world = World(s, world_seeds(SAMPLE_SEED, 0, SAMPLE_STEPS))
        return world.snapshot(world.initial_state(), 0)
    steps = World(s, world_seeds(SAMPLE_SEED, 0, 2)).episode()
    return concatenate(steps[:: max(1, 2 * len(steps) // SAMPLE_STEPS)])


@dataclass(frozen=True)
class MeanPrices:
    """What a ward broadcasts once to all its users."""

    prices: Prices  # mean shadow prices, a batch of one
    cost: float  # mean of the certified bound over tasks, by weight


_broadcasts: LRUCache[Scenario, MeanPrices] = LRUCache(64)
_lock = Lock()


@cached(_broadcasts, key=lambda s: s, lock=_lock)
def mean_prices(s: Scenario) -> MeanPrices:
    """The ward's mean prices from a sample of its steps; a function of the scenario alone."""
    sample = price_sample(s)
    return _mean(sample, solve_dual(sample, s))


def solve_with_mean_prices(snapshot: Snapshot, s: Scenario) -> DualSolution:
    """The certificates of these steps. The ward's sample is solved in the same batch, for whoever calls `mean_prices` next.

    One batch takes about two thirds of the time of two; the results are the same to the last bit.
    """
    with _lock:
        known = s in _broadcasts
    if known:
        return solve_dual(snapshot, s)
    steps, sample = len(snapshot.D), price_sample(s)
    dual = solve_dual(concatenate([snapshot, sample]), s)
    with _lock:
        _broadcasts[s] = _mean(sample, dual.select(slice(steps, None)))
    return dual.select(slice(0, steps))


def _mean(sample: Snapshot, dual: DualSolution) -> MeanPrices:
    prices = (dual.prices.cpu, dual.prices.bandwidth, dual.prices.own)
    if sample.all_active:
        means = [x.mean(0, keepdim=True) for x in prices]
    else:  # a step counts by its tasks: the prices of busy steps are those that most tasks meet
        tasks = sample.active.sum((1, 2)).to(torch.float64)
        means = [(x * (tasks / tasks.sum())[:, None]).sum(0, keepdim=True) for x in prices]
    weight = float((sample.weight * sample.active).sum())
    return MeanPrices(Prices(*means), float(dual.bound.sum()) / max(weight, 1e-12))


class PriceResponse(Policy):
    """Each user alone answers best to broadcast prices."""

    name = "price-response"
    label = "Price response"
    summary = "Each user alone, knowing only its own tasks and the servers' mean shadow prices, answers best to them."
    sharing = "requests"

    def __init__(self, s: Scenario) -> None:
        super().__init__(s)
        self.prices = mean_prices(s).prices

    @without_autograd
    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """Every row of the result depends on that user's row of the snapshot, the servers' F_k and B_k, and the prices."""
        problem = DualProblem(snapshot, self.scenario)
        tasks = problem.task_values(self.prices)
        values = tasks.value
        local = self._keep(problem, values[..., 0], values[..., 1:].amin(-1))
        return self._request(snapshot, self._spread(values[..., 1:], local & problem.active), problem, tasks)

    @without_autograd
    def request(self, snapshot: Snapshot, choice: Tensor) -> Action:
        """The shares that the prices say for given choices, (B, U, J); a user's depend on its own tasks and choices only."""
        problem = DualProblem(snapshot, self.scenario)
        return self._request(snapshot, choice, problem, problem.task_values(self.prices))

    def _request(self, snapshot: Snapshot, choice: Tensor, problem: DualProblem, tasks: TaskValues) -> Action:
        s, f, band = self.scenario, tasks.f, tasks.band
        place = (choice - 1).clamp_min(0)[..., None]
        asked_f = (EAGERNESS * f / problem.F_k[:, None, None]).gather(3, place).squeeze(3)
        asked_b = (EAGERNESS * band / problem.B_k[:, None, None]).gather(3, place).squeeze(3)
        own = own_allocation(problem.q, choice.eq(0) & problem.active, problem.F_i, s) / problem.F_i[:, :, None]
        cpu = torch.where(choice == 0, own, asked_f.clamp_max(1.0))
        dtype = snapshot.D.dtype
        return Action(choice, cpu.to(dtype), asked_b.clamp_max(1.0).to(dtype))

    def _keep(self, problem: DualProblem, here: Tensor, away: Tensor) -> Tensor:
        """Which tasks to keep: descent over sets, one task in or out at a time, from the one the prices suggest."""
        s, j = self.scenario, away.shape[-1]
        flip = torch.eye(j, dtype=torch.bool, device=away.device)
        away = away * problem.active
        keep = problem.active & (here < away)
        for _ in range(2 * j):
            sets = torch.cat([keep[:, :, None], keep[:, :, None] ^ flip], dim=2) & problem.active[:, :, None]
            q = problem.q[:, :, None].expand(sets.shape)
            F = problem.F_i[:, :, None].expand(sets.shape[:3])
            total = own_cost(q, sets, F, s) + (away[:, :, None] * ~sets).sum(-1)
            best = total.argmin(-1)
            if not bool(best.any()):
                break
            keep = sets.gather(2, best[..., None, None].expand(-1, -1, 1, j)).squeeze(2)
        return keep

    def _spread(self, values: Tensor, local: Tensor) -> Tensor:
        """Servers for the tasks that leave: the cheapest, a crowded one looking dearer; ties go round from the user's offset."""
        b, u, j, k = values.shape
        offset = torch.arange(u, device=values.device)[:, None] + torch.arange(k, device=values.device)
        tie = 1e-6 * (offset % k)
        count = torch.zeros_like(values[:, :, 0])
        choice = torch.zeros(b, u, j, dtype=torch.int64, device=values.device)
        order = torch.where(local, -1.0, values.amin(-1)).argsort(dim=-1, descending=True)
        servers = torch.arange(k, device=values.device)
        for rank in range(j):
            task = order[..., rank : rank + 1]
            seen = values.gather(2, task[..., None].expand(-1, -1, 1, k)).squeeze(2)
            pick = (seen * (1 + CROWDING * count + tie)).argmin(-1, keepdim=True)
            going = ~local.gather(2, task)
            choice.scatter_(2, task, torch.where(going, pick + 1, 0))
            count += (servers == pick) & going
        return choice
