"""Simple policies, the reference for all others."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from iomt_core.environment import counter
from iomt_core.environment.counter import Range, Stream
from iomt_core.model import progress
from iomt_core.model.batch import without_autograd
from iomt_core.model.channel import mean_rate
from iomt_core.model.outcome import SMALLEST_GRANT, outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import BatteryAware, Policy
from iomt_core.policies.dual import DualSolution
from iomt_core.policies.shares import equal_shares
from iomt_core.scenario import Scenario

MOST_LOOKED_UP = 256  # tasks of a step


class AllLocal(Policy):
    """Every task stays on its user's device."""

    name = "all-local"
    label = "All local"
    summary = "Every task runs on its user's own device, in even shares."

    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """Chooses the own device, 0, for every task."""
        return equal_shares(snapshot, torch.zeros_like(snapshot.kind))


class OffloadEvenly(Policy):
    """Every task is offloaded; tasks are assigned to the servers round-robin."""

    name = "offload-evenly"
    label = "Offload evenly"
    summary = "Every task is offloaded; tasks are assigned to the servers round-robin, in even shares."

    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """Assigns task n of the ward to server n mod K."""
        _, u, j, k = snapshot.shape
        server = torch.arange(u * j, device=snapshot.D.device).view(u, j) % k + 1
        return equal_shares(snapshot, server.expand_as(snapshot.kind))


class RandomChoice(Policy):
    """Random choices and shares, as an untrained network makes them."""

    name = "random"
    label = "Random"
    summary = "Devices drawn at random, and shares between 10 % and all of them: what an untrained network does."
    sharing = "requests"

    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """Draws devices uniformly, and shares uniformly between 0.1 and 1, from the snapshot's key."""
        b, u, j, k = snapshot.shape
        unit = Range.between(0.0, 1.0, snapshot.D.dtype, snapshot.D.device)
        key = counter.keys_at(snapshot.key, Stream.POLICY, 0)
        draws = counter.uniform_triples(key, (unit, unit, unit), u * j)
        choice, cpu, bandwidth = (x.view(b, u, j) for x in draws)
        return Action((choice * (k + 1)).to(torch.int64), 0.1 + 0.9 * cpu, 0.1 + 0.9 * bandwidth)


class NearestServer(Policy):
    """Every task goes to the server closest to its user."""

    name = "nearest"
    label = "Nearest server"
    summary = "Every task is offloaded to the server closest to its user, in even shares."

    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """Sends all tasks of a user to the nearest server."""
        nearest = snapshot.distance.argmin(-1) + 1
        return equal_shares(snapshot, nearest[..., None].expand_as(snapshot.kind).contiguous())


class Greedy(Policy):
    """Tasks decide one after the other; each takes the device that is cheapest for it at that moment."""

    name = "greedy"
    label = "Greedy"
    summary = "Tasks take turns; each goes where it is cheapest for itself, given who is already there, in even shares."
    decentralised = False

    @without_autograd
    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """Decides task 1 of all users, then task 2, and so on; a device with m tasks offers the next one a share 1/(m + 1)."""
        return equal_shares(snapshot, _take_turns(snapshot, self.scenario)[0])


class SavingGreedy(BatteryAware):
    """Greedy that gives each step an even part of what is left in the batteries."""

    name = "greedy-saving"
    label = "Greedy, battery-aware"
    summary = "Greedy, but a user spends at most an even part of its remaining battery in a step, and skips tasks beyond that."
    decentralised = False

    def depends_on_charge(self, snapshot: Snapshot, spent: Tensor) -> Tensor:
        """Everywhere, because an even part of the charge limits every step."""
        return torch.ones(len(snapshot.D), dtype=torch.bool, device=snapshot.D.device)

    @without_autograd
    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """As `Greedy`, within each user's energy for the step; tasks that would still exceed it are skipped, largest first."""
        s = self.scenario
        allowed = snapshot.battery / snapshot.steps_left[:, None] * (1 - 1e-9)
        choice, work = _take_turns(snapshot, s, allowed)
        for _ in range(s.tasks):
            action = _even_without(snapshot, choice, work)
            energy = outcome(snapshot, action, s).energy
            over = energy.sum(-1) > allowed
            if not bool(over.any()):
                break
            largest = torch.zeros_like(work).scatter_(2, energy.argmax(-1, keepdim=True), True)
            work = work & ~(largest & over[..., None])
        return _even_without(snapshot, choice, work)


