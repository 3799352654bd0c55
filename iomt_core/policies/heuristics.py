"""The simple policies that everything else is measured against."""

from __future__ import annotations

import torch
from torch import Tensor

from iomt_core.environment import counter
from iomt_core.environment.counter import Stream
from iomt_core.model.channel import mean_rate
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import Policy
from iomt_core.policies.demand import delay_price, energy_price
from iomt_core.policies.shares import equal_shares


class AllLocal(Policy):
    """Every task stays on its user's device."""

    name = "all-local"
    label = "All local"
    summary = "Every task runs on its user's own device, in even shares."

    def decide(self, snapshot: Snapshot) -> Action:
        """All choices 0."""
        return equal_shares(snapshot, torch.zeros_like(snapshot.kind))


class OffloadEvenly(Policy):
    """Every task is offloaded, dealt out over the servers in turn."""

    name = "offload-evenly"
    label = "Offload evenly"
    summary = "Every task is offloaded; tasks are dealt to the servers in turn, in even shares."

    def decide(self, snapshot: Snapshot) -> Action:
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

    def decide(self, snapshot: Snapshot) -> Action:
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

    def decide(self, snapshot: Snapshot) -> Action:
        """The server of least distance for all of a user's tasks."""
        nearest = snapshot.distance.argmin(-1) + 1
        return equal_shares(snapshot, nearest[..., None].expand_as(snapshot.kind).contiguous())


class Greedy(Policy):
    """Each task in turn to where it is cheapest now."""

    name = "greedy"
    label = "Greedy"
    summary = "Tasks take turns; each goes where it is cheapest for itself, given who is already there, in even shares."
    decentralised = False

    def decide(self, snapshot: Snapshot) -> Action:
        """Users take turns task by task; a device that has m tasks would give a newcomer the share 1/(m + 1)."""
        s = self.scenario
        b, u, j, k = snapshot.shape
        on_server = snapshot.F_k.new_zeros(b, k)
        on_own = snapshot.F_i.new_zeros(b, u)
        choice = torch.zeros_like(snapshot.kind)
        local_price, sent_price = delay_price(s), delay_price(s) + energy_price(s) * snapshot.P_tr
        # Rates at every possible share 1/m, once: a lookup in the loop instead of an integral.
        most = u * j
        parts = torch.arange(1, most + 1, device=snapshot.D.device, dtype=snapshot.D.dtype)
        band = snapshot.B_k[:, None, :, None] / parts
        seconds_a_bit = 1 / mean_rate(band, snapshot.beta[..., None])
        for task in range(j):
            for user in range(u):
                C, D = snapshot.C[:, user, task], snapshot.D[:, user, task]
                index = on_server.to(torch.int64)[..., None]
                slow = seconds_a_bit[:, user].gather(2, index).squeeze(2)
                server = delay_price(s) * C[:, None] * (on_server + 1) / snapshot.F_k
                server = server + sent_price[:, user, None] * D[:, None] * slow
                f = snapshot.F_i[:, user] / (on_own[:, user] + 1)
                own = C * (local_price / f + energy_price(s) * s.k0 * f * f)
                best = torch.cat([own[:, None], server], dim=1).argmin(1)
                here = snapshot.active[:, user, task]
                choice[:, user, task] = best
                on_own[:, user] += (best == 0) & here
                on_server += _one_hot(best, k, on_server) * here[:, None]
        return equal_shares(snapshot, choice)


def _one_hot(choice: Tensor, servers: int, like: Tensor) -> Tensor:
    return (choice[:, None] == torch.arange(1, servers + 1, device=choice.device)).to(like.dtype)
