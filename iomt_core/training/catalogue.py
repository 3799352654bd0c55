"""Every policy that a person can name: the heuristics, the optimum, what `pretrained/` holds, and finished runs.

A trained name like `sae-mt-qmix` takes the network that knows the ward: the paper network if it was trained on exactly this
ward, else the general network, which takes any ward of its range. `sae-mt-qmix@paper` and `sae-mt-qmix@general` ask for one
of them. `network_of` and `describe_policy` say which one decides.
`run:NAME` is the run of one's own in `runs/NAME`, once it is finished.
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
from iomt_core.paths import PRETRAINED as PRETRAINED
from iomt_core.policies.base import Policy, Sharing
from iomt_core.policies.registry import POLICIES
from iomt_core.scenario import Scenario, ScenarioError
from iomt_core.training.checkpoints import MARK, POLICY, is_displayable, last_checkpoint, read_facts, runs_root
from iomt_core.training.trained_policy import TrainedPolicy

P = ParamSpec("P")
T = TypeVar("T")
RUN = "run:"
# The networks that an algorithm may be shipped with, the most special first: the suffix of a policy's name, and the prefix
# of their folders in pretrained/.
NETWORKS = ("paper", "general")


@dataclass(frozen=True)
class Entry:
    """What there is to say of a policy before it is made."""

    name: str
    label: str
    summary: str
    decentralised: bool
    sharing: Sharing
    trained: bool


def catalogue(place: Path = PRETRAINED) -> Mapping[str, Entry]:
    """All policies by name, in the order in which people want to see them."""
    found = {
        p.name: Entry(p.name, p.label, p.summary, p.decentralised, p.sharing, trained=False) for p in POLICIES.values()
    }
    for a in ALGORITHMS.values():
        kinds = _kinds(a.name, place)
        suffixes = {a.name: "trained", **{f"{a.name}@{kind}": f"{kind} network" for kind in kinds}} if kinds else {}
        for name, suffix in suffixes.items():
            label = f"{a.label}, {suffix}"
            found[name] = Entry(name, label, a.summary, decentralised=True, sharing="requests", trained=True)
    for name, algorithm, ward in _finished_runs():
        a = ALGORITHMS[algorithm]
        label, summary = f"{name} ({a.label})", f"Your run {name!r}: {a.label} trained on {ward!r}. {a.summary}"
        found[RUN + name] = Entry(RUN + name, label, summary, decentralised=True, sharing="requests", trained=True)
    return MappingProxyType(found)


def entry(name: str, place: Path = PRETRAINED) -> Entry:
    """What there is to say of the policy of this name. Raises `ScenarioError` for an unknown one."""
    known = catalogue(place)
    if name not in known:
        near = difflib.get_close_matches(name.replace("@lab", "@general"), known, n=1)  # its old name
        hint = f" Did you mean {near[0]!r}?" if near else ""
        shown = ", ".join(n for n in known if "@" not in n)
        raise ScenarioError(f"policy = {name[:60]!r} is not known: allowed is {shown}.{hint}")
    return known[name]


def make_policy(name: str, s: Scenario, place: Path = PRETRAINED) -> Policy:
    """The policy of this name for this scenario. Raises `ScenarioError` for an unknown name or a ward it cannot take."""
    if not entry(name, place).trained:
        return POLICIES[name](s)
    if name.startswith(RUN):
        last = last_checkpoint(runs_root() / name.removeprefix(RUN))
        if last is None:
            raise ScenarioError(f"policy = {name!r} has no checkpoint any more.")
        return _named(_for_ward(_loaded(last), s, exact=False), entry(name, place))
    return _shipped_policy(name, s, place)[1]


def network_of(name: str, s: Scenario, place: Path = PRETRAINED) -> str | None:
    """Return which network decides in a scenario under a policy's name; None for a policy without networks.

    That is "paper network", "general network" or "run NAME". Raises `ScenarioError` for an unknown name, or a scenario that
    no shipped network of this policy can decide in.
    """
    if not entry(name, place).trained:
        return None
    if name.startswith(RUN):
        return f"run {name.removeprefix(RUN)}"
    return f"{_shipped_policy(name, s, place)[0]} network"


def describe_policy(name: str, s: Scenario, place: Path = PRETRAINED) -> str:
    """Return a policy's label with the network that decides, for example "SAE-MT-QMIX, general network".

    Raises `ScenarioError` as `network_of` does.
    """
    network = network_of(name, s, place)
    if network is None or name.startswith(RUN):  # a run's label is its name
        return entry(name, place).label
    return f"{ALGORITHMS[name.partition('@')[0]].label}, {network}"


def networks(name: str, place: Path = PRETRAINED) -> tuple[str, ...]:
    """Return the networks that may decide under a policy's name, the most special first; empty for one without networks."""
    if not entry(name, place).trained:
        return ()
    if name.startswith(RUN):
        return (f"run {name.removeprefix(RUN)}",)
    algorithm, _, kind = name.partition("@")
    return tuple(f"{one} network" for one in ([kind] if kind else _kinds(algorithm, place)))


