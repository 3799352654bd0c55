"""What defines a training run: algorithm, scenario, settings and seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic
import torch

from iomt_core.algorithms.registry import algorithm
from iomt_core.scenario import Scenario, ScenarioError, check_range, scenario
from iomt_core.scenario.errors import explain, shortened
from iomt_core.training.checkpoints import CheckpointError
from iomt_core.training.formats import FORMAT, KNOWN, migrate
from iomt_core.training.replay import Replay
from iomt_core.training.settings import Settings, allowed
from iomt_core.training.start import Start, start_from
from iomt_core.training.trainer import CPU, MakeReplay, Trainer

LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class RunSpec:
    """The definition of a run. With the same code, machine and device it determines every bit of the result."""

    algorithm: str
    scenario: Scenario
    settings: Settings
    seed: int
    start: Start | None = None  # the checkpoint from which the weights start; None: from scratch
    # Folder of the data warehouse that training replays from; None: from memory. The weights are the same.
    warehouse: str | None = None

    def __post_init__(self) -> None:
        if self.warehouse is not None and self.settings.wards == "general":
            raise ScenarioError(
                f"warehouse = {shortened(self.warehouse)} cannot be used with wards = 'general': each of its wards is another "
                "one. Allowed is wards = 'own'."
            )
        if self.settings.coupled_steps and (self.warehouse is not None or self.start is not None):
            name = "warehouse" if self.warehouse is not None else "start_from"
            allowed_here = "memory, without a warehouse" if self.warehouse is not None else "'scratch'"
            raise ScenarioError(f"{name} cannot be used with coupled_steps = true: allowed is {allowed_here}.")

    def trainer(self, device: torch.device = CPU, make_replay: MakeReplay = Replay) -> Trainer:
        """A new trainer at the start of the run. Raises `ScenarioError` where the weights it starts from are not there.

        make_replay: makes the replay buffer, see `Trainer`; of a run with a warehouse, a view of that.
        """
        trainer = self.untrained(device, make_replay)
        if self.start is not None:
            start_from(trainer.learner, self.start.weights(), f"start = {self.start.checkpoint!r}")
        return trainer

    def untrained(self, device: torch.device = CPU, make_replay: MakeReplay = Replay) -> Trainer:
        """A new trainer with weights drawn at random."""
        return Trainer(algorithm(self.algorithm), self.scenario, self.settings, self.seed, device, make_replay)

    def as_json(self) -> dict[str, Any]:
        """As JSON for run.json and for checkpoints."""
        return {
            "format": FORMAT,
            "algorithm": self.algorithm,
            "scenario": self.scenario.model_dump(mode="json"),
            "scenario_digest": self.scenario.digest,
            "settings": self.settings.model_dump(mode="json"),
            "seed": self.seed,
            "start": self.start.as_json() if self.start is not None else None,
            "warehouse": self.warehouse,
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any], where: str) -> RunSpec:
        """The inverse of `as_json`; it also reads the facts of format 1.

        where: how messages name the source. Raises `CheckpointError` if something is missing or of the wrong type, and
        `ScenarioError` if a value is out of range.
        """
        if not isinstance(facts, Mapping):
            raise CheckpointError(f"{where} is a {type(facts).__name__}: allowed is a mapping of names to values.")
        if facts.get("format", 1) not in KNOWN:
            raise CheckpointError(
                f"{where}: format = {shortened(facts['format'])} is not known: allowed is {' or '.join(map(str, KNOWN))}."
            )
        facts = migrate(facts)
        for name, kind in (("algorithm", str), ("scenario", dict), ("settings", dict), ("seed", int)):
            if not isinstance(facts.get(name), kind):
                raise CheckpointError(
                    f"{where}: {name} = {shortened(facts.get(name))} cannot be used: allowed is a {kind.__name__}."
                )
        if not 0 <= facts["seed"] <= LARGEST_SEED:
            raise CheckpointError(
                f"{where}: seed = {shortened(facts['seed'])} is out of range: allowed is 0 to {LARGEST_SEED}."
            )
        algorithm(facts["algorithm"])
        settings, start = checked_settings(facts["settings"]), Start.from_json(facts.get("start"), where)
        warehouse = facts.get("warehouse")
        if warehouse is not None and not isinstance(warehouse, str):
            raise CheckpointError(
                f"{where}: warehouse = {shortened(warehouse)} cannot be used: allowed is a folder's path."
            )
        return cls(facts["algorithm"], scenario(facts["scenario"]), settings, facts["seed"], start, warehouse)


def checked_seed(seed: int) -> int:
    """Returns the seed. Raises `ScenarioError` if it is out of range."""
    check_range("seed", seed, 0, LARGEST_SEED)
    return seed


def checked_settings(values: Mapping[str, Any]) -> Settings:
    """Settings from values by name. Raises `ScenarioError` with field, value and allowed range of every problem."""
    try:
        return Settings.model_validate(dict(values))
    except pydantic.ValidationError as error:
        raise explain(error, allowed) from None


def default_settings(name: str, **changes: Any) -> Settings:
    """The tuned settings of the algorithm `name`, with `changes`. Raises `ScenarioError`."""
    return checked_settings({**algorithm(name).tuned, **changes})


def settings_for(name: str, start: Start | None, changes: Mapping[str, Any]) -> Settings:
    """The settings of the algorithm `name` for a run that starts from `start`, with `changes`. Raises `ScenarioError`."""
    return default_settings(name, **{**(start.settings() if start is not None else {}), **changes})


def settings_from_words(words: Sequence[str]) -> dict[str, Any]:
    """Changes of settings from command-line words like `gamma=0.9`, with values as JSON. Raises `ScenarioError`."""
    values: dict[str, Any] = {}
    for word in words:
        name, separator, text = word.partition("=")
        if not separator or name not in Settings.model_fields:
            names = ", ".join(Settings.model_fields)
            raise ScenarioError(f"set = {shortened(word)} cannot be used: allowed is NAME=VALUE with one of {names}.")
        try:
            values[name] = json.loads(text)
        except (ValueError, RecursionError):
            values[name] = text
    return values
