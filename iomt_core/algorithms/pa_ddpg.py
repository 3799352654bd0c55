"""PA-DDPG over VDN: strategies as a continuous number, one critic per agent (section VI-B, after Lillicrap et al. 2016)."""

from __future__ import annotations

from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor, nn

from iomt_core.algorithms.agents import (
    PRINTED,
    Agents,
    Decision,
    DecisionRules,
    Memory,
    Noise,
    add_exploration_noise,
)
from iomt_core.algorithms.base import Algorithm
from iomt_core.algorithms.episodes import Episodes
from iomt_core.nets.actor import FIRST_SHARE, Actor
from iomt_core.nets.critic import Critic
from iomt_core.nets.inputs import Inputs, Sizes, share_features
from iomt_core.nets.mixers import VDN

REQUEST_PENALTY = 0.02  # reward per task at `request_penalty` = 1: factor on log(share / FIRST_SHARE)²
STRATEGY_NOISE = 3.0  # noise on the strategy number in widths of one strategy, for share noise of 1


class ContinuousActions(Agents):
    """Actors with three numbers per task (CPU share, bandwidth share, strategy), and a critic for each agent.

    The strategy number x in (0, 1) stands for strategy ⌊x (K + 1)⌋: 0 is local, n is the n-th server in the agent's order.
    """

    def __init__(self, sizes: Sizes, recurrent: bool = True) -> None:
        super().__init__(sizes)
        self.actor = Actor(sizes, 3, recurrent)
        self.critic = self.make_critic(recurrent)

    def make_critic(self, recurrent: bool) -> Critic:
        """One critic per agent."""
        sizes = self.sizes
        return Critic(sizes.users, sizes.tasks, sizes.other, 3, recurrent, features=sizes.features)

    def members(self, x: Tensor) -> Tensor:
        """Agents' tensors in the critics' layout: (U, N, ·) -> (G, M, N, ·)."""
        return x[:, None]

    def start(self, batch: int) -> Memory:
        """Zeros for the Actor; critics take no part in decisions."""
        return (self.actor.memory.start(batch),)

    def decide(
        self, inputs: Inputs, memory: Memory, noise: Noise | None = None, generator: torch.Generator | None = None
    ) -> tuple[Decision, Memory]:
        """As `Agents.decide`: the Actor gives all three numbers."""
        out, states = self.actor(inputs, memory[0])
        shares, strategy = add_exploration_noise(out[..., :2], noise, generator), out[..., 2:]
        if noise is not None:
            width = STRATEGY_NOISE * noise.shares / (self.sizes.servers + 1)
            strategy = (strategy + width * torch.randn(strategy.shape, generator=generator).to(strategy.device)).clamp(
                0, 1
            )
            even = torch.rand(strategy.shape, generator=generator).to(strategy.device)
            explore = torch.rand(strategy.shape, generator=generator).to(strategy.device) < noise.epsilon
            strategy = torch.where(explore, even, strategy)
        requested = torch.cat([shares, strategy], dim=-1)
        return Decision(self._strategy(strategy[..., 0], inputs), requested), (states[:, -1],)

    def _strategy(self, x: Tensor, inputs: Inputs) -> Tensor:
        """Strategies from their numbers x, (U, N, J).

        Servers count from the task's round-robin server: agents that cannot see each other would all choose the first one.
        """
        k = self.sizes.servers
        number = (x * (k + 1)).long().clamp_max(k)
        return torch.where(number > 0, (self.round_robin_choice(inputs) + number - 2) % k + 1, 0)

    def critic_loss(self, episodes: Episodes, target: Agents, gamma: float) -> tuple[Tensor, Tensor]:
        """(Q_i - y_i)², where y_i is the agent's reward plus γ Q' of what its target Actor does next."""
        values = self._values(episodes.now, episodes.requested, episodes.requested, episodes.batch)
        wanted = self.rewards(episodes)
        if gamma:
            wanted = wanted + gamma * episodes.going_on * cast(ContinuousActions, target).next_values(episodes)
        # Per task, as the other algorithms' losses are.
        return episodes.mean((values - wanted).square()).sum() / self.sizes.tasks, values.transpose(0, 1)

    def rewards(self, episodes: Episodes) -> Tensor:
        """r_i = Σ_j p_j r_ij, minus what the agent's tasks cost others where that is known; (G, N)."""
        rewards = (episodes.reward * episodes.now.weight).sum(-1)
        return rewards if episodes.imposed is None else rewards - episodes.imposed

    def actor_loss(self, episodes: Episodes, target: Agents) -> tuple[Tensor, Tensor]:
        """-Q' of the Actor's action, plus penalties that keep its outputs away from the ends, where gradients vanish.

        The value as a function of the strategy number is a staircase: its slope within a strategy says little about the next
        one. With `action_smoothing` noise is added to the number, so that its gradient is a mean over a neighbourhood that
        includes the other strategies. Shares are still valued at the intended strategy: what is right on a server is wrong on
        the own device.
        """
        now, batch = episodes.now, episodes.batch
        requested = self.actor(now, self.actor.memory.start(batch))[0]
        value_of = cast(ContinuousActions, target)._values
        if episodes.strategy_noise is None:
            values = value_of(now, requested, episodes.requested, batch)
        else:
            shares, number = requested[..., :2], requested[..., 2:]
            values = value_of(now, torch.cat([shares, number.detach()], dim=-1), episodes.requested, batch)
            smoothed = self._smoothed(number, episodes.strategy_noise)
            around = value_of(now, torch.cat([shares.detach(), smoothed], dim=-1), episodes.requested, batch)
            values = values + around - around.detach()
        penalty = self.request_penalty * REQUEST_PENALTY * (requested[..., :2] / FIRST_SHARE).log().square().sum(-1)
        if self.saturation_penalty:
            penalty = penalty + self.saturation_penalty * torch.logit(requested[..., 2], 1e-6).square()
        return episodes.mean(penalty.sum(-1)).sum() - episodes.mean(values).sum(), values.transpose(0, 1)

    def _smoothed(self, number: Tensor, noise: Tensor) -> Tensor:
        """Strategy numbers plus noise, clamped to [0, 1]; the gradient ignores both."""
        width = self.action_smoothing / (self.sizes.servers + 1)
        there = (number.detach() + width * noise[..., None].to(number.device)).clamp(0, 1)
        return number + (there - number.detach())

    def best_next(self, episodes: Episodes) -> Tensor:
        """As `Agents.best_next`: Q of what the Actor does next, (N, G)."""
        return self.next_values(episodes).transpose(0, 1)

    @torch.no_grad()
    def next_values(self, episodes: Episodes) -> Tensor:
        """Q of what the Actor does next, (G, N)."""
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
    """The logarithms of the shares and the strategy number as inputs, about -1 to 1; (U, N, J, 3) -> (U, N, 3 J)."""
    return torch.cat([share_features(requested[..., :2]), 2 * requested[..., 2:] - 1], dim=-1).flatten(2)


class PADDPG(Algorithm):
    """DDPG on parameterised actions; no passes, no values of single tasks."""

    name = "pa-ddpg"
    label = "PA-DDPG (VDN)"
    summary = "DDPG whose actor also gives each task's device as a number; one critic a user, values added up."
    # The best of 13 trials of a random search, see docs/training.md.
    tuned = MappingProxyType(
        {
            "learning_rate": 4e-3, "actor_learning_rate": 3e-4, "batch": 4, "tau": 0.05, "share_noise": (1.0, 0.1),
            "decay_from": 0.2,
        }
    )  # fmt: skip

    def agents(self, sizes: Sizes, recurrent: bool, rounds: int, rules: DecisionRules = PRINTED) -> ContinuousActions:
        """Actors and critics; `rounds` and `rules` do not apply, an Actor decides for all tasks at once."""
        return ContinuousActions(sizes, recurrent)

    def mixer(self, sizes: Sizes) -> VDN:
        """The sum of the agents' values."""
        return VDN()
