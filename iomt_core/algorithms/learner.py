"""The update of Algorithm 1, lines 8 to 15, on both levels: the agents' own losses, and the team's loss through the mixer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from iomt_core.algorithms.agents import Agents
from iomt_core.algorithms.episodes import Episodes
from iomt_core.nets.backend import accelerated
from iomt_core.nets.grouped import average_over_networks, grouped_parameters
from iomt_core.nets.mixers import Mixer

# Number of networks in the paper's ward. Gradients over several wards are scaled as if each ward had this many.
LARGEST_WARD = 64


@dataclass(frozen=True)
class LearnerSettings:
    """The settings that the learner needs; `training.settings` describes each."""

    learning_rate: float
    actor_learning_rate: float
    tau: float
    gamma: float
    team_weight: float
    clip: float


class Learner:
    """Online and target networks of agents and mixer, and their optimisers.

    The agents' losses are (19) to (21), the team's losses (26) to (28). They are computed on the same minibatch and added, so
    that each network runs only once for both. The team's critic loss is divided by the number of networks and multiplied by
    `team_weight`.
    """

    def __init__(self, agents: Agents, mixer: Mixer, settings: LearnerSettings) -> None:
        self.agents, self.mixer, self.settings = agents, mixer, settings
        self.target_agents = copy.deepcopy(agents).requires_grad_(False)
        self.target_mixer = copy.deepcopy(mixer).requires_grad_(False)
        self.critic_parameters = [*agents.critic_parameters(), *mixer.parameters()]
        self.actor_parameters = agents.actor_parameters()
        self.critic_optimiser = torch.optim.Adam(self.critic_parameters, settings.learning_rate, fused=True)
        self.actor_optimiser = torch.optim.Adam(self.actor_parameters, settings.actor_learning_rate, fused=True)
        # Listed only once, because finding all parameters takes longer than updating the target networks.
        self._targets: list[Tensor] = [*self.target_agents.parameters(), *self.target_mixer.parameters()]
        self._online: list[Tensor] = [*self.agents.parameters(), *self.mixer.parameters()]
        self.parameter_tying = False  # whether all networks of one kind use the mean of their gradients
        self._grouped = dict(grouped_parameters(agents))

    def update(self, *parts: Episodes, lr_factor: float = 1.0, actors: bool = True) -> dict[str, Tensor]:
        """One update of the critics, of the Actors if `actors`, and of the target networks.

        parts: minibatches, possibly of different wards; the loss is their mean. lr_factor: factor on the learning rates.
        Returns the losses by name, each divided by the number of networks.
        """
        losses = self.update_critics(*parts, lr_factor=lr_factor)
        if actors:
            losses |= self.update_actors(*parts, lr_factor=lr_factor)
        self.update_targets()
        return losses

    def losses(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """The critics' loss and the Actors' loss, each the sum of the agents' and the team's loss."""
        with accelerated():
            return sum(self._critic_losses(episodes)), sum(self._actor_losses(episodes))  # type: ignore[return-value]

    def update_critics(self, *parts: Episodes, lr_factor: float = 1.0) -> dict[str, Tensor]:
        """Updates θ^Q of the MPTQ networks with (19) and (26), and attention and mixer with (26)."""
        rate = self.settings.learning_rate * lr_factor
        own, team = self._step(self.critic_optimiser, self.critic_parameters, self._critic_losses, parts, rate)
        return {"loss_19": own, "loss_26": team}

    def update_actors(self, *parts: Episodes, lr_factor: float = 1.0) -> dict[str, Tensor]:
        """Updates θ^μ with (21) and (27); the target networks compute the values in both."""
        rate = self.settings.actor_learning_rate * lr_factor
        own, team = self._step(self.actor_optimiser, self.actor_parameters, self._actor_losses, parts, rate)
        return {"loss_21": own, "loss_27": team}

    def _critic_losses(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        s, n = self.settings, episodes.steps
        agents, target = self.agents.resized_for(episodes.sizes), self.target_agents.resized_for(episodes.sizes)
        own, q = agents.critic_loss(episodes, target, s.gamma)
        q_tot = self.mixer(q, episodes.corrected[:n], episodes.state[:n])
        wanted = episodes.team_reward
        if s.gamma:
            with torch.no_grad():
                best = target.best_next(episodes)
                after = slice(episodes.batch, None)
                later = self.target_mixer(best, episodes.corrected[after], episodes.state[after])
            wanted = wanted + s.gamma * episodes.going_on * later  # (28)
        return own, s.team_weight / episodes.sizes.networks * episodes.mean((q_tot - wanted).square())

    def _actor_losses(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        s, n = self.settings, episodes.steps
        agents, target = self.agents.resized_for(episodes.sizes), self.target_agents.resized_for(episodes.sizes)
        own, q = agents.actor_loss(episodes, target)
        q_tot = self.target_mixer(q, episodes.corrected[:n], episodes.state[:n])
        return own, -s.team_weight * episodes.mean(q_tot)

    @torch.no_grad()
    def update_targets(self) -> None:
        """Soft update of all target networks, lines 11 and 15."""
        torch._foreach_lerp_(self._targets, self._online, self.settings.tau)

    def _step(
        self,
        optimiser: torch.optim.Optimizer,
        parameters: list[nn.Parameter],
        losses: Callable[[Episodes], tuple[Tensor, Tensor]],
        parts: Sequence[Episodes],
        learning_rate: float,
    ) -> tuple[Tensor, Tensor]:
        """One optimiser step on the sum of both losses, averaged over the parts. Returns both losses per network."""
        for group in optimiser.param_groups:
            group["lr"] = learning_rate
        optimiser.zero_grad(set_to_none=True)
        found = []
        for part in parts:
            with accelerated():
                own, team = losses(part)
            # Wards of different sizes get the same weight. For a single ward the loss is the sum over its networks.
            scale = 1.0 if len(parts) == 1 else LARGEST_WARD / (part.sizes.networks * len(parts))
            ((own + team) * scale).backward()
            found.append(torch.stack([own.detach(), team.detach()]) / part.sizes.networks)
        if self.parameter_tying:
            for parameter in parameters:
                if parameter in self._grouped and parameter.grad is not None:
                    average_over_networks(parameter.grad, self._grouped[parameter])
        nn.utils.clip_grad_norm_(parameters, self.settings.clip)
        optimiser.step()
        own, team = torch.stack(found).mean(0)
        return own, team
