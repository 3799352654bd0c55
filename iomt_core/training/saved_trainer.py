"""Saves a trainer as a checkpoint and restores it, so that the run continues bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from iomt_core.nets.backend import backend_name
from iomt_core.scenario.errors import shortened
from iomt_core.training.checkpoints import (
    LEARNER,
    POLICY,
    CheckpointError,
    load_module,
    read_facts,
    read_tensors,
    write_checkpoint,
)
from iomt_core.training.replay import Replay
from iomt_core.training.run_spec import RunSpec
from iomt_core.training.trainer import CPU, MakeReplay, Trainer

LARGEST_COUNT = 2**62


def save(trainer: Trainer, spec: RunSpec, place: Path, seconds: float = 0.0) -> None:
    """Writes a checkpoint with everything that the rest of the run depends on.

    place: the checkpoint's directory; seconds: training time so far. Raises `CheckpointError` if it cannot be written.
    """
    learner = trainer.learner
    own = _named("agents", learner.target_agents) | _named("mixer", learner.target_mixer)
    rest = _named("agents", learner.agents) | _named("mixer", learner.mixer)
    rest = {f"online/{name}": value for name, value in rest.items()}
    for title, optimiser in (("critic", learner.critic_optimiser), ("actor", learner.actor_optimiser)):
        for number, state in optimiser.state_dict()["state"].items():
            rest |= {f"{title}/{number}/{key}": value for key, value in state.items()}
    rest |= {f"replay/{name}": value for name, value in trainer.replay.tensors().items()}
    facts = {
        **spec.as_json(), "played": trainer.played, "updates": trainer.updates, "replayed": trainer.replay.count,
        "seconds": seconds, "torch": torch.__version__, "backend": backend_name() if trainer.device == CPU else None,
    }  # fmt: skip
    write_checkpoint(place, {POLICY: own, LEARNER: rest}, facts)


def save_policy(trainer: Trainer, spec: RunSpec, place: Path, facts: Mapping[str, Any]) -> None:
    """Writes a checkpoint that can decide, with further `facts`, but cannot be trained on. Raises `CheckpointError`."""
    learner = trainer.learner
    own = _named("agents", learner.target_agents) | _named("mixer", learner.target_mixer)
    write_checkpoint(place, {POLICY: own}, {**spec.as_json(), "played": trainer.played, **facts})


def restore(place: Path, device: torch.device = CPU, make_replay: MakeReplay = Replay) -> tuple[Trainer, RunSpec]:
    """The trainer as it was when the checkpoint was written, on any `device`, and its run. Raises `ScenarioError`.

    make_replay: see `RunSpec.trainer`; the buffer must be of the kind that the checkpoint was written with.
    """
    facts = read_facts(place)
    spec = RunSpec.from_json(facts, f"checkpoint {str(place)!r}")
    if spec.warehouse is not None and make_replay is Replay:
        raise CheckpointError(f"checkpoint {str(place)!r} holds no episodes: its run replays from {spec.warehouse!r}.")
    trainer = spec.untrained(device, make_replay)
    learner, replay = trainer.learner, trainer.replay
    own, rest = read_tensors(place, POLICY, facts), read_tensors(place, LEARNER, facts)
    parts = _parts(rest, str(place))
    for title, modules, tensors in (
        ("target", (learner.target_agents, learner.target_mixer), own),
        ("online", (learner.agents, learner.mixer), parts["online"]),
    ):
        for name, module in zip(("agents", "mixer"), modules, strict=True):
            prefix = f"{name}/"
            mine = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            load_module(module, mine, f"checkpoint {str(place)!r}, {title} {name}")
    for title, optimiser in (("critic", learner.critic_optimiser), ("actor", learner.actor_optimiser)):
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in parts[title].items():
            number, _, entry = key.partition("/")
            state.setdefault(int(number), {})[entry] = value
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    trainer.played, trainer.updates, replayed = (_count(facts, n, place) for n in ("played", "updates", "replayed"))
    replay.load({name: values.to(device) for name, values in parts["replay"].items()}, replayed)
    return trainer, spec


def _named(prefix: str, module: torch.nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": p.detach() for name, p in module.named_parameters()}


def _parts(tensors: Mapping[str, Tensor], place: str) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in ("online", "critic", "actor", "replay")}
    for key, value in tensors.items():
        head, _, tail = key.partition("/")
        if head not in parts:
            raise CheckpointError(f"checkpoint {place!r}: tensor {key!r} is not known.")
        parts[head][tail] = value
    return parts


def _count(facts: Mapping[str, Any], name: str, place: Path) -> int:
    value = facts.get(name)
    if not isinstance(value, int) or not 0 <= value <= LARGEST_COUNT:
        raise CheckpointError(
            f"checkpoint {str(place)!r}: {name} = {shortened(value)} cannot be used: allowed is a count."
        )
    return value
