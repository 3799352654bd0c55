"""How networks read a ward: as eq. (14) has it, or, for networks that serve any ward, without its units.

The lab's reading is made of the observation (14) and of what is public, the scenario's parameters. A task is what it would
cost, were it alone on its own device or on a server, part by part, and what it is worth on each device at the ward's mean
shadow prices, all in units of what a task of this ward costs at best. So objective, computing and channel parameters are
input in the only combinations in which they matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from iomt_core.environment.observation import EFFICIENCY_SCALE, limited_state, observe
from iomt_core.model.channel import mean_rate, unit_snr_bandwidth
from iomt_core.model.snapshot import Snapshot
from iomt_core.nets.actor import FIRST_SHARE
from iomt_core.nets.inputs import LEAST_SHARE_OF_ANY, OWN_FEATURES, Inputs, Sizes, compressed, share_features
from iomt_core.nets.shared import DEVICE_FEATURES
from iomt_core.policies.dual import Prices, Problem
from iomt_core.policies.price_response import EAGERNESS, broadcast, price_sample
from iomt_core.scenario import Scenario

MOST_EAGER = 20.0
FULL = 1.0  # of a battery: wards that the lab's networks learn from have ample ones, so that others would tell them nothing
USUAL_COST = 0.2  # to which the lab scales a ward's costs: the paper ward's are about that
MOST_USERS, MOST_TASKS, MOST_SERVERS = 12, 12, 6
STATE_COUNTS = 5  # numbers of ŝ that are no server's
TASK_NUMBERS, WARD_NUMBERS = 10, 14
MOST_LOG = 6.0  # natural logarithm of a cost's ratio to the usual: beyond, it is just cheap or dear


class ObservationEncoder:
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


class GeneralObservationEncoder(ObservationEncoder):
    """Any ward without its units, for networks that all wards share.

    Besides (14) and the scenario's parameters an agent is told what the ward's twin broadcasts once: the mean shadow prices
    of its resources. What a task is worth on each device at these prices, and which shares it would take there, is where
    the networks start from.
    """

    def __init__(self, s: Scenario) -> None:
        super().__init__(s)
        most = general_sizes()
        self.sizes = Sizes(s.users, s.tasks, s.servers, most.other, most.state, most.features, shared=True)
        told = broadcast(s)
        own = told.prices.own.mean(1, keepdim=True).expand(1, s.users)  # users differ by their draw alone
        self.prices = Prices(told.prices.cpu, told.prices.bandwidth, own)
        self.unit = USUAL_COST / max(told.cost, 1e-12)
        self._alone = _Alone.of(s)
        self._eagerness = self._eager()
        t, spreads = self._alone, [math.log(high / low) for low, high in (s.data_span, s.cycle_span)]
        low, high = s.priority_span
        parts = (t.delay, t.energy, t.execution, t.transmission)
        self._ward = torch.tensor(
            [
                *(math.log(n) / 2.5 - 0.5 for n in (s.users, s.tasks, s.servers)),
                math.log(s.users * s.tasks / s.servers) / 3 - 0.5,
                *(_scaled(torch.tensor(x * self.unit / USUAL_COST)).item() for x in parts),
                *(x / 3 for x in spreads),
                (high - low) / (high + low),
            ]
        )

    def inputs(self, snapshot: Snapshot) -> Inputs:
        """What all agents see, in units of the ward's usual cost, and what is known of the ward."""
        s, t, j, k = self.scenario, self._alone, self.scenario.tasks, self.scenario.servers
        seen = observe(snapshot, s).float()
        D, C, _ = seen[..., : 3 * j].unflatten(-1, (3, j)).unbind(-2)
        power, _, own = seen[..., 3 * j : 3 * j + OWN_FEATURES].unbind(-1)
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
        worth, suggested = self._at_prices(snapshot)
        here, away = worth[..., 0], worth[..., 1:].amax(-1)
        tasks = torch.stack(
            [
                weight - 1,
                *(_scaled(x * self.unit / USUAL_COST) for x in costs),
                2 * (here - 1 + USUAL_COST),
                2 * (away - 1 + USUAL_COST),
                (5 * (here - away)).clamp(-2, 2),
                *share_features(suggested).unbind(-1),
            ],
            -1,
        )
        u = s.users
        rank = (torch.arange(u, device=seen.device) / u - 0.5).expand(len(seen), u)
        mine = torch.stack([torch.full_like(rank, FULL - 0.5), rank, (power * s.P_tr[1] / (sum(s.P_tr) / 2)).log()], -1)
        other = torch.cat([self._ward.to(seen.device).expand(len(seen), u, -1), mine], -1)
        servers = torch.stack(
            [efficiency.log() - middle, cpu.clamp_min(0.01).log(), bandwidth.clamp_min(0.01).log()], -1
        )
        at_home = torch.stack([costs[0], costs[1].expand_as(C)], -1) * self.unit
        offered = pad(servers, (0, 0, 1, 0))[:, :, None].expand(-1, -1, j, -1, -1)
        devices = torch.cat([offered, worth[..., None]], -1)
        return Inputs(*(x.transpose(0, 1) for x in (tasks, other, weight, devices, suggested, at_home)))

    def state(self, snapshot: Snapshot) -> Tensor:
        """ŝ with room for as many servers as there may be."""
        state, k = super().state(snapshot), self.scenario.servers
        bandwidth, cpu, counts = state.split((k, k, STATE_COUNTS), dim=1)
        room = state.new_zeros(len(state), MOST_SERVERS - k)
        return torch.cat([counts, bandwidth, room, cpu, room], dim=1)

    def _at_prices(self, snapshot: Snapshot) -> tuple[Tensor, Tensor]:
        """Each task's worth on each device, (B, U, J, K + 1), and the shares of its best one, (B, U, J, 2), in (0, 1]."""
        problem = Problem(snapshot, self.scenario)
        wanted = problem.task_values(self.prices.to(snapshot.D.device))
        price = wanted.value / snapshot.weight.to(torch.float64).clamp_min(1e-6)[..., None]
        worth = 1 - compressed(price * self.unit)
        where = worth[..., 1:].argmax(-1, keepdim=True)
        f, band = (wanted.f / problem.F_k[:, None, None]), (wanted.band / problem.B_k[:, None, None])
        f, band = (x.gather(3, where)[..., 0] * self._eagerness for x in (f, band))
        stays = worth[..., 0] > worth[..., 1:].amax(-1)
        cpu = torch.where(stays, wanted.f_own / problem.F_i[..., None], f)
        return worth.float(), torch.stack([cpu, band], -1).clamp(LEAST_SHARE_OF_ANY, 1.0).float()

    def _eager(self) -> float:
        """How much more than what prices say is asked of servers: what is over-asked is scaled down, ratios count."""
        s = self.scenario
        sample = price_sample(s)
        problem = Problem(sample, s)
        wanted = problem.task_values(self.prices)
        f, band = (wanted.f / problem.F_k[:, None, None]), (wanted.band / problem.B_k[:, None, None])
        usual = math.exp(float(torch.stack([f, band])[:, sample.active].clamp_min(1e-9).log().mean()))
        return max(EAGERNESS, min(MOST_EAGER, FIRST_SHARE / usual))


