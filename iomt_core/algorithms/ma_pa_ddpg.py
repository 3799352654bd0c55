"""MA-PA-DDPG: PA-DDPG Actors under one central critic of all observations and actions (section VI-C, Lowe et al. 2017)."""

from __future__ import annotations

from types import MappingProxyType

from torch import Tensor

from iomt_core.algorithms.agents import PRINTED, DecisionRules
from iomt_core.algorithms.episodes import Episodes
from iomt_core.algorithms.pa_ddpg import PADDPG, ContinuousActions
from iomt_core.nets.critic import Critic
from iomt_core.nets.inputs import Sizes


class CentralCritic(ContinuousActions):
    """`ContinuousActions` with a single critic for the team's reward; its members are the agents."""

    def make_critic(self, recurrent: bool) -> Critic:
        """One critic for all agents."""
        sizes = self.sizes
        return Critic(1, sizes.tasks, sizes.other, 3, recurrent, sizes.users, sizes.features)

    def members(self, x: Tensor) -> Tensor:
        """All agents as members of the one critic: (U, N, ·) -> (1, U, N, ·)."""
        return x[None]

    def rewards(self, episodes: Episodes) -> Tensor:
        """The team's reward, (1, N), which includes everything that agents cost each other."""
        return episodes.team_reward[None]


class MAPADDPG(PADDPG):
    """PA-DDPG with a central critic."""

    name = "ma-pa-ddpg"
    label = "MA-PA-DDPG"
    summary = "PA-DDPG actors trained by one critic that sees what all users see and do, on the team's reward."
    # The best of 9 trials of a random search, see docs/training.md.
    tuned = MappingProxyType(
        {"actor_learning_rate": 1e-3, "batch": 16, "tau": 0.02, "parameter_tying": 0.4, "decay_from": 0.2}
    )

    def agents(self, sizes: Sizes, recurrent: bool, rounds: int, rules: DecisionRules = PRINTED) -> CentralCritic:
        """An Actor for each agent, one critic for all; `rounds` and `rules` do not apply."""
        return CentralCritic(sizes, recurrent)
