"""Network inputs from a ward's state: eq. (14) as it is, or without units for general networks.

The encoding for general networks uses the observation (14) and what is public, the scenario's parameters. A task is described
by the parts of what it would cost alone on its own device or alone on a server, and by its worth on each device at the ward's
mean shadow prices, all in units of what an optimally placed task of this ward costs. So the parameters of objective, computing
and channel enter only in the combinations that matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from iomt_core.environment.observation import EFFICIENCY_SCALE, limited_state, observe
from iomt_core.model.channel import mean_rate, unit_snr_bandwidth
from iomt_core.model.outcome import SMALLEST_GRANT
from iomt_core.model.snapshot import Snapshot, deadlines
from iomt_core.nets.actor import FIRST_SHARE
from iomt_core.nets.inputs import LEAST_SHARE_GENERAL, OWN_FEATURES, Inputs, Sizes, compress_cost, share_features
from iomt_core.nets.shared import DEVICE_FEATURES
from iomt_core.policies.dual import DualProblem, Prices
from iomt_core.policies.price_response import REQUEST_FACTOR, mean_prices, price_sample
from iomt_core.scenario import Scenario

MAX_REQUEST_FACTOR = 20.0
BATTERY_LEVEL = 1.0  # general networks assume full batteries; in their training no battery ran low
TYPICAL_COST = 0.2  # mean to which a ward's costs are scaled; about that of the paper's ward
MOST_USERS, MOST_TASKS, MOST_SERVERS = 12, 12, 6
STATE_COUNTS = 5  # numbers in ŝ that do not belong to a server
TASK_NUMBERS, WARD_NUMBERS = 10, 14
MAX_LOG_RATIO = 6.0  # limit of the logarithm of cost / typical cost


class ObservationEncoder:
    """Observations (14) of one scenario as inputs of its own networks."""

    unit = 1.0  # factor on costs before networks learn them

    def __init__(self, s: Scenario, exact_own_cpu: bool = False) -> None:
        """exact_own_cpu: whether agents divide their own CPUs themselves, so that they need the costs of their tasks there."""
        self.scenario, self.sizes, self.exact_own_cpu = s, Sizes.of(s), exact_own_cpu

    def know(self, snapshot: Snapshot, prices: Tensor | None = None) -> Any:
        """What agents know of steps that are coupled, for `inputs`; None here. See `CoupledObservationEncoder.know`."""
        return None

    def inputs(self, snapshot: Snapshot, known: Any = None) -> Inputs:
        """The observations of all agents in B worlds, N = B rows, float32."""
        inputs = Inputs.of(observe(snapshot, self.scenario).float(), snapshot.weight.float(), self.sizes)
        return replace(inputs, local_cost=self.local_cost(snapshot)) if self.exact_own_cpu else inputs

    def local_cost(self, snapshot: Snapshot) -> Tensor:
        """What delay and energy of each task cost with all of its user's CPU, (1) and (2), in units of `unit`; (U, B, J, 2)."""
        s, F = self.scenario, snapshot.F_i[..., None].clamp_min(SMALLEST_GRANT)
        delay = snapshot.C / F * (s.alpha_T / deadlines(snapshot, s))
        energy = snapshot.C * F.square() * (s.k0 * s.alpha_E / s.E_ref)
        return (torch.stack([delay, energy], -1) * self.unit).float().transpose(0, 1)

    def state(self, snapshot: Snapshot) -> Tensor:
        """The limited global state ŝ for the mixer, (B, ·)."""
        return limited_state(snapshot, self.scenario)


