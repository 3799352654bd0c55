"""Where a run's weights start: from scratch, or from the general network that is shipped with its algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal

from torch import Tensor

from iomt_core.algorithms.learner import Learner
from iomt_core.paths import PRETRAINED
from iomt_core.scenario import ScenarioError, check_known
from iomt_core.scenario.errors import shortened
from iomt_core.training.checkpoints import MARK, POLICY, CheckpointError, load_module, read_facts, read_tensors
from iomt_core.training.formats import RULES, migrate
from iomt_core.training.settings import ON_ONE_WARD

StartFrom = Literal["general", "scratch"]
GENERAL = "general"
# Settings of a run that starts from the general network and differ from the defaults.
SETTINGS: Mapping[str, Any] = MappingProxyType({**ON_ONE_WARD, "episodes": 640, "evaluate_every": 64})


@dataclass(frozen=True)
class Start:
    """The shipped checkpoint from which a run's weights start."""

    checkpoint: str  # name of its folder in pretrained/
    sha256: str  # of its weights

    @classmethod
    def general(cls, algorithm: str) -> Start:
        """The general network of an algorithm. Raises `ScenarioError` if none is included."""
        if words := why_not_general(algorithm):
            raise ScenarioError(f"start_from = {GENERAL!r} cannot be used: {words}.")
        name = f"{GENERAL}-{algorithm}"
        return cls(name, str(read_facts(PRETRAINED / name)["sha256"][POLICY]))

    @classmethod
    def from_json(cls, facts: Any, where: str) -> Start | None:
        """The inverse of `as_json`; None if a run starts from scratch. Raises `CheckpointError`."""
        if facts is None:
            return None
        try:
            return cls(**{name: str(facts[name]) for name in ("checkpoint", "sha256")})
        except (KeyError, TypeError):
            raise CheckpointError(
                f"{where}: start = {shortened(facts)} cannot be used: allowed is a checkpoint and its sha256."
            ) from None

    def as_json(self) -> dict[str, str]:
        """As JSON for run.json and for checkpoints."""
        return asdict(self)

    def settings(self) -> dict[str, Any]:
        """The settings of a run that starts here, where they differ from the defaults: `SETTINGS` and the checkpoint's rules.

        Its weights were learned for these rules. Of a checkpoint that is gone they are not known. Raises `CheckpointError` for a
        damaged one.
        """
        if self.checkpoint not in _shipped():
            return dict(SETTINGS)
        saved = migrate(read_facts(PRETRAINED / self.checkpoint))["settings"]
        return {**SETTINGS, **{name: saved[name] for name in RULES}}

    def weights(self) -> dict[str, Tensor]:
        """The weights of agents and mixer. Raises `CheckpointError` where the shipped checkpoint is another one by now."""
        check_known("start", self.checkpoint, _shipped())
        place = PRETRAINED / self.checkpoint
        facts = read_facts(place)
        if facts["sha256"].get(POLICY) != self.sha256:
            raise CheckpointError(
                f"start = {self.checkpoint!r} has changed since this run was made: its SHA-256 is "
                f"{shortened(facts['sha256'].get(POLICY))}, and the run wants {self.sha256!r}. Make the run anew."
            )
        return {name: values.float() for name, values in read_tensors(place, POLICY, facts).items()}


def why_not_general(algorithm: str) -> str:
    """Why a run of an algorithm cannot start from a general network, as a clause; empty if it can."""
    if f"{GENERAL}-{algorithm}" not in _shipped():
        known = ", ".join(name.removeprefix(f"{GENERAL}-") for name in _shipped())
        return f"no general network of {algorithm!r} is included, only of {known}"
    return ""


def why_from_scratch(algorithm: str, changes: Mapping[str, Any]) -> str:
    """Why a run with these `changes` of settings can only start from scratch, as a clause; empty if a general network fits."""
    if words := why_not_general(algorithm):
        return words
    other = [name for name in ("networks", "wards", "recurrent", "critic_target", *RULES) if name in changes]
    other += [name for name, value in (("rounds", 0), ("coupled_steps", True)) if changes.get(name) == value]
    return f"the general network does not allow {other[0]} = {changes[other[0]]!r}" if other else ""


def start_from(learner: Learner, weights: Mapping[str, Tensor], where: str) -> None:
    """Sets all networks of a learner, online and target, to `weights`; `where` names their source in messages."""
    for prefix, modules in (
        ("agents/", (learner.agents, learner.target_agents)),
        ("mixer/", (learner.mixer, learner.target_mixer)),
    ):
        own = {name.removeprefix(prefix): values for name, values in weights.items() if name.startswith(prefix)}
        for module in modules:
            load_module(module, own, f"{where}, {prefix[:-1]}")


def _shipped() -> list[str]:
    return sorted(mark.parent.name for mark in PRETRAINED.glob(f"{GENERAL}-*/{MARK}"))
