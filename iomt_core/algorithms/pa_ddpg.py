"""PA-DDPG over VDN: strategies as a continuous number, one critic an agent (section VI-B, after Lillicrap et al. 2016)."""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from iomt_core.algorithms.agents import Agents, Decision, Memory, Noise, add_exploration_noise
from iomt_core.algorithms.base import Algorithm, Level
from iomt_core.algorithms.episodes import Episodes
from iomt_core.nets.actor import FIRST_SHARE, Actor
from iomt_core.nets.critic import Critic
from iomt_core.nets.inputs import Inputs, Sizes, share_features
from iomt_core.nets.mixers import VDN

LEVEL = 0.02  # price of a share's logarithm's distance from where it starts, squared, in reward a task
STRATEGY_NOISE = 3.0  # deviation of the strategy's number, in strategies' widths, where shares have a deviation of 1


class ContinuousActions(Agents):
    """Actors with three numbers a task, CPU share, bandwidth share and strategy, and a critic of each agent.

    The strategy's number x in (0, 1) means ⌊x (K + 1)⌋: 0 to compute locally, n for the n-th server.
    """

    def __init__(self, sizes: Sizes, recurrent: bool = True) -> None:
        super().__init__(sizes)
        self.actor = Actor(sizes, 3, recurrent)
        self.critic = self.make_critic(recurrent)

    def make_critic(self, recurrent: bool) -> Critic:
        """One critic an agent."""
        return Critic(self.sizes.users, self.sizes.tasks, self.sizes.other, 3, recurrent)

    def members(self, x: Tensor) -> Tensor:
        """(U, N, ·) as the critics take it: (G, M, N, ·)."""
        return x[:, None]

    def start(self, batch: int) -> Memory:
        """Zeros for the Actor; a critic decides nothing."""
        return (self.actor.memory.start(batch),)

    def decide(
        self, inputs: Inputs, memory: Memory, noise: Noise | None = None, generator: torch.Generator | None = None
    ) -> tuple[Decision, Memory]:
        """All three numbers by the Actor."""
        out, states = self.actor(inputs, memory[0])
        shares, strategy = add_exploration_noise(out[..., :2], noise, generator), out[..., 2:]
        if noise is not None:
            width = STRATEGY_NOISE * noise.shares / (self.sizes.servers + 1)
            strategy = (strategy + width * torch.randn(strategy.shape, generator=generator).to(strategy.device)).clamp(
                0, 1
            )
            even = torch.rand(strategy.shape, generator=generator).to(strategy.device)
            at_random = torch.rand(strategy.shape, generator=generator).to(strategy.device) < noise.epsilon
            strategy = torch.where(at_random, even, strategy)
        return Decision(self._strategy(strategy[..., 0], inputs), torch.cat([shares, strategy], dim=-1)), (
            states[:, -1],
        )

    def _strategy(self, x: Tensor, inputs: Inputs) -> Tensor:
        """Strategies from their numbers (U, N, J). Servers count from the one the task was dealt to: agents that cannot
        see each other would all run to the first."""
        k = self.sizes.servers
        number = (x * (k + 1)).long().clamp_max(k)
        return torch.where(number > 0, (self.round_robin_choice(inputs) + number - 2) % k + 1, 0)

    def critic_loss(self, episodes: Episodes, target: Agents, gamma: float) -> tuple[Tensor, Tensor]:
        """(Q_i - y_i)², y_i the agent's reward and γ Q' of what its Actor' does next."""
        values = self._values(episodes.now, episodes.requested, episodes.requested, episodes.batch)
        wanted = self.rewards(episodes)
        if gamma:
            wanted = wanted + gamma * episodes.going_on * cast(ContinuousActions, target).next_values(episodes)
        # Per task, as the other algorithms' losses are.
        return episodes.mean((values - wanted).square()).sum() / self.sizes.tasks, values.transpose(0, 1)

    def rewards(self, episodes: Episodes) -> Tensor:
        """r_i = Σ_j p_j r_ij, less what the agent's tasks cost others where that is known; (G, N)."""
        rewards = (episodes.reward * episodes.now.weight).sum(-1)
        return rewards if episodes.imposed is None else rewards - episodes.imposed

    def actor_loss(self, episodes: Episodes, target: Agents) -> tuple[Tensor, Tensor]:
        """-Q' of what the Actor does, and a small price on shares far from where they began: at the ends nothing is learned.

        What a strategy's number is worth is a step: flat all over a strategy, and a critic's slope within one says little
        of the next. With `blur` the number's slope is one over a neighbourhood that reaches the others; shares are still
        judged at the strategy that is meant, for what is right on a server is wrong at home.
        """
        now, batch = episodes.now, episodes.batch
        requested = self.actor(now, self.actor.memory.start(batch))[0]
        worth = cast(ContinuousActions, target)._values
        if episodes.strategy_noise is None:
            values = worth(now, requested, episodes.requested, batch)
        else:
            shares, number = requested[..., :2], requested[..., 2:]
            values = worth(now, torch.cat([shares, number.detach()], dim=-1), episodes.requested, batch)
            blurred = self._blurred(number, episodes.strategy_noise)
            around = worth(now, torch.cat([shares.detach(), blurred], dim=-1), episodes.requested, batch)
            values = values + around - around.detach()
        price = self.request_penalty * LEVEL * (requested[..., :2] / FIRST_SHARE).log().square().sum(-1)
        if self.saturation_penalty:
            price = price + self.saturation_penalty * torch.logit(requested[..., 2], 1e-6).square()
        return episodes.mean(price.sum(-1)).sum() - episodes.mean(values).sum(), values.transpose(0, 1)

    def _blurred(self, number: Tensor, thrown: Tensor) -> Tensor:
        """Strategies' numbers with noise; gradients go past the noise, and past the ends that hold them."""
        width = self.action_smoothing / (self.sizes.servers + 1)
        there = (number.detach() + width * thrown[..., None].to(number.device)).clamp(0, 1)
        return number + (there - number.detach())

    def best_next(self, episodes: Episodes) -> Tensor:
        """Q of what the Actor does next, (N, G)."""
        return self.next_values(episodes).transpose(0, 1)

    @torch.no_grad()
    def next_values(self, episodes: Episodes) -> Tensor:
        """The same, (G, N)."""
        requested = self.actor(episodes.inputs, self.actor.memory.start(episodes.batch))[0]
        done = torch.cat([episodes.requested, requested[:, -episodes.batch :]], dim=1)
        return self._values(episodes.inputs, requested, done, episodes.batch)[:, episodes.batch :]

    def _values(self, inputs: Inputs, requested: Tensor, done: Tensor, batch: int) -> Tensor:
        action = self.members(_features(requested))
        before = action if done is requested else self.members(_features(done))
        tasks, other = self.members(inputs.tasks.flatten(2)), self.members(inputs.other)
        values: Tensor = self.critic(tasks, other, action, before, batch)
        return values

    def critic_parameters(self) -> list[nn.Parameter]:
        """θ^Q."""
        return list(self.critic.parameters())

    def actor_parameters(self) -> list[nn.Parameter]:
        """θ^μ."""
        return list(self.actor.parameters())


