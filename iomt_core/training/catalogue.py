"""All policies by name: trained ones, heuristics, the optimum, and finished runs. One name is one network.

`sae-mt-qmix` is the general network, which decides in any scenario; `warning` says where that lies beyond its training.
`sae-mt-qmix@paper` is the network trained on the paper's ward; it fits that ward's numbers of users, tasks and servers and its
channel only, as `run:NAME`, the user's finished run in `runs/NAME`, fits those of its ward. `model:HASH` is a version that the
registry of models keeps (`versions`); unlike a run's name it never means another network. Where a policy cannot decide,
`why_not` says why; nothing replaces it here.
"""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
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
from iomt_core.policies.registry import POLICIES, VARIANTS, policy_type
from iomt_core.scenario import Scenario, ScenarioError
from iomt_core.training.checkpoints import MARK, POLICY, deciding_checkpoint, is_displayable, read_facts, runs_root
from iomt_core.training.general_wards import outside_range
from iomt_core.training.trained_policy import TrainedPolicy, misfit
from iomt_core.training.versions import MODEL, SHORT, kept_folder, kept_versions

P = ParamSpec("P")
T = TypeVar("T")
RUN = "run:"
DEFAULT, FALLBACK = "sae-mt-qmix", "price-response"  # what the lab opens with, and where that cannot decide
GENERAL, PAPER = "general network", "paper network"
OLD_SUFFIXES = ("@general", "@lab")  # of general networks, in old links and files


@dataclass(frozen=True)
class Entry:
    """Facts about a policy that are known without making it; see `policies.base.Policy`."""

    name: str
    label: str
    summary: str
    decentralised: bool
    sharing: Sharing
    network: str = (
        ""  # "general network", "paper network", "run NAME" or "version HASH"; empty for policies without networks
    )

    @property
    def trained(self) -> bool:
        """Whether networks decide."""
        return bool(self.network)


def catalogue(also: Iterable[str] = ()) -> Mapping[str, Entry]:
    """All policies by name, in the order of lists: general networks, finished runs, kept versions, paper networks, the others.

    also: names that may be those of policies which are known by name only, such as `price-response-broadcast-3`; these come last.
    """
    without_runs = _all_but_runs(_shipped_folders(), _untrained())
    general = {name: one for name, one in without_runs.items() if one.network == GENERAL}
    own = {one.name: one for one in (*_finished_runs(), *_kept())}
    more = {name: _untrained_entry(made) for name in also if (made := policy_type(name)) and name not in without_runs}
    return MappingProxyType({**general, **own, **without_runs, **more})


