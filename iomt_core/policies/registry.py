"""All policies without training by name, in the order of lists."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from iomt_core.policies.base import Policy
from iomt_core.policies.heuristics import AllLocal, Greedy, NearestServer, OffloadEvenly, RandomChoice
from iomt_core.policies.optimum import Optimum
from iomt_core.policies.price_response import PriceResponse

POLICIES: Mapping[str, type[Policy]] = MappingProxyType(
    {p.name: p for p in (PriceResponse, Optimum, Greedy, NearestServer, OffloadEvenly, AllLocal, RandomChoice)}
)