def _features(requested: Tensor) -> Tensor:
    """Shares by their logarithms and the strategy's number, about -1 to 1; (U, N, 3 J)."""
    return torch.cat([share_features(requested[..., :2]), 2 * requested[..., 2:] - 1], dim=-1).flatten(2)


class PADDPG(Algorithm):
    """DDPG on parameterised actions; no multi-pass, no tasks' values."""

    name = "pa-ddpg"
    label = "PA-DDPG (VDN)"
    summary = "DDPG whose actor also gives each task's device as a number; one critic a user, values added up."
    level: ClassVar[Level] = "agent"
    # The best of the first 13 trials of `python -m benchmarks.tuning pa-ddpg --trials 14 --episodes 1216`.
    tuned = MappingProxyType(
        {
            "learning_rate": 4e-3,
            "actor_learning_rate": 3e-4,
            "batch": 4,
            "tau": 0.05,
            "share_noise": (1.0, 0.1),
            "decay_from": 0.2,
        }
    )

    def agents(self, sizes: Sizes, recurrent: bool, rounds: int) -> ContinuousActions:
        """Actor and critic; an Actor decides for all tasks at once."""
        return ContinuousActions(sizes, recurrent)

    def mixer(self, sizes: Sizes) -> VDN:
        """The sum."""
        return VDN()
