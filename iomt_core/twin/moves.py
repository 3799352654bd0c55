"""One task moved to another device: what that changes, exactly, at a cost that does not grow with the ward.

A move changes the shares of two devices, the one that the task leaves and the one that it joins, and of no other. So each
device is computed by itself, with the tasks on it: a world of one server whose users have one task each, or of one user alone
with the tasks on its own CPU. In a ward of 816 users that is a hundredth of what computing every ward as a whole would take.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from iomt_core.model import progress
from iomt_core.model.batch import concatenate
from iomt_core.model.outcome import Outcome, outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.model.utility import COST_MAX
from iomt_core.policies.base import Sharing, with_shares
from iomt_core.policies.demand import UnitCosts
from iomt_core.policies.episode_dual import EpisodeDual
from iomt_core.policies.shares import timely_shares
from iomt_core.record import Record

BATCH = 400_000  # tasks evaluated at a time, to limit memory
SKIPPED = -1  # stands for the device of a task that is skipped
UNKNOWN = -2  # stands for a device that is not known yet
NOBODY = -1  # stands for the moved task where none moves
# How shares are made again after a move: a policy's sharing, or as an optimum of whole episodes makes them, with the prices of
# the batteries and within the deadlines.
ShareRule = Sharing | Literal["planned"]


def battery_prices(record: Record, row: int) -> Tensor:
    """κ of every user in a step, (U,): weighted cost that one more joule would save later, 1/J; 0 without certificates."""
    if isinstance(record.dual, EpisodeDual):
        return record.dual.battery[row]
    return torch.zeros(record.scenario.users, dtype=torch.float64)


def devices(record: Record, row: int | slice) -> Tensor:
    """The choice for each task of a step, (U, J), or of some steps; `SKIPPED` for a task that is skipped."""
    return record.action.choice[row].masked_fill(record.outcome.skipped[row], SKIPPED)


@dataclass(frozen=True)
class DeviceWorlds:
    """n worlds of one device each, with m places for tasks, of which some are empty."""

    tasks: Tensor  # (n, m) positions i J + j; the moved task has the last place on a server, and its own place on a user's CPU
    taken: Tensor  # (n, m) bool
    action: Action  # (n, m) each; the choice only says whether the device is a server
    outcome: Outcome  # (n, m) each
    weight: Tensor  # (n, m) 0 in an empty place
    price: Tensor  # (n, m) κ of each task's user, 1/J

    @property
    def costs(self) -> Tensor:
        """Weighted cost of the device's tasks now, and what their energy costs later, (n, 2)."""
        energy = self.outcome.energy * self.taken
        return torch.stack([(self.outcome.cost * self.weight).sum(1), (energy * self.price).sum(1)], 1)

    def moved_task(self) -> tuple[Action, Outcome]:
        """Action and outcome of the moved task of each server, (n,) each."""
        last = torch.zeros_like(self.taken)
        last[:, -1] = True
        return self.action.select(last), self.outcome.select(last)


