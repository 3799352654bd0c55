"""Network inputs of general networks: any ward without units.

In addition to its observation (14) and the scenario's parameters an agent gets what price response gets: the prices that it
expects of the servers in a step, what a joule of its battery is worth, and its links. A task is described by the parts of what
it would cost alone on its own device or alone on a server, and by its worth on each device at these prices, all in units of what
a well placed task of this ward costs. So the parameters of objective, computing and channel enter only in the combinations that
matter, and no input's length depends on a count.

The networks start from the decision of price response: from its strategies, from the shares that it would request on each
server, and from each task's worth at its prices. A task that no device is worth is given up: its weight is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from iomt_core.algorithms.agents import Agents, Decision, Memory, Noise
from iomt_core.environment.observation import EFFICIENCY_SCALE, efficiency
from iomt_core.model.outcome import SMALLEST_GRANT
from iomt_core.model.snapshot import Snapshot, deadlines
from iomt_core.model.utility import COST_MAX, LEAST_WEIGHT, joule_price
from iomt_core.nets.inputs import LEAST_SHARE_GENERAL, Inputs, Sizes, compress_cost, share_features
from iomt_core.nets.shared import DEVICE_FEATURES
from iomt_core.policies.charge import RESERVED, within_charge
from iomt_core.policies.dual import DualSolution, Prices
from iomt_core.policies.price_response import (
    REQUEST_FACTOR,
    Offers,
    PriceResponse,
    battery_price,
    price_sample,
    sent_energy,
)
from iomt_core.policies.shares import PUNCTUAL
from iomt_core.scenario import Scenario
from iomt_core.training.observation_encoder import ObservationEncoder

TYPICAL_COST = 0.2  # mean to which a ward's costs are scaled; about that of the paper's ward
STATE_COUNTS = 5  # numbers in ŝ that do not belong to a server
TASK_NUMBERS, WARD_NUMBERS = 10, 17
MAX_LOG_RATIO = 6.0  # limit of the logarithm of cost / typical cost
MOST_PRICE = 4.0  # largest logarithm of (g + κ) / g that the networks see
MOST_LATENCY = 4.0  # largest cost of a server's latency that they see, in units of the typical cost


def general_sizes() -> Sizes:
    """Network input sizes for general networks. Their counts mean nothing: no input of these networks depends on one."""
    return Sizes(1, 1, 1, WARD_NUMBERS, STATE_COUNTS + 6, TASK_NUMBERS, shared=True)


@dataclass(frozen=True)
class Known:
    """What agents know about the prices of some steps."""

    prices: Tensor  # (B, U, 2K) or (B, 1, 2K) expected prices of servers' CPUs and bandwidths
    battery_price: Tensor  # (B, U) κ, 1/J
    offers: Offers  # what devices offer at these prices


class GeneralObservationEncoder(ObservationEncoder):
    """Observations of any ward without units, as inputs of general networks; see the module's description."""

    hears = False  # whether servers broadcast their prices after each step

    def __init__(self, s: Scenario, exact_own_cpu: bool = False, market: PriceResponse | None = None) -> None:
        """market: how agents get to the prices of a step; price response if not given."""
        super().__init__(s, exact_own_cpu)
        sizes = general_sizes()
        self.sizes = replace(sizes, users=s.users, tasks=s.tasks, servers=s.servers)
        self.market = PriceResponse(s) if market is None else market
        self.joule = max(s.alpha_E / s.E_ref, 1e-3 / s.Cap)  # g, 1/J
        sample = price_sample(s)
        active = sample.active
        known = self.know(sample)
        weight = (sample.weight * active).sum()
        cost = float((known.offers.costs * active).sum() / weight.clamp_min(1e-12))
        self.unit = TYPICAL_COST / max(cost, 1e-12)
        self._means = {
            name: float(getattr(sample, name).to(torch.float64).mean()) for name in ("P_tr", "F_i", "F_k", "B_k")
        }
        parts = [x.to(torch.float64)[active] * (self.unit / TYPICAL_COST) for x in self._costs(sample)]
        spreads = [
            x[active].to(torch.float64).clamp_min(1e-9).log().std(correction=0) for x in (sample.D, sample.C, sample.P)
        ]
        self._ward = torch.tensor(
            [
                *(math.log(n) / 2.5 - 0.5 for n in (s.users, s.tasks, s.servers)),
                math.log(s.users * s.tasks / s.servers) / 3 - 0.5,
                *(_scaled(x.clamp_min(1e-9).log().mean().exp()).item() for x in parts),
                *(float(x) for x in spreads),
            ]
        )

    def know(self, snapshot: Snapshot, prices: Tensor | None = None, battery_price: Tensor | None = None) -> Known:
        """What agents know in these steps; prices: as `expected_prices` returns them; battery_price: κ, (B, U) 1/J."""
        prices = self.expected_prices(snapshot) if prices is None else prices
        kappa = self.battery_price(snapshot) if battery_price is None else battery_price
        return Known(prices, kappa, self.market.offers(snapshot, self._as_prices(prices), kappa))

    def usual_energy(self, snapshot: Snapshot, prices: Tensor) -> Tensor:
        """See `PriceResponse.usual_energy`; prices: as `expected_prices` returns them."""
        return self.market.usual_energy(snapshot, self._as_prices(prices))

    def _as_prices(self, prices: Tensor) -> Prices:
        k, own = self.scenario.servers, self.market.known.prices.own.to(prices.device)
        each = prices[:, 0] if prices.shape[1] == 1 else prices
        return Prices(each[..., :k], each[..., k:], own)

    def expected_prices(self, snapshot: Snapshot, heard: Tensor | None = None) -> Tensor:
        """The servers' prices that agents expect, (B, U, 2K) or (B, 1, 2K); heard: pressure that servers broadcast, (B, 2K)."""
        found = self.market.prices(snapshot, heard)
        both = torch.cat([found.cpu, found.bandwidth], -1)
        both = both if both.dim() == 3 else both[:, None]
        return both.expand(len(snapshot.D), -1, -1).to(snapshot.D.device)

    def battery_price(self, snapshot: Snapshot) -> Tensor:
        """κ_i of every agent, (B, U) in 1/J."""
        return battery_price(snapshot, self.scenario, self.market.known)

    @property
    def caution(self) -> float:
        """By how much the energy for sending may exceed what agents reckon with."""
        return self.market.caution

    def inputs(self, snapshot: Snapshot, known: Known | None = None) -> Inputs:
        """The observations of all agents; known: what they know about prices, see `know`."""
        known = known or self.know(snapshot)
        b, u, _, k = snapshot.shape
        offers, tasks = known.offers, known.offers.tasks
        price = tasks.value[..., :-1] / snapshot.weight.to(torch.float64).clamp_min(LEAST_WEIGHT)[..., None]
        worth = 1 - compress_cost(price * self.unit)
        taken = torch.stack([tasks.f / snapshot.F_k[:, None, None], tasks.band / snapshot.B_k[:, None, None]], -1)
        on_servers = (REQUEST_FACTOR * taken).clamp_min(LEAST_SHARE_GENERAL)
        suggested = on_servers.log().mean(3).exp()
        placed = offers.action.choice[..., None] == torch.arange(1, k + 1, device=on_servers.device)
        largest = (on_servers * placed[..., None]).amax(2, keepdim=True)
        on_servers = on_servers / largest.clamp_min(1.0)  # in proportion, as in price response
        if not self.exact_own_cpu:
            own = tasks.f_own / snapshot.F_i[..., None].clamp_min(SMALLEST_GRANT)
            suggested[..., 0] = torch.where(worth[..., 0] > worth[..., 1:].amax(-1), own, suggested[..., 0])
        suggested = suggested.clamp(LEAST_SHARE_GENERAL, 1.0)
        costs = self._costs(snapshot, known.battery_price)
        least = snapshot.C / (snapshot.F_i[..., None].clamp_min(SMALLEST_GRANT) * snapshot.deadline * (1 - PUNCTUAL))
        least = least * snapshot.active
        parts = (
            self._of_tasks(snapshot, costs, worth, suggested),
            self._of_agents(snapshot, known),
            snapshot.weight.masked_fill(offers.skipped, 0.0),
            torch.cat([pad(self._of_servers(snapshot, taken), (0, 0, 1, 0)), worth[..., None]], -1),
            suggested,
            on_servers,
            torch.stack([costs[0] * self.unit, costs[1] * self.unit], -1),
            torch.stack([least, torch.full_like(least, COST_MAX * self.unit)], -1),
            torch.stack([offers.first, offers.room.expand(b, u, k)], -1),
        )
        of_tasks, other, weight, devices, suggested, on_servers, local_cost, least, crowding = (
            x.float().transpose(0, 1) for x in parts
        )
        own_load = None if offers.own_load is None else (offers.own_load * self.unit**0.5).float().transpose(0, 1)
        return Inputs(
            of_tasks, other, weight, devices, suggested, on_servers, offers.action.choice.transpose(0, 1), local_cost,
            least if self.exact_own_cpu else None, crowding, own_load,
        )  # fmt: skip

    def _of_tasks(self, snapshot: Snapshot, costs: tuple[Tensor, ...], worth: Tensor, suggested: Tensor) -> Tensor:
        """The numbers that describe each task, (B, U, J, TASK_NUMBERS)."""
        here, away = worth[..., 0], worth[..., 1:].amax(-1)
        return torch.stack(
            [
                snapshot.weight - 1,
                *(_scaled(x.float() * (self.unit / TYPICAL_COST)) for x in costs),
                2 * (here - 1 + TYPICAL_COST),
                2 * (away - 1 + TYPICAL_COST),
                (5 * (here - away)).clamp(-2, 2),
                *share_features(suggested).unbind(-1),
            ],
            -1,
        )

    def _of_agents(self, snapshot: Snapshot, known: Known) -> Tensor:
        """The numbers that describe the ward and each agent, (B, U, WARD_NUMBERS)."""
        b, u, _, _ = snapshot.shape
        rank = (torch.arange(u, device=snapshot.D.device) / u - 0.5).expand(b, u)
        charge = snapshot.battery / snapshot.battery.new_tensor(self.scenario.device_values["Cap"])
        left = (snapshot.steps_left / self.scenario.T)[:, None].expand(b, u)
        dearer = (1 + known.battery_price / self.joule).log().clamp_max(MOST_PRICE) / MOST_PRICE
        devices = (_relative(getattr(snapshot, name), self._means[name]) for name in ("P_tr", "F_i"))
        mine = torch.stack([rank, charge - 0.5, left - 0.5, dearer, *devices], -1)
        return torch.cat([self._ward.to(rank.device).expand(b, u, -1), mine], -1)

    def _of_servers(self, snapshot: Snapshot, taken: Tensor) -> Tensor:
        """The numbers that describe each task on each server, without its worth, (B, U, J, K, DEVICE_FEATURES - 1)."""
        s, (b, u, j, k) = self.scenario, snapshot.shape
        links = efficiency(snapshot, s).clamp_min(1e-6).log()
        sizes = (
            _relative(getattr(snapshot, name), self._means[name])[:, None].expand(b, u, k) for name in ("F_k", "B_k")
        )
        servers = torch.stack([links - links.mean(-1, keepdim=True), *sizes], -1)
        late = s.alpha_T / snapshot.deadline * (self.unit / TYPICAL_COST)
        latency = (snapshot.latency[:, None, None] * late[..., None]).clamp_max(MOST_LATENCY)
        demand = share_features(taken.clamp(LEAST_SHARE_GENERAL, 1.0))
        return torch.cat([servers[:, :, None].expand(b, u, j, k, 3), demand, latency[..., None]], -1)

    def state(self, snapshot: Snapshot) -> Tensor:
        """ŝ with the mean, the least and the most of all servers' bandwidth and CPU, in place of those of each server."""
        state, k = super().state(snapshot), self.scenario.servers
        bandwidth, cpu, counts = state.split((k, k, STATE_COUNTS), dim=1)
        return torch.cat(
            [counts, *(f(x, 1)[:, None] for x in (bandwidth, cpu) for f in (torch.mean, torch.amin, torch.amax))], 1
        )

    def _costs(self, snapshot: Snapshot, kappa: Tensor | None = None) -> tuple[Tensor, ...]:
        """What each task costs alone on its own device, by delay and by energy, and on a mean server, computing and sending."""
        s = self.scenario
        late = s.alpha_T / deadlines(snapshot, s)
        joule = joule_price(snapshot, s, kappa)
        own = snapshot.F_i[..., None].clamp_min(SMALLEST_GRANT)
        rate = (efficiency(snapshot, s) * EFFICIENCY_SCALE).clamp_min(1e-9).log().mean(-1).exp() * self._means["B_k"]
        return (
            snapshot.C / own * late,
            snapshot.C * own.square() * (s.k0 * joule),
            snapshot.C / self._means["F_k"] * late,
            snapshot.D / rate[..., None] * (late + joule * snapshot.P_tr[..., None]),
        )


