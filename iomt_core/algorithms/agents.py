"""Agents as the learner sees them: networks that decide, and values and losses at the agents' level."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from iomt_core.algorithms.episodes import Episodes
from iomt_core.model.snapshot import Action
from iomt_core.nets.grouped import grouped_parameters
from iomt_core.nets.inputs import LEAST_SHARE, Inputs, Sizes, on_chosen

Memory = tuple[Tensor, ...]


@dataclass(frozen=True)
class Decision:
    """What all agents do in one step of N worlds; agents first."""

    choice: Tensor  # (U, N, J) int64, strategies
    requested: Tensor  # (U, N, J, outputs) the Actor's outputs; the first two are the shares of CPU and of bandwidth
    own_cpu: Tensor | None = None  # (U, N, J) local tasks' shares of the own CPU, if the Actor does not request them
    skipped: Tensor | None = None  # (U, N, J) bool, tasks that nobody computes; None: none
    on_servers: Tensor | None = None  # (U, N, J, K, 2) what tasks request on each server, if it is not the same on all

    def action(self, dtype: torch.dtype) -> Action:
        """The same as an environment takes it, worlds first."""
        shares = self.requested[..., :2] if self.on_servers is None else on_chosen(self.on_servers, self.choice)
        cpu, bandwidth = shares.unbind(-1)
        if self.own_cpu is not None:
            cpu = torch.where(self.own_cpu > 0, self.own_cpu, cpu)
        if self.skipped is not None:
            cpu = cpu.masked_fill(self.skipped, 0.0)
        cpu, bandwidth = (x.transpose(0, 1).to(dtype).contiguous() for x in (cpu, bandwidth))
        return Action(self.choice.transpose(0, 1).contiguous(), cpu, bandwidth)


@dataclass(frozen=True)
class DecisionRules:
    """How an agent gets from values to strategies. The settings of a run have the same names, and `Settings` describes them."""

    search: Literal["largest-gain", "cyclic"] = "cyclic"
    own_cpu: Literal["exact", "requested"] = "requested"
    first_choice: Literal["prices", "round-robin"] = "round-robin"
    margins: tuple[float, float] = (0.03, -0.02)  # of the favoured server, and of every other one


PRINTED = DecisionRules()  # as close to the paper as a search among an agent's tasks is


@dataclass(frozen=True)
class Noise:
    """Exploration noise of one step."""

    temperature: float  # of a Boltzmann choice over strategies, in units of reward; 0 is greedy
    epsilon: float  # probability of a uniformly drawn strategy
    shares: float  # standard deviation of the logarithm of a requested share


class Agents(nn.Module, ABC):
    """The networks of all agents. The first axis of every tensor is the agent, and agents' slices never mix.

    `actor_passes`, `request_penalty`, `action_smoothing` and `saturation_penalty` are the settings of the Actors' loss of the
    same names; the latter two concern Actors that output a strategy as a number.
    """

    actor_passes: Literal["all", "likely"] = "all"
    request_penalty: float = 1.0
    action_smoothing: float = 0.0
    saturation_penalty: float = 0.0
    rules = PRINTED

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes

    @property
    def divides_own_cpu(self) -> bool:
        """Whether agents divide their own CPUs exactly, for which they need `Inputs.local_cost`, or Actors request."""
        return False

    def resized_for(self, sizes: Sizes) -> Agents:
        """The same networks for a ward of these counts; only shared networks accept other counts than their own."""
        assert sizes == self.sizes
        return self

    @abstractmethod
    def start(self, batch: int) -> Memory:
        """The agents' memory before an episode's first step, for `batch` worlds."""

    @abstractmethod
    def decide(
        self, inputs: Inputs, memory: Memory, noise: Noise | None = None, generator: torch.Generator | None = None
    ) -> tuple[Decision, Memory]:
        """Decides one step of N worlds, greedily or with exploration `noise` drawn from `generator`.

        Returns the decision and the memory after the step.
        """

    @abstractmethod
    def critic_loss(self, episodes: Episodes, target: Agents, gamma: float) -> tuple[Tensor, Tensor]:
        """The agents' own loss for θ^Q, (19), and the agent values (18) of the actions taken, (N, U).

        target: the target networks; gamma: the discount factor in the targets (20).
        """

    @abstractmethod
    def actor_loss(self, episodes: Episodes, target: Agents) -> tuple[Tensor, Tensor]:
        """The agents' own loss for θ^μ, (21), valued by the target networks, and the agent values (N, U) for (27)."""

    @abstractmethod
    def best_next(self, episodes: Episodes) -> Tensor:
        """The agent values of the best action after each step, (N, U), for (28)."""

    def round_robin_choice(self, inputs: Inputs) -> Tensor:
        """Strategies that spread all tasks over the servers, (U, N, J): from `first_servers` on in cyclic order."""
        u, n, j = inputs.weight.shape
        device = inputs.weight.device
        turn = self.first_servers(device)[:, None, None] + torch.arange(j, device=device)
        return (turn % self.sizes.servers + 1).expand(u, n, j)

    def first_servers(self, device: torch.device) -> Tensor:
        """The server with which each agent begins, from 0, (U,): in turn, or evenly spread if agents are fewer than servers."""
        u, k = self.sizes.users, self.sizes.servers
        agent = torch.arange(u, device=device)
        return agent * k // u if u < k and self.rules.search == "largest-gain" else agent

    @torch.no_grad()
    def begin_equal(self) -> None:
        """Copies the weights of the first network of every kind to all others."""
        for parameter, networks in grouped_parameters(self):
            slices = parameter.view(networks, -1)
            slices.copy_(slices[:1].expand_as(slices))

    @abstractmethod
    def critic_parameters(self) -> list[nn.Parameter]:
        """The parameters θ^Q of the value networks."""

    @abstractmethod
    def actor_parameters(self) -> list[nn.Parameter]:
        """The parameters θ^μ of the Actors."""


def add_exploration_noise(
    shares: Tensor, noise: Noise | None, generator: torch.Generator | None, least: float = LEAST_SHARE
) -> Tensor:
    """Requested shares times log-normal noise, clamped to [`least`, 1]; unchanged without noise."""
    if noise is None or noise.shares == 0:
        return shares
    normal = torch.randn(shares.shape, generator=generator).to(shares.device)
    return (shares * torch.exp(noise.shares * normal)).clamp(least, 1.0)
