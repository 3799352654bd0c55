"""What agents know in wards whose steps are coupled: by batteries, by servers' background load, by bursts and moving users.

Two things are added to the inputs of general networks (`observation_encoder.py`):

    prices of servers   as `PriceResponse` expects them in this step: from the capacities F_k and B_k that every agent observes
                        and, with `recent_prices`, from what servers broadcast one step ago
    price of a joule    κ_i = max(0, (g + κ̄) / r_i² - g),   r_i = (charge / steps left) / (Cap / T),   g = α_E / E_ref

κ_i is added to what a joule of the agent's tasks costs, in its inputs, in the division of its own CPU and in the rewards that the
networks learn. So an agent saves energy in a step if a joule is worth more later. κ̄ is learned by playing: energy falls about
with the square root of its price, so agents that end a batch of episodes with r below 1 on average had too low a κ̄, and

    g + κ̄  ←  (g + κ̄) · mean(r)^-2 .

Where batteries do not bind, r is above 1, and κ̄ and κ_i are 0. The certificate's κ is not used here; it is what κ̄ can be
compared with. Each agent observes its charge relative to Cap, the steps left relative to T, and κ_i.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from iomt_core.algorithms.agents import Agents, Decision, Memory, Noise
from iomt_core.model.snapshot import Snapshot, deadlines
from iomt_core.model.utility import joule_price
from iomt_core.nets.inputs import LEAST_SHARE_GENERAL, Inputs, Sizes, compress_cost
from iomt_core.policies.dual import DualSolution, Prices
from iomt_core.policies.episode_dual import EpisodeProblem, Tasks
from iomt_core.policies.plan import DEARER, LEAST_RATIO, MOST_RATIO, RETRIES
from iomt_core.policies.price_response import CAUTION, RESERVED, PriceResponse, broadcast_response, price_sample
from iomt_core.policies.shares import PUNCTUAL
from iomt_core.rollout import Step
from iomt_core.scenario import Scenario
from iomt_core.training.observation_encoder import TYPICAL_COST, GeneralObservationEncoder, general_sizes

NUMBERS_IN_TIME = 3  # charge, steps left and price of a joule
LEARNED = "battery_price"  # name of the agents' parameter with κ̄ Cap and the caution
MOST_PRICE = 4.0  # largest logarithm of (g + κ) / g that the networks see
MOST_CAUTION, FORGOTTEN = 4.0, 0.95
WORTH_CHECKING = 0.05  # part of a step's even share of the charge, of which the energy for sending is compared
OLD = 1  # steps, of recent prices


def coupled_sizes() -> Sizes:
    """Network input sizes for general networks of coupled steps."""
    most = general_sizes()
    return replace(most, other=most.other + NUMBERS_IN_TIME)


def add_learned_price(agents: Agents) -> None:
    """Gives the agents what they learn about their batteries, so that checkpoints hold it: κ̄ Cap, and the caution.

    The last layers of the networks are set to 0, so that untrained agents decide by prices alone.
    """
    agents.register_parameter(LEARNED, nn.Parameter(torch.tensor([0.0, CAUTION]), requires_grad=False))
    for name, parameter in agents.named_parameters():
        if name.startswith(("q.out.", "actor.out.")):
            nn.init.zeros_(parameter)


@dataclass(frozen=True)
class Known:
    """What agents know about the prices of some steps."""

    prices: Tensor  # (B, U, 2K) or (B, 1, 2K) expected prices of servers' CPUs and bandwidths
    battery_price: Tensor  # (B, U) κ, 1/J
    tasks: Tasks  # all tasks on all devices at these prices


class CoupledObservationEncoder(GeneralObservationEncoder):
    """Observations of a ward whose steps are coupled; see the module's description."""

    def __init__(self, s: Scenario, exact_own_cpu: bool, learned: Tensor, recent_prices: bool = False) -> None:
        """learned: κ̄ Cap and the caution, see `add_learned_price`, which may change later."""
        super().__init__(s, exact_own_cpu)
        self.learned, self.recent_prices = learned, recent_prices
        self.sizes = replace(self.sizes, other=coupled_sizes().other)
        self.market = (broadcast_response(OLD) if recent_prices else PriceResponse)(s)
        self.joule = max(s.alpha_E / s.E_ref, 1e-3 / s.Cap)  # g, 1/J
        self.unit = self._unit()

    def know(self, snapshot: Snapshot, prices: Tensor | None = None, battery_price: Tensor | None = None) -> Known:
        """What agents know in these steps; prices: as `expected_prices` returns them; battery_price: κ, (B, U) 1/J."""
        prices = self.expected_prices(snapshot) if prices is None else prices
        kappa = self.battery_price(snapshot) if battery_price is None else battery_price
        return Known(prices, kappa, self._tasks(snapshot, prices, kappa))

    def expected_prices(self, snapshot: Snapshot, heard: Tensor | None = None) -> Tensor:
        """The servers' prices that agents expect, (B, U, 2K) or (B, 1, 2K); heard: pressure that servers broadcast, (B, 2K)."""
        found = self.market.prices(snapshot, heard)
        both = torch.cat([found.cpu, found.bandwidth], -1)
        both = both if both.dim() == 3 else both[:, None]
        return both.expand(len(snapshot.D), -1, -1)

    def battery_price(self, snapshot: Snapshot) -> Tensor:
        """κ_i of every agent, (B, U) in 1/J."""
        mean = self.joule + float(self.learned[0]) / self.scenario.Cap
        return (mean / self.charge_ratio(snapshot).square() - self.joule).clamp_min(0.0)

    def charge_ratio(self, snapshot: Snapshot) -> Tensor:
        """r_i, the charge left for each step left relative to an even share of Cap, (B, U)."""
        s = self.scenario
        ratio = snapshot.battery.to(torch.float64) / snapshot.steps_left[:, None] / (s.Cap / s.T)
        return ratio.clamp(LEAST_RATIO, MOST_RATIO)

    def inputs(self, snapshot: Snapshot, known: Known | None = None) -> Inputs:
        """The observations of all agents; known: what they know about prices, see `know`."""
        s, known = self.scenario, known or self.know(snapshot)
        inputs = super().inputs(snapshot, known)
        charge, left = snapshot.battery / s.Cap, snapshot.steps_left[:, None] / s.T
        dearer = (1 + known.battery_price / self.joule).log().clamp_max(MOST_PRICE) / MOST_PRICE
        more = torch.stack([charge - 0.5, (left - 0.5).expand_as(charge), dearer], -1).float()
        least = snapshot.C / (snapshot.F_i[..., None] * deadlines(snapshot, s) * (1 - PUNCTUAL)) * snapshot.active
        size = (snapshot.F_k.double() * snapshot.B_k).sqrt()
        size = (size / size.mean(1, keepdim=True)).float()
        return replace(
            inputs,
            other=torch.cat([inputs.other, more.transpose(0, 1)], -1),
            least_share=least.float().transpose(0, 1),
            server_size=size.expand(s.users, -1, -1),
        )

    def learn_price(self, steps: Sequence[Step], sent: Sequence[Tensor]) -> None:
        """Learns κ̄ and the caution from played episodes.

        sent: energy for sending that agents expected in each step, (B, U) J.
        """
        s, ratios, energies = self.scenario, [], []
        even = s.Cap / s.T
        for step, expected in zip(steps, sent, strict=True):
            alive = step.transition.alive
            ratios.append(self.charge_ratio(step.snapshot)[alive].flatten())
            energy = (step.transition.outcome.energy * (step.action.choice > 0)).sum(-1)
            energies.append(
                (energy / expected.clamp_min(1e-30))[alive & True][(expected > WORTH_CHECKING * even)[alive]]
            )
        later = torch.cat(ratios[1:]) if len(ratios) > 1 else ratios[0]
        mean = self.joule + float(self.learned[0]) / s.Cap
        kappa = max(0.0, mean * float(later.mean()) ** -2 - self.joule) if len(later) else mean - self.joule
        found = torch.cat(energies)
        most = float(found.max()) if len(found) else 1.0
        caution = max(float(self.learned[1]) * FORGOTTEN, min(most, MOST_CAUTION), 1.0)
        with torch.no_grad():
            self.learned.copy_(torch.tensor([kappa * s.Cap, caution]))

    def _unit(self) -> float:
        """The factor on costs, from the sample's tasks at the ward's prices with its batteries."""
        sample, known = price_sample(self.scenario), self.market.known
        prices = torch.cat([known.prices.cpu, known.prices.bandwidth], 1)[:, None]
        tasks = self._tasks(sample, prices, known.battery.expand(len(sample.D), -1))
        cost = tasks.value[..., :-1].amin(-1) * sample.active
        weight = (sample.weight * sample.active).sum()
        return TYPICAL_COST / max(float(cost.sum() / weight.clamp_min(1e-12)), 1e-12)

    def _tasks(self, snapshot: Snapshot, prices: Tensor, kappa: Tensor) -> Tasks:
        problem, k = EpisodeProblem(snapshot, self.scenario, early=True), self.scenario.servers
        both = prices.expand(len(snapshot.D), self.scenario.users, -1)
        own = self.market.known.prices.own.mean(1, keepdim=True).expand(1, self.scenario.users).to(prices.device)
        lateness = kappa.new_zeros(*problem.step.shape)
        return problem.tasks(Prices(both[..., :k], both[..., k:], own), kappa, lateness)

    def _joule(self, snapshot: Snapshot, known: Known | None) -> Tensor | float:
        assert known is not None
        return joule_price(snapshot, self.scenario, known.battery_price).float()

    def _at_prices(self, snapshot: Snapshot, known: Known | None) -> tuple[Tensor, Tensor]:
        """As for any general network, at the known prices. One request fits all servers, where shares are granted pro rata."""
        assert known is not None
        tasks = known.tasks
        price = tasks.value[..., :-1] / snapshot.weight.to(torch.float64).clamp_min(1e-6)[..., None]
        worth = 1 - compress_cost(price * self.unit)
        shares = (tasks.f / snapshot.F_k[:, None, None]), (tasks.band / snapshot.B_k[:, None, None])
        f, band = (x.clamp_min(1e-9).log().mean(-1).exp() * self._request_factor for x in shares)
        return worth.float(), torch.stack([f, band], -1).clamp(LEAST_SHARE_GENERAL, 1.0).float()