@dataclass(frozen=True)
class PricedDecision:
    """What agents decided in a step, with what they expected."""

    decision: Decision
    memory: Memory
    prices: Tensor  # (B, U, 2K) or (B, 1, 2K), see `Known`
    sent: Tensor  # (B, U) J that sending was expected to take


def decide_at_prices(
    agents: Agents,
    encoder: GeneralObservationEncoder,
    snapshot: Snapshot,
    memory: Memory | None,
    noise: Noise | None = None,
    generator: torch.Generator | None = None,
    dual: DualSolution | None = None,
) -> PricedDecision:
    """Decides a step of B worlds that no agent's battery should forbid.

    An agent whose step might take more than its charge decides again with dearer joules, and at last skips the tasks that take
    most energy for their weight. memory: the agents', and what servers broadcast if agents hear it, (1, B, 2K); None before the
    first step. dual: the step's certificate if the caller has it, from which servers broadcast.
    """
    heard = memory[-1][0] if memory is not None and encoder.hears else None
    memory = agents.start(len(snapshot.D)) if memory is None else memory[: len(memory) - encoder.hears]
    prices = encoder.expected_prices(snapshot, heard)
    known = encoder.know(snapshot, prices)
    decision, after = agents.decide(encoder.inputs(snapshot, known), memory, noise, generator)
    charge = snapshot.battery.to(torch.float64) * RESERVED
    found = _Reckoned(decision, *_need(encoder, snapshot, known, decision))
    if bool((found.need.sum(-1) > charge).any()):
        usual = encoder.usual_energy(snapshot, prices)

        def decide(kappa: Tensor) -> _Reckoned:
            at_kappa = encoder.know(snapshot, prices, kappa)
            again, _ = agents.decide(encoder.inputs(snapshot, at_kappa), memory, noise, generator)
            return _Reckoned(again, *_need(encoder, snapshot, at_kappa, again, usual))

        found, _ = within_charge(
            found, known.battery_price, encoder.joule, decide, lambda one: one.need.sum(-1) > charge, _where
        )
    decision, need, sent = found.decision, found.need, found.sent
    for _ in range(snapshot.D.shape[2]):
        over = need.sum(-1) > charge
        if not bool(over.any()):
            break
        burden = need / snapshot.weight.clamp_min(1e-12)
        worst = torch.zeros_like(need, dtype=torch.bool).scatter_(2, burden.argmax(-1, keepdim=True), True)
        skipped = (worst & over[..., None]).transpose(0, 1)
        decision = replace(
            decision,
            choice=decision.choice.masked_fill(skipped, 0),
            skipped=skipped if decision.skipped is None else decision.skipped | skipped,
        )
        need, sent = (need * ~skipped.transpose(0, 1), sent * ~skipped.transpose(0, 1))
    if encoder.hears:
        after = (*after, encoder.market.broadcast(snapshot, dual)[None])
    return PricedDecision(decision, after, prices, sent.sum(-1))


