"""Task cost, reward, and the utilities (12) (13)."""

from __future__ import annotations

import torch
from torch import Tensor

from iomt_core.scenario import Scenario

COST_MAX = 1.0


def task_cost(delay: Tensor, energy: Tensor, deadline: Tensor | float, s: Scenario) -> Tensor:
    """Cost of a task, α_T T/T_max + α_E E/E_ref; dimensionless. `delay` and `deadline` T_max in s, `energy` in J."""
    return (delay * (s.alpha_T / deadline)).add_(energy, alpha=s.alpha_E / s.E_ref)


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
