"""Price response: each user alone answers best to the servers' mean shadow prices.

The dual's prices (`dual.py`), averaged over a sample of a ward's steps and broadcast once, are all that couples the users.
A user keeps the set of tasks local that is cheapest at those prices, spreads the rest over the servers, and asks for the
shares the prices say, ∝ sqrt(p C) and sqrt(p D). Decentralised, no learning, works on every ward.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.world import World
from iomt_core.model.batch import concatenate, never_differentiated
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import Policy
from iomt_core.policies.dual import Prices, Problem, TaskValues, solve_dual
from iomt_core.policies.shares import own_allocation, own_cost
from iomt_core.scenario import Scenario

# Tuned on the paper preset; the results move little around them.
CROWDING = 0.05  # how much dearer a server looks to a user for each task it already sends there
EAGERNESS = 2.0  # requests above what the prices say: scaling down pro rata costs little, idle capacity much
SAMPLE_STEPS = 8
SAMPLE_SEED = 0x5EED_0F_A_5A3F1E


def price_sample(s: Scenario) -> Snapshot:
    """Steps of the ward to average prices over, drawn from seeds no evaluation uses."""
    if s.speed == 0:  # steps of one place are alike: first steps of many worlds
        sample = World(s, world_seeds(SAMPLE_SEED, 0, SAMPLE_STEPS))
        return sample.snapshot(sample.begin(), 0)
    episodes = World(s, world_seeds(SAMPLE_SEED, 0, 2)).episode()
    return concatenate(episodes[:: max(1, 2 * len(episodes) // SAMPLE_STEPS)])


def mean_prices(prices: Prices) -> Prices:
    """Their average over a batch, as a batch of one: what is broadcast."""
    return Prices(*(x.mean(0, keepdim=True) for x in (prices.cpu, prices.bandwidth, prices.own)))


@dataclass(frozen=True)
class Broadcast:
    """What a ward's twin tells everybody once: mean shadow prices, and what a task costs in the mean at best."""

    prices: Prices
    cost: float  # the mean of the certified bound per weighted task


@lru_cache(maxsize=64)
def broadcast(s: Scenario) -> Broadcast:
    """From the sample of the ward's steps; a function of the scenario alone."""
    sample = price_sample(s)
    dual = solve_dual(sample, s)
    weight = float((sample.weight * sample.active).sum())
    return Broadcast(mean_prices(dual.prices), float(dual.bound.sum()) / max(weight, 1e-12))


class PriceResponse(Policy):
    """Each user alone answers best to broadcast prices."""

    name = "price-response"
    label = "Price response"
    summary = "Each user alone, knowing only its own tasks and the servers' mean shadow prices, answers best to them."
    sharing = "requests"

    def __init__(self, s: Scenario, prices: Prices | None = None) -> None:
        super().__init__(s)
        self.prices = broadcast(s).prices if prices is None else prices

    @never_differentiated
    def decide(self, snapshot: Snapshot) -> Action:
        """Every row of the result depends on that user's row of the snapshot, the servers' F_k and B_k, and the prices."""
        problem = Problem(snapshot, self.scenario)
        tasks = problem.task_values(self.prices)
        values = tasks.value
        local = self._keep(problem, values[..., 0], values[..., 1:].amin(-1))
        return self._request(snapshot, self._spread(values[..., 1:], local & problem.active), problem, tasks)

    @never_differentiated
    def request(self, snapshot: Snapshot, choice: Tensor) -> Action:
        """The shares that the prices say for given choices, (B, U, J); a user's depend on its own tasks and choices only."""
        problem = Problem(snapshot, self.scenario)
        return self._request(snapshot, choice, problem, problem.task_values(self.prices))

    def _request(self, snapshot: Snapshot, choice: Tensor, problem: Problem, tasks: TaskValues) -> Action:
        s, f, band = self.scenario, tasks.f, tasks.band
        place = (choice - 1).clamp_min(0)[..., None]
        asked_f = (EAGERNESS * f / problem.F_k[:, None, None]).gather(3, place).squeeze(3)
        asked_b = (EAGERNESS * band / problem.B_k[:, None, None]).gather(3, place).squeeze(3)
        own = own_allocation(problem.q, choice.eq(0) & problem.active, problem.F_i, s) / problem.F_i[:, :, None]
        cpu = torch.where(choice == 0, own, asked_f.clamp_max(1.0))
        dtype = snapshot.D.dtype
        return Action(choice, cpu.to(dtype), asked_b.clamp_max(1.0).to(dtype))

    def _keep(self, problem: Problem, here: Tensor, away: Tensor) -> Tensor:
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