def entry(name: str) -> Entry:
    """Facts about the policy of this name, which may be an old name of it. Raises `ScenarioError` for an unknown one."""
    general = name
    for suffix in OLD_SUFFIXES:
        general = general.removesuffix(suffix)
    entries = _all_but_runs(
        _shipped_folders(), _untrained()
    )  # a page asks dozens of times in a rerun, mostly not for a run
    for known in (name, general, f"{name}@paper"):
        if known in entries:
            return entries[known]
    if made := policy_type(name):
        return _untrained_entry(made)
    entries = catalogue()
    if name in entries:
        return entries[name]
    near = difflib.get_close_matches(name, entries, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ScenarioError(f"policy = {name[:60]!r} is not known: allowed is {', '.join(entries)}.{hint}")


def policy_label(name: str) -> str:
    """A policy's label with its network: "SAE-MT-QMIX, general network"; "NAME (deleted)" if its run was deleted."""
    try:
        return entry(name).label
    except ScenarioError:
        return f"{name} (deleted)"


def make_policy(name: str, s: Scenario) -> Policy:
    """The policy of this name for this scenario. Raises `ScenarioError` for an unknown name or an unsuitable ward."""
    facts = entry(name)
    if not facts.trained:
        made = policy_type(facts.name)
        assert made is not None
        return made(s)
    loaded = _loaded(checkpoint_folder(facts.name))
    if words := _misfit(facts, loaded, s):
        raise ScenarioError(
            f"policy = {facts.name!r} cannot decide here: {words[:1].lower()}{words[1:]} Policies without networks can decide "
            "on every ward."
        )
    policy = TrainedPolicy(s, loaded.spec, loaded.original_agents, loaded.mixer)
    policy.name, policy.label, policy.summary = facts.name, facts.label, facts.summary  # type: ignore[misc]
    return policy


def why_not(name: str, s: Scenario) -> str:
    """Why the policy of this name cannot decide in this scenario, as a sentence; empty if it can."""
    try:
        facts = entry(name)
        return _misfit(facts, _loaded(checkpoint_folder(facts.name)), s) if facts.trained else ""
    except ScenarioError as error:  # its run or checkpoint is gone or damaged
        return " ".join(error.problems)


def warning(name: str, s: Scenario) -> str:
    """What to know before trusting the policy of this name in this scenario, as a sentence; empty if nothing.

    General networks decide everywhere, but are trained on wards of a certain range.
    """
    try:
        facts = entry(name)
        if not facts.trained or _loaded(checkpoint_folder(facts.name)).spec.settings.networks != "general":
            return ""
    except ScenarioError:
        return ""
    words = outside_range(s)
    return (
        f"{'Your' if facts.name.startswith(RUN) else 'The'} {facts.network} {words}. It may decide worse here."
        if words
        else ""
    )


def usable_policy(name: str, s: Scenario) -> str:
    """The name, or that of the policy which replaces it on pages where it cannot decide in this scenario."""
    return FALLBACK if why_not(name, s) else name


def default_policy() -> str:
    """The policy that the lab opens with: SAE-MT-QMIX's general network, if it is there."""
    return DEFAULT if DEFAULT in _all_but_runs(_shipped_folders(), _untrained()) else FALLBACK


def describe(name: str, s: Scenario) -> str:
    """What decides and where, for titles: "Policy: SAE-MT-QMIX, general network · Ward: 8 users × 8 tasks, 4 servers"."""
    return f"Policy: {entry(name).label} · Ward: {s.size_words}"


def fingerprint(name: str) -> str:
    """The SHA-256 of a policy's network, which with the code determines its decisions; empty for policies without networks.

    Raises `ScenarioError` for an unknown policy or one without a checkpoint.
    """
    facts = entry(name)
    return str(read_facts(checkpoint_folder(facts.name))["sha256"].get(POLICY)) if facts.trained else ""


def checkpoint_of(name: str) -> tuple[str, int]:
    """Path and modification time (ns) of the checkpoint that a policy's name now refers to; "" and 0 if there is none.

    A name may later refer to another run. Fast: at most the small file of a kept version is read.
    """
    if policy_type(name):
        return "", 0
    try:
        folder = checkpoint_folder(name) if name.startswith((RUN, MODEL)) else PRETRAINED
        return str(folder), folder.stat().st_mtime_ns
    except (OSError, ScenarioError):
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


def checkpoint_folder(name: str) -> Path:
    """The checkpoint of a trained policy.

    Raises `ScenarioError` if its run has none, or if a kept version is not there or its settings were changed.
    """
    if name.startswith(MODEL):
        return kept_folder(name)
    if not name.startswith(RUN):
        algorithm, _, kind = name.partition("@")
        return PRETRAINED / f"{kind or 'general'}-{algorithm}"
    found = deciding_checkpoint(runs_root() / name.removeprefix(RUN))
    if found is None:
        raise ScenarioError(f"policy = {name!r} has no checkpoint any more.")
    return found


def _misfit(facts: Entry, loaded: TrainedPolicy, s: Scenario) -> str:
    words = misfit(loaded.spec, s)
    return f"{'Your' if facts.name.startswith(RUN) else 'The'} {facts.network} {words}." if words else ""


@lru_cache(maxsize=8)
def _all_but_runs(shipped: tuple[str, ...], untrained: tuple[type[Policy], ...]) -> Mapping[str, Entry]:
    """All policies but runs by name: general and paper networks of the `shipped` folders, and the `untrained` policies."""
    found = []
    for kind, suffix, network in (("general", "", GENERAL), ("paper", "@paper", PAPER)):
        for a in ALGORITHMS.values():
            if f"{kind}-{a.name}" in shipped:
                found.append(_trained(a.name + suffix, f"{a.label}, {network}", a.summary, network))
    found += [_untrained_entry(p) for p in untrained]
    return MappingProxyType({one.name: one for one in found})


def _untrained() -> tuple[type[Policy], ...]:
    return (*POLICIES.values(), *VARIANTS.values())


def _untrained_entry(made: type[Policy]) -> Entry:
    return Entry(made.name, made.label, made.summary, made.decentralised, made.sharing)


def _finished_runs() -> Iterator[Entry]:
    """The user's finished runs, the latest first."""
    runs = []
    for status in runs_root().glob("*/status.json"):
        try:
            changed = status.stat().st_mtime_ns
        except OSError:  # deleted in the meantime
            continue
        facts = _run_facts(status.parent, changed) if is_displayable(status.parent.name) else None
        if facts is not None:
            runs.append((changed, status.parent.name, *facts))
    for _, name, algorithm, ward in sorted(runs, reverse=True):
        a = ALGORITHMS[algorithm]
        summary = f"Your run {name!r}: {a.label} trained on {ward!r}. {a.summary}"
        yield _trained(RUN + name, f"{name} ({a.label})", summary, f"run {name}")


def _kept() -> Iterator[Entry]:
    """The kept versions, by their hash."""
    for folder in kept_versions():
        found = _kept_facts(folder, (folder / MARK).stat().st_mtime_ns)
        if found in ALGORITHMS:
            a, short = ALGORITHMS[found], folder.name[:SHORT]
            summary = f"Version {short} of the registry of models. {a.summary}"
            yield _trained(MODEL + short, f"{a.label}, version {short}", summary, f"version {short}")


@lru_cache(maxsize=256)
def _kept_facts(folder: Path, changed: int) -> str:
    """Algorithm of a kept version; "" if it cannot be read, or decides for one user only, as an agent's twin does."""
    del changed
    try:
        facts = read_facts(folder)
        return "" if "user" in facts else str(facts.get("algorithm"))
    except ScenarioError:
        return ""


def _trained(name: str, label: str, summary: str, network: str) -> Entry:
    return Entry(name, label, summary, decentralised=True, sharing="requests", network=network)


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


def _shipped_folders() -> tuple[str, ...]:
    try:
        return _shipped(PRETRAINED.stat().st_mtime_ns)
    except OSError:
        return ()


@lru_cache(maxsize=8)
def _shipped(changed: int) -> tuple[str, ...]:
    """Names of the checkpoints in `PRETRAINED`; cached until it changes."""
    del changed
    return tuple(mark.parent.name for mark in PRETRAINED.glob(f"*/{MARK}"))


def _loaded(folder: Path) -> TrainedPolicy:
    return _load(folder, (folder / MARK).stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _load(folder: Path, changed: int) -> TrainedPolicy:
    del changed
    return TrainedPolicy.load(folder)
