"""The registry of models: shipped networks, own finished runs, and kept versions, agents' twins too, with their aliases.

A version is named by the hash of its weights and settings (`training.versions`). Promoting a version keeps a copy of it, so that
an alias never means something else later, and a rollback always finds what it goes back to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.metrics import METRICS
from iomt_core.scenario import Scenario, ScenarioError, scenario
from iomt_core.training.catalogue import RUN, catalogue, checkpoint_folder, entry, why_not
from iomt_core.training.checkpoints import CheckpointError, read_facts
from iomt_core.training.general_wards import COUNTS
from iomt_core.training.manifest import read_manifest
from iomt_core.training.run_spec import RunSpec
from iomt_core.training.trained_policy import ward_sizes
from iomt_core.training.versions import MODEL, ORIGIN, SHORT, checked_version, keep, kept_versions
from iomt_core.twin.management import aliases
from iomt_core.twin.management.aliases import ALIAS, EVERYWHERE, Change, scope_key

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Model:
    """A version.

    version: its full hash. names: policy names that mean it now, kept ones last; none for an agent's twin. origin: where it comes
    from, in words. covers: the wards for which it decides, in words. gap: distance to the certified bound on held-out episodes,
    None if it is not known; measured_on: these episodes, in words. kept: whether the registry has its own copy. aliases: what
    means it now, by scope. problem: why it is refused; empty if it can be used.
    """

    version: str
    names: tuple[str, ...]
    label: str
    origin: str
    covers: str
    gap: float | None
    measured_on: str
    kept: bool = False
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problem: str = ""

    @property
    def shown_name(self) -> str:
        """A policy name that means it now, or its label."""
        return self.names[0] if self.names else self.label

    @property
    def short(self) -> str:
        """The hash as it is shown."""
        return self.version[:SHORT]

    @property
    def how_good(self) -> str:
        """The gap in words; "unknown" if it is not known."""
        return UNKNOWN if self.gap is None else f"{METRICS['gap'].show(self.gap)} ({self.measured_on})"

    @property
    def alias_words(self) -> str:
        """ "champion (everywhere), best (paper)"; empty if no alias means it."""
        return ", ".join(
            f"{alias} ({scope.rpartition(':')[0] or scope})"
            for alias, scopes in self.aliases.items()
            for scope in scopes
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        named = ("version", "label", "origin", "covers", "gap", "measured_on", "kept", "problem")
        facts = {name: getattr(self, name) for name in named}
        return {
            **facts, "short": self.short, "names": list(self.names),
            "aliases": {alias: list(scopes) for alias, scopes in self.aliases.items()},
        }  # fmt: skip


def models() -> tuple[Model, ...]:
    """All versions: those that an alias means first, then shipped ones, own runs, and the other kept ones.

    A checkpoint that was changed is listed with its problem. Raises `AuditError` if the log of aliases was changed.
    """
    found: dict[str, Model] = {}
    for name, facts in catalogue().items():
        if facts.trained:
            one = _model(name)
            known = found.get(one.version)
            found[one.version] = one if known is None else _merged(known, one)
    for folder in kept_versions():  # one that cannot be read has no policy name
        if folder.name not in found:
            found[folder.name] = _model(MODEL + folder.name[:SHORT])
    meant = _meant(found)
    listed = [replace(one, aliases=meant.get(one.version, {})) for one in found.values()]
    return tuple(sorted(listed, key=lambda one: not one.aliases))


def find(name: str) -> Model:
    """The version with this hash, its first digits, or the policy or alias that means it now. Raises `ScenarioError`."""
    digits = name.removeprefix(MODEL)
    listed = models()
    found = [one for one in listed if name in one.names]
    if not found:
        found = [one for one in listed if EVERYWHERE in one.aliases.get(name, ())]
    if not found and len(digits) >= 4:
        found = [one for one in listed if one.version.startswith(digits)]
    if len(found) != 1:
        known = ", ".join(one.short for one in listed)
        raise ScenarioError(
            f"model = {name[:80]!r} is {'not known' if not found else 'not unique'}: allowed is a trained policy, or "
            f"a version of {known}."
        )
    return found[0]


def add(folder: Path) -> Model:
    """Keeps a checkpoint from anywhere, for example an agent's twin. Raises `CheckpointError` if it cannot be used."""
    return find(keep(folder, _origin_facts(_described(folder, f"added from {folder.name}"))))


def promote(alias: str, name: str, who: str, why: str, s: Scenario | None = None) -> Change:
    """Lets an alias mean a version, which is kept from then on.

    name: a policy or a version, see `find`. who, why: for the log. s: the scenario for which the alias is; None: everywhere.
    Raises `ScenarioError` if the version was changed, cannot decide in the scenario, or the alias is the name of a policy.
    """
    aliases.checked_alias(alias)
    if _is_policy(alias):
        raise ScenarioError(f"alias = {alias!r} is the name of a policy: choose another one.")
    model = find(name)
    if model.problem:
        raise CheckpointError(model.problem)
    if s is not None and model.names and (words := why_not(model.names[0], s)):
        raise ScenarioError(f"model = {name!r} cannot be promoted for {s.name!r}: {words}")
    version = keep(checkpoint_folder(model.names[0] if model.names else MODEL + model.short), _origin_facts(model))
    if version != model.version:
        raise CheckpointError(f"model = {name!r} has changed meanwhile: it is version {version[:SHORT]} now.")
    return aliases.point(alias, version, who, why, s)


def roll_back(alias: str, who: str, why: str, s: Scenario | None = None) -> Change:
    """Lets an alias mean again what it meant before, see `aliases.roll_back`. Raises `ScenarioError`."""
    return aliases.roll_back(alias, who, why, s)


