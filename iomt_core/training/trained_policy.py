"""Trained networks as a policy."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from iomt_core.algorithms.agents import Agents
from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.model.batch import concatenate, without_inference_mode
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.nets.inputs import Inputs, Sizes
from iomt_core.nets.mixers import Mixer
from iomt_core.policies.base import BatteryAware, Memory
from iomt_core.policies.dual import DualSolution
from iomt_core.scenario import Scenario, ScenarioError, counted
from iomt_core.training.checkpoints import POLICY, CheckpointError, load_module, read_facts, read_tensors
from iomt_core.training.coupled_encoder import LEARNED, CoupledObservationEncoder, add_learned_price
from iomt_core.training.general_encoder import (
    GeneralObservationEncoder,
    decide_at_prices,
    general_sizes,
    observation_encoder,
)
from iomt_core.training.run_spec import RunSpec
from iomt_core.training.trainer import Trainer

OTHERS = "agents/q.tokens.others.weight"  # in whose shape general networks of earlier versions differ
# Worlds decided at a time, to limit memory: at most ROWS, and in a large ward as many as have so many tasks times servers.
ROWS, CELLS = 640, 1 << 18


class TrainedPolicy(BatteryAware):
    """All agents of a trained algorithm; each decides from its own observation and memory."""

    name = "trained"
    label = "Trained"
    summary = "A trained policy."
    sharing = "requests"

    def __init__(self, s: Scenario, spec: RunSpec, agents: Agents, mixer: Mixer | None = None) -> None:
        """`mixer` is the mixer that the agents were trained with; it is not needed for decisions."""
        super().__init__(s)
        if words := misfit(spec, s):
            raise ScenarioError(f"policy = {spec.algorithm!r} cannot decide here: its network {words}.")
        shared = spec.settings.networks == "general"
        self.encoder = (
            CoupledObservationEncoder(
                s, agents.divides_own_cpu, agents.get_parameter(LEARNED), spec.settings.recent_prices
            )
            if spec.settings.coupled_steps
            else observation_encoder(s, shared, agents.divides_own_cpu)
        )
        self.spec, self.original_agents, self.agents, self.mixer = (
            spec,
            agents,
            agents.resized_for(self.encoder.sizes),
            mixer,
        )
        algorithm = ALGORITHMS[spec.algorithm]
        self.name, self.label, self.summary = algorithm.name, algorithm.label, algorithm.summary  # type: ignore[misc]
        # An agent observes its battery (14), which depends on earlier steps; for general networks only a low one matters.
        remembers = spec.settings.recurrent or spec.settings.coupled_steps
        self.uses_past = "memory" if remembers else "low batteries" if shared else "batteries"  # type: ignore[misc]

    @classmethod
    def from_trainer(cls, trainer: Trainer, spec: RunSpec) -> TrainedPolicy:
        """The policy of a trainer's current target networks; networks on a GPU are copied to the CPU."""
        agents, mixer = trainer.learner.target_agents, trainer.learner.target_mixer
        if trainer.device.type != "cpu":
            agents, mixer = copy.deepcopy(agents).cpu(), copy.deepcopy(mixer).cpu()
        return cls(spec.scenario, spec, agents, mixer)

    @classmethod
    def load(cls, folder: Path, s: Scenario | None = None) -> TrainedPolicy:
        """Loads a checkpoint, for the scenario that it was trained on or another of the same sizes. Raises `ScenarioError`."""
        facts = read_facts(folder)
        spec = RunSpec.from_json(facts, f"checkpoint {str(folder)!r}")
        settings = spec.settings
        sizes = general_sizes() if settings.networks == "general" else Sizes.of(spec.scenario)
        algorithm, where = ALGORITHMS[spec.algorithm], f"checkpoint {str(folder)!r}"
        agents = algorithm.agents(sizes, spec.settings.recurrent, spec.settings.rounds, spec.settings.rules)
        if settings.coupled_steps:
            add_learned_price(agents)
        tensors = read_tensors(folder, POLICY, facts)
        if sizes.shared and tensors.get(OTHERS, torch.empty(1, sizes.features)).shape[1] != sizes.features:
            raise CheckpointError(
                f"{where} holds general networks of an earlier version, which had other inputs: train them again."
            )
        load_module(agents, _part(tensors, "agents/"), where)
        mixer = algorithm.mixer(sizes)
        weights = _part(tensors, "mixer/")
        has_mixer = bool(weights) or not list(mixer.parameters())
        if has_mixer:
            load_module(mixer, weights, f"{where}, mixer")
        return cls(spec.scenario if s is None else s, spec, agents, mixer if has_mixer else None)

    def inputs(self, snapshot: Snapshot, before: Snapshot | None = None) -> Inputs:
        """What the networks see in these steps; before: the steps before them, None in the first steps of episodes."""
        encoder = self.encoder
        if isinstance(encoder, GeneralObservationEncoder) and encoder.hears and before is not None:
            prices = encoder.expected_prices(snapshot, encoder.market.broadcast(before))
            return encoder.inputs(snapshot, encoder.know(snapshot, prices))
        return encoder.inputs(snapshot)

    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """Decides every row as the first step of an episode, which is exact for policies without memory."""
        b, u, j, k = snapshot.shape
        rows = torch.arange(b).split(max(1, min(ROWS, CELLS // (u * j * k))))
        return concatenate([self.step(snapshot.select(part), None)[0] for part in rows])

    def step(
        self, snapshot: Snapshot, memory: Memory | None, dual: DualSolution | None = None
    ) -> tuple[Action, Memory]:
        """Decides the next step of an episode; see `Policy.step`."""
        encoder = self.encoder
        with torch.inference_mode():  # autograd's bookkeeping would take a tenth of the time
            if not isinstance(encoder, GeneralObservationEncoder):
                memory = self.agents.start(len(snapshot.D)) if memory is None else memory
                decision, memory = self.agents.decide(encoder.inputs(snapshot), memory)
            else:
                found = decide_at_prices(self.agents, encoder, snapshot, memory, dual=dual)
                decision, memory = found.decision, found.memory
        return without_inference_mode(decision.action(snapshot.D.dtype)), memory

    def depends_on_charge(self, snapshot: Snapshot, spent: Tensor) -> Tensor:
        """As `BatteryAware.depends_on_charge`; nowhere for networks of one ward, which observe the charge itself."""
        if not isinstance(self.encoder, GeneralObservationEncoder):
            return torch.zeros(len(snapshot.D), dtype=torch.bool, device=snapshot.D.device)
        return self.encoder.market.depends_on_charge(snapshot, spent)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value.float() for key, value in tensors.items() if key.startswith(prefix)}


def misfit(spec: RunSpec, s: Scenario) -> str:
    """Why the networks of a training run cannot decide in a scenario, as the predicate of a sentence; empty if they can."""
    if spec.settings.networks == "general":
        return ""
    trained, here = (ward_sizes(ward) for ward in (spec.scenario, s))
    differ = [name for name in trained if trained[name] != here[name]]
    if not differ:
        return ""
    fits, found = (", ".join(counts[name] for name in differ) for counts in (trained, here))
    return f"fits {fits} only; this ward has {found}"


def ward_sizes(s: Scenario) -> dict[str, str]:
    """What must be the same for networks of one ward, in words."""
    counts = {name: counted(getattr(s, f"{name}s"), name) for name in ("user", "task", "server")}
    return {**counts, "channel": f"the channel {s.channel!r}"}
