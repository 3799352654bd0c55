"""The best that is known without seeing the future: central decisions that know the present step and the ward's statistics."""

from __future__ import annotations

import torch
from torch import Tensor

from iomt_core.model.batch import without_autograd
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import BatteryAware
from iomt_core.policies.dual import DualSolution, solve_dual
from iomt_core.policies.episode_dual import solve_steps_at
from iomt_core.policies.optimum import StepOptimum
from iomt_core.policies.plan import KEPT, CentralStep, affordable
from iomt_core.policies.price_response import battery_price, episode_prices
from iomt_core.scenario import Scenario


class CausalOptimum(BatteryAware):
    """Decides each step centrally, with the price of a joule that `PriceResponse` uses too."""

    name = "optimum-causal"
    label = "Optimum, causal"
    summary = (
        "A central solver that sees all tasks of the present step, but of the future only how the ward is on average."
    )
    decentralised = False
    sharing = "optimal"

    def __init__(self, s: Scenario) -> None:
        super().__init__(s)
        self.known = episode_prices(s)

    def depends_on_charge(self, snapshot: Snapshot, spent: Tensor) -> Tensor:
        """Where a joule has a price, and where the step would take more than is left; see `BatteryAware`."""
        kappa = battery_price(snapshot, self.scenario, self.known)
        return ((kappa > 0) | (spent > snapshot.battery * KEPT)).any(-1)

    @without_autograd
    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """The optimum of each step at the price of a joule, which no battery and no deadline forbids; see `Policy.decide`."""
        s = self.scenario
        dual = dual or solve_dual(snapshot, s)
        action = StepOptimum(s).decide(snapshot, dual)
        result = outcome(snapshot, action, s)
        kappa = battery_price(snapshot, s, self.known)
        binds = ((kappa > 0) | (result.energy.sum(-1) > snapshot.battery * KEPT)).any(-1)
        binds |= ((result.missed | (result.cost > 1)) & snapshot.active).flatten(1).any(1)
        rows = binds.nonzero().flatten()
        if not len(rows):
            return action
        part = snapshot.select(rows)
        known = solve_steps_at(part, s, kappa[rows], dual.select(rows))
        step = CentralStep(part, s, known)
        chosen, _, _ = affordable(step, kappa[rows], known.first_choices, part.battery.to(torch.float64))
        return action.replace_rows(rows, chosen)
