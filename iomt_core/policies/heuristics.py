"""The simple policies that everything else is measured against."""

from __future__ import annotations

import torch

from iomt_core.environment import counter
from iomt_core.environment.counter import Stream
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
        """All choices 0."""
        return equal_shares(snapshot, torch.zeros_like(snapshot.kind))


class OffloadEvenly(Policy):
    """Every task is offloaded, dealt out over the servers in turn."""

    name = "offload-evenly"
    label = "Offload evenly"
    summary = "Every task is offloaded; tasks are dealt to the servers in turn, in even shares."

    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """Task n of the ward goes to server n mod K."""
        _, u, j, k = snapshot.shape
        turn = torch.arange(u * j, device=snapshot.D.device).view(u, j) % k + 1
        return equal_shares(snapshot, turn.expand_as(snapshot.kind))


class RandomChoice(Policy):
    """Choices and shares at random: what an untrained network does."""

    name = "random"
    label = "Random"
    summary = "Devices drawn at random, and shares between 10 % and all of them: what an untrained network does."
    sharing = "requests"

    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """Uniform over devices and over shares of 0.1 to 1, by the world's and step's key."""
        b, u, j, k = snapshot.shape
        draws = counter.parts(snapshot.key, Stream.POLICY, 0, u * j, snapshot.D.dtype)
        choice, cpu, bandwidth = (x.view(b, u, j) for x in draws)
        return Action((choice * (k + 1)).to(torch.int64), 0.1 + 0.9 * cpu, 0.1 + 0.9 * bandwidth)


class NearestServer(Policy):
    """Every task goes to the server closest to its user."""

    name = "nearest"
    label = "Nearest server"
    summary = "Every task is offloaded to the server closest to its user, in even shares."

    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """The server of least distance for all of a user's tasks."""
        nearest = snapshot.distance.argmin(-1) + 1
        return equal_shares(snapshot, nearest[..., None].expand_as(snapshot.kind).contiguous())


class Greedy(Policy):
    """Each task in turn to where it is cheapest now."""

    name = "greedy"
    label = "Greedy"
    summary = "Tasks take turns; each goes where it is cheapest for itself, given who is already there, in even shares."
    decentralised = False

    @without_autograd
    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """Users take turns task by task; a device that has m tasks would give a newcomer the share 1/(m + 1)."""
        s = self.scenario
        b, u, j, k = snapshot.shape
        on_server = torch.zeros(b, k, dtype=torch.int64, device=snapshot.D.device)
        on_own = on_server.new_zeros(b, u)
        choice = torch.zeros_like(snapshot.kind)
        # What each share 1/m would cost, once: lookups in the loop instead of integrals.
        parts = torch.arange(1, u * j + 1, device=snapshot.D.device, dtype=snapshot.D.dtype)
        band = snapshot.B_k[:, None, :, None] / parts
        seconds_a_bit = 1 / mean_rate(band, snapshot.beta[..., None])  # (B, U, K, m)
        f = snapshot.F_i[..., None] / parts[:j]
        own_a_cycle = delay_price(s) / f + energy_price(s) * s.k0 * f * f  # (B, U, m)
        executed = delay_price(s) * snapshot.C[..., None] / snapshot.F_k[:, None, None]
        sent = (delay_price(s) + energy_price(s) * snapshot.P_tr)[..., None] * snapshot.D
        servers = torch.arange(1, k + 1, device=snapshot.D.device)
        for task in range(j):
            for user in range(u):
                slow = seconds_a_bit[:, user].gather(2, on_server[..., None])[..., 0]
                server = executed[:, user, task] * (on_server + 1) + sent[:, user, task, None] * slow
                own = snapshot.C[:, user, task, None] * own_a_cycle[:, user].gather(1, on_own[:, user, None])
                best = torch.cat([own, server], dim=1).argmin(1)
                here = snapshot.active[:, user, task]
                choice[:, user, task] = best
                on_own[:, user] += (best == 0) & here
                on_server += (best[:, None] == servers) & here[:, None]
        return equal_shares(snapshot, choice)
