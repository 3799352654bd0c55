"""Simple policies, the reference for all others."""

from __future__ import annotations

import torch

from iomt_core.environment import counter
from iomt_core.environment.counter import Range, Stream
from iomt_core.model.batch import without_autograd
from iomt_core.model.channel import mean_rate
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import Policy
from iomt_core.policies.demand import delay_price, energy_price
from iomt_core.policies.dual import DualSolution
from iomt_core.policies.shares import equal_shares


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
        s = self.scenario
        b, u, j, k = snapshot.shape
        on_server = torch.zeros(b, k, dtype=torch.int64, device=snapshot.D.device)
        on_own = on_server.new_zeros(b, u)
        choice = torch.zeros_like(snapshot.kind)
        # The cost of each share 1/m is computed once, so that the loop looks it up instead of evaluating (6).
        divisors = torch.arange(1, u * j + 1, device=snapshot.D.device, dtype=snapshot.D.dtype)
        band = snapshot.B_k[:, None, :, None] / divisors
        seconds_per_bit = 1 / mean_rate(band, snapshot.beta[..., None])  # (B, U, K, m)
        f = snapshot.F_i[..., None] / divisors[:j]
        own_cost_per_cycle = delay_price(s) / f + energy_price(s) * s.k0 * f * f  # (B, U, m)
        executed = delay_price(s) * snapshot.C[..., None] / snapshot.F_k[:, None, None]
        sent = (delay_price(s) + energy_price(s) * snapshot.P_tr)[..., None] * snapshot.D
        servers = torch.arange(1, k + 1, device=snapshot.D.device)
        for task in range(j):
            for user in range(u):
                seconds = seconds_per_bit[:, user].gather(2, on_server[..., None])[..., 0]
                server = executed[:, user, task] * (on_server + 1) + sent[:, user, task, None] * seconds
                own = snapshot.C[:, user, task, None] * own_cost_per_cycle[:, user].gather(1, on_own[:, user, None])
                best = torch.cat([own, server], dim=1).argmin(1)
                active = snapshot.active[:, user, task]
                choice[:, user, task] = best
                on_own[:, user] += (best == 0) & active
                on_server += (best[:, None] == servers) & active[:, None]
        return equal_shares(snapshot, choice)
