"""Blocks of a ward's users: how they are drawn, and what the worker that keeps some of them does.

Users are numbered through the whole ward, and every user's places, devices and tasks depend on its number and the seeds alone. So
a block is drawn without the rest of the ward, and a ward is the same however it is divided. It may have more users than a
scenario may hold (`MOST_WARD_USERS`), as long as all of them are drawn: own workloads, places and users' devices name each user.
"""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch import Tensor

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.world import World
from iomt_core.model.batch import Batch
from iomt_core.model.memory import check_memory
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.dual import COLDEST, DualProblem, Piece, SearchState, UserGroup, pieces_of, softmin
from iomt_core.policies.shares import own_allocation
from iomt_core.runs.process import prepare
from iomt_core.scenario import Scenario, ScenarioError, check_range, counted
from iomt_core.scenario.parameters import MOST_ALTERNATIVES, MOST_USERS

MOST_WARD_USERS = 1_000_000
TENSORS = 17  # of every task on every device: what a worker keeps and needs for a moment; from the memory of a process
LEAST_WEIGHT = 1e-3  # of a device that a task may take
Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]  # a batch's tensors by name, as they travel


@dataclass(frozen=True)
class WardStep:
    """One step of a ward of any number of users.

    scenario: the ward; of a larger ward all but the number of users. step: from 0. seed: of the tasks, as in `iomt evaluate`.
    """

    scenario: Scenario
    users: int
    step: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises `ScenarioError`."""
        s = self.scenario
        check_range("users", self.users, 1, MOST_WARD_USERS)
        check_range("step", self.step + 1, 1, s.T)
        if self.users != s.users and _names_users(s):
            raise ScenarioError(
                f"users = {self.users} does not fit this scenario, whose workload, places or devices name its {s.users} users: "
                f"allowed is {s.users}."
            )

    @property
    def size_words(self) -> str:
        """The ward's size in words."""
        s, users = self.scenario, f"{self.users:,} user{'s' * (self.users != 1)}"
        return f"{users} × {counted(s.tasks, 'task')}, {counted(s.servers, 'server')}"

    def shares(self, workers: int) -> list[range]:
        """The users of each of at most so many workers, by their index from 0, as evenly as possible."""
        count = min(workers, self.users)
        return [range(n * self.users // count, (n + 1) * self.users // count) for n in range(count)]

    def memory(self, users: int) -> float:
        """Bytes that so many users take in a worker."""
        s = self.scenario
        return 8.0 * TENSORS * users * s.tasks * (s.servers + 1)

    def blocks(self, users: range) -> list[range]:
        """These users in blocks that a scenario may hold."""
        s = self.scenario
        most = max(1, min(MOST_USERS, MOST_ALTERNATIVES // (s.tasks * (s.ward_servers + 1))))
        count = -(-len(users) // most)
        ends = [users.start + n * len(users) // count for n in range(count + 1)]
        return [range(start, end) for start, end in itertools.pairwise(ends)]

    def draw(self, users: range) -> Snapshot:
        """The step of these users and all servers, (1, U, …). Raises `ScenarioError`."""
        s, first = self.scenario, users.start
        if _names_users(s):
            return self._step_of(s, 0).keep(torch.arange(first, users.stop), torch.arange(s.servers))
        return self._step_of(s.changed(users=len(users)), first)

    def _step_of(self, s: Scenario, first: int) -> Snapshot:
        world = World(s, world_seeds(self.seed, 0, 1), first_user=first)
        state = world.initial_state()
        for step in range(1, self.step + 1):
            state = world.advance(state, step)
        return world.snapshot(state, self.step)


def _names_users(s: Scenario) -> bool:
    return bool(s.workload is not None or s.places is not None or s.user_devices or s.users_off)


class BlockWorker:
    """The users of one worker in its process. All of its methods take and return arrays; (1, …) each.

    `ask` is a method of `Users` for all of them together. Raises `ScenarioError` if their memory is not free.
    """

    def __init__(self, ward: WardStep, users: range) -> None:
        prepare(1)
        self._began = _cpu_seconds()
        self._before = resident_memory()
        check_memory(f"{counted(len(users), 'user')} of {ward.size_words} in one worker", ward.memory(len(users)))
        self._ward, self._count = ward, len(users)
        with torch.inference_mode():
            self._blocks = [_Block(ward, block) for block in ward.blocks(users)]
        self._users = UserGroup([piece for block in self._blocks for piece in block.pieces])

    def servers(self) -> Arrays:
        """Capacities of the servers and the margin for rounding."""
        return {"F_k": self._users.F_k.numpy(), "B_k": self._users.B_k.numpy(), "margin": np.array(self._users.margin)}

    def ask(self, method: str, *arguments: Array | Arrays) -> Arrays:
        """Calls a method of `Users`."""
        with torch.inference_mode():
            given = [SearchState(**tensors(x)) if isinstance(x, Mapping) else torch.tensor(x) for x in arguments]
            return arrays(getattr(self._users, method)(*given))

    def demand(self, servers: Array, free: Array) -> Arrays:
        """After the search: what all tasks, each on a device that is cheapest now, ask of the servers, (1, K) each."""
        with torch.inference_mode():
            found = [block.demand(torch.tensor(servers), torch.tensor(free)) for block in self._blocks]
            root, band = (torch.stack(x).sum(0) for x in zip(*found, strict=True))
        return {"root": root.numpy(), "band": band.numpy()}

    def decide(self, root: Array, band: Array) -> tuple[float, int]:
        """Cost of these users' tasks if all users' demands, (1, K) each, share the servers; and how many tasks are skipped."""
        with torch.inference_mode():
            found = [block.decide(torch.tensor(root), torch.tensor(band)) for block in self._blocks]
        return sum(cost for cost, _ in found), sum(skipped for _, skipped in found)

    def usage(self) -> Mapping[str, float]:
        """Users, bytes of the process at its peak and before it had users, and its CPU seconds since then."""
        return {
            "users": self._count, "peak": peak_memory(), "before": self._before, "cpu": _cpu_seconds() - self._began
        }  # fmt: skip


class _Block:
    """A block of users."""

    def __init__(self, ward: WardStep, users: range) -> None:
        self._s = s = ward.scenario
        self._snapshot = ward.draw(users)
        self.pieces: list[Piece] = pieces_of(DualProblem(self._snapshot, s, ward.users))

    def demand(self, servers: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
        choices, own, roots, bands = [], [], [], []
        for piece in self.pieces:
            _, tasks = piece.at_best(servers, free)
            _, weights = softmin(tasks.value, COLDEST * tasks.value.amin(-1, keepdim=True))
            choice = due_choices(weights, piece.problem.active)
            local = (choice == 0) & piece.problem.active
            own.append(own_allocation(piece.problem.own_tasks, local, piece.problem.F_i))
            bands.append(tasks.band.gather(-1, (choice[..., None] - 1).clamp_min(0))[..., 0])
            choices.append(choice)
            roots.append(piece.problem.root)
        self._choice, self._own = torch.cat(choices, 1), torch.cat(own, 1)
        at_work = self._snapshot.active & (self._choice > 0)
        self._asks = [torch.cat(x, 1) * at_work for x in (roots, bands)]
        root, band = (self._at_servers(x) for x in self._asks)
        return root, band

    def decide(self, root: Tensor, band: Tensor) -> tuple[float, int]:
        snapshot, choice = self._snapshot, self._choice
        index = (choice.flatten(1) - 1).clamp_min(0)
        cpu, bandwidth = (
            ask / total.gather(1, index).view_as(ask).clamp_min(1e-300)
            for ask, total in zip(self._asks, (root, band), strict=True)
        )
        own = self._own / snapshot.F_i[:, :, None].clamp_min(1e-300)
        result = outcome(snapshot, Action(choice, torch.where(choice == 0, own, cpu), bandwidth), self._s)
        return float((result.cost * snapshot.weight).sum()), int(result.skipped.sum())

    def _at_servers(self, ask: Tensor) -> Tensor:
        """Sums over the tasks of each server, (1, K)."""
        index = (self._choice.flatten(1) - 1).clamp_min(0)
        return ask.new_zeros(1, self._snapshot.F_k.shape[1]).scatter_add_(1, index, ask.flatten(1))


def due_choices(weights: Tensor, active: Tensor) -> Tensor:
    """A device for each task, (1, U, J) int64, such that each device gets about as many tasks as its weights add up to.

    At the best prices a task may be as cheap on one device as on another. Its weights say how such tasks divide, and if each
    took the first of its cheapest devices, some servers would be crowded. weights: of the devices of each task, (1, U, J, K + 1);
    active: whether there is a task, (1, U, J). Each task in turn takes the device that is furthest behind its weights so far.
    """
    p = (weights * active[..., None]).flatten(0, 2).numpy()
    behind, choice = np.zeros(p.shape[1]), np.empty(len(p), np.int64)
    for n, row in enumerate(p):
        behind += row
        choice[n] = device = np.where(row > LEAST_WEIGHT, behind, -np.inf).argmax()
        behind[device] -= row.any()
    return torch.from_numpy(choice).view(active.shape)


def arrays(batch: Batch) -> Arrays:
    """A batch's tensors as arrays."""
    return {field.name: getattr(batch, field.name).numpy() for field in fields(batch)}  # type: ignore[arg-type]


def tensors(found: Arrays) -> dict[str, Tensor]:
    """Arrays as tensors; copies, because arrays that have travelled may be read-only."""
    return {name: torch.tensor(value) for name, value in found.items()}


def resident_memory() -> int:
    """Bytes of this process in memory."""
    return int(psutil.Process().memory_info().rss)


def peak_memory() -> int:
    """Bytes of this process in memory at its peak.

    On Linux not by `getrusage`, which counts what the parent process had when it started this one.
    """
    if sys.platform == "linux":
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
        if found is not None:
            return 1024 * int(found[1])
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))


def _cpu_seconds() -> float:
    return time.process_time()
