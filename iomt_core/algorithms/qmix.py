"""QMIX over MPMT-DQN agents (section VI-C)."""

from __future__ import annotations

from iomt_core.algorithms.agents import PRINTED, DecisionRules
from iomt_core.algorithms.base import Algorithm
from iomt_core.algorithms.parameterised_q import ParameterisedQ
from iomt_core.nets import mixers
from iomt_core.nets.inputs import Sizes


class QMIX(Algorithm):
    """The paper's agents (MPMT-DQN) under a monotone mixing network."""

    name = "qmix"
    label = "QMIX"
    summary = (
        "The paper's agents under QMIX: a monotone network, made from the limited global state, mixes their values."
    )

    def agents(self, sizes: Sizes, recurrent: bool, rounds: int, rules: DecisionRules = PRINTED) -> ParameterisedQ:
        """Agents with all passes and all columns."""
        return ParameterisedQ(sizes, rounds=rounds, recurrent=recurrent, rules=rules)

    def mixer(self, sizes: Sizes) -> mixers.Mixer:
        """(24) without attention."""
        return mixers.QMIX(sizes.users, sizes.state)
