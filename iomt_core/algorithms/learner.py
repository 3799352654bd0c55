"""Both levels of Algorithm 1's update, lines 8 to 15: the agents' own losses, and the team's through the mixer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from iomt_core.algorithms.agents import Agents
from iomt_core.algorithms.episodes import Episodes
from iomt_core.nets.grouped import make_equal, shared
from iomt_core.nets.kernels.functions import compiled
from iomt_core.nets.mixers import Mixer

LARGEST_WARD = 64  # networks by which gradients of several wards are scaled: the paper's ward has so many


@dataclass(frozen=True)
class LearnerSettings:
    """What the learner is told; see `training.settings` for what each is for."""

    learning_rate: float
    actor_learning_rate: float
    tau: float
    gamma: float
    team_weight: float
    clip: float


class Learner:
    """Online and target networks of agents and mixer, and their optimisers.

    The level of the agents is (19) to (21), that of the team (26) to (28). Both are taken on the same minibatch and
    added up, so that each network is run once for both; the team's loss is per task, times `team_weight`.
    """

    def __init__(self, agents: Agents, mixer: Mixer, settings: LearnerSettings) -> None:
        self.agents, self.mixer, self.settings = agents, mixer, settings
        self.target_agents = copy.deepcopy(agents).requires_grad_(False)
        self.target_mixer = copy.deepcopy(mixer).requires_grad_(False)
        self.critic_parameters = [*agents.critic_parameters(), *mixer.parameters()]
        self.actor_parameters = agents.actor_parameters()
        self.critic_optimiser = torch.optim.Adam(self.critic_parameters, settings.learning_rate, fused=True)
        self.actor_optimiser = torch.optim.Adam(self.actor_parameters, settings.actor_learning_rate, fused=True)
        # Listed once, for every update has them follow: walking through the modules takes longer than moving the weights.
        self._following: list[Tensor] = [*self.target_agents.parameters(), *self.target_mixer.parameters()]
        self._followed: list[Tensor] = [*self.agents.parameters(), *self.mixer.parameters()]
        self.parameter_tying = (
            False  # whether networks of a kind learn as one, each from the mean of all their gradients
        )
        self._shared = dict(shared(agents))

    def update(self, *parts: Episodes, lr_factor: float = 1.0, actors: bool = True) -> dict[str, Tensor]:
        """One learner update, with or without the `actors`; learning rates are multiplied by `lr_factor`. Returns the losses.

        The loss is the mean over `parts`, minibatches that may be of different wards.
        """
        losses = self.update_critics(*parts, lr_factor=lr_factor)
        if actors:
            losses |= self.update_actors(*parts, lr_factor=lr_factor)
        self.update_targets()
        return losses

    def losses(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """What the critics and the actors minimise, both levels added up."""
        with compiled():
            return sum(self._of_critics(episodes)), sum(self._of_actors(episodes))  # type: ignore[return-value]

    def update_critics(self, *parts: Episodes, lr_factor: float = 1.0) -> dict[str, Tensor]:
        """θ^Q of all MPTQ networks by (19), and of them, the attention and the mixer by (26)."""
        rate = self.settings.learning_rate * lr_factor
        own, team = self._step(self.critic_optimiser, self.critic_parameters, self._of_critics, parts, rate)
        return {"loss_19": own, "loss_26": team}

    def update_actors(self, *parts: Episodes, lr_factor: float = 1.0) -> dict[str, Tensor]:
        """θ^μ by (21) and (27), both judged by the target networks."""
        rate = self.settings.actor_learning_rate * lr_factor
        own, team = self._step(self.actor_optimiser, self.actor_parameters, self._of_actors, parts, rate)
        return {"loss_21": own, "loss_27": team}

    def _of_critics(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
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

    def _of_actors(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        s, n = self.settings, episodes.steps
        agents, target = self.agents.resized_for(episodes.sizes), self.target_agents.resized_for(episodes.sizes)
        own, q = agents.actor_loss(episodes, target)
        q_tot = self.target_mixer(q, episodes.corrected[:n], episodes.state[:n])
        return own, -s.team_weight * episodes.mean(q_tot)

    @torch.no_grad()
    def update_targets(self) -> None:
        """Soft update of all targets, lines 11 and 15."""
        torch._foreach_lerp_(self._following, self._followed, self.settings.tau)

    def _step(
        self,
        optimiser: torch.optim.Optimizer,
        parameters: list[nn.Parameter],
        losses: Callable[[Episodes], tuple[Tensor, Tensor]],
        parts: Sequence[Episodes],
        learning_rate: float,
    ) -> tuple[Tensor, Tensor]:
        """A step down the mean of the two losses' sum over the parts. Returns both a network, means too."""
        for group in optimiser.param_groups:
            group["lr"] = learning_rate
        optimiser.zero_grad(set_to_none=True)
        found = []
        for part in parts:
            with compiled():
                own, team = losses(part)
            # Of wards of many sizes each counts alike; of one ward the sum over its networks is what they minimise.
            scale = 1.0 if len(parts) == 1 else LARGEST_WARD / (part.sizes.networks * len(parts))
            ((own + team) * scale).backward()
            found.append(torch.stack([own.detach(), team.detach()]) / part.sizes.networks)
        if self.parameter_tying:
            for parameter in parameters:
                if parameter in self._shared and parameter.grad is not None:
                    make_equal(parameter.grad, self._shared[parameter])
        nn.utils.clip_grad_norm_(parameters, self.settings.clip)
        optimiser.step()
        own, team = torch.stack(found).mean(0)
        return own, team