def fingerprint(name: str, place: Path = PRETRAINED) -> str:
    """What besides the code fixes a policy's decisions: the SHA-256 of its networks; empty where there are none.

    Raises `ScenarioError` for an unknown policy or one without a checkpoint.
    """
    if not entry(name, place).trained:
        return ""
    if name.startswith(RUN):
        last = last_checkpoint(runs_root() / name.removeprefix(RUN))
        if last is None:
            raise ScenarioError(f"policy = {name!r} has no checkpoint any more.")
        places = [last]
    else:
        algorithm, _, kind = name.partition("@")
        places = [_folder(one, algorithm, place) for one in ([kind] if kind else _kinds(algorithm, place))]
    return "+".join(str(read_facts(each)["sha256"].get(POLICY)) for each in places)


def checkpoint_of(name: str) -> tuple[str, int]:
    """The checkpoint that decides under a policy's name now, as path and time of change in ns; empty where there is none.

    A name may be given to another run later. Cheap: reads no file.
    """
    if name in POLICIES:
        return "", 0
    place = last_checkpoint(runs_root() / name.removeprefix(RUN)) if name.startswith(RUN) else PRETRAINED
    try:
        return (str(place), place.stat().st_mtime_ns) if place else ("", 0)
    except OSError:
        return "", 0


def cached_by_checkpoint(maxsize: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Caches a function that has an argument `policy`, a policy's name; another checkpoint of that name counts as another."""

    def decorate(compute: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(compute)

        def key(*args: Any, **kwargs: Any) -> Hashable:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return hashkey(checkpoint_of(bound.arguments["policy"]), *bound.arguments.values())

        return wraps(compute)(cached(LRUCache(maxsize), key, Lock())(compute))

    return decorate


def _shipped_policy(name: str, s: Scenario, place: Path) -> tuple[str, TrainedPolicy]:
    """Return the kind of the network that decides, and the policy. Raises `ScenarioError` if no network fits the ward."""
    algorithm, _, kind = name.partition("@")
    kinds = [kind] if kind else _kinds(algorithm, place)
    reasons: list[str] = []
    for one in kinds:
        try:
            loaded = _loaded(_folder(one, algorithm, place))
            return one, _for_ward(loaded, s, exact=not kind and one != kinds[-1])
        except ScenarioError as error:
            reasons = error.problems
    raise ScenarioError(reasons)


def _for_ward(trained: TrainedPolicy, s: Scenario, exact: bool) -> TrainedPolicy:
    """The same networks deciding for `s`; with `exact` only for the very ward that they were trained on."""
    if exact and _ward(s) != _ward(trained.spec.scenario):
        raise ScenarioError("policy: trained for another ward.")
    return TrainedPolicy(s, trained.spec, trained.shipped, trained.mixer)


def _named(trained: TrainedPolicy, known: Entry) -> TrainedPolicy:
    """The policy under its run's name."""
    trained.name, trained.label, trained.summary = known.name, known.label, known.summary  # type: ignore[misc]
    return trained


def _finished_runs() -> list[tuple[str, str, str]]:
    """Name, algorithm and ward's name of every finished run, the latest first."""
    found = []
    for status in runs_root().glob("*/status.json"):
        try:
            changed = status.stat().st_mtime_ns
        except OSError:  # deleted meanwhile
            continue
        facts = _run_facts(status.parent, changed) if is_displayable(status.parent.name) else None
        if facts is not None:
            found.append((changed, status.parent.name, *facts))
    return [tuple(rest) for _, *rest in sorted(found, reverse=True)]  # type: ignore[misc]


@lru_cache(maxsize=256)
def _run_facts(place: Path, changed: int) -> tuple[str, str] | None:
    """Algorithm and ward's name of a run that is finished; nothing where it is not, or cannot be read."""
    del changed
    try:
        state = json.loads((place / "status.json").read_text(encoding="utf-8"))["state"]
        facts = json.loads((place / "run.json").read_text(encoding="utf-8"))
        algorithm, ward = str(facts["algorithm"]), str(facts["scenario"]["name"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return (algorithm, ward) if state == "finished" and algorithm in ALGORITHMS else None


def _ward(s: Scenario) -> dict[str, Any]:
    """What makes a ward another one for who was trained on it: not its name, length or draw of places."""
    return s.model_dump(exclude={"name", "T", "gamma", "seed"})


def _kinds(algorithm: str, place: Path) -> list[str]:
    """Return the kinds of networks that an algorithm is shipped with, the most special first."""
    shipped = _shipped(place)
    return [kind for kind in NETWORKS if _folder(kind, algorithm, place).name in shipped]


def _folder(kind: str, algorithm: str, place: Path) -> Path:
    return place / f"{kind}-{algorithm}"


def _shipped(place: Path) -> tuple[str, ...]:
    """Names of the shipped checkpoints; a page asks some thirty times a rerun, so the directory is read where it changed."""
    try:
        return _shipped_at(place, place.stat().st_mtime_ns)
    except OSError:
        return ()


@lru_cache(maxsize=8)
def _shipped_at(place: Path, changed: int) -> tuple[str, ...]:
    del changed
    return tuple(sorted(mark.parent.name for mark in place.glob(f"*/{MARK}")))


def _loaded(place: Path) -> TrainedPolicy:
    return _load(place, (place / MARK).stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _load(place: Path, changed: int) -> TrainedPolicy:
    del changed
    return TrainedPolicy.load(place)
