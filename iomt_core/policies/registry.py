"""All policies without training by name, in the order of lists.

`VARIANTS` are forms of `POLICIES` with another option. `price-response-broadcast-D` is price response with prices of D steps ago;
the registry knows it by name only, see `policy_type`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from iomt_core.policies.base import Policy
from iomt_core.policies.causal import CausalOptimum
from iomt_core.policies.heuristics import AllLocal, Greedy, NearestServer, OffloadEvenly, RandomChoice, SavingGreedy
from iomt_core.policies.optimum import StepOptimum
from iomt_core.policies.plan import Optimum
from iomt_core.policies.price_response import (
    OLDEST,
    BroadcastPriceResponse,
    FixedPriceResponse,
    PriceResponse,
    broadcast_response,
)

POLICIES: Mapping[str, type[Policy]] = MappingProxyType(
    {
        policy.name: policy
        for policy in (
            PriceResponse,
            Optimum,
            CausalOptimum,
            StepOptimum,
            Greedy,
            SavingGreedy,
            NearestServer,
            OffloadEvenly,
            AllLocal,
            RandomChoice,
        )
    }
)
VARIANTS: Mapping[str, type[Policy]] = MappingProxyType(
    {policy.name: policy for policy in (FixedPriceResponse, BroadcastPriceResponse)}
)


AGES = frozenset(str(age) for age in range(OLDEST + 1))


@lru_cache(maxsize=256)
def policy_type(name: str) -> type[Policy] | None:
    """The policy without training of this name; None if there is none."""
    prefix, _, age = name.rpartition("-")
    if prefix == BroadcastPriceResponse.name:
        return broadcast_response(int(age)) if age in AGES else None
    return POLICIES.get(name) or VARIANTS.get(name)
