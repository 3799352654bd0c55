"""Task cost, reward, and the utilities (12) (13)."""

from __future__ import annotations

import torch
from torch import Tensor

from iomt_core.model.snapshot import Snapshot
from iomt_core.scenario import Scenario

COST_MAX = 1.0
LEAST_WEIGHT = 1e-6  # of a task, so that tasks of no weight do not divide by 0


def task_cost(
    delay: Tensor, energy: Tensor, deadline: Tensor | float, s: Scenario, joule: Tensor | None = None
) -> Tensor:
    """Cost of a task, α_T T/T_max + α_E E/E_ref; dimensionless. `delay` and `deadline` T_max in s, `energy` in J.

    joule: what a joule costs instead of α_E/E_ref, 1/J, see `joule_price`.
    """
    cost = delay * (s.alpha_T / deadline)
    return cost.add_(energy, alpha=s.alpha_E / s.E_ref) if joule is None else cost.addcmul_(energy, joule)


def joule_price(snapshot: Snapshot, s: Scenario, battery_price: Tensor | None = None) -> Tensor:
    """What one joule of each task costs, α_E/E_ref + κ/p, (B, U, J) 1/J, per unit of the task's weight p.

    battery_price: κ, what a joule of each user's battery is worth later, (B, U) 1/J; 0 if not given.
    """
    own = snapshot.D.new_full((), s.alpha_E / s.E_ref).expand_as(snapshot.D)
    return own if battery_price is None else own + battery_price[..., None] / snapshot.weight.clamp_min(LEAST_WEIGHT)


def task_reward(cost: Tensor, missed: Tensor) -> Tensor:
    """Reward of a task: max(0, cost_max - cost), and 0 after a missed deadline (C6).

    missed: 1 or 0, in the dtype of `cost`.
    """
    reward = (COST_MAX - cost).clamp_min_(0.0)
    return reward.addcmul_(reward, missed, value=-1.0)


def delay_utility(delay: Tensor, priority: Tensor, s: Scenario) -> Tensor:
    """Summand of one task in (12): c e^{α(P-μ)} (1 - γ^t T). It decreases with T, so it is to be maximised."""
    return s.c * torch.exp(s.alpha * (priority - s.mu)) * (1 - s.delay_decay * delay)


def energy_utility(energy: Tensor, priority: Tensor, s: Scenario) -> Tensor:
    """Summand of one task in (13): c e^{α(P-μ)} (1 - γ^e E). It decreases with E, so it is to be maximised."""
    return s.c * torch.exp(s.alpha * (priority - s.mu)) * (1 - s.energy_decay * energy)
