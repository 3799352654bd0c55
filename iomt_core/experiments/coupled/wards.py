"""The six wards of the study, and the policies that are compared on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from iomt_core.experiments.coupled.bursts import bursty
from iomt_core.scenario import PRESETS, Scenario

PAPER, DRAINED = PRESETS["paper"], PRESETS["drained"]


@dataclass(frozen=True)
class CoupledWard:
    """A ward whose steps are coupled.

    metric: what policies are compared by, the gap of the return where batteries bind, otherwise the gap of the cost; recent:
    whether recent prices say something about the present ones.
    """

    name: str
    label: str
    scenario: Scenario = field(hash=False)
    metric: Literal["gap", "return_gap"]
    recent: bool = False


def _drained(part: float) -> CoupledWard:
    name = f"drained-{round(100 * part)}"
    label = "Small batteries (preset drained)" if part == 1 else f"{100 * part:g} % of these batteries"
    return CoupledWard(name, label, DRAINED.changed(name=name, Cap=DRAINED.Cap * part), "return_gap")


WARDS: Mapping[str, CoupledWard] = MappingProxyType(
    {
        ward.name: ward
        for ward in (
            _drained(1.0),
            _drained(0.5),
            _drained(0.2),
            CoupledWard(
                "background",
                "Background load 0.4, correlation 0.9",
                PAPER.changed(name="background", background=0.4, background_correlation=0.9),
                "gap",
                recent=True,
            ),
            CoupledWard(
                "moving",
                "Background load 0.5, bursts 0.9, users at 1.5 m/s, log-distance channel",
                PAPER.changed(name="moving", background=0.5, burst=0.9, speed=1.5, channel="log-distance"),
                "gap",
                recent=True,
            ),
            CoupledWard("bursts", "A workload with bursts that users share", bursty(), "gap", recent=True),
        )
    }
)
# Policies without training, evaluated on every ward; the first three are decentralised formulas.
FORMULAS = ("price-response-fixed", "price-response", "price-response-broadcast")
REFERENCES = (*FORMULAS, "optimum-causal", "optimum")


@dataclass(frozen=True)
class CoupledArm:
    """An algorithm with the settings that differ from its tuned ones.

    heard: whether servers broadcast recent prices, on the wards where these say something; trained: whether networks learn.
    """

    name: str
    algorithm: str
    label: str
    changes: Mapping[str, Any] = field(hash=False)
    heard: bool = True
    seeds: int | None = None  # at most; None: as many as the plan has

    def on(self, ward: CoupledWard) -> bool:
        """Whether the arm is trained on this ward: without recent prices only where they would say something."""
        return self.heard or ward.recent or not self.changes.get("coupled_steps")


COUPLED = MappingProxyType({"coupled_steps": True, "episodes": 384})
NEVER = 100_000  # episodes before the first update
ARMS: Mapping[str, CoupledArm] = MappingProxyType(
    {
        arm.name: arm
        for arm in (
            CoupledArm("sae-mt-qmix", "sae-mt-qmix", "SAE-MT-QMIX", COUPLED),
            CoupledArm("qmix", "qmix", "QMIX", COUPLED),
            CoupledArm("vdn", "mpmt-dqn", "VDN", COUPLED),
            CoupledArm(
                "start",
                "sae-mt-qmix",
                "Networks untrained, battery price learned",
                MappingProxyType({**COUPLED, "episodes": 128, "warm_up": NEVER}),
                seeds=1,
            ),
            CoupledArm("unheard", "sae-mt-qmix", "SAE-MT-QMIX without recent prices", COUPLED, heard=False, seeds=3),
            CoupledArm("separate", "sae-mt-qmix", "SAE-MT-QMIX, steps separate", MappingProxyType({"episodes": 960})),
        )
    }
)
