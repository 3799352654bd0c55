"""How networks read a ward: as eq. (14) has it, or, for networks that serve any ward, without its units.

The lab's reading is made of the observation (14) and of what is public, the scenario's parameters. A task is what it would
cost, were it alone on its own device or on a server, part by part, in units of what a task of this ward costs at best.
So objective, computing and channel parameters are input in the only combinations in which they matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from iomt_core.environment.observation import EFFICIENCY_SCALE, limited_state, observe
from iomt_core.model.channel import mean_rate, unit_snr_bandwidth
from iomt_core.model.snapshot import Snapshot
from iomt_core.nets.inputs import OWN_FEATURES, Inputs, Sizes
from iomt_core.nets.shared import SERVER_FEATURES
from iomt_core.scenario import Scenario

USUAL_COST = 0.2  # to which the lab scales a ward's costs: the paper ward's are about that
MOST_USERS, MOST_TASKS, MOST_SERVERS = 12, 12, 6
STATE_COUNTS = 5  # numbers of ŝ that are no server's
TASK_NUMBERS, WARD_NUMBERS = 5, 14
MOST_LOG = 6.0  # natural logarithm of a cost's ratio to the usual: beyond, it is just cheap or dear


class Reading:
    """Eq. (14) of one scenario, for networks of its own."""

    unit = 1.0  # by which costs are multiplied before anybody learns of them

    def __init__(self, s: Scenario) -> None:
        self.scenario, self.sizes = s, Sizes.of(s)

    def inputs(self, snapshot: Snapshot) -> Inputs:
        """What all agents see, in float32."""
        return Inputs.of(observe(snapshot, self.scenario).float(), snapshot.weight.float(), self.sizes)

    def state(self, snapshot: Snapshot) -> Tensor:
        """ŝ for the mixer, (B, ·)."""
        return limited_state(snapshot, self.scenario)


class LabReading(Reading):
    """Any ward without its units, for networks that all wards share."""

    def __init__(self, s: Scenario) -> None:
        super().__init__(s)
        most = lab_sizes()
        self.sizes = Sizes(s.users, s.tasks, s.servers, most.other, most.state, most.features, shared=True)
        self._typical = _Typical.of(s)
        self.unit = USUAL_COST / self._typical.cost
        t = self._typical
        spreads = [math.log(high / low) for low, high in (s.data_span, s.cycle_span)]
        low, high = s.priority_span
        self._ward = torch.tensor(
            [
                *(math.log(n) / 2.5 - 0.5 for n in (s.users, s.tasks, s.servers)),
                math.log(s.users * s.tasks / s.servers) / 3 - 0.5,
                *(_scaled(torch.tensor(x / t.cost)).item() for x in (t.delay, t.energy, t.execution, t.transmission)),
                *(x / 3 for x in spreads),
                (high - low) / (high + low),
            ]
        )

    def inputs(self, snapshot: Snapshot) -> Inputs:
        """What all agents see, in units of the ward's usual cost, and what is known of the ward."""
        s, t, j, k = self.scenario, self._typical, self.scenario.tasks, self.scenario.servers
        seen = observe(snapshot, s).float()
        D, C, _ = seen[..., : 3 * j].unflatten(-1, (3, j)).unbind(-2)
        power, battery, own = seen[..., 3 * j : 3 * j + OWN_FEATURES].unbind(-1)
        bandwidth, cpu = seen[..., 3 * j + OWN_FEATURES :][..., : 2 * k].unflatten(-1, (2, k)).unbind(-2)
        if s.channel == "log-distance":
            efficiency = (seen[..., -k:] * EFFICIENCY_SCALE).clamp_min(1e-3)
        else:
            efficiency = torch.full_like(cpu, t.efficiency)
        middle = efficiency.log().mean(-1, keepdim=True)
        D, C = D * s.data_span[1], C * s.cycle_span[1]
        watt = (power * s.P_tr[1])[..., None]
        own_f = (own * s.F_i)[..., None]
        costs = (
            C / own_f * (s.alpha_T / s.T_max),
            C * own_f.square() * (s.k0 * s.alpha_E / s.E_ref),
            C / (s.F_k * cpu.mean(-1, keepdim=True)) * (s.alpha_T / s.T_max),
            D
            / (s.B_k * bandwidth.mean(-1, keepdim=True) * middle.exp())
            * (s.alpha_T / s.T_max + s.alpha_E / s.E_ref * watt),
        )
        weight = snapshot.weight.float()
        tasks = torch.stack([weight - 1, *(_scaled(x / t.cost) for x in costs)], -1)
        u = s.users
        rank = (torch.arange(u, device=seen.device) / u - 0.5).expand(len(seen), u)
        mine = torch.stack([battery - 0.5, rank, (power * s.P_tr[1] / (sum(s.P_tr) / 2)).log()], -1)
        other = torch.cat([self._ward.to(seen.device).expand(len(seen), u, -1), mine], -1)
        servers = torch.stack(
            [efficiency.log() - middle, cpu.clamp_min(0.01).log(), bandwidth.clamp_min(0.01).log()], -1
        )
        return Inputs(*(x.transpose(0, 1) for x in (tasks, other, weight, servers)))

    def state(self, snapshot: Snapshot) -> Tensor:
        """ŝ with room for as many servers as there may be."""
        state, k = super().state(snapshot), self.scenario.servers
        bandwidth, cpu, counts = state.split((k, k, STATE_COUNTS), dim=1)
        room = state.new_zeros(len(state), MOST_SERVERS - k)
        return torch.cat([counts, bandwidth, room, cpu, room], dim=1)


