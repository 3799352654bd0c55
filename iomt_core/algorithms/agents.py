"""What an algorithm's agents are to the learner: networks that decide, and values and losses at the agents' level."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from iomt_core.algorithms.episodes import Episodes
from iomt_core.model.snapshot import Action
from iomt_core.nets.grouped import shared
from iomt_core.nets.inputs import LEAST_SHARE, Inputs, Sizes

Memory = tuple[Tensor, ...]


@dataclass(frozen=True)
class Decision:
    """What all agents do in one step; agents first."""

    choice: Tensor  # (U, N, J) int64
    requested: Tensor  # (U, N, J, outputs): what the Actor put out, first the CPU's and the bandwidth's share

    def action(self, dtype: torch.dtype) -> Action:
        """The same as an environment takes it, worlds first."""
        cpu, bandwidth = self.requested[..., :2].transpose(0, 1).to(dtype).unbind(-1)
        return Action(self.choice.transpose(0, 1).contiguous(), cpu.contiguous(), bandwidth.contiguous())


@dataclass(frozen=True)
class Noise:
    """How far a step's decision strays from the greedy one."""

    temperature: float  # of a Boltzmann choice over strategies, in reward; 0 is greedy
    epsilon: float  # share of strategies drawn evenly
    shares: float  # standard deviation of the logarithm of a requested share


class Agents(nn.Module, ABC):
    """The networks of all agents. Every tensor's first axis is the agent, and no agent's slice meets another's."""

    # How actors are judged; see `training.settings`. The latter two are of actors that give a strategy as a number.
    request_penalty: float = 1.0
    action_smoothing: float = 0.0
    saturation_penalty: float = 0.0

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes

    def resized_for(self, sizes: Sizes) -> Agents:
        """The same networks on a ward of these counts; only shared ones serve another than their own."""
        assert sizes == self.sizes
        return self

    @abstractmethod
    def start(self, batch: int) -> Memory:
        """What agents remember before an episode's first step."""

    @abstractmethod
    def decide(
        self, inputs: Inputs, memory: Memory, noise: Noise | None = None, generator: torch.Generator | None = None
    ) -> tuple[Decision, Memory]:
        """One step of N worlds, greedy or with `noise` thrown by `generator`."""

    @abstractmethod
    def critic_loss(self, episodes: Episodes, target: Agents, gamma: float) -> tuple[Tensor, Tensor]:
        """The agents' own loss over θ^Q, (19), and the agent values of what was done, (N, U) (18)."""

    @abstractmethod
    def actor_loss(self, episodes: Episodes, target: Agents) -> tuple[Tensor, Tensor]:
        """The agents' own loss over θ^μ, (21), judged by the target's θ^Q', and the agent values (N, U) for (27)."""

    @abstractmethod
    def best_next(self, episodes: Episodes) -> Tensor:
        """The agent values of the best that can be done after each step, (N, U), for (28)."""

    def round_robin_choice(self, inputs: Inputs) -> Tensor:
        """Every task on a server, (U, N, J): task j of agent i on server (i + j) mod K."""
        u, n, j = inputs.weight.shape
        device = inputs.weight.device
        turn = torch.arange(u, device=device)[:, None, None] + torch.arange(j, device=device)
        return (turn % self.sizes.servers + 1).expand(u, n, j)

    @torch.no_grad()
    def begin_equal(self) -> None:
        """Gives all agents' and tasks' networks the same weights, those of the first."""
        for parameter, networks in shared(self):
            slices = parameter.view(networks, -1)
            slices.copy_(slices[:1].expand_as(slices))

    @abstractmethod
    def critic_parameters(self) -> list[nn.Parameter]:
        """θ^Q."""

    @abstractmethod
    def actor_parameters(self) -> list[nn.Parameter]:
        """θ^μ."""


def add_exploration_noise(
    requested: Tensor, noise: Noise | None, generator: torch.Generator | None, least: float = LEAST_SHARE
) -> Tensor:
    """Requested shares with lognormal noise, kept in their range."""
    if noise is None or noise.shares == 0:
        return requested
    thrown = torch.randn(requested.shape, generator=generator).to(requested.device)
    return (requested * torch.exp(noise.shares * thrown)).clamp(least, 1.0)
