"""MPMT-DQN with VDN: the paper's agents, whose values are added (section VI-B). Section VI-C calls it VDN."""

from __future__ import annotations

from iomt_core.algorithms.agents import PRINTED, DecisionRules
from iomt_core.algorithms.base import Algorithm
from iomt_core.algorithms.parameterised_q import ParameterisedQ
from iomt_core.nets.inputs import Sizes
from iomt_core.nets.mixers import VDN


class MPMTDQN(Algorithm):
    """One multi-pass Q-network for each task: it values all tasks of the agent under every strategy of its task."""

    name = "mpmt-dqn"
    label = "MPMT-DQN (VDN)"
    summary = "The paper's agents under VDN: multi-pass networks that value all of a user's tasks, values added up."

    def agents(self, sizes: Sizes, recurrent: bool, rounds: int, rules: DecisionRules = PRINTED) -> ParameterisedQ:
        """Agents with all passes and all columns."""
        return ParameterisedQ(sizes, rounds=rounds, recurrent=recurrent, rules=rules)

    def mixer(self, sizes: Sizes) -> VDN:
        """The sum of the agents' values."""
        return VDN()