def general_sizes() -> Sizes:
    """What networks for all of the lab's wards are built for."""
    return Sizes(
        MOST_USERS, MOST_TASKS, MOST_SERVERS, WARD_NUMBERS, 2 * MOST_SERVERS + STATE_COUNTS, TASK_NUMBERS, shared=True
    )


assert DEVICE_FEATURES == 4


def _scaled(ratio: Tensor) -> Tensor:
    """Logarithm of a cost in usual costs, -2 to 2."""
    return ratio.clamp_min(1e-9).log().clamp(-MOST_LOG, MOST_LOG) / 3


@dataclass(frozen=True)
class _Alone:
    """A mean task of a ward, alone: its cost on its own device, by delay and by energy, and on a server, by part."""

    delay: float
    energy: float
    execution: float
    transmission: float
    efficiency: float  # bit/s/Hz of a typical link at a fair share

    @classmethod
    def of(cls, s: Scenario) -> _Alone:
        D, C, power = (sum(x) / 2 for x in (s.data_span, s.cycle_span, s.P_tr))
        far = torch.tensor(s.area / 2, dtype=torch.float64)
        beta = unit_snr_bandwidth(far, torch.tensor(power, dtype=torch.float64), s)
        fair = torch.tensor(s.B_k / max(1.0, s.users * s.tasks / s.servers), dtype=torch.float64)
        efficiency = max(float(mean_rate(fair, beta)) / float(fair), 1e-3)
        late = s.alpha_T / s.T_max
        return cls(
            delay=late * C / s.F_i,
            energy=s.alpha_E / s.E_ref * s.k0 * s.F_i**2 * C,
            execution=late * C / s.F_k,
            transmission=(late + s.alpha_E / s.E_ref * power) * D / (s.B_k * efficiency),
            efficiency=efficiency,
        )


@lru_cache(maxsize=64)
def observation_encoder(s: Scenario, shared: bool) -> ObservationEncoder:
    """How networks of a run read a ward: those of their own, or those that all wards share.

    Kept, for a page asks anew at every rerun, and what a ward costs at its prices takes a sample of its steps.
    """
    return GeneralObservationEncoder(s) if shared else ObservationEncoder(s)
