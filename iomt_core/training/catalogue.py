"""Every policy that a person can name: the heuristics, the optimum, and what `pretrained/` holds.

A trained name like `sae-mt-qmix` takes the checkpoint that knows the ward: the one trained on exactly this ward if there
is one, else the lab's, which takes any ward of its range. `sae-mt-qmix@paper` and `sae-mt-qmix@lab` ask for one of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.policies.base import Policy, Sharing
from iomt_core.policies.registry import POLICIES, make_policy
from iomt_core.scenario import Scenario, ScenarioError
from iomt_core.training.checkpoints import MARK
from iomt_core.training.trained_policy import TrainedPolicy

PRETRAINED = Path(__file__).parents[2] / "pretrained"


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
    shipped = _shipped(place)
    for a in ALGORITHMS.values():
        for name in (a.name, *(f"{a.name}@{kind}" for kind in _kinds(a.name, shipped))):
            if _kinds(a.name, shipped):
                label = f"{a.label}, trained" if name == a.name else f"{a.label}, {name.partition('@')[2]} checkpoint"
                found[name] = Entry(name, label, a.summary, decentralised=True, sharing="requests", trained=True)
    return MappingProxyType(found)


def entry(name: str, place: Path = PRETRAINED) -> Entry:
    """What there is to say of the policy of this name. Raises `ScenarioError` for an unknown one."""
    known = catalogue(place)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        shown = ", ".join(n for n in known if "@" not in n)
        raise ScenarioError(f"policy = {name[:60]!r} is not known: allowed is {shown}.{hint}")
    return known[name]


def policy(name: str, s: Scenario, place: Path = PRETRAINED) -> Policy:
    """The policy of this name for this scenario. Raises `ScenarioError` for an unknown name or a ward it cannot take."""
    if not entry(name, place).trained:
        return make_policy(name, s)
    algorithm, _, kind = name.partition("@")
    kinds = [kind] if kind else _kinds(algorithm, _shipped(place))
    reasons: list[str] = []
    for each in kinds:
        try:
            return _for_ward(_loaded(place / f"{each}-{algorithm}"), s, exact=not kind and each != kinds[-1])
        except ScenarioError as error:
            reasons = error.problems
    raise ScenarioError(reasons)


def _for_ward(trained: TrainedPolicy, s: Scenario, exact: bool) -> TrainedPolicy:
    """The same networks deciding for `s`; with `exact` only for the very ward that they were trained on."""
    if exact and _ward(s) != _ward(trained.spec.scenario):
        raise ScenarioError("policy: trained for another ward.")
    return TrainedPolicy(s, trained.spec, trained.shipped)


def _ward(s: Scenario) -> dict[str, Any]:
    """What makes a ward another one for who was trained on it: not its name, length or draw of places."""
    return s.model_dump(exclude={"name", "T", "gamma", "seed"})


def _kinds(algorithm: str, shipped: tuple[str, ...]) -> list[str]:
    """Kinds of checkpoints of an algorithm, the most special first."""
    return [kind for kind in ("paper", "lab") if f"{kind}-{algorithm}" in shipped]


def _shipped(place: Path) -> tuple[str, ...]:
    return tuple(sorted(mark.parent.name for mark in place.glob(f"*/{MARK}")))


def _loaded(place: Path) -> TrainedPolicy:
    return _load(place, (place / MARK).stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _load(place: Path, changed: int) -> TrainedPolicy:
    del changed
    return TrainedPolicy.load(place)