class Moves:
    """The moves of single tasks in one step of a record, under a rule that makes shares again."""

    def __init__(self, record: Record, row: int, rule: ShareRule) -> None:
        one = slice(row, row + 1)
        self.scenario, self.rule = record.scenario, rule
        self.snapshot, self.action, self.prices = (
            record.snapshot.select(one),
            record.action.select(one),
            battery_prices(record, row),
        )
        _, self.users, self.tasks, self.servers = self.snapshot.shape
        self.active = self.snapshot.active.flatten()
        self.device = devices(record, row).flatten()  # 0 … K, or `SKIPPED`
        self.done = self.active & (self.device != SKIPPED)
        on_server = (self.done & (self.device > 0)).nonzero().flatten()
        server = self.device[on_server] - 1
        order = server.argsort(stable=True)
        self.counts = torch.bincount(server, minlength=self.servers)
        place = torch.arange(len(order)) - (self.counts.cumsum(0) - self.counts)[server[order]]
        self.members = torch.zeros(self.servers, max(1, int(self.counts.max())), dtype=torch.int64)
        self.members[server[order], place] = on_server[order]

    def joined(self, tasks: Tensor) -> Iterator[tuple[Tensor, Tensor, DeviceWorlds]]:
        """Every server with each of the tasks, (n,), on it, and without those that are on it now, in parts.

        A task is its position i J + j, or `NOBODY`. Yields the places of the part's worlds among the tasks, their servers from 0,
        and the worlds.
        """
        at = torch.arange(len(tasks)).repeat(self.servers)
        server = torch.arange(self.servers).repeat_interleave(len(tasks))
        order = self.counts[server].argsort(descending=True, stable=True)  # servers with as many tasks together
        at, server, first = at[order], server[order], 0
        while first < len(at):
            count = max(1, BATCH // (int(self.counts[server[first]]) + 1))
            part = slice(first, first + count)
            yield at[part], server[part], self._on_servers(server[part], tasks[at[part]])
            first += count
            progress.report(min(1.0, first / len(at)))

    def at_home(self, tasks: Tensor, user: Tensor) -> DeviceWorlds:
        """The own CPU of each user, (n,) from 0, with its task on it, or without it if it is there now; tasks as in `joined`."""
        place = user[:, None] * self.tasks + torch.arange(self.tasks)
        there = self.done[place] & (self.device[place] == 0)
        moved = place == tasks[:, None]
        taken = there ^ moved  # it joins, or leaves
        return self._worlds(place, taken, user, torch.zeros_like(user), 0, taken & moved, (len(user), 1, self.tasks))

    def changes(self, tasks: Tensor) -> Tensor:
        """Change of the step's weighted cost, and of what its energy costs later, with each of the tasks, (n,), on each device.

        Returns (n, K + 1, 2); 0 on the device that a task is on.
        """
        user = tasks // self.tasks
        home = self.at_home(torch.cat([tasks, torch.full_like(tasks, NOBODY)]), user.repeat(2)).costs
        costs = torch.empty(len(tasks) + 1, self.servers + 1, 2, dtype=torch.float64)
        for at, server, worlds in self.joined(torch.cat([tasks, torch.tensor([NOBODY])])):
            costs[at, server + 1] = worlds.costs
        found = costs[:-1] - costs[-1:]  # a server without its own task costs less
        found[:, 0] = home[: len(tasks)] - home[len(tasks) :]
        device, skipped = self.device[tasks], self.device[tasks] == SKIPPED
        on = torch.nn.functional.one_hot(device.clamp_min(0), self.servers + 1).bool() & ~skipped[:, None]
        leaves = (found * on[..., None]).sum(1)
        leaves[skipped, 0] = -COST_MAX * self.snapshot.weight.flatten()[tasks[skipped]].to(found.dtype)
        return (found + leaves[:, None]).masked_fill(on[..., None], 0.0)

    def on_devices(self, task: int) -> tuple[Action, Outcome]:
        """What a task requests and gets on each device, (K + 1,) each; on the device that it is on, this means nothing."""
        tasks = torch.tensor([task])
        home = self.at_home(tasks, tasks // self.tasks)
        parts = [(server, worlds.moved_task()) for _, server, worlds in self.joined(tasks)]
        order = torch.cat([server for server, _ in parts]).argsort()
        own = home.tasks == task
        return (
            concatenate([home.action.select(own), concatenate([action for _, (action, _) in parts]).select(order)]),
            concatenate([home.outcome.select(own), concatenate([result for _, (_, result) in parts]).select(order)]),
        )

    def costs(self, task: int) -> Tensor:
        """Cost of every task of the step with this one on each device, (K + 1, U, J)."""
        at_work = replace(self.snapshot, active=self.done.view(1, self.users, self.tasks), all_active=False)
        action = self._shared(self.action, at_work, self.prices[None])
        stays = outcome(at_work, action, self.scenario).cost.flatten()
        found = torch.where(self.active & ~self.done, COST_MAX, stays).repeat(self.servers + 1, 1)
        tasks, device = torch.tensor([task]), int(self.device[task])
        worlds = [(0, 0, self.at_home(tasks, tasks // self.tasks))]
        worlds += [(int(k) + 1, n, part) for _, server, part in self.joined(tasks) for n, k in enumerate(server)]
        for number, n, part in worlds:
            taken = part.taken[n]
            rows = [k for k in range(self.servers + 1) if k != device] if number == device else [number]
            found[torch.tensor(rows)[:, None], part.tasks[n][taken]] = part.outcome.cost[n][taken]
        return found.view(-1, self.users, self.tasks)

    def _on_servers(self, server: Tensor, tasks: Tensor) -> DeviceWorlds:
        """Each server, (n,) from 0, with its task on it, or without it if it is there now."""
        most = int(self.counts[server].max())
        place = torch.cat([self.members[server, :most], tasks.clamp_min(0)[:, None]], 1)
        there = (torch.arange(most) < self.counts[server][:, None]) & (place[:, :-1] != tasks[:, None])
        joins = (tasks != NOBODY) & (self.device[tasks] != server + 1)
        taken = torch.cat([there, joins[:, None]], 1)
        moved = torch.zeros_like(taken)
        moved[:, -1] = joins
        return self._worlds(place, taken, place // self.tasks, server, 1, moved, (len(server), most + 1, 1))

    def _worlds(
        self, place: Tensor, taken: Tensor, user: Tensor, server: Tensor, choice: int, moved: Tensor, shape: tuple[int, int, int]
    ) -> DeviceWorlds:  # fmt: skip
        """Worlds of `shape`, (n, users, tasks of each), with one server; user: (n, users), or (n,) if there is one."""
        at, users = place.view(shape), user.view(shape[:2])

        def of_task(values: Tensor) -> Tensor:
            return values.flatten()[at]

        def of_user(values: Tensor) -> Tensor:
            return values[0][users]

        def of_server(values: Tensor) -> Tensor:
            return values[0][server][:, None]

        here, snap = taken.view(shape), self.snapshot
        snapshot = Snapshot(
            D=of_task(snap.D) * here, C=of_task(snap.C) * here, P=of_task(snap.P), weight=of_task(snap.weight) * here,
            active=here, kind=of_task(snap.kind), deadline=of_task(snap.deadline), P_tr=of_user(snap.P_tr),
            battery=of_user(snap.battery), F_i=of_user(snap.F_i), F_k=of_server(snap.F_k), B_k=of_server(snap.B_k),
            latency=of_server(snap.latency), users_xy=of_user(snap.users_xy), servers_xy=of_server(snap.servers_xy),
            distance=snap.distance[0][users, server[:, None]][..., None], beta=snap.beta[0][users, server[:, None]][..., None],
            key=snap.key.expand(shape[0]), steps_left=snap.steps_left.expand(shape[0]), max_ratio=snap.max_ratio,
        )  # fmt: skip
        # A task that was skipped has no request; where nobody makes new shares, it requests an even one.
        revived = (moved & (self.device[place] == SKIPPED)).view(shape)
        even = 1 / here.sum((1, 2), keepdim=True).clamp_min(1).to(snapshot.D.dtype)
        cpu, bandwidth = (torch.where(revived, even, of_task(x)) for x in (self.action.cpu, self.action.bandwidth))
        action = self._shared(Action(torch.full(shape, choice), cpu, bandwidth), snapshot, self.prices[users])
        result = outcome(snapshot, action, self.scenario)
        price = self.prices[users][:, :, None].expand(shape)
        flat = (
            Action(*(x.flatten(1) for x in vars(action).values())),
            Outcome(*(x.flatten(1) for x in vars(result).values())),
        )
        return DeviceWorlds(place, taken, *flat, snapshot.weight.flatten(1), price.flatten(1))

    def _shared(self, action: Action, snapshot: Snapshot, prices: Tensor) -> Action:
        """The choices with the shares that the rule makes for them; prices: κ of the users, 1/J."""
        s = self.scenario
        if self.rule != "planned":
            return with_shares(action, snapshot, s, self.rule)
        return timely_shares(snapshot, action.choice, snapshot.active, s, UnitCosts.of(snapshot, s, prices))[0]
