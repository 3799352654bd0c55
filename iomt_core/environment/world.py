"""The part of the ward that policies do not influence: tasks, positions and background load of B worlds.

Only the batteries depend on a policy; `environment.py` has them. All steps of an episode can therefore be drawn in advance.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from iomt_core.environment import counter
from iomt_core.environment.counter import Range, Stream
from iomt_core.model.batch import Batch
from iomt_core.model.channel import unit_snr_bandwidth
from iomt_core.model.memory import check_memory
from iomt_core.model.snapshot import Snapshot
from iomt_core.scenario import Scenario, counted

MOST_BACKGROUND = 0.95
FIELDS = 30  # numbers of a task that are in memory at once when an episode is played


@dataclass(frozen=True)
class DynamicsState(Batch):
    """State of the dynamics at a step. Tensors of dynamics that are off are constant or empty."""

    users_xy: Tensor  # (B, U, 2) m; all users and servers of the ward, also those that are switched off
    waypoint: Tensor  # (B, U, 2) m
    size: Tensor  # (B, U, J, 2) standard normal score of D and C, for bursts
    load: Tensor  # (B, K, 2) standard normal score of the background load on F_k and B_k


class World:
    """Draws the snapshots of B worlds of one scenario.

    It draws all users and servers of the ward, and then leaves out those that are switched off: for all others nothing
    changes, not even by rounding.

    A seed gives the same world in any batch and, except for rounding, in float32 and float64. A `step` counts from 0 and is
    one number for all worlds, or (B,) int64. Step T exists too, for bootstrapping: with it a truncated episode would have
    continued. An own workload starts again there.

    first_user: the world is a part of a larger ward, the users after this many, exactly as the whole ward would have them. Their
    places and devices are drawn, so the scenario has none of its own.
    """

    def __init__(self, s: Scenario, seeds: Tensor, dtype: torch.dtype = torch.float64, first_user: int = 0) -> None:
        self.scenario = s
        self._first_user = first_user
        self.dtype = dtype
        self._in_operation: tuple[Tensor, Tensor] | None = None
        if s.users_off or s.servers_off:
            users, servers = (torch.tensor(n, device=seeds.device) - 1 for n in (s.user_numbers, s.server_numbers))
            self._in_operation = users, servers
        self._ward = s = s.whole_ward
        self._kinds = _KindTable(s, dtype, seeds.device)
        self._workload = _OwnTasks.of(s, dtype, seeds.device) if s.workload is not None else None
        self._layout = layout(s, dtype, seeds.device, first_user)
        self._draw(seeds)

    def reseeded(self, seeds: Tensor) -> World:
        """Worlds of the same scenario from other seeds, (B,) int64; faster than a new `World`."""
        other = copy.copy(self)
        other._draw(seeds)
        return other

    def _draw(self, seeds: Tensor) -> None:
        s = self._ward
        self.seeds = seeds
        users, servers = self._layout
        batch = len(seeds)
        self._servers_xy = servers.expand(batch, -1, -1)
        values = {name: users.new_tensor(numbers).expand(batch, -1) for name, numbers in s.device_values.items()}
        low, high = (values["P_low"], values["P_high"]) if s.user_devices else s.P_tr
        self._power = low + (high - low) * self._uniform(Stream.POWER, 0, 1)
        self._own, self._full_battery = values["F_i"], values["Cap"]
        self._servers, self._latency = (values["F_k"], values["B_k"]), values["latency"]
        self._start = users.expand(batch, -1, -1)
        self._links: tuple[Tensor, Tensor] | None = None
        self._max_ratio = math.inf
        if s.speed == 0:
            self._links = self._distances(self._start)
            self._max_ratio = float(max(s.device_values["B_k"]) / self._links[1].amin()) if len(seeds) else math.inf
        # For all steps at once: with tensors this small, the number of operations determines the time.
        self.step_keys = counter.step_keys(seeds, s.T + 1)
        steps = torch.arange(s.T + 1, device=seeds.device)[:, None]
        self.task_keys = counter.keys_at(seeds, Stream.TASKS, steps)

    @property
    def ranges(self) -> tuple[Range, Range, Range]:
        """Ranges from which D, C and P are drawn in a ward with one kind of task."""
        return self._kinds.ranges

    def initial_state(self) -> DynamicsState:
        """The state of the dynamics at step 0, drawn from the stationary distribution."""
        s = self._ward
        unused = self._power[:, :0]
        return DynamicsState(
            users_xy=self._start,
            waypoint=self._waypoints(0) if s.speed else self._start,
            size=self._burst_shock(0) if s.burst else unused,
            load=self._server_load(0) if s.background else unused,
        )

    def advance(self, state: DynamicsState, step: int | Tensor) -> DynamicsState:
        """The state of the dynamics at `step`, from that at the step before."""
        s = self._ward
        if s.speed:
            state = self._walk(state, step)
        if s.burst:
            keep, renew = s.burst, math.sqrt(1 - s.burst**2)
            state = replace(state, size=keep * state.size + renew * self._burst_shock(step))
        if s.background:
            keep, renew = s.background_correlation, math.sqrt(1 - s.background_correlation**2)
            state = replace(state, load=keep * state.load + renew * self._server_load(step))
        return state

    def snapshot(self, state: DynamicsState, step: int | Tensor, battery: Tensor | None = None) -> Snapshot:
        """The snapshot at `step`, which policies decide on, of all that is in operation.

        battery: (B, U) J; full unless given.
        """
        if self._in_operation is None:
            return self._whole_snapshot(state, step, battery)
        snapshot = self._whole_snapshot(state, step).keep(*self._in_operation)
        return snapshot if battery is None else replace(snapshot, battery=battery)

    def _whole_snapshot(self, state: DynamicsState, step: int | Tensor, battery: Tensor | None = None) -> Snapshot:
        s = self._ward
        D, C, P, kind, active = self._tasks(state, step)
        k = self._kinds
        if self._workload is not None:
            deadline = self._at_step(self._workload.deadline, step, D.shape)
        else:
            deadline = k.deadline[kind] if s.has_own_deadlines else k.deadline.expand(D.shape)
        weight = P / s.mean_P
        if self._workload is not None:
            weight = weight * active
        distance, beta = self._links or self._distances(state.users_xy)
        F_k, B_k = self._servers
        if s.background:
            width = min(s.background, MOST_BACKGROUND - s.background)
            load = s.background + width * (2 * torch.special.ndtr(state.load) - 1)
            F_k, B_k = F_k * (1 - load[..., 0]), B_k * (1 - load[..., 1])
        return Snapshot(
            D=D, C=C, P=P, weight=weight, active=active, kind=kind, P_tr=self._power,
            battery=self._full_battery if battery is None else battery, F_i=self._own, F_k=F_k, B_k=B_k, latency=self._latency,
            users_xy=state.users_xy, servers_xy=self._servers_xy, distance=distance, beta=beta,
            key=_at(self.step_keys, step), steps_left=self.steps_left(step), deadline=deadline,
            max_ratio=self._max_ratio, all_active=self._workload is None,
        )  # fmt: skip

    def steps_left(self, step: int | Tensor) -> Tensor:
        """Steps of the episode from this one on, (B,) int64; at step T, which exists for bootstrapping, still 1."""
        left = (self.scenario.T - torch.as_tensor(step, device=self.seeds.device)).clamp_min(1)
        return left.expand(len(self.seeds))

    def episode(self) -> list[Snapshot]:
        """All T steps of an episode with full batteries. Raises `ScenarioError` if memory does not suffice."""
        s = self._ward
        links = s.users * s.servers * (2 if s.speed else 0)
        needed = 8.0 * len(self.seeds) * s.T * (FIELDS * s.users * s.tasks + links)
        check_memory(f"{counted(len(self.seeds), 'episode')} of {s.T} steps of {s.size_words}", needed)
        state, steps = self.initial_state(), []
        for step in range(self.scenario.T):
            state = self.advance(state, step) if step else state
            steps.append(self.snapshot(state, step))
        return steps

    def _uniform(self, stream: Stream, step: int | Tensor, count: int) -> Tensor:
        """`count` uniform numbers of each user, (B, U · count)."""
        users, first = self._ward.users, self._first_user
        return counter.uniform(self.seeds, stream, step, users * count, self.dtype, first * count)

    def _normal(self, stream: Stream, step: int | Tensor, count: int) -> Tensor:
        """`count` standard normal numbers of each user, (B, U · count)."""
        users, first = self._ward.users, self._first_user
        return counter.normal(self.seeds, stream, step, users * count, self.dtype, first * count)

    def _server_load(self, step: int | Tensor) -> Tensor:
        """A standard normal score of each server's CPU and bandwidth, (B, K, 2)."""
        count = 2 * self._ward.servers
        return counter.normal(self.seeds, Stream.BACKGROUND, step, count, self.dtype).view(len(self.seeds), -1, 2)

    def _distances(self, users_xy: Tensor) -> tuple[Tensor, Tensor]:
        distance = (users_xy[:, :, None] - self._servers_xy[:, None]).norm(dim=-1)
        return distance, unit_snr_bandwidth(distance, self._power[:, :, None], self._ward)

    def _tasks(self, state: DynamicsState, step: int | Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        s = self._ward
        shape = (len(self.seeds), s.users, s.tasks)
        if self._workload is not None:
            w = self._workload
            D, C, P, kind, active = (self._at_step(x, step, shape) for x in (w.D, w.C, w.P, w.kind, w.active))
            return D, C, P, kind, active
        k = self._kinds
        kind, active = k.zero.expand(shape), k.yes.expand(shape)
        triples = counter.uniform_triples(
            _at(self.task_keys, step), k.ranges, s.users * s.tasks, self._first_user * s.tasks
        )
        draws = (x.view(shape) for x in triples)
        if not k.mixed:
            D, C, P = draws
            return D, C, P.floor_(), kind, active
        u_D, u_C, u_P = draws
        if s.burst:
            u_D, u_C = torch.special.ndtr(state.size).unbind(-1)
        if s.kinds:
            kind = torch.searchsorted(k.edges, self._uniform(Stream.KINDS, step, s.tasks)).view(shape)
        D, C, P = (low[kind] + span[kind] * u for low, span, u in zip(k.low, k.span, (u_D, u_C, u_P), strict=True))
        return D, C, P.floor_(), kind, active

    def _at_step(self, x: Tensor, step: int | Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
        """Numbers of the own workload, (T, U, J), at a step; an own workload starts again after its last step."""
        return x[step % self._ward.T].expand(shape)

    def _burst_shock(self, step: int | Tensor) -> Tensor:
        """Standard normal shocks (B, U, J, 2), partly shared by the tasks of a user, so that a burst affects all of them."""
        s, batch = self._ward, len(self.seeds)
        own = self._normal(Stream.BURST, step, s.tasks * 2).view(batch, s.users, s.tasks, 2)
        shared = self._normal(Stream.BURST_SHARED, step, 2).view(batch, s.users, 1, 2)
        return math.sqrt(s.burst) * shared + math.sqrt(1 - s.burst) * own

    def _waypoints(self, step: int | Tensor) -> Tensor:
        s = self._ward
        return self._uniform(Stream.WAYPOINTS, step, 2).view(-1, s.users, 2) * s.area

    def _walk(self, state: DynamicsState, step: int | Tensor) -> DynamicsState:
        """Random waypoint mobility: moves users towards their waypoints, and draws a new one where it is reached."""
        s = self._ward
        path = state.waypoint - state.users_xy
        distance = path.norm(dim=-1, keepdim=True)
        reach = s.speed * s.step_time
        arrived = distance <= reach
        position = torch.where(arrived, state.waypoint, state.users_xy + path * (reach / distance.clamp_min(1e-12)))
        return replace(state, users_xy=position, waypoint=torch.where(arrived, self._waypoints(step), state.waypoint))


def _at(table: Tensor, step: int | Tensor) -> Tensor:
    """Row `step` of a (T + 1, B) table, (B,); with `step` (B,) the entry of each world's own step."""
    return table.gather(0, step[None])[0] if isinstance(step, Tensor) else table[step]


class _KindTable:
    """Ranges of the task kinds as tensors. A priority between lo and hi is floor(U(lo, hi + 1)).

    With one kind and without bursts, tasks are drawn from their ranges directly (`ranges`), otherwise from (0, 1).
    """

    def __init__(self, s: Scenario, dtype: torch.dtype, device: torch.device) -> None:
        self.zero = torch.zeros((), dtype=torch.int64, device=device)
        self.yes = torch.ones((), dtype=torch.bool, device=device)
        self.mixed = bool(s.kinds) or s.burst > 0
        kinds = [(k.D, k.C, (k.P[0], k.P[1] + 1)) for k in s.kinds or (s,)]
        share = torch.tensor([k.share for k in s.kinds] or [1.0], dtype=dtype, device=device)
        self.edges = (share / share.sum()).cumsum(0)[:-1]
        ranges = torch.tensor(kinds, dtype=dtype, device=device)
        self.deadline = torch.tensor(
            s.kind_deadlines if s.has_own_deadlines and s.workload is None else s.T_max, dtype=dtype, device=device
        )  # s, (kinds,) or ()
        self.low = ranges[:, :, 0].T
        self.span = (ranges[:, :, 1] - ranges[:, :, 0]).T
        limits = ((0, 1), (0, 1), (0, 1)) if self.mixed else kinds[0]
        D, C, P = (Range.between(low, high, dtype, device) for low, high in limits)
        self.ranges = D, C, P


def layout(
    s: Scenario, dtype: torch.dtype, device: torch.device | str = "cpu", first_user: int = 0
) -> tuple[Tensor, Tensor]:
    """Positions of all users (n, 2) and servers (n, 2) of the ward in m, given by the scenario or drawn from its seed.

    Row n - 1 is number n, or number `first_user` + n of users; those that are switched off have their places too.
    """
    if s.places is not None:
        return (
            torch.tensor(s.places.users, dtype=dtype, device=device),
            torch.tensor(s.places.servers, dtype=dtype, device=device),
        )
    count = s.ward_servers
    # Rows of the first 8 servers and 16 users; then one more user and server in turn, so that no count moves the others.
    numbers = range(first_user + 1, first_user + s.ward_users + 1)
    seed = torch.tensor([s.seed], device=device)

    def drawn(rows: list[int]) -> Tensor:
        first = min(rows)
        draws = counter.uniform(seed, Stream.LAYOUT, 0, 2 * (max(rows) + 1 - first), dtype, 2 * first)[0].view(-1, 2)
        return draws[torch.tensor(rows, device=device) - first]

    users = drawn([7 + n if n <= 16 else 24 + 2 * (n - 17) for n in numbers]) * s.area
    of_servers = drawn([n - 1 if n <= 8 else 25 + 2 * (n - 9) for n in range(1, count + 1)])
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    k = torch.arange(count, device=device)
    row, column = k // columns, k % columns
    in_row = torch.where(row == rows - 1, count - (rows - 1) * columns, columns)
    centre = torch.stack([(column + 0.5) / in_row, (row + 0.5) / rows], dim=1).to(dtype)
    cell = torch.stack([1 / in_row, torch.full_like(in_row, 1, dtype=dtype) / rows], dim=1).to(dtype)
    return users, (centre + (of_servers - 0.5) * 0.5 * cell) * s.area


@dataclass(frozen=True)
class _OwnTasks:
    """The own workload of a whole ward, (T, U, J) each."""

    D: Tensor  # bit
    C: Tensor  # cycle
    P: Tensor
    deadline: Tensor  # s
    kind: Tensor  # int64, index into the scenario's kind names
    active: Tensor  # bool

    @classmethod
    def of(cls, s: Scenario, dtype: torch.dtype, device: torch.device) -> _OwnTasks:
        assert s.workload is not None
        D, C, P, deadline = np.zeros((4, s.T, s.users, s.tasks))
        P[:], deadline[:] = 1.0, s.T_max
        kind, active = np.zeros(D.shape, np.int64), np.zeros(D.shape, bool)
        filled: Counter[tuple[int, int]] = Counter()
        number = {name: n for n, name in enumerate(s.kind_names)}
        for task in s.workload:
            step_user = (task.step - 1, task.user - 1)
            at = (*step_user, filled[step_user])
            filled[step_user] += 1
            D[at], C[at], P[at], deadline[at] = task.D, task.C, task.P, s.task_deadline(task)
            kind[at], active[at] = number[task.kind or "task"], True
        d, c, p, due = (torch.from_numpy(x).to(device, dtype) for x in (D, C, P, deadline))
        return cls(d, c, p, due, torch.from_numpy(kind).to(device), torch.from_numpy(active).to(device))