@dataclass(frozen=True)
class CoupledDecision:
    """What agents decided in a step, with what they expected."""

    decision: Decision
    memory: Memory
    prices: Tensor  # (B, U, 2K) or (B, 1, 2K), see `Known`
    sent: Tensor  # (B, U) J that sending was expected to take


def decide_coupled(
    agents: Agents,
    encoder: CoupledObservationEncoder,
    snapshot: Snapshot,
    memory: Memory | None,
    noise: Noise | None = None,
    generator: torch.Generator | None = None,
    dual: DualSolution | None = None,
) -> CoupledDecision:
    """Decides a step of B worlds that no agent's battery should forbid.

    An agent whose step might take more than its charge decides again with dearer joules, and at last skips the tasks that take
    most energy for their weight. memory: the agents', and with recent prices what servers broadcast, (1, B, 2K); None before the
    first step. dual: the step's certificate if the caller has it, from which servers broadcast.
    """
    heard = memory[-1][0] if memory is not None and encoder.recent_prices else None
    of_agents = agents.start(len(snapshot.D)) if memory is None else memory[: len(memory) - encoder.recent_prices]
    prices = encoder.expected_prices(snapshot, heard)
    known = encoder.know(snapshot, prices)
    decision, after = agents.decide(encoder.inputs(snapshot, known), of_agents, noise, generator)
    charge, kappa = snapshot.battery.to(torch.float64) * RESERVED, known.battery_price
    need, sent = _need(encoder, snapshot, known, decision)
    for _ in range(RETRIES):
        over = need.sum(-1) > charge
        if not bool(over.any()):
            break
        kappa = torch.where(over, kappa + (DEARER - 1) * (kappa + encoder.joule), kappa)
        known = encoder.know(snapshot, prices, kappa)
        again, _ = agents.decide(encoder.inputs(snapshot, known), of_agents, noise, generator)
        decision = _where(over, again, decision)
        need, sent = _need(encoder, snapshot, known, decision)
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
    if encoder.recent_prices:
        after = (*after, encoder.market.broadcast(snapshot, dual)[None])
    return CoupledDecision(decision, after, prices, sent.sum(-1))


def _need(
    encoder: CoupledObservationEncoder, snapshot: Snapshot, known: Known, decision: Decision
) -> tuple[Tensor, Tensor]:
    """Energy in J that each task may take, estimated from above, and what sending is expected to take, (B, U, J)."""
    s, choice = encoder.scenario, decision.choice.transpose(0, 1)
    cpu = (decision.requested[..., 0] if decision.own_cpu is None else decision.own_cpu).transpose(0, 1)
    here = s.k0 * (cpu * snapshot.F_i[..., None]).square() * snapshot.C * (choice == 0)
    sent = known.tasks.energy.gather(3, choice[..., None]).squeeze(3) * (choice > 0)
    active = snapshot.active
    return (here + float(encoder.learned[1]) * sent) * active, sent * active


def _where(rows: Tensor, one: Decision, other: Decision) -> Decision:
    """The decisions of `one` for the agents in `rows`, (B, U) bool, and of `other` for the rest."""
    mask = rows.transpose(0, 1)[..., None]
    own = None if one.own_cpu is None or other.own_cpu is None else torch.where(mask, one.own_cpu, other.own_cpu)
    requested = torch.where(mask[..., None], one.requested, other.requested)
    return Decision(torch.where(mask, one.choice, other.choice), requested, own)
