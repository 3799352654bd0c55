"""All policies by name: heuristics, the optimum, the trained policies in `pretrained/`, and finished runs.

For an algorithm's name like `sae-mt-qmix` the scenario decides which network is used: the paper network if it was trained on
exactly this ward, otherwise the general network, which works for any ward in its range. `sae-mt-qmix@paper` and
`sae-mt-qmix@general` select one. `network_of` and `describe_policy` say which one decides. `run:NAME` is the user's finished
run in `runs/NAME`.
"""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache, wraps
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

from cachetools import LRUCache, cached
from cachetools.keys import hashkey

from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.paths import PRETRAINED
from iomt_core.policies.base import Policy, Sharing
from iomt_core.policies.registry import POLICIES
from iomt_core.scenario import Scenario, ScenarioError
from iomt_core.training.checkpoints import MARK, POLICY, is_displayable, last_checkpoint, read_facts, runs_root
from iomt_core.training.trained_policy import TrainedPolicy

P = ParamSpec("P")
T = TypeVar("T")
RUN = "run:"
# The kinds of networks of an algorithm, the most special first. A kind is a suffix of the policy's name and a prefix of the
# folder in pretrained/.
NETWORKS = ("paper", "general")


@dataclass(frozen=True)
class Entry:
    """Facts about a policy that are known without making it; see `policies.base.Policy`."""

    name: str
    label: str
    summary: str
    decentralised: bool
    sharing: Sharing
    trained: bool


def catalogue() -> Mapping[str, Entry]:
    """All policies by name, in the order of lists."""
    entries = {
        p.name: Entry(p.name, p.label, p.summary, p.decentralised, p.sharing, trained=False) for p in POLICIES.values()
    }
    for a in ALGORITHMS.values():
        kinds = _kinds(a.name)
        suffixes = {a.name: "trained", **{f"{a.name}@{kind}": f"{kind} network" for kind in kinds}} if kinds else {}
        for name, suffix in suffixes.items():
            label = f"{a.label}, {suffix}"
            entries[name] = Entry(name, label, a.summary, decentralised=True, sharing="requests", trained=True)
    for name, algorithm, ward in _finished_runs():
        a = ALGORITHMS[algorithm]
        label, summary = f"{name} ({a.label})", f"Your run {name!r}: {a.label} trained on {ward!r}. {a.summary}"
        entries[RUN + name] = Entry(RUN + name, label, summary, decentralised=True, sharing="requests", trained=True)
    return MappingProxyType(entries)


def entry(name: str) -> Entry:
    """Facts about the policy of this name. Raises `ScenarioError` for an unknown one."""
    entries = catalogue()
    if name not in entries:
        near = difflib.get_close_matches(name.replace("@lab", "@general"), entries, n=1)  # its old name
        hint = f" Did you mean {near[0]!r}?" if near else ""
        shown = ", ".join(n for n in entries if "@" not in n)
        raise ScenarioError(f"policy = {name[:60]!r} is not known: allowed is {shown}.{hint}")
    return entries[name]


def make_policy(name: str, s: Scenario) -> Policy:
    """The policy of this name for this scenario. Raises `ScenarioError` for an unknown name or an unsuitable ward."""
    if not entry(name).trained:
        return POLICIES[name](s)
    if name.startswith(RUN):
        return _named(_for_ward(_loaded(_checkpoints(name)[0]), s, exact=False), entry(name))
    return _shipped_policy(name, s)[1]


def network_of(name: str, s: Scenario) -> str | None:
    """Which network decides in this scenario: "paper network", "general network" or "run NAME"; None for other policies.

    Raises `ScenarioError` as `make_policy` does.
    """
    if not entry(name).trained:
        return None
    if name.startswith(RUN):
        return f"run {name.removeprefix(RUN)}"
    return f"{_shipped_policy(name, s)[0]} network"


def describe_policy(name: str, s: Scenario) -> str:
    """A policy's label with the network that decides, for example "SAE-MT-QMIX, general network".

    Raises `ScenarioError` as `make_policy` does.
    """
    network = network_of(name, s)
    if network is None or name.startswith(RUN):  # a run's label is its name
        return entry(name).label
    return f"{ALGORITHMS[name.partition('@')[0]].label}, {network}"


def networks(name: str) -> tuple[str, ...]:
    """The networks that may decide under this name, the most special first; empty for policies without networks."""
    if not entry(name).trained:
        return ()
    if name.startswith(RUN):
        return (f"run {name.removeprefix(RUN)}",)
    return tuple(f"{kind} network" for kind in _kinds_of(name))


def fingerprint(name: str) -> str:
    """The SHA-256 of a policy's networks, which with the code determine its decisions; empty for policies without networks.

    Raises `ScenarioError` for an unknown policy or one without a checkpoint.
    """
    if not entry(name).trained:
        return ""
    return "+".join(str(read_facts(one)["sha256"].get(POLICY)) for one in _checkpoints(name))