def resolve(name: str, s: Scenario) -> str:
    """The policy of this name or alias: an alias becomes the name of the version that it means in this scenario.

    Other names stay as they are, also unknown ones, which `catalogue.entry` explains. Raises `ScenarioError` if the version
    decides for one user only, and `AuditError` if the log of aliases was changed.
    """
    if not ALIAS.fullmatch(name) or _is_policy(name):
        return name
    version = aliases.current(name, s)
    if version is None:
        return name
    policy = MODEL + version[:SHORT]
    if not _is_policy(policy):
        model = find(version)
        reason = model.problem or f"it covers {model.covers}."
        raise ScenarioError(f"policy = {name!r} means version {model.short}, which cannot decide for a ward: {reason}")
    return policy


def _is_policy(name: str) -> bool:
    try:
        entry(name)
    except ScenarioError:
        return False
    return True


def _merged(one: Model, other: Model) -> Model:
    """Two entries of the same version as one; the facts are those of the original, also if its kept copy was changed."""
    original, copy = sorted((one, other), key=lambda model: model.kept)
    kept, problem = original.kept or copy.kept, original.problem or copy.problem
    return replace(original, names=(*original.names, *copy.names), kept=kept, problem=problem)


def _meant(known: Iterable[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """For each version the aliases that mean it now, each with its scopes."""
    log = aliases.changes()
    names = {scope_key(one.scope): one.scope for one in log}
    result: dict[str, dict[str, tuple[str, ...]]] = {version: {} for version in known}
    for (alias, key), versions in aliases.history(log).items():
        meant = result.setdefault(versions[-1], {})
        meant[alias] = (*meant.get(alias, ()), names[key])
    return result


def _model(name: str) -> Model:
    """The version that a policy name means now."""
    kept = name.startswith(MODEL)
    names = (name,) if _is_policy(name) else ()
    try:
        folder = checkpoint_folder(name)
        origin = f"run {name.removeprefix(RUN)}" if name.startswith(RUN) else f"shipped as {name}"
        found = _described(folder, origin)
    except ScenarioError as error:
        digits = name.removeprefix(MODEL)
        version = next((one.name for one in kept_versions() if kept and one.name.startswith(digits)), name)
        return Model(version, names, name, UNKNOWN, UNKNOWN, None, "", kept, problem=" ".join(error.problems))
    if kept:
        facts = _read_json(folder / ORIGIN)
        gap = facts.get("gap")
        found = replace(
            found, origin=str(facts.get("origin") or UNKNOWN), measured_on=str(facts.get("measured_on") or ""),
            gap=gap if isinstance(gap, float) else None, kept=True,
        )  # fmt: skip
    else:
        gap, measured = _of_run(folder) if name.startswith(RUN) else _of_manifest(folder.name)
        found = replace(found, gap=gap, measured_on=measured)
    return replace(found, names=names, label=entry(name).label if names else found.label)


def _described(folder: Path, origin: str) -> Model:
    """The version of a checkpoint, without what only its place says. Raises `ScenarioError` if it is damaged."""
    version, facts, where = checked_version(folder), read_facts(folder), f"checkpoint {str(folder)!r}"
    if "user" in facts:  # an agent's twin
        ward = scenario(facts["scenario"]) if isinstance(facts.get("scenario"), dict) else None
        if ward is None or not isinstance(facts["user"], int) or facts.get("algorithm") not in ALGORITHMS:
            raise CheckpointError(f"{where}: scenario, user or algorithm is missing or invalid.")
        label = f"{ALGORITHMS[facts['algorithm']].label}, twin of agent {facts['user']}"
        covers = f"user {facts['user']} of {ward.name!r}: {', '.join(ward_sizes(ward).values())}"
        return Model(version, (), label, f"{origin}, trained on the log of user {facts['user']}", covers, None, "")
    spec = RunSpec.from_json(facts, where)
    trained_on = "random wards" if spec.settings.networks == "general" else repr(spec.scenario.name)
    label = ALGORITHMS[spec.algorithm].label
    return Model(version, (), label, f"{origin}, trained on {trained_on}, seed {spec.seed}", _covers(spec), None, "")


def _covers(spec: RunSpec) -> str:
    if spec.settings.networks == "general":
        counts = ", ".join(f"{low} to {high} {name}" for name, (low, high) in COUNTS.items())
        return f"any ward of {counts}"
    return ", ".join(ward_sizes(spec.scenario).values())


def _of_manifest(folder: str) -> tuple[float | None, str]:
    manifest = read_manifest()
    try:
        assert manifest is not None
        shipped = manifest["policies"][folder]
        gap = float(shipped["seeds"][str(shipped["shipped_seed"])]["gap"])
        return gap, f"{shipped['scenario']}, {int(manifest['held_out']['steps'])} held-out steps"
    except (AssertionError, KeyError, TypeError, ValueError):
        return None, ""


def _of_run(checkpoint: Path) -> tuple[float | None, str]:
    """The evaluation of a run at the episode of its checkpoint."""
    run, played = checkpoint.parent.parent, read_facts(checkpoint).get("played")
    try:
        lines = (run / "evaluations.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
        found = [json.loads(line) for line in lines if line.endswith("}")]
        gap = float(next(line["gap"] for line in reversed(found) if line.get("episodes") == played))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError):
        return None, ""
    return gap, "held-out episodes of its own ward"


def _origin_facts(model: Model) -> dict[str, Any]:
    return {"origin": model.origin, "gap": model.gap, "measured_on": model.measured_on}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
