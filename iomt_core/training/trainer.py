"""Algorithm 1, SAE-MT-QMIX, which all algorithms of the lab share; line numbers are the paper's.

`Trainer.advance` is one iteration: `play` is the sample phase and the replay update (lines 2 to 7), `learn` the network
updates (lines 8 to 15).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean as mean

import torch
from torch import Tensor

from iomt_core.algorithms.agents import Agents, Noise
from iomt_core.algorithms.base import Algorithm
from iomt_core.algorithms.learner import Learner, LearnerSettings
from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.nets.backend import accelerated
from iomt_core.nets.inputs import Sizes
from iomt_core.policies.base import Memory, Policy
from iomt_core.policies.dual import DualSolution
from iomt_core.rollout import Rollout, Step
from iomt_core.scenario import Scenario
from iomt_core.training.coupled_encoder import LEARNED, CoupledObservationEncoder, add_learned_price
from iomt_core.training.general_encoder import GeneralObservationEncoder, decide_at_prices, general_sizes
from iomt_core.training.general_wards import training_ward
from iomt_core.training.observation_encoder import ObservationEncoder
from iomt_core.training.replay import GeneralReplay, Replay
from iomt_core.training.settings import Settings

COOLING_PART = 0.7  # part of the run in which the temperature falls; then it stays
CPU = torch.device("cpu")
MakeReplay = Callable[[ObservationEncoder, int], Replay]
LAST_LR_FACTOR = 0.03  # factor of the learning rates at the end of the run


class Trainer:
    """One training run. Its random numbers depend only on its seed and progress, so that it can be resumed at any point."""

    def __init__(
        self,
        algorithm: Algorithm,
        s: Scenario,
        settings: Settings,
        seed: int,
        device: torch.device = CPU,
        make_replay: MakeReplay = Replay,
    ) -> None:
        """`device` is where worlds, networks and replay are; random numbers are the same on all devices.

        make_replay: makes the replay buffer from the encoder and its capacity in episodes; not called for random wards.
        """
        self.algorithm, self.scenario, self.settings, self.seed = algorithm, s, settings, seed
        self.device = device
        self.random_wards = settings.wards == "general"
        shared = settings.networks == "general"
        sizes = general_sizes() if shared else Sizes.of(s)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_derived_seed(seed, "weights"))
            agents = algorithm.agents(sizes, settings.recurrent, settings.rounds, settings.rules)
            mixer = algorithm.mixer(sizes)
        if settings.coupled_steps:
            add_learned_price(agents)
        agents.to(device)
        self.encoder: ObservationEncoder
        if settings.coupled_steps:
            self.encoder = CoupledObservationEncoder(
                s, agents.divides_own_cpu, agents.get_parameter(LEARNED), settings.recent_prices
            )
        else:
            make_encoder = GeneralObservationEncoder if shared and not self.random_wards else ObservationEncoder
            self.encoder = make_encoder(s, agents.divides_own_cpu)
        mixer.to(device)
        if settings.parameter_tying > 0:
            agents.begin_equal()
        agents.actor_passes = settings.actor_passes
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
        self.replay: Replay | GeneralReplay
        if self.random_wards:
            episodes = max(1, settings.num_envs // settings.ward_count)
            self.replay = GeneralReplay(self._ward, max(1, settings.replay // episodes), episodes)
        else:
            self.replay = make_replay(self.encoder, settings.replay)
        self.played = 0  # episodes
        self.updates = 0

    @property
    def progress(self) -> float:
        """Part of the run that is done, 0 to 1."""
        return min(1.0, self.played / self.settings.episodes)

    @property
    def done(self) -> bool:
        """Whether all episodes are played."""
        return self.played >= self.settings.episodes

    def advance(self) -> dict[str, float]:
        """Plays a batch of episodes and learns from the replay buffer, lines 1 to 17. Returns mean figures and losses.

        The networks are updated after the batch, or after every step if `learn_every` is "step".
        """
        losses: list[dict[str, float]] = []
        if self.settings.learn_every == "step":
            figures = self.play(lambda: losses.append(self.learn()))
        else:
            figures = self.play()
            losses.append(self.learn())
        names = dict.fromkeys(name for one in losses for name in one)
        return figures | {name: mean(one[name] for one in losses if name in one) for name in names}

    def play(self, after_step: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Plays the next episodes with exploration noise and stores them, lines 2 to 7. Returns mean figures.

        after_step: called after each step. Networks for any ward play on several wards, among which episodes are divided.
        """
        batch = min(self.settings.num_envs, self.settings.episodes - self.played)
        if isinstance(self.replay, Replay):
            return self._play_ward(self.replay, batch, after_step)
        wards = max(1, batch // self.replay.episodes)
        figures = [self._play_ward(self.replay.next_ward(), self.replay.episodes, after_step) for _ in range(wards)]
        return {name: mean(one[name] for one in figures) for name in figures[0]}

    def _play_ward(self, replay: Replay, batch: int, after_step: Callable[[], None]) -> dict[str, float]:
        """Plays `batch` episodes of one ward and stores them in its replay buffer. Returns mean figures."""
        # Lines 2 and 3: new episodes, first observations.
        seeds = world_seeds(_derived_seed(self.seed, "worlds"), self.played, batch, self.device)
        agents = self.learner.target_agents.resized_for(replay.encoder.sizes)
        policy = ExploringPolicy(replay.encoder, agents, self.noise(), self._generator("play", self.played))
        rollout = Rollout(policy, Environment(replay.scenario, seeds))
        steps: list[Step] = []
        for _ in range(replay.scenario.T):  # line 4
            with torch.no_grad(), accelerated():
                steps.append(rollout.step())  # lines 5 and 6
            after_step()
        # Line 7: the replay update, once for all steps. Observations and rewards are computed when a minibatch is drawn.
        if isinstance(replay.encoder, CoupledObservationEncoder):
            replay.add(steps, rollout.environment.snapshot, policy.outputs, [*policy.prices, policy.prices[-1]])
            replay.encoder.learn_price(steps, policy.sent)
            self.learner.target_agents.get_parameter(LEARNED).copy_(replay.encoder.learned)
        else:
            replay.add(steps, rollout.environment.snapshot, policy.outputs)
        self.played += batch
        return _figures(steps, replay.encoder.unit if self.random_wards else 1.0) | {
            "temperature": policy.noise.temperature
        }

    def learn(self) -> dict[str, float]:
        """Updates the networks `updates` times on both levels, each time on a minibatch, lines 8 to 15. Returns mean losses."""
        if self.played < self.settings.warm_up:
            return {}
        losses: dict[str, list[Tensor]] = {}
        for _ in range(self.settings.updates):
            # Lines 9 and 13: one minibatch for both levels; for networks for any ward, one from each of several wards.
            generator = self._generator("replay", self.updates)
            counterfactual = self.settings.critic_target == "counterfactual"
            parts = [
                self.replay.draw(self.settings.batch, generator, counterfactual)
                for _ in range(self.settings.ward_count if self.random_wards else 1)
            ]
            if self.settings.action_smoothing:
                parts = [
                    replace(part, strategy_noise=torch.randn(part.choice.shape, generator=generator)) for part in parts
                ]
            # Lines 10, 11, 14 and 15.
            self.learner.parameter_tying = self.progress < self.settings.parameter_tying
            self.updates += 1
            actors = self.updates % self.settings.actor_every == 0
            for name, loss in self.learner.update(*parts, lr_factor=self.lr_factor(), actors=actors).items():
                losses.setdefault(name, []).append(loss)
        return {name: float(torch.stack(values).mean()) for name, values in losses.items()}

    def noise(self) -> Noise:
        """The exploration noise at this point of the run."""
        s = self.settings
        (first, last), (first_noise, last_noise) = s.temperature, s.share_noise
        part = min(1.0, self.progress / COOLING_PART)
        temperature = first * (last / first) ** part if first else 0.0
        return Noise(temperature, s.epsilon, first_noise + (last_noise - first_noise) * self.progress)

    def lr_factor(self) -> float:
        """The factor of the learning rates at this point of the run."""
        start = self.settings.decay_from
        part = max(0.0, (self.progress - start) / (1 - start)) if start < 1 else 0.0
        return 1 - (1 - LAST_LR_FACTOR) * part

    def _ward(self, number: int) -> ObservationEncoder:
        ward = training_ward(_derived_seed(self.seed, "ward", number))
        return GeneralObservationEncoder(ward, self.learner.agents.divides_own_cpu)

    def _generator(self, purpose: str, count: int) -> torch.Generator:
        return torch.Generator().manual_seed(_derived_seed(self.seed, purpose, count))


class ExploringPolicy(Policy):
    """The agents' policies with exploration noise (line 5). Collects the outputs of the Actors, which learning needs."""

    name, label, summary = "exploring", "Exploring", "Networks in training, with exploration noise."
    uses_past, sharing = "memory", "requests"

    def __init__(self, encoder: ObservationEncoder, agents: Agents, noise: Noise, generator: torch.Generator) -> None:
        super().__init__(encoder.scenario)
        self.encoder, self.agents, self.noise, self.generator = encoder, agents, noise, generator
        self.outputs: list[Tensor] = []  # of each step so far, (B, U, J, outputs)
        self.prices: list[Tensor] = []  # that agents expected, and energy for sending, see `CoupledDecision`
        self.sent: list[Tensor] = []

    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """Decides as in the first step of an episode."""
        return self.step(snapshot, None)[0]

    def step(
        self, snapshot: Snapshot, memory: Memory | None, dual: DualSolution | None = None
    ) -> tuple[Action, Memory]:
        """Decides the next step of an episode; see `Policy.step`."""
        if isinstance(self.encoder, GeneralObservationEncoder):
            found = decide_at_prices(self.agents, self.encoder, snapshot, memory, self.noise, self.generator, dual)
            decision, memory = found.decision, found.memory
            self.prices.append(found.prices)
            self.sent.append(found.sent)
        else:
            memory = self.agents.start(len(snapshot.D)) if memory is None else memory
            decision, memory = self.agents.decide(self.encoder.inputs(snapshot), memory, self.noise, self.generator)
        self.outputs.append(decision.requested.transpose(0, 1).contiguous())
        return decision.action(snapshot.D.dtype), memory


def _figures(steps: Sequence[Step], unit: float) -> dict[str, float]:
    """Means over the played steps: weighted cost times `unit`, delay in s, energy in J; and the mean return."""
    total = dict.fromkeys(("cost", "delay", "energy", "return", "weight", "steps"), 0.0)
    for step in steps:
        transition, weight = step.transition, step.snapshot.weight
        played = transition.alive[:, None, None]
        total["cost"] += float((transition.outcome.cost * weight * played).sum())
        done = played * ~transition.outcome.skipped
        total["delay"] += float((transition.outcome.delay * done).mean((1, 2)).sum())
        total["energy"] += float((transition.outcome.energy * played).mean((1, 2)).sum())
        total["return"] += float(transition.reward.sum()) / len(transition.reward)
        total["weight"] += float((weight * played).sum())
        total["steps"] += float(transition.alive.sum())
    return {
        "cost": total["cost"] / total["weight"] * unit,
        "delay_s": total["delay"] / total["steps"],
        "energy_j": total["energy"] / total["steps"],
        "return": total["return"],
    }


def _derived_seed(seed: int, purpose: str, count: int = 0) -> int:
    """A seed of 62 bits for one purpose of a run, by hashing."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{count}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 2