def checkpoint_of(name: str) -> tuple[str, int]:
    """Path and modification time (ns) of the checkpoint that a policy's name now refers to; "" and 0 if there is none.

    A name may later refer to another run. Fast, because no file is read.
    """
    if name in POLICIES:
        return "", 0
    folder = last_checkpoint(runs_root() / name.removeprefix(RUN)) if name.startswith(RUN) else PRETRAINED
    try:
        return (str(folder), folder.stat().st_mtime_ns) if folder else ("", 0)
    except OSError:
        return "", 0


def cached_by_checkpoint(maxsize: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorator: caches a function with an argument `policy`, a name, by its arguments and the checkpoint of that name."""

    def decorate(compute: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(compute)

        def key(*args: Any, **kwargs: Any) -> Hashable:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return hashkey(checkpoint_of(bound.arguments["policy"]), *bound.arguments.values())

        return wraps(compute)(cached(LRUCache(maxsize), key, Lock())(compute))

    return decorate


def _checkpoints(name: str) -> list[Path]:
    """The checkpoints that may decide under a trained policy's name, the most special first. Raises `ScenarioError`."""
    if name.startswith(RUN):
        last = last_checkpoint(runs_root() / name.removeprefix(RUN))
        if last is None:
            raise ScenarioError(f"policy = {name!r} has no checkpoint any more.")
        return [last]
    algorithm = name.partition("@")[0]
    return [_folder(kind, algorithm) for kind in _kinds_of(name)]


def _shipped_policy(name: str, s: Scenario) -> tuple[str, TrainedPolicy]:
    """The kind of the network that decides, and the policy. Raises `ScenarioError` if no network suits the ward."""
    algorithm, kinds = name.partition("@")[0], _kinds_of(name)
    reasons: list[str] = []
    for kind in kinds:
        try:
            loaded = _loaded(_folder(kind, algorithm))
            return kind, _for_ward(loaded, s, exact=kind != kinds[-1])
        except ScenarioError as error:
            reasons = error.problems
    raise ScenarioError(reasons)


def _for_ward(trained: TrainedPolicy, s: Scenario, exact: bool) -> TrainedPolicy:
    """The policy of these networks in `s`. Raises `ScenarioError`; with `exact` also for any ward but that of the training."""
    if exact and _ward(s) != _ward(trained.spec.scenario):
        raise ScenarioError("policy: trained for another ward.")
    return TrainedPolicy(s, trained.spec, trained.original_agents, trained.mixer)


def _named(trained: TrainedPolicy, facts: Entry) -> TrainedPolicy:
    """The policy under its run's name."""
    trained.name, trained.label, trained.summary = facts.name, facts.label, facts.summary  # type: ignore[misc]
    return trained


def _finished_runs() -> list[tuple[str, str, str]]:
    """Name, algorithm and scenario name of every finished run, the latest first."""
    runs = []
    for status in runs_root().glob("*/status.json"):
        try:
            changed = status.stat().st_mtime_ns
        except OSError:  # deleted in the meantime
            continue
        facts = _run_facts(status.parent, changed) if is_displayable(status.parent.name) else None
        if facts is not None:
            runs.append((changed, status.parent.name, *facts))
    return [tuple(rest) for _, *rest in sorted(runs, reverse=True)]  # type: ignore[misc]


@lru_cache(maxsize=256)
def _run_facts(folder: Path, changed: int) -> tuple[str, str] | None:
    """Algorithm and scenario name of a finished run; None if it is not finished or not readable."""
    del changed
    try:
        state = json.loads((folder / "status.json").read_text(encoding="utf-8"))["state"]
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        algorithm, ward = str(facts["algorithm"]), str(facts["scenario"]["name"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return (algorithm, ward) if state == "finished" and algorithm in ALGORITHMS else None


def _ward(s: Scenario) -> dict[str, Any]:
    """The parameters that distinguish wards for a trained network: all but name, episode length, discount and layout seed."""
    return s.model_dump(exclude={"name", "T", "gamma", "seed"})


def _kinds_of(name: str) -> list[str]:
    """The kinds of networks that may decide under a shipped policy's name: the one after "@", or all of the algorithm's."""
    algorithm, _, kind = name.partition("@")
    return [kind] if kind else _kinds(algorithm)


def _kinds(algorithm: str) -> list[str]:
    """The kinds of networks that an algorithm comes with, the most special first."""
    try:
        shipped = _shipped(PRETRAINED.stat().st_mtime_ns)
    except OSError:
        return []
    return [kind for kind in NETWORKS if _folder(kind, algorithm).name in shipped]


def _folder(kind: str, algorithm: str) -> Path:
    return PRETRAINED / f"{kind}-{algorithm}"


@lru_cache(maxsize=8)
def _shipped(changed: int) -> tuple[str, ...]:
    """Names of the checkpoints in `PRETRAINED`; cached until it changes, because a page asks about 30 times in a rerun."""
    del changed
    return tuple(mark.parent.name for mark in PRETRAINED.glob(f"*/{MARK}"))


def _loaded(folder: Path) -> TrainedPolicy:
    return _load(folder, (folder / MARK).stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _load(folder: Path, changed: int) -> TrainedPolicy:
    del changed
    return TrainedPolicy.load(folder)
