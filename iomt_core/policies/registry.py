"""All policies without training by name, in the order of lists."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from iomt_core.policies.base import Policy
from iomt_core.policies.causal import CausalOptimum
from iomt_core.policies.heuristics import AllLocal, Greedy, NearestServer, OffloadEvenly, RandomChoice, SavingGreedy
from iomt_core.policies.optimum import StepOptimum
from iomt_core.policies.plan import Optimum
from iomt_core.policies.price_response import PriceResponse

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