class GeneralObservationEncoder(ObservationEncoder):
    """Observations of any ward without units, as inputs of general networks.

    In addition to (14) and the scenario's parameters an agent gets what the ward's twin broadcasts once: the mean shadow
    prices of its resources. The networks start from a task's worth on each device at these prices, and from the shares that
    it would request there.
    """

    def __init__(self, s: Scenario, exact_own_cpu: bool = False) -> None:
        super().__init__(s, exact_own_cpu)
        most = general_sizes()
        self.sizes = Sizes(s.users, s.tasks, s.servers, most.other, most.state, most.features, shared=True)
        received = mean_prices(s)
        own = received.prices.own
        if not s.user_devices:  # users differ by chance only
            own = own.mean(1, keepdim=True).expand(1, s.users)
        self.prices = Prices(received.prices.cpu, received.prices.bandwidth, own)
        self.unit = TYPICAL_COST / max(received.cost, 1e-12)
        self._alone = _Alone.of(s)
        self._request_factor = self._find_request_factor()
        t, spreads = self._alone, [math.log(high / low) for low, high in (s.data_span, s.cycle_span)]
        low, high = s.priority_span
        parts = (t.delay, t.energy, t.execution, t.transmission)
        self._ward = torch.tensor(
            [
                *(math.log(n) / 2.5 - 0.5 for n in (s.users, s.tasks, s.servers)),
                math.log(s.users * s.tasks / s.servers) / 3 - 0.5,
                *(_scaled(torch.tensor(x * self.unit / TYPICAL_COST)).item() for x in parts),
                *(x / 3 for x in spreads),
                (high - low) / (high + low),
            ]
        )

    def inputs(self, snapshot: Snapshot, known: Any = None) -> Inputs:
        """The observations of all agents, costs in units of the ward's typical cost, with the ward's own parameters."""
        s, t, j, k = self.scenario, self._alone, self.scenario.tasks, self.scenario.servers
        seen = observe(snapshot, s).float()
        D, C, _ = seen[..., : 3 * j].unflatten(-1, (3, j)).unbind(-2)
        power, _, own = seen[..., 3 * j : 3 * j + OWN_FEATURES].unbind(-1)
        bandwidth, cpu, *links = seen[..., 3 * j + OWN_FEATURES :].unflatten(-1, (-1, k)).unbind(-2)
        if s.channel == "log-distance":
            efficiency = (links[0] * EFFICIENCY_SCALE).clamp_min(1e-3)
        else:
            efficiency = torch.full_like(cpu, t.efficiency)
        middle = efficiency.log().mean(-1, keepdim=True)
        D, C = D * s.data_span[1], C * s.cycle_span[1]
        watt = (power * s.largest["P_tr"])[..., None]
        own_f = (own * s.largest["F_i"])[..., None].clamp_min(SMALLEST_GRANT)
        joule = self._joule(snapshot, known)
        costs = (
            C / own_f * (s.alpha_T / s.T_max),
            C * own_f.square() * s.k0 * joule,
            C / (s.largest["F_k"] * cpu.mean(-1, keepdim=True)) * (s.alpha_T / s.T_max),
            D
            / (s.largest["B_k"] * bandwidth.mean(-1, keepdim=True) * middle.exp())
            * (s.alpha_T / s.T_max + joule * watt),
        )
        weight = snapshot.weight.float()
        worth, suggested = self._at_prices(snapshot, known)
        here, away = worth[..., 0], worth[..., 1:].amax(-1)
        tasks = torch.stack(
            [
                weight - 1,
                *(_scaled(x * self.unit / TYPICAL_COST) for x in costs),
                2 * (here - 1 + TYPICAL_COST),
                2 * (away - 1 + TYPICAL_COST),
                (5 * (here - away)).clamp(-2, 2),
                *share_features(suggested).unbind(-1),
            ],
            -1,
        )
        u = s.users
        rank = (torch.arange(u, device=seen.device) / u - 0.5).expand(len(seen), u)
        mine = torch.stack(
            [torch.full_like(rank, BATTERY_LEVEL - 0.5), rank, (watt[..., 0] / (sum(s.P_tr) / 2)).log()], -1
        )
        other = torch.cat([self._ward.to(seen.device).expand(len(seen), u, -1), mine], -1)
        servers = torch.stack(
            [efficiency.log() - middle, cpu.clamp_min(0.01).log(), bandwidth.clamp_min(0.01).log()], -1
        )
        local_cost = torch.stack([costs[0], costs[1].expand_as(C)], -1) * self.unit
        offered = pad(servers, (0, 0, 1, 0))[:, :, None].expand(-1, -1, j, -1, -1)
        devices = torch.cat([offered, worth[..., None]], -1)
        return Inputs(*(x.transpose(0, 1) for x in (tasks, other, weight, devices, suggested, local_cost)))

    def state(self, snapshot: Snapshot) -> Tensor:
        """ŝ, padded with zeros to `MOST_SERVERS` servers."""
        state, k = super().state(snapshot), self.scenario.servers
        bandwidth, cpu, counts = state.split((k, k, STATE_COUNTS), dim=1)
        room = state.new_zeros(len(state), MOST_SERVERS - k)
        return torch.cat([counts, bandwidth, room, cpu, room], dim=1)

    def _joule(self, snapshot: Snapshot, known: Any) -> Tensor | float:
        """What a joule of each task costs, 1/J, one number or (B, U, J)."""
        return self.scenario.alpha_E / self.scenario.E_ref

    def _at_prices(self, snapshot: Snapshot, known: Any) -> tuple[Tensor, Tensor]:
        """Each task's worth on each device at the mean prices, (B, U, J, K + 1), and the shares on its best one, (B, U, J, 2)."""
        problem = DualProblem(snapshot, self.scenario)
        wanted = problem.task_values(self.prices.to(snapshot.D.device))
        price = wanted.value / snapshot.weight.to(torch.float64).clamp_min(1e-6)[..., None]
        worth = 1 - compress_cost(price * self.unit)
        where = worth[..., 1:].argmax(-1, keepdim=True)
        f, band = (wanted.f / problem.F_k[:, None, None]), (wanted.band / problem.B_k[:, None, None])
        f, band = (x.gather(3, where)[..., 0] * self._request_factor for x in (f, band))
        if not self.exact_own_cpu:
            stays = worth[..., 0] > worth[..., 1:].amax(-1)
            f = torch.where(stays, wanted.f_own / problem.F_i[..., None], f)
        return worth.float(), torch.stack([f, band], -1).clamp(LEAST_SHARE_GENERAL, 1.0).float()

    def _find_request_factor(self) -> float:
        """Factor on the shares that prices suggest on servers; requests beyond capacity are scaled down, only ratios count."""
        s = self.scenario
        sample = price_sample(s)
        problem = DualProblem(sample, s)
        wanted = problem.task_values(self.prices)
        f, band = (wanted.f / problem.F_k[:, None, None]), (wanted.band / problem.B_k[:, None, None])
        usual = math.exp(float(torch.stack([f, band])[:, sample.active].clamp_min(1e-9).log().mean()))
        return max(REQUEST_FACTOR, min(MAX_REQUEST_FACTOR, FIRST_SHARE / usual))


def general_sizes() -> Sizes:
    """Network input sizes for general networks: the largest ward of their range."""
    return Sizes(
        MOST_USERS, MOST_TASKS, MOST_SERVERS, WARD_NUMBERS, 2 * MOST_SERVERS + STATE_COUNTS, TASK_NUMBERS, shared=True
    )


assert DEVICE_FEATURES == 4


def _scaled(ratio: Tensor) -> Tensor:
    """Logarithm of a cost in units of the typical cost, scaled to -2 to 2."""
    return ratio.clamp_min(1e-9).log().clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO) / 3


@dataclass(frozen=True)
class _Alone:
    """Costs of a mean task that has its device to itself: on its own device by delay and by energy, on a server by part."""

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
def observation_encoder(s: Scenario, shared: bool, exact_own_cpu: bool) -> ObservationEncoder:
    """The encoder for a scenario's own networks or, if `shared`, for general networks; see `ObservationEncoder`.

    Cached: pages ask at every rerun, and the prices of a ward are computed from a sample of its steps.
    """
    return GeneralObservationEncoder(s, exact_own_cpu) if shared else ObservationEncoder(s, exact_own_cpu)