def _even_without(snapshot: Snapshot, choice: Tensor, work: Tensor) -> Action:
    """Even shares for the tasks of `work`, (B, U, J) bool; the others are skipped."""
    shares = equal_shares(replace(snapshot, active=work, all_active=False), choice.masked_fill(~work, 0))
    return replace(shares, cpu=shares.cpu * work, bandwidth=shares.bandwidth * work)


def _take_turns(snapshot: Snapshot, s: Scenario, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Choices of tasks that take turns, (B, U, J), and which tasks are done.

    allowed: (B, U) J that each user may spend. A task takes the cheapest device that it can still pay for at that moment, and is
    skipped if there is none.
    """
    b, u, j, k = snapshot.shape
    on_server = torch.zeros(b, k, dtype=torch.int64, device=snapshot.D.device)
    on_own = on_server.new_zeros(b, u)
    choice, work = torch.zeros_like(snapshot.kind), snapshot.active.clone()
    left = None if allowed is None else allowed.clone()
    # In small wards the cost of each share 1/m is computed once, so that the loop looks it up instead of evaluating (6). In
    # large ones the table would grow with the square of the number of users.
    looks_up = u * j <= MOST_LOOKED_UP
    divisors = torch.arange(1, max(j, u * j * looks_up) + 1, device=snapshot.D.device, dtype=snapshot.D.dtype)
    if looks_up:
        band = snapshot.B_k[:, None, :, None] / divisors
        seconds_per_bit = 1 / mean_rate(band, snapshot.beta[..., None])  # (B, U, K, m)
    f = (snapshot.F_i[..., None] / divisors[:j])[:, :, None].clamp_min(SMALLEST_GRANT)  # (B, U, 1, m)
    second, joule = s.alpha_T / snapshot.deadline, s.alpha_E / s.E_ref
    own_energy = s.k0 * f * f * snapshot.C[..., None]  # (B, U, J, m)
    own_cost = second[..., None] * snapshot.C[..., None] / f + joule * own_energy
    executed = (second * snapshot.C)[..., None] / snapshot.F_k[:, None, None]
    sent = (second + joule * snapshot.P_tr[..., None]) * snapshot.D
    servers = torch.arange(1, k + 1, device=snapshot.D.device)
    for task in range(j):
        progress.report(task / j)
        for user in range(u):
            if looks_up:
                seconds = seconds_per_bit[:, user].gather(2, on_server[..., None])[..., 0]
            else:
                seconds = 1 / mean_rate(snapshot.B_k / (on_server + 1), snapshot.beta[:, user])
            server = executed[:, user, task] * (on_server + 1) + sent[:, user, task, None] * seconds
            if s.has_latency:
                server = server + second[:, user, task, None] * snapshot.latency
            here = on_own[:, user, None]
            cost = torch.cat([own_cost[:, user, task].gather(1, here), server], dim=1)
            active = snapshot.active[:, user, task]
            if left is not None:
                to_server = (snapshot.P_tr[:, user] * snapshot.D[:, user, task])[:, None] * seconds
                energy = torch.cat([own_energy[:, user, task].gather(1, here), to_server], dim=1)
                cost = cost.masked_fill(energy > left[:, user, None], torch.inf)
                active = active & torch.isfinite(cost).any(1)
                work[:, user, task] = active
            best = cost.argmin(1)
            if left is not None:
                left[:, user] -= energy.gather(1, best[:, None])[:, 0] * active
            choice[:, user, task] = best
            on_own[:, user] += (best == 0) & active
            on_server += (best[:, None] == servers) & active[:, None]
    return choice, work
