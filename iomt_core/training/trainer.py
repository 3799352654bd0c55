"""Algorithm 1: episodes are played by all agents with noise, kept, and learned from on both levels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean as mean

import torch
from torch import Tensor

from iomt_core.algorithms.agents import Noise
from iomt_core.algorithms.base import Algorithm
from iomt_core.algorithms.learner import Learner, LearnerSettings
from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.model.snapshot import Action
from iomt_core.nets.kernels.functions import compiled
from iomt_core.scenario import Scenario
from iomt_core.training.general_wards import training_ward
from iomt_core.training.observation_encoder import GeneralObservationEncoder, ObservationEncoder, general_sizes
from iomt_core.training.replay import GeneralReplay, Replay
from iomt_core.training.settings import Settings

TEMPERATURE_REACHED = 0.7  # part of the run after which the temperature stays
WARDS = 4  # drawn for each batch of episodes and for each update, where networks are for any ward
CPU = torch.device("cpu")
SLOWEST = 0.03  # of the learning rates at the run's end


class Trainer:
    """One run: everything it draws is a function of its seed and of how far it is, so that a run can be taken up anywhere."""

    def __init__(
        self, algorithm: Algorithm, s: Scenario, settings: Settings, seed: int, device: torch.device = CPU
    ) -> None:
        """`device` is where worlds, networks and replay are; what is drawn is the same on all."""
        self.algorithm, self.scenario, self.settings, self.seed = algorithm, s, settings, seed
        self.device = device
        self.general = settings.wards == "general"
        self.encoder = ObservationEncoder(s)
        sizes = general_sizes() if self.general else self.encoder.sizes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_number(seed, "weights"))
            agents = algorithm.agents(sizes, settings.recurrent, settings.rounds)
            mixer = algorithm.mixer(sizes)
        agents.to(device)
        mixer.to(device)
        if settings.parameter_tying > 0:
            agents.begin_equal()
        agents.request_penalty = settings.request_penalty
        agents.action_smoothing = settings.action_smoothing
        agents.saturation_penalty = settings.saturation_penalty
        learner_settings = LearnerSettings(
            learning_rate=settings.learning_rate,
            actor_learning_rate=settings.actor_learning_rate,
            tau=settings.tau,
            gamma=settings.gamma,
            team_weight=settings.team_weight,
            clip=settings.clip,
        )
        self.learner = Learner(agents, mixer, learner_settings)
        self.replay: Replay | GeneralReplay = Replay(self.encoder, settings.replay)
        if self.general:
            episodes = max(1, settings.num_envs // WARDS)
            self.replay = GeneralReplay(self._ward, max(1, settings.replay // episodes), episodes)
        self.played = 0  # episodes
        self.updates = 0

    @property
    def progress(self) -> float:
        """How much of the run is done, 0 to 1."""
        return min(1.0, self.played / self.settings.episodes)

    @property
    def done(self) -> bool:
        """Whether all episodes are played."""
        return self.played >= self.settings.episodes

    def advance(self) -> dict[str, float]:
        """Plays a batch of episodes and learns from the replay, lines 1 to 17. Returns the means of what it saw."""
        losses: list[dict[str, float]] = []
        if self.settings.learn_every == "step":
            seen = self.play(lambda: losses.append(self.learn()))
        else:
            seen = self.play()
            losses.append(self.learn())
        for name in dict.fromkeys(name for one in losses for name in one):
            seen[name] = mean(one[name] for one in losses if name in one)
        return seen

    # -- lines 2 to 7 --------------------------------------------------------------------------------------------------

    def play(self, after_step: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Plays `worlds` episodes to their end with noise, and keeps them; `after_step` is called after each step.

        Where networks are for any ward, several wards are drawn, and the episodes are shared out.
        """
        batch = min(self.settings.num_envs, self.settings.episodes - self.played)
        if isinstance(self.replay, Replay):
            return self._play(self.replay, batch, after_step)
        parts = [self.replay._episodes] * max(1, batch // self.replay._episodes)
        seen = [self._play(self.replay.next_ward(), part, after_step) for part in parts]
        return {name: mean(one[name] for one in seen) for name in seen[0]}

    def _play(self, replay: Replay, batch: int, after_step: Callable[[], None]) -> dict[str, float]:
        encoder, s = replay.encoder, replay.scenario
        agents = self.learner.target_agents.resized_for(encoder.sizes)
        generator = self._generator("play", self.played)
        environment = Environment(s, world_seeds(_number(self.seed, "worlds"), self.played, batch, self.device))
        memory, noise = agents.start(batch), self.noise()
        snapshots, choices, requested, alive, ended = [environment.snapshot], [], [], [], []
        total = dict.fromkeys(("cost", "delay", "energy", "return"), 0.0)
        weight, steps = 0.0, 0.0
        while environment.t < s.T:
            now = environment.snapshot
            with torch.no_grad(), compiled():
                decision, memory = agents.decide(encoder.inputs(now), memory, noise, generator)
            choice, shares = (
                decision.choice.transpose(0, 1).contiguous(),
                decision.requested.transpose(0, 1).contiguous(),
            )
            step = environment.step(Action(choice, shares[..., 0], shares[..., 1]))
            snapshots.append(environment.snapshot)
            choices.append(choice)
            requested.append(shares)
            alive.append(step.alive)
            ended.append(step.terminated)
            here = step.alive[:, None, None]
            total["cost"] += float((step.outcome.cost * now.weight * here).sum())
            total["delay"] += float((step.outcome.delay * here).mean((1, 2)).sum())
            total["energy"] += float((step.outcome.energy * here).mean((1, 2)).sum())
            total["return"] += float(step.reward.sum()) / batch
            weight += float((now.weight * here).sum())
            steps += float(step.alive.sum())
            after_step()
        replay.add(snapshots, choices, requested, alive, ended)
        self.played += batch
        return {
            "cost": total["cost"] / weight * encoder.unit,
            "delay_s": total["delay"] / steps,
            "energy_j": total["energy"] / steps,
            "return": total["return"],
            "temperature": noise.temperature,
        }

    # -- lines 8 to 15 -------------------------------------------------------------------------------------------------

    def learn(self) -> dict[str, float]:
        """`updates` minibatches, each on both levels."""
        if self.played < self.settings.warm_up:
            return {}
        seen: dict[str, list[Tensor]] = {}
        for _ in range(self.settings.updates):
            generator = self._generator("replay", self.updates)
            self.learner.parameter_tying = self.progress < self.settings.parameter_tying
            counterfactual = self.settings.critic_target == "counterfactual"
            parts = [
                self.replay.draw(self.settings.batch, generator, counterfactual)
                for _ in range(WARDS if self.general else 1)
            ]
            if self.settings.action_smoothing:
                parts = [
                    replace(part, strategy_noise=torch.randn(part.choice.shape, generator=generator)) for part in parts
                ]
            self.updates += 1
            actors = self.updates % self.settings.actor_every == 0
            losses = self.learner.update(*parts, lr_factor=self.lr_factor(), actors=actors)
            for name, loss in losses.items():
                seen.setdefault(name, []).append(loss)
        return {name: float(torch.stack(values).mean()) for name, values in seen.items()}

    # -- schedules -----------------------------------------------------------------------------------------------------

    def noise(self) -> Noise:
        """How far the agents stray now."""
        s = self.settings
        (hot, cold), (wide, narrow) = s.temperature, s.share_noise
        part = min(1.0, self.progress / TEMPERATURE_REACHED)
        return Noise(hot * (cold / hot) ** part if hot else 0.0, s.epsilon, wide + (narrow - wide) * self.progress)

    def lr_factor(self) -> float:
        """What learning rates are multiplied by now."""
        start = self.settings.decay_from
        part = max(0.0, (self.progress - start) / (1 - start)) if start < 1 else 0.0
        return 1 - (1 - SLOWEST) * part

    def _ward(self, number: int) -> ObservationEncoder:
        return GeneralObservationEncoder(training_ward(_number(self.seed, "ward", number)))

    def _generator(self, purpose: str, count: int) -> torch.Generator:
        return torch.Generator().manual_seed(_number(self.seed, purpose, count))


def _number(seed: int, purpose: str, count: int = 0) -> int:
    """A seed of 62 bits for one purpose."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{purpose}/{count}".encode(), digest_size=8).digest()) >> 2
