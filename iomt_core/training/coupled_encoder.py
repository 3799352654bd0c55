"""What agents learn about prices in wards whose steps are coupled: by batteries, by servers' load, by bursts and moving users.

General networks (`general_encoder.py`) expect prices as price response does. Here, agents that are trained for one ward

    learn the price of a joule   κ_i = max(0, (g + κ̄) / r_i² - g),   r_i = (charge / steps left) / (Cap / T),   g = α_E / E_ref
    and with `recent_prices`     know what servers broadcast one step ago.

κ_i is added to what a joule of the agent's tasks costs, in its inputs, in the division of its own CPU and in the rewards that the
networks learn. So an agent saves energy in a step if a joule is worth more later. κ̄ is learned by playing: energy falls about
with the square root of its price, so agents that end a batch of episodes with r below 1 on average had too low a κ̄, and

    g + κ̄  ←  (g + κ̄) · mean(r)^-2 .

Where batteries do not bind, r is above 1, and κ̄ and κ_i are 0. The certificate's κ is not used here; it is what κ̄ can be
compared with.

A step may take more energy than an agent expects, because others want the same bandwidth. By what factor at most is the
*caution*, learned by playing too. As in price response, it is measured on whole steps and applied to the energy for sending:
where a step might then take more than the charge, the agent decides again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from iomt_core.algorithms.agents import Agents
from iomt_core.model.snapshot import Snapshot
from iomt_core.policies.plan import LEAST_RATIO, MOST_RATIO
from iomt_core.policies.price_response import PriceResponse, broadcast_response
from iomt_core.rollout import Step
from iomt_core.scenario import Scenario
from iomt_core.training.general_encoder import GeneralObservationEncoder

LEARNED = "battery_price"  # name of the agents' parameter with κ̄ Cap and the caution
# The caution at first and at most, and the part of it that is left after each batch of episodes.
FIRST_CAUTION, MOST_CAUTION, FORGOTTEN = 1.2, 4.0, 0.99
WORTH_CHECKING = 0.05  # part of a step's even share of the charge that sending must take for the step to be compared
OLD = 1  # steps, of recent prices


def add_learned_price(agents: Agents) -> None:
    """Gives the agents what they learn about their batteries, so that checkpoints hold it: κ̄ Cap, and the caution."""
    agents.register_parameter(LEARNED, nn.Parameter(torch.tensor([0.0, FIRST_CAUTION]), requires_grad=False))


class CoupledObservationEncoder(GeneralObservationEncoder):
    """Observations of a ward whose steps are coupled; see the module's description."""

    def __init__(self, s: Scenario, exact_own_cpu: bool, learned: Tensor, recent_prices: bool = False) -> None:
        """learned: κ̄ Cap and the caution, see `add_learned_price`, which may change later."""
        self.learned, self.hears = learned, recent_prices
        super().__init__(s, exact_own_cpu, (broadcast_response(OLD) if recent_prices else PriceResponse)(s))

    def battery_price(self, snapshot: Snapshot) -> Tensor:
        """κ_i of every agent, (B, U) in 1/J."""
        mean = self.joule + float(self.learned[0]) / self.scenario.Cap
        return (mean / self.charge_ratio(snapshot).square() - self.joule).clamp_min(0.0)

    @property
    def caution(self) -> float:
        """By what factor the energy of a step exceeded what agents expected, at most of late."""
        return float(self.learned[1])

    def charge_ratio(self, snapshot: Snapshot) -> Tensor:
        """r_i, the charge left for each step left relative to an even share of Cap, (B, U)."""
        s = self.scenario
        ratio = snapshot.battery.to(torch.float64) / snapshot.steps_left[:, None] / (s.Cap / s.T)
        return ratio.clamp(LEAST_RATIO, MOST_RATIO)

    def learn_price(self, steps: Sequence[Step], sent: Sequence[Tensor]) -> None:
        """Learns κ̄ and the caution from played episodes.

        sent: energy for sending that agents expected in each step, (B, U) J.
        """
        s, ratios, factors = self.scenario, [], []
        even = s.Cap / s.T
        for step, expected in zip(steps, sent, strict=True):
            alive = step.transition.alive
            ratios.append(self.charge_ratio(step.snapshot)[alive].flatten())
            energy = step.transition.outcome.energy
            here = (energy * (step.action.choice == 0)).sum(-1)
            factor = energy.sum(-1) / (here + expected).clamp_min(1e-30)
            factors.append(factor[alive][(expected > WORTH_CHECKING * even)[alive]])
        later = torch.cat(ratios[1:]) if len(ratios) > 1 else ratios[0]
        mean = self.joule + float(self.learned[0]) / s.Cap
        kappa = max(0.0, mean * float(later.mean()) ** -2 - self.joule) if len(later) else mean - self.joule
        found = torch.cat(factors)
        most = float(found.max()) if len(found) else 1.0
        caution = max(float(self.learned[1]) * FORGOTTEN, min(most, MOST_CAUTION), 1.0)
        with torch.no_grad():
            self.learned.copy_(torch.tensor([kappa * s.Cap, caution]))
