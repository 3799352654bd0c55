"""Trains the networks of one agent of MPMT-DQN from its user's recorded steps: lines 13 to 15 of Algorithm 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from iomt_core.algorithms.learner import Learner, LearnerSettings
from iomt_core.algorithms.registry import algorithm
from iomt_core.model.snapshot import Snapshot
from iomt_core.nets.backend import accelerated
from iomt_core.nets.mixers import VDN
from iomt_core.scenario import Scenario, check_range
from iomt_core.training.settings import Settings
from iomt_core.twin.mapping import own_episodes as own_episodes_module
from iomt_core.twin.mapping.own_episodes import OwnEpisodes, own_episodes, own_sizes
from iomt_core.twin.mapping.sealed_log import SealedLog

ALGORITHM = "mpmt-dqn"
UPDATES, MOST_UPDATES = 1500, 1_000_000
BATCH = 8  # episodes in a minibatch
DECAY_FROM, LAST_LR_FACTOR = 0.5, 0.03  # learning rates fall linearly in the second half
SETTINGS = Settings(critic_target="observed", batch=BATCH, gamma=0.0, team_weight=0.0)


class AgentTrainer:
    """The agent's networks, trained by replay. Rewards are those of its own tasks, as they were recorded."""

    def __init__(self, episodes: OwnEpisodes, updates: int, seed: int) -> None:
        """updates: of the Q-networks in the whole training. Raises `ScenarioError` for a number out of range."""
        check_range("updates", updates, 1, MOST_UPDATES)
        self.episodes, self.total, self.updates = episodes, updates, 0
        self._generator = torch.Generator().manual_seed(seed)
        s = SETTINGS
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            agents = algorithm(ALGORITHM).agents(own_sizes(episodes.scenario), s.recurrent, s.rounds)
        agents.begin_equal()
        agents.request_penalty = s.request_penalty
        rates = LearnerSettings(s.learning_rate, s.actor_learning_rate, s.tau, s.gamma, s.team_weight, s.clip)
        self.learner = Learner(agents, VDN(), rates)

    @property
    def done(self) -> bool:
        """Whether all updates are made."""
        return self.updates >= self.total

    def update(self) -> Mapping[str, Tensor]:
        """One update on a minibatch of the user's episodes. Returns the losses."""
        progress = self.updates / self.total
        self.learner.parameter_tying = progress < SETTINGS.parameter_tying
        factor = 1 - (1 - LAST_LR_FACTOR) * max(0.0, (progress - DECAY_FROM) / (1 - DECAY_FROM))
        self.updates += 1
        part = self.episodes.draw(SETTINGS.batch, self._generator)
        with accelerated():
            return self.learner.update(part, lr_factor=factor, actors=self.updates % SETTINGS.actor_every == 0)

    def weights(self) -> dict[str, Tensor]:
        """The target networks' weights, which decide."""
        return {f"agents/{name}": value.detach() for name, value in self.learner.target_agents.named_parameters()}


def train(
    log: SealedLog,
    arguments: Mapping[str, Any],
    report: Callable[[Mapping[str, Any]], None],
    stop: Callable[[], bool],
) -> tuple[dict[str, Any], bytes]:
    """The job "agent": trains from a user's log. Returns what the twin is, without data, and its weights.

    arguments: recording (None: the latest), updates, seed.
    """
    episodes, facts = own_episodes(log, arguments["recording"])
    trainer, loss = AgentTrainer(episodes, arguments["updates"], arguments["seed"]), 0.0
    while not trainer.done and not (trainer.updates and stop()):
        loss += 0.02 * (float(trainer.update()["loss_19"]) - loss)
        report({"done": trainer.updates, "total": trainer.total, "loss": loss})
    result = {
        "scenario": episodes.scenario.model_dump(mode="json"),
        "mean_priority": episodes.mean_priority,
        "recording": facts["recording"],
        "updates": trainer.updates,
        "episodes": len(episodes),
    }
    return result, save({name: value.contiguous() for name, value in trainer.weights().items()})


def warm_up() -> None:
    """Loads what torch loads at the first update, with tensors that mean nothing."""
    own_episodes_module.warm_up()
    s = Scenario(users=1, tasks=2, servers=2, T=2)
    one, tasks, servers = torch.ones(3, 1), torch.ones(3, 1, 2), torch.ones(3, 2)
    states = Snapshot(
        D=tasks, C=tasks, P=tasks, weight=tasks, active=tasks.bool(), kind=tasks, deadline=tasks, P_tr=one, battery=one,
        F_i=one, F_k=servers, B_k=servers, users_xy=one, servers_xy=one, distance=tasks, beta=tasks, key=one, steps_left=one,
    )  # fmt: skip
    nothing = torch.zeros(1, 2, 2)
    episodes = OwnEpisodes(s, 2.0, states, nothing.long(), nothing[..., None].expand(1, 2, 2, 2) + 0.2, nothing,
                           nothing[..., 0] == 0, nothing[..., 0] != 0)  # fmt: skip
    trainer = AgentTrainer(episodes, 2, 0)
    trainer.update()
    trainer.update()
    save(trainer.weights())
