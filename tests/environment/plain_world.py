"""One environment step written plainly, one task at a time: the environment's numbers and its speed are compared with it.

The same physics and the same results a task, in lists, floats, `math` and `random.Random`, with `scipy.special.exp1` in
eq. (6). For the paper's ward: its channel, users that stay where they are, Table II's uniform tasks.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from scipy.special import exp1

from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.scenario import Scenario


@dataclass
class Task:
    """What has to be computed; D in bit, C in cycle."""

    D: float
    C: float
    P: int
    weight: float


@dataclass
class Request:
    """Where a task shall run (0 local, k server k), and the shares of that device asked for."""

    choice: int
    cpu: float
    bandwidth: float


@dataclass
class Result:
    """What became of a task; SI units."""

    f: float
    b: float
    rate: float
    delay_tx: float
    delay_exe: float
    delay: float
    energy: float
    cost: float
    missed: bool
    reward: float


@dataclass
class User:
    """A user, with the unit-SNR bandwidth of the link to each server in Hz."""

    F: float
    P_tr: float
    battery: float
    beta: list[float]
    tasks: list[Task]


@dataclass
class Server:
    """A server: CPU in cycle/s, bandwidth in Hz."""

    F: float
    B: float


def execution_delay(C: float, f: float) -> float:
    """Eq. (1), s."""
    return C / f


def execution_energy(C: float, f: float, k0: float) -> float:
    """Eq. (2), J."""
    return k0 * f**2 * C


def mean_rate(b: float, beta: float) -> float:
    """Eq. (6), bit/s."""
    x = b / beta
    return b / math.log(2) * math.exp(x) * float(exp1(x))


class PlainWorld:
    """One world, stepped task by task."""

    def __init__(self, s: Scenario, users: list[User], servers: list[Server], rng: random.Random) -> None:
        self.s, self.users, self.servers, self.rng = s, users, servers, rng
        self.t, self.terminated, self.truncated = 0, False, False

    def draw_tasks(self) -> None:
        """Fresh tasks for everyone, uniform over the scenario's ranges."""
        for user in self.users:
            user.tasks = [self.draw_task() for _ in range(self.s.tasks)]

    def draw_task(self) -> Task:
        """One task."""
        s, rng = self.s, self.rng
        P = rng.randint(*s.P)
        return Task(rng.uniform(*s.D), rng.uniform(*s.C), P, P / s.mean_P)

    def step(self, requests: list[list[Request]]) -> tuple[list[list[Result]], list[float]]:
        """Prices everyone's requests and charges the batteries: a result a task and a reward a user."""
        own, F, B = self.scaled(requests)
        results = [
            [self.price(user, task, request, f, F, B) for task, request in zip(user.tasks, wanted, strict=True)]
            for user, wanted, f in zip(self.users, requests, own, strict=True)
        ]
        rewards = []
        for user, row in zip(self.users, results, strict=True):
            user.battery -= sum(result.energy for result in row)
            rewards.append(sum(result.reward * task.weight for result, task in zip(row, user.tasks, strict=True)))
        self.t += 1
        self.terminated = any(user.battery < 0 for user in self.users)
        self.truncated = self.t >= self.s.T and not self.terminated
        if self.terminated:
            rewards = [0.0] * len(rewards)
        return results, rewards

    def scaled(self, requests: list[list[Request]]) -> tuple[list[float], list[float], list[float]]:
        """What a share of 1 gets: of each own CPU, each server's CPU and each server's bandwidth (C2-C4)."""
        own = [0.0] * len(self.users)
        cpu = [0.0] * len(self.servers)
        bandwidth = [0.0] * len(self.servers)
        for i, wanted in enumerate(requests):
            for request in wanted:
                if request.choice == 0:
                    own[i] += request.cpu
                else:
                    cpu[request.choice - 1] += request.cpu
                    bandwidth[request.choice - 1] += request.bandwidth
        return (
            [user.F / max(1.0, asked) for user, asked in zip(self.users, own, strict=True)],
            [server.F / max(1.0, asked) for server, asked in zip(self.servers, cpu, strict=True)],
            [server.B / max(1.0, asked) for server, asked in zip(self.servers, bandwidth, strict=True)],
        )

    def price(self, user: User, task: Task, request: Request, own: float, F: list[float], B: list[float]) -> Result:
        """Eqs. (1), (2), (6)-(10), cost and reward of one task."""
        s = self.s
        if request.choice == 0:
            f, b, rate, delay_tx = request.cpu * own, 0.0, 0.0, 0.0
            energy = execution_energy(task.C, f, s.k0)
        else:
            k = request.choice - 1
            f, b = request.cpu * F[k], request.bandwidth * B[k]
            rate = mean_rate(b, user.beta[k])
            delay_tx = task.D / rate
            energy = user.P_tr * delay_tx
        delay_exe = execution_delay(task.C, f)
        delay = delay_tx + delay_exe
        cost = s.alpha_T * delay / s.T_max + s.alpha_E * energy / s.E_ref
        missed = delay > s.T_max
        reward = 0.0 if missed else max(0.0, 1.0 - cost)
        return Result(f, b, rate, delay_tx, delay_exe, delay, energy, cost, missed, reward)

    def observe(self) -> list[list[float]]:
        """Each user's observation, eq. (14)."""
        s = self.s
        servers = [server.B / s.B_k for server in self.servers] + [server.F / s.F_k for server in self.servers]
        return [
            [task.D / s.D[1] for task in user.tasks]
            + [task.C / s.C[1] for task in user.tasks]
            + [task.P / s.P[1] for task in user.tasks]
            + [user.P_tr / s.P_tr[1], max(0.0, user.battery) / s.Cap, user.F / s.F_i]
            + servers
            for user in self.users
        ]


def plain_requests(action: Action) -> list[list[Request]]:
    """The first world's action as the plain version reads it."""
    columns = (action.choice[0].tolist(), action.cpu[0].tolist(), action.bandwidth[0].tolist())
    return [[Request(*one) for one in zip(*rows, strict=True)] for rows in zip(*columns, strict=True)]


def plain_tasks(snapshot: Snapshot) -> list[list[Task]]:
    """The first world's tasks as the plain version reads them."""
    columns = [getattr(snapshot, name)[0].tolist() for name in ("D", "C", "P", "weight")]
    return [[Task(*one) for one in zip(*rows, strict=True)] for rows in zip(*columns, strict=True)]


def plain_world(s: Scenario, snapshot: Snapshot) -> PlainWorld:
    """The first world of a snapshot, plainly."""
    columns = [getattr(snapshot, name)[0].tolist() for name in ("F_i", "P_tr", "battery", "beta")]
    users = [User(*one, tasks) for one, tasks in zip(zip(*columns, strict=True), plain_tasks(snapshot), strict=True)]
    servers = [Server(*one) for one in zip(snapshot.F_k[0].tolist(), snapshot.B_k[0].tolist(), strict=True)]
    return PlainWorld(s, users, servers, random.Random(0))
