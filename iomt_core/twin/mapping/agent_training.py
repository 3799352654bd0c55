"""Trains the networks of one agent of MPMT-DQN from its user's recorded steps: lines 13 to 15 of Algorithm 1."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from iomt_core.algorithms.episodes import Episodes
from iomt_core.algorithms.parameterised_q import ParameterisedQ
from iomt_core.algorithms.registry import algorithm
from iomt_core.model.snapshot import Snapshot
from iomt_core.nets.backend import accelerated
from iomt_core.nets.grouped import average_over_networks, grouped_parameters
from iomt_core.scenario import Scenario, check_range
from iomt_core.training.settings import Settings
from iomt_core.twin.mapping import own_episodes as own_episodes_module
from iomt_core.twin.mapping.own_episodes import OwnEpisodes, own_episodes, own_sizes
from iomt_core.twin.mapping.sealed_log import SealedLog

ALGORITHM = "mpmt-dqn"
UPDATES, MOST_UPDATES = 800, 1_000_000
BATCH = 8  # episodes in a minibatch
DECAY_FROM, LAST_LR_FACTOR = 0.5, 0.03  # learning rates fall linearly in the second half
SETTINGS = Settings(critic_target="observed", batch=BATCH, tau=0.02)
CAUTION = 0.01  # in units of the loss (19)
TEMPERATURE = 0.02  # of the soft maximum over strategies, in units of reward
IMITATION = 0.2


class AgentTrainer:
    """The agent's networks, trained by replay. Rewards are those of its own tasks, as they were recorded.

    Nobody explores: what was never recorded has no reward. Two terms that Algorithm 1 lacks keep the agent near the record
    where it has no other knowledge. `CAUTION` lowers the worth of strategies that were not recorded (conservative Q-learning,
    Kumar et al. 2020, with a temperature); `IMITATION` keeps requests near the recorded ones (Fujimoto and Gu 2021).
    """

    def __init__(self, episodes: OwnEpisodes, updates: int, seed: int) -> None:
        """updates: of the Q-networks in the whole training. Raises `ScenarioError` for a number out of range."""
        check_range("updates", updates, 1, MOST_UPDATES)
        self.episodes, self.total, self.updates = episodes, updates, 0
        self._generator = torch.Generator().manual_seed(seed)
        s = SETTINGS
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            agents = algorithm(ALGORITHM).agents(own_sizes(episodes.scenario), s.recurrent, s.rounds)
        assert isinstance(agents, ParameterisedQ)
        agents.begin_equal()
        agents.request_penalty = 0.0  # IMITATION takes its place
        self.agents, self.target = agents, copy.deepcopy(agents).requires_grad_(False)
        self._grouped = dict(grouped_parameters(agents))
        self._critic = torch.optim.Adam(agents.critic_parameters(), s.learning_rate, fused=True)
        self._actor = torch.optim.Adam(agents.actor_parameters(), s.actor_learning_rate, fused=True)

    @property
    def done(self) -> bool:
        """Whether all updates are made."""
        return self.updates >= self.total

    def update(self) -> float:
        """One update on a minibatch of the user's episodes. Returns the loss (19)."""
        part, s = self.episodes.draw(SETTINGS.batch, self._generator), SETTINGS
        with accelerated():
            loss, _ = self.agents.critic_loss(part, self.target, s.gamma)
            self._step(self._critic, loss + CAUTION * self._unrecorded_worth(part), s.learning_rate)
            if self.updates % s.actor_every == 0:
                own, _ = self.agents.actor_loss(part, self.target)
                self._step(self._actor, own + IMITATION * self._distance_of_requests(part), s.actor_learning_rate)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.target.parameters()), list(self.agents.parameters()), s.tau)
        self.updates += 1
        return float(loss.detach()) / part.sizes.networks

    def weights(self) -> dict[str, Tensor]:
        """The target networks' weights, which decide."""
        return {f"agents/{name}": value.detach() for name, value in self.target.named_parameters()}

    def _unrecorded_worth(self, part: Episodes) -> Tensor:
        """How far the best strategies' worth (17), as a soft maximum, is above that of the recorded ones.

        A decision begins with other strategies than it ends with, and with the Actor's requests. So the other tasks' strategies
        are here, at random, the recorded ones or those of the beginning, and the requests are the Actor's.
        """
        agents, now = self.agents, part.now
        with torch.no_grad():
            requested = agents.actor(part.inputs, agents.actor.memory.start(part.batch))[0][:, : part.steps]
        begun = torch.rand(part.choice.shape, generator=self._generator) < 0.5
        others = torch.where(begun, agents.round_robin_choice(now), part.choice)
        actions = agents.q.encode_actions(requested, others, now)
        worth = agents.strategy_values(agents.q(agents.q.encode(now), actions, agents.past(part)), now.weight)
        soft = TEMPERATURE * torch.logsumexp(worth / TEMPERATURE, -1)
        above = (soft - worth.gather(-1, part.choice[..., None])[..., 0]) * (now.weight > 0)
        return part.mean(above.sum(-1)).sum()

    def _distance_of_requests(self, part: Episodes) -> Tensor:
        """Squared distance of the Actor's requests from the recorded ones, as logarithms; of bandwidth for offloaded tasks."""
        actor = self.agents.actor
        requested: Tensor = actor(part.inputs, actor.memory.start(part.batch))[0][:, : part.steps]
        away = (requested / part.requested).log().square()
        counts = torch.stack([part.now.weight > 0, (part.now.weight > 0) & (part.choice > 0)], -1)
        return part.mean((away * counts).sum((-1, -2))).sum()

    def _step(self, optimiser: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
        progress = self.updates / self.total
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 - (1 - LAST_LR_FACTOR) * max(0.0, (progress - DECAY_FROM) / (1 - DECAY_FROM)))
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if (
            progress < SETTINGS.parameter_tying
        ):  # the networks of all tasks learn from each other, see `training.settings`
            for parameter in parameters:
                if parameter in self._grouped and parameter.grad is not None:
                    average_over_networks(parameter.grad, self._grouped[parameter])
        nn.utils.clip_grad_norm_(parameters, SETTINGS.clip)
        optimiser.step()


def train(
    log: SealedLog,
    arguments: Mapping[str, Any],
    report: Callable[[Mapping[str, Any]], None],
    stop: Callable[[], bool],
) -> tuple[dict[str, Any], bytes]:
    """The job "train": trains from a user's log. Returns what the twin is, without data, and its weights.

    arguments: recording (None: the latest), updates, seed.
    """
    episodes, facts = own_episodes(log, arguments["recording"])
    trainer, loss = AgentTrainer(episodes, arguments["updates"], arguments["seed"]), 0.0
    while not trainer.done and not (trainer.updates and stop()):
        loss += 0.02 * (trainer.update() - loss)
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
        F_i=one, F_k=servers, B_k=servers, latency=servers, users_xy=one, servers_xy=one, distance=tasks, beta=tasks, key=one,
        steps_left=one,
    )  # fmt: skip
    nothing = torch.zeros(1, 2, 2)
    episodes = OwnEpisodes(s, 2.0, states, nothing.long(), nothing[..., None].expand(1, 2, 2, 2) + 0.2, nothing,
                           nothing[..., 0] == 0, nothing[..., 0] != 0)  # fmt: skip
    trainer = AgentTrainer(episodes, 2, 0)
    trainer.update()
    trainer.update()
    save(trainer.weights())
