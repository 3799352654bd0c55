"""The prices that a user expects now, from all that it can know: capacities that everybody sees, its own tasks, and broadcasts.

Three rules, each of which needs no talk between users:

    fixed         the ward's mean prices, broadcast once
    visible       these, times how much the capacities F_k and B_k of this step change the prices of typical demand
                  (`capacity_prices.py`). In a workload from a file the user also looks at its own tasks: there bursts may be
                  shared, so that much work of its own means much work of the others.
    broadcast     these, corrected by the prices that servers broadcast, found from the requests of some steps ago

What is predicted is the pressure r = sqrt(price / visible price) of a resource, because a price rises about with the square of
demand. The prediction is linear, by least squares over sample steps:

    r_k(t) ≈ a + b (r_k(t - d) - 1) + c (l_i(t) - 1) ,

with d the age of broadcasts in steps and l_i the user's own load relative to the mean. So the fit says how much old prices and
own tasks are worth in this ward. In drawn wards c is near 0, because bursts are each user's own, and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iomt_core.model.snapshot import Snapshot
from iomt_core.policies.capacity_prices import TypicalDemand
from iomt_core.policies.dual import Prices
from iomt_core.scenario import Scenario

LEAST_PRESSURE = 0.05  # a price is at least the square of this part of the visible one
RIDGE = 1e-6


@dataclass(frozen=True)
class SampleSteps:
    """Steps of a ward with their dual prices, sorted by step, then world; all worlds have all steps if `worlds` is given."""

    snapshot: Snapshot
    prices: Prices
    worlds: int = 0  # 0: the steps do not follow each other


class PriceRule:
    """Prices λ and μ as a function of the capacities of a step, of each user's own tasks, and of broadcasts.

    base: the ward's fixed prices, a batch of one. sample: steps from which they were averaged. history: steps of which each
    follows the one before, for broadcasts that are `steps_old` steps old; None without broadcasts.
    """

    def __init__(
        self,
        s: Scenario,
        base: Prices,
        sample: SampleSteps,
        history: SampleSteps | None = None,
        steps_old: int = 0,
    ) -> None:
        self._servers, self._base = s.servers, base
        self._demand = TypicalDemand(s, sample.snapshot) if s.background else None
        tasks = sample.snapshot.active.sum((1, 2)).to(torch.float64)
        share = (tasks / tasks.sum().clamp_min(1))[:, None]
        found = _on_servers(sample.prices)
        self._typical = (found / self._relative(sample.snapshot) * share).sum(0, keepdim=True)
        # The fixed prices are means over steps with more and with less background load; these are those of the mean load.
        self._correction = (self._typical / (found * share).sum(0, keepdim=True)).nan_to_num(1.0, 1.0, 1.0)
        self._mean_load = _mean_load(sample.snapshot) if s.workload is not None else None
        self._weights: Tensor | None = None  # (2, features) for CPU and bandwidth
        self._listens = history is not None
        if self._listens or self._mean_load is not None:
            self._weights = self._fit(history or sample, steps_old)

    def prices(self, snapshot: Snapshot, heard: Tensor | None = None) -> Prices:
        """The prices that users expect in these steps: (B, K), or (B, U, K) where each expects its own.

        heard: pressure (B, 2K) that servers broadcast, see `pressure`; None if nothing was broadcast yet.
        """
        k, device = self._servers, snapshot.D.device
        expected = _on_servers(self._base.to(device)) * self._correction.to(device)
        if self._demand is not None:
            expected = expected * self._relative(snapshot)
        if self._weights is not None:
            r = (self._features(snapshot, heard) * self._weights.to(device)[:, None]).sum(-1)  # (B, U, 2, K)
            expected = expected[:, None] * r.clamp_min(LEAST_PRESSURE).square().flatten(2)
        return Prices(expected[..., :k], expected[..., k:], self._base.own.to(device))

    def pressure(self, snapshot: Snapshot, prices: Prices) -> Tensor:
        """sqrt(price / visible price) of every server's CPU and bandwidth in these steps, (B, 2K): what servers broadcast."""
        visible = self._typical.to(snapshot.D.device) * self._relative(snapshot)
        return (_on_servers(prices) / visible).sqrt().nan_to_num(1.0, 1.0, 1.0)

    def _relative(self, snapshot: Snapshot) -> Tensor:
        """Prices of typical demand at the capacities of these steps, relative to those at the mean load, (B, 2K) or 1."""
        if self._demand is None:
            return torch.ones(1, 1, dtype=torch.float64, device=snapshot.D.device)
        return torch.cat(self._demand.relative_prices(snapshot.F_k, snapshot.B_k), 1)

    def _features(self, snapshot: Snapshot, heard: Tensor | None) -> Tensor:
        """What the pressure is predicted from, (B, U, 2, K, features)."""
        b, u, _, k = snapshot.shape
        one = torch.ones(b, u, 2, k, dtype=torch.float64, device=snapshot.D.device)
        found = [one]
        if self._listens:
            known = torch.zeros_like(one) if heard is None else (heard - 1).view(b, 1, 2, k).expand_as(one)
            found.append(known)
        if self._mean_load is not None:
            load = _load(snapshot) / self._mean_load.to(one.device) - 1
            found.append(load[..., None].expand_as(one))
        return torch.stack(found, -1)

    def _fit(self, steps: SampleSteps, steps_old: int) -> Tensor:
        """Weights of the features, (2, features), by least squares; a user counts by its tasks."""
        snapshot, k = steps.snapshot, self._servers
        r = self.pressure(snapshot, steps.prices)
        skipped = steps_old * steps.worlds if self._listens else 0
        old = r[: len(r) - skipped] if skipped < len(r) else r[:0]
        heard = torch.cat([torch.ones_like(r[: len(r) - len(old)]), old])
        x = self._features(snapshot, heard)
        y = r.view(-1, 1, 2, k).expand(x.shape[:-1])
        weight = snapshot.active.sum(-1).to(torch.float64)[:, :, None].expand(-1, -1, k).clone()
        if skipped < len(r):
            weight[:skipped] = 0.0
        found = []
        for resource in range(2):
            features, target, w = x[:, :, resource].flatten(0, 2), y[:, :, resource].flatten(), weight.flatten()
            square = (features * w[:, None]).mT @ features
            square.diagonal().add_(RIDGE * w.sum() + 1e-300)
            found.append(torch.linalg.solve_ex(square, (features * w[:, None]).mT @ target)[0])
        return torch.stack(found).nan_to_num(0.0)


def _on_servers(prices: Prices) -> Tensor:
    """Prices of CPU and bandwidth in one tensor, (B, 2K)."""
    return torch.cat([prices.cpu, prices.bandwidth], 1)


def _load(snapshot: Snapshot) -> Tensor:
    """Σ sqrt(p C) and Σ sqrt(p D) of each user's tasks, (B, U, 2): to these its demand at given prices is about proportional."""
    weight = snapshot.weight.to(torch.float64) * snapshot.active
    return torch.stack([(weight * x).sqrt().sum(-1) for x in (snapshot.C, snapshot.D)], -1)


def _mean_load(snapshot: Snapshot) -> Tensor:
    """The mean load of users that have a task, (2,)."""
    load = _load(snapshot).flatten(0, 1)
    return load.sum(0) / (load > 0).sum(0).clamp_min(1)
