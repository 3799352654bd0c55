"""What the paper's Figures 4 to 13 and Table III show: algorithms, wards and metrics.

The paper prints curves without numbers, so the values on its axes are an assumption of this lab.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from iomt_core.experiments.sweeps.spec import PAPER_AXES, Axis, spaced
from iomt_core.scenario import PRESETS, Scenario, ScenarioError

# The forms as the paper prints them; SAE-MT-QMIX has its own algorithm for the attention of (22).
AS_PRINTED = MappingProxyType({"critic_target": "observed", "rounds": 0, "parameter_tying": 0.0})
AXES: Mapping[str, Axis] = MappingProxyType({**PAPER_AXES, "servers": spaced("servers", 2, 6, 5)})
TABLE_III = "table-3"


@dataclass(frozen=True)
class Arm:
    """An algorithm with its settings, as the figures compare it.

    changes: settings that differ from the algorithm's tuned ones; printed: whether it is a form as printed.
    """

    name: str
    algorithm: str
    label: str
    changes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    printed: bool = False


ARMS: Mapping[str, Arm] = MappingProxyType(
    {
        arm.name: arm
        for arm in (
            Arm("mpmt-dqn", "mpmt-dqn", "MPMT-DQN (VDN)"),
            Arm("mt-mp-dqn", "mt-mp-dqn", "MT-MP-DQN (VDN)"),
            Arm("mt-pdqn", "mt-pdqn", "MT-PDQN (VDN)"),
            Arm("pa-ddpg", "pa-ddpg", "PA-DDPG (VDN)"),
            Arm("mpmt-dqn-paper", "mpmt-dqn", "MPMT-DQN as printed", AS_PRINTED, True),
            Arm("sae-mt-qmix", "sae-mt-qmix", "SAE-MT-QMIX"),
            Arm("qmix", "qmix", "QMIX"),
            Arm("ma-pa-ddpg", "ma-pa-ddpg", "MA-PA-DDPG"),
            Arm("sae-mt-qmix-paper", "sae-mt-qmix-paper", "SAE-MT-QMIX as printed", {}, True),
        )
    }
)
AGENT_ARMS = ("mpmt-dqn", "mt-mp-dqn", "mt-pdqn", "pa-ddpg", "mpmt-dqn-paper")  # section VI-B
SYSTEM_ARMS = ("sae-mt-qmix", "qmix", "mpmt-dqn", "ma-pa-ddpg", "sae-mt-qmix-paper")  # section VI-C
# Policies without training, evaluated at every ward.
REFERENCES = ("optimum", "price-response", "greedy", "all-local", "random")


@dataclass(frozen=True, order=True)
class Ward:
    """A ward of the figures: the preset `paper` with these numbers of users, tasks of each user, and servers."""

    users: int = 8
    tasks: int = 8
    servers: int = 4

    @property
    def name(self) -> str:
        """Part of a result's file name: `u8-t8-k4`."""
        return f"u{self.users}-t{self.tasks}-k{self.servers}"

    @property
    def scenario(self) -> Scenario:
        """The scenario of this ward."""
        return _scenario(self)

    def changed(self, parameter: str, value: float) -> Ward:
        """The ward with another number of `users`, `tasks` or `servers`."""
        return Ward(**{"users": self.users, "tasks": self.tasks, "servers": self.servers, parameter: int(value)})


CENTRE = Ward()


@lru_cache(maxsize=64)
def _scenario(ward: Ward) -> Scenario:
    return PRESETS["paper"].changed(users=ward.users, tasks=ward.tasks, servers=ward.servers)


@dataclass(frozen=True)
class Figure:
    """A figure of the paper.

    arms: what it compares, the proposed algorithm first; parameter: what varies, empty for learning curves and Table III;
    metric: what is drawn.
    """

    name: str
    title: str
    arms: tuple[str, ...]
    metric: str = ""
    parameter: str = ""

    @property
    def label(self) -> str:
        """`Figure 6`, `Table III`."""
        return "Table III" if self.name == TABLE_III else f"Figure {self.name.partition('-')[2]}"

    @property
    def axis(self) -> Axis:
        """The axis; only where something varies."""
        return AXES[self.parameter]

    @property
    def wards(self) -> Mapping[float, Ward]:
        """The ward at each value of the axis; the paper's ward alone where nothing varies."""
        if not self.parameter:
            return {0.0: CENTRE}
        return {value: CENTRE.changed(self.parameter, value) for value in self.axis.values}

    def wards_of(self, arm: Arm) -> tuple[Ward, ...]:
        """The wards where an arm is trained: forms as printed at both ends and in the middle of an axis, others everywhere."""
        wards = tuple(self.wards.values())
        return wards if not arm.printed or len(wards) < 3 else (wards[0], wards[len(wards) // 2], wards[-1])


FIGURES: Mapping[str, Figure] = MappingProxyType(
    {
        figure.name: figure
        for figure in (
            Figure("figure-4", "Learning curve of MPMT-DQN", ("mpmt-dqn", "mpmt-dqn-paper"), "return"),
            Figure("figure-5", "Learning curve of SAE-MT-QMIX", ("sae-mt-qmix", "sae-mt-qmix-paper"), "return"),
            Figure("figure-6", "Mean delay over tasks of a user", AGENT_ARMS, "mean_delay_s", "tasks"),
            Figure("figure-7", "Mean energy over tasks of a user", AGENT_ARMS, "mean_energy_j", "tasks"),
            Figure("figure-8", "Mean delay over edge servers", AGENT_ARMS, "mean_delay_s", "servers"),
            Figure("figure-9", "Mean energy over edge servers", AGENT_ARMS, "mean_energy_j", "servers"),
            Figure("figure-10", "Mean delay over users", SYSTEM_ARMS, "mean_delay_s", "users"),
            Figure("figure-11", "Mean energy over users", SYSTEM_ARMS, "mean_energy_j", "users"),
            Figure("figure-12", "Mean delay over edge servers, team", SYSTEM_ARMS, "mean_delay_s", "servers"),
            Figure("figure-13", "Mean energy over edge servers, team", SYSTEM_ARMS, "mean_energy_j", "servers"),
            Figure(TABLE_III, "Sizes of the agents' networks", ()),
        )
    }
)


def figure_named(name: str) -> Figure:
    """The figure of a name such as `figure-8`, `8` or `table-3`. Raises `ScenarioError` for an unknown one."""
    found = FIGURES.get(name) or FIGURES.get(f"figure-{name}")
    if found is None:
        raise ScenarioError(f"figure = {name[:40]!r} is not known: allowed is {', '.join(FIGURES)}.")
    return found