@dataclass(frozen=True)
class _Reckoned:
    """A decision, and J that each task may take and that sending it is expected to take, (B, U, J)."""

    decision: Decision
    need: Tensor
    sent: Tensor


def _need(
    encoder: GeneralObservationEncoder,
    snapshot: Snapshot,
    known: Known,
    decision: Decision,
    usual: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Energy in J that each task may take, estimated from above, and what sending is expected to take, (B, U, J).

    usual: see `sent_energy`.
    """
    s, choice = encoder.scenario, decision.choice.transpose(0, 1)
    cpu = (decision.requested[..., 0] if decision.own_cpu is None else decision.own_cpu).transpose(0, 1)
    here = s.k0 * (cpu * snapshot.F_i[..., None]).square() * snapshot.C * (choice == 0)
    energy = known.offers.tasks.energy
    active = snapshot.active
    if decision.skipped is not None:
        active = active & ~decision.skipped.transpose(0, 1)
    return (here + encoder.caution * sent_energy(choice, energy, usual)) * active, sent_energy(choice, energy) * active


def _where(rows: Tensor, first: _Reckoned, second: _Reckoned) -> _Reckoned:
    """What `first` says of the agents in `rows`, (B, U) bool, and `second` of the rest."""
    one, other, mask = first.decision, second.decision, rows.transpose(0, 1)[..., None]

    def mixed(name: str) -> Tensor | None:
        x, y = getattr(one, name), getattr(other, name)
        if x is None or y is None:
            return None
        return torch.where(mask.view(*mask.shape, *[1] * (x.dim() - 3)), x, y)

    choice, requested = (
        torch.where(mask, one.choice, other.choice),
        torch.where(mask[..., None], one.requested, other.requested),
    )
    decision = Decision(choice, requested, *(mixed(name) for name in ("own_cpu", "skipped", "on_servers")))
    energy = (torch.where(rows[..., None], getattr(first, x), getattr(second, x)) for x in ("need", "sent"))
    return _Reckoned(decision, *energy)


assert DEVICE_FEATURES == 7


def _relative(x: Tensor, mean: float) -> Tensor:
    """Logarithm of a device's value relative to the ward's mean."""
    return (x / max(mean, 1e-300)).clamp_min(1e-3).log()


def _scaled(ratio: Tensor) -> Tensor:
    """Logarithm of a cost in units of the typical cost, scaled to -2 to 2."""
    return ratio.clamp_min(1e-9).log().clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO) / 3


@lru_cache(maxsize=64)
def observation_encoder(s: Scenario, shared: bool, exact_own_cpu: bool) -> ObservationEncoder:
    """The encoder for a scenario's own networks or, if `shared`, for general networks; see `ObservationEncoder`.

    Cached: pages ask at every rerun, and the prices of a ward are computed from a sample of its steps.
    """
    return GeneralObservationEncoder(s, exact_own_cpu) if shared else ObservationEncoder(s, exact_own_cpu)
