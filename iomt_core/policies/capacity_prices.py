"""Shadow prices as a function of the capacities that every user sees now, F_k and B_k of (14).

Background load takes a part of every server, and the observation (14) shows each user what is left. `TypicalDemand` finds the
prices at which a fixed sample of the ward's tasks asks for just these capacities. It uses nothing else, so all users find the
same prices, each by itself. They are the maximum of the smoothed dual of `dual.py` over all steps of the sample at once,

    Σ_n softmin-costs(λ, μ, ν_n) - N Σ λ_k F_k - N Σ μ_k B_k - Σ_n Σ ν_ni F_i ,

with prices λ, μ that the N steps share and prices ν_n of own CPUs, one for each step. A task may also be skipped, at its weight.
The search is Newton's method as there.
"""

from __future__ import annotations

import copy
import math
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from iomt_core.model.snapshot import Snapshot
from iomt_core.model.special import scaled_exp1
from iomt_core.policies.dual import DualProblem, TaskValues, prices_at, softmin, spending_and_curvature
from iomt_core.scenario import Scenario

TASKS = 128
# Temperatures of the softmin, relative to the cost of a task. With the last one the prices of servers are accurate to about 1 %,
# which the choice among them needs; the warmer ones before it save iterations.
TEMPERATURES = (0.05, 0.02, 0.01)
ITERATIONS = (3, 3, 24)  # at most, at each of them
ENOUGH = 2e-2  # demand at the prices may differ by this part from a capacity
EACH = 3  # iterations between two looks at which rows are done
FIRST_DAMPING = 1e-3
LONGEST_STEP, FARTHEST = 1.5, 60.0  # in log prices
LARGEST = (
    4.0  # logarithm of the largest relative price; a server that typical demand does not fill has a price of almost 0
)
BY_SERVER = ("F_k", "B_k", "latency", "servers_xy", "key", "steps_left")


