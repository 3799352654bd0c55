"""One environment step written plainly, task by task: the same physics as `iomt_core`, and what its speed is held against.

Lists, floats, `math`, `random.Random`, and `scipy.special.exp1` in eq. (6). The paper's channel, fixed places, Table II's
uniform tasks.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from scipy.special import exp1

from iomt_core.scenario import Scenario


@dataclass
class Task:
    """A task and what its user asks for: device 0 is the user's own, k is server k."""

    D: float  # bit
    C: float  # cycle
    P: int
    choice: int = 0
    cpu: float = 0.0
    bandwidth: float = 0.0


@dataclass
class User:
    """A user; `beta` is the unit-SNR bandwidth of the link to each server, Hz."""

    F: float  # cycle/s
    P_tr: float  # W
    battery: float  # J
    beta: list[float]
    tasks: list[Task] = field(default_factory=list)


@dataclass
class Server:
    """A server: CPU in cycle/s, bandwidth in Hz."""

    F: float
    B: float


@dataclass
class Priced:
    """What became of one task: s, J, and dimensionless."""

    delay: float
    energy: float
    cost: float
    missed: bool
    reward: float


class PlainWorld:
    """One world, stepped task by task."""

    def __init__(self, s: Scenario, users: list[User], servers: list[Server], rng: random.Random) -> None:
        self.s, self.users, self.servers, self.rng = s, users, servers, rng
        self.alive = True

    def draw_tasks(self) -> None:
        """Fresh tasks for everyone, uniform over the scenario's ranges."""
        s, rng = self.s, self.rng
        for user in self.users:
            user.tasks = [Task(rng.uniform(*s.D), rng.uniform(*s.C), rng.randint(*s.P)) for _ in range(s.tasks)]

    def step(self, actions: list[list[tuple[int, float, float]]]) -> tuple[list[list[Priced]], list[float]]:
        """Prices everyone's (choice, cpu, bandwidth) a task and charges the batteries; outcomes and a reward a user."""
        s = self.s
        cpu_asked = [0.0] * len(self.servers)
        band_asked = [0.0] * len(self.servers)
        own_asked = [0.0] * len(self.users)
        for i, (user, wanted) in enumerate(zip(self.users, actions, strict=True)):
            for task, (task.choice, task.cpu, task.bandwidth) in zip(user.tasks, wanted, strict=True):
                if task.choice == 0:
                    own_asked[i] += task.cpu
                else:
                    cpu_asked[task.choice - 1] += task.cpu
                    band_asked[task.choice - 1] += task.bandwidth
        F = [server.F / max(1.0, asked) for server, asked in zip(self.servers, cpu_asked, strict=True)]
        B = [server.B / max(1.0, asked) for server, asked in zip(self.servers, band_asked, strict=True)]
        outcomes, rewards = [], []
        for user, asked in zip(self.users, own_asked, strict=True):
            own = user.F / max(1.0, asked)
            priced = [self.price(user, task, own, F, B) for task in user.tasks]
            user.battery -= sum(one.energy for one in priced)
            outcomes.append(priced)
            rewards.append(sum(one.reward * task.P for one, task in zip(priced, user.tasks, strict=True)) / s.mean_P)
        self.alive = all(user.battery >= 0 for user in self.users)
        return outcomes, rewards

    def price(self, user: User, task: Task, own: float, F: list[float], B: list[float]) -> Priced:
        """Eqs. (1), (2), (6)-(10) of one task; `own`, `F` and `B` are what a share of 1 gets."""
        s = self.s
        if task.choice == 0:
            f = task.cpu * own
            delay = task.C / f
            energy = s.k0 * f**2 * task.C
        else:
            k = task.choice - 1
            b = task.bandwidth * B[k]
            x = b / user.beta[k]
            rate = b / math.log(2) * math.exp(x) * float(exp1(x))
            transmission = task.D / rate
            delay = transmission + task.C / (task.cpu * F[k])
            energy = user.P_tr * transmission
        cost = s.alpha_T * delay / s.T_max + s.alpha_E * energy / s.E_ref
        missed = delay > s.T_max
        return Priced(delay, energy, cost, missed, 0.0 if missed else max(0.0, 1.0 - cost))

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


def random_world(s: Scenario, seed: int) -> PlainWorld:
    """A world of its own: users and servers anywhere in the ward, eqs. (4) (5) for their links."""
    rng = random.Random(seed)
    servers = [Server(s.F_k, s.B_k) for _ in range(s.servers)]
    places = [(rng.uniform(0, s.area), rng.uniform(0, s.area)) for _ in range(s.servers)]
    users = []
    for _ in range(s.users):
        x, y, power = rng.uniform(0, s.area), rng.uniform(0, s.area), rng.uniform(*s.P_tr)
        loss = [s.PL0 + 10 * s.eta * math.log10(max(math.dist((x, y), place), s.d0) / s.d0) for place in places]
        users.append(User(s.F_i, power, s.Cap, [power / pl**2 * s.sigma2 / s.N0 for pl in loss]))
    world = PlainWorld(s, users, servers, rng)
    world.draw_tasks()
    return world
