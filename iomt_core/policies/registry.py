"""Every policy by name, in the order in which people want to see them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from iomt_core.policies.base import Policy
from iomt_core.policies.heuristics import AllLocal, Greedy, NearestServer, OffloadEvenly, RandomChoice
from iomt_core.policies.optimum import Optimum
from iomt_core.policies.price_response import PriceResponse
from iomt_core.scenario import Scenario, ScenarioError

POLICIES: Mapping[str, type[Policy]] = MappingProxyType(
    {p.name: p for p in (Optimum, PriceResponse, Greedy, NearestServer, OffloadEvenly, AllLocal, RandomChoice)}
)


def make_policy(name: str, s: Scenario) -> Policy:
    """The policy of this name for this scenario. Raises `ScenarioError` for an unknown name."""
    if name not in POLICIES:
        near = difflib.get_close_matches(name, POLICIES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ScenarioError(f"policy = {name!r} is not known: allowed is {', '.join(POLICIES)}.{hint}")
    return POLICIES[name](s)