class TypicalDemand:
    """What a sample of a ward's tasks asks of the servers at given prices, and the prices at which it asks for given capacities.

    sample: steps of the ward; N of them, spread over the sample, are used, so many that they have about `TASKS` tasks together.
    """

    def __init__(self, s: Scenario, sample: Snapshot) -> None:
        self.scenario = s
        each = max(1.0, float(sample.active.sum()) / len(sample.D))
        self.steps = max(1, min(len(sample.D), math.ceil(TASKS / each)))
        # Spread over the sample, which is sorted by time where users move.
        rows = torch.arange(self.steps) * len(sample.D) // self.steps
        self._problem = DualProblem(_as_one_step(sample.select(rows)), s)
        device = sample.D.device
        left = 1 - s.background
        of_servers = (s.device_values[name] for name in ("F_k", "B_k"))
        cpu, band = (torch.tensor([x], dtype=torch.float64, device=device) * left for x in of_servers)
        problem = self._at(cpu, band)
        self._theta = problem.first_prices().logarithms
        tasks = problem.task_values(prices_at(self._theta, s.servers))
        self._scale = 2 * torch.minimum(tasks.value.amin(-1), problem.weight)[..., None].clamp_min(1e-12)
        self._theta = self._climb(cpu, band)

    def relative_prices(self, cpu: Tensor, bandwidth: Tensor) -> tuple[Tensor, Tensor]:
        """Prices λ and μ at capacities (B, K) in cycle/s and Hz, relative to those of servers with the mean load, (B, K)."""
        k = cpu.shape[1]
        capacity = torch.cat([cpu, bandwidth], 1).to(torch.float64)
        distinct, row = torch.unique(capacity, dim=0, return_inverse=True)
        theta = self._climb(distinct[:, :k], distinct[:, k:])
        relative = (theta - self._theta)[:, : 2 * k].clamp(-LARGEST, LARGEST).exp()[row]
        return relative[:, :k], relative[:, k:]

    def _at(self, cpu: Tensor, bandwidth: Tensor) -> DualProblem:
        """The task problems of the whole sample at each of B rows of capacities, (B, K).

        What does not depend on capacities keeps a batch of one.
        """
        problem = copy.copy(self._problem)
        _, u, j, k = self._problem.shape
        problem.shape = (len(cpu), u, j, k)
        problem.F_k, problem.B_k = cpu, bandwidth
        own = problem.F_i.expand(len(cpu), -1)
        problem.capacity = torch.cat([cpu * self.steps, bandwidth * self.steps, own], 1)
        x_cap = bandwidth[:, None] / problem.beta
        problem.x_cap, problem.v_cap = x_cap[:, :, None], (1 / (x_cap * scaled_exp1(x_cap)))[:, :, None]
        return problem

    def _climb(self, cpu: Tensor, bandwidth: Tensor) -> Tensor:
        """Log prices (B, 2K + users of the sample) at which the demand of the sample is the capacity of every server."""
        theta = self._theta.repeat(len(cpu), 1)
        damping = theta.new_full((len(theta), 1), FIRST_DAMPING)
        for tau, most in zip(TEMPERATURES, ITERATIONS, strict=True):
            rows = torch.arange(len(theta), device=theta.device)
            for _ in range(0, most, EACH):
                found, damped, done = self._iterate(theta[rows], damping[rows], cpu[rows], bandwidth[rows], tau)
                theta, damping = theta.index_copy(0, rows, found), damping.index_copy(0, rows, damped)
                rows = rows[~done]
                if not len(rows):
                    break
        return theta

    def _iterate(
        self, theta: Tensor, damping: Tensor, cpu: Tensor, bandwidth: Tensor, tau: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log prices and damping after `EACH` iterations, and whether demand is near capacity at these prices, (B,) bool."""
        problem = self._at(cpu, bandwidth)
        rows, k = cpu.shape
        scale = (tau * self._scale).expand(rows, -1, -1, -1)
        tasks = problem.task_values(prices_at(theta, k))
        value, pi = self._smooth(problem, theta, tasks, scale)
        for _ in range(EACH):
            gradient, curvature = spending_and_curvature(
                problem, prices_at(theta, k), (tasks.f_own, tasks.f, tasks.band), problem.own_tasks, pi, scale
            )
            gradient -= theta.exp() * problem.capacity
            damped = curvature.damped(damping, gradient, 1e-12 * value.abs()[:, None] + 1e-300)
            step = damped.solve(gradient).nan_to_num(0.0).clamp_(-LONGEST_STEP, LONGEST_STEP)
            trial = (theta + step).clamp(self._theta - FARTHEST, self._theta + FARTHEST)
            trial_tasks = problem.task_values(prices_at(trial, k))
            trial_value, trial_pi = self._smooth(problem, trial, trial_tasks, scale)
            rises = trial_value >= value - 1e-10 * value.abs()
            theta = torch.where(rises[:, None], trial, theta)
            tasks = tasks.replace_where(rises, trial_tasks)
            value, pi = torch.where(rises, trial_value, value), torch.where(rises[:, None, None, None], trial_pi, pi)
            damping = torch.where(rises[:, None], damping * 0.3, damping * 8).clamp_(1e-4, 1e6)
        on_servers = pi[..., 1:] * problem.active[..., None]
        demand = torch.cat([(on_servers * x).sum((1, 2)) for x in (tasks.f, tasks.band)], 1)
        excess = demand / problem.capacity[:, : 2 * k] - 1
        return theta, damping, (excess.abs() <= ENOUGH).all(1)

    def _smooth(self, problem: DualProblem, theta: Tensor, tasks: TaskValues, tau: Tensor) -> tuple[Tensor, Tensor]:
        """The smoothed dual, (B,), and the softmin weights of the devices, which leave out what is skipped."""
        skipped = problem.weight.expand(tasks.value.shape[:-1])[..., None]
        soft, pi = softmin(torch.cat([tasks.value, skipped], -1), tau)
        return (soft * problem.active).sum((1, 2)) - (theta.exp() * problem.capacity).sum(1), pi[..., :-1]


def _as_one_step(sample: Snapshot) -> Snapshot:
    """Some steps as one, with a user for each user of each step, (1, N U, J)."""
    wide: dict[str, Any] = {
        field.name: x.flatten(0, 1)[None]
        for field in fields(sample)
        if isinstance(x := getattr(sample, field.name), Tensor) and field.name not in BY_SERVER
    }
    return replace(sample.select(slice(0, 1)), **wide)