def lab_sizes() -> Sizes:
    """What networks for all of the lab's wards are built for."""
    return Sizes(
        MOST_USERS, MOST_TASKS, MOST_SERVERS, WARD_NUMBERS, 2 * MOST_SERVERS + STATE_COUNTS, TASK_NUMBERS, shared=True
    )


assert SERVER_FEATURES == 3


def _scaled(ratio: Tensor) -> Tensor:
    """Logarithm of a cost in usual costs, -2 to 2."""
    return ratio.clamp_min(1e-9).log().clamp(-MOST_LOG, MOST_LOG) / 3


@dataclass(frozen=True)
class _Typical:
    """A mean task of a ward: its cost alone on its own device, by delay and by energy, and on a server, by part."""

    delay: float
    energy: float
    execution: float
    transmission: float
    efficiency: float  # bit/s/Hz of a typical link at a fair share
    cost: float  # of such tasks, when the best part of them is sent away and all share evenly

    @classmethod
    def of(cls, s: Scenario) -> _Typical:
        D, C, power = (sum(x) / 2 for x in (s.data_span, s.cycle_span, s.P_tr))
        far = torch.tensor(s.area / 2, dtype=torch.float64)
        beta = unit_snr_bandwidth(far, torch.tensor(power, dtype=torch.float64), s)
        fair = torch.tensor(s.B_k / max(1.0, s.users * s.tasks / s.servers), dtype=torch.float64)
        efficiency = max(float(mean_rate(fair, beta)) / float(fair), 1e-3)
        late = s.alpha_T / s.T_max
        delay, energy = late * C / s.F_i, s.alpha_E / s.E_ref * s.k0 * s.F_i**2 * C
        execution = late * C / s.F_k
        transmission = (late + s.alpha_E / s.E_ref * power) * D / (s.B_k * efficiency)
        away = torch.linspace(0, 1, 41, dtype=torch.float64)[:, None]
        speed = torch.linspace(0.02, 1, 50, dtype=torch.float64)  # of the own CPU, for slow is thrifty
        at_home = ((1 - away) * s.tasks).clamp_min(1.0)
        on_server = (away * s.users * s.tasks / s.servers).clamp_min(1.0)
        local = delay * at_home / speed + energy * (speed / at_home).square()
        cost = (1 - away) * local + away * (execution + transmission) * on_server
        return cls(delay, energy, execution, transmission, efficiency, float(cost.min()))


def reading(s: Scenario, shared: bool) -> Reading:
    """How networks of a run read a ward: those of their own, or those that all wards share."""
    return LabReading(s) if shared else Reading(s)
