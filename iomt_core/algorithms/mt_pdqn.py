"""MT-PDQN over VDN: a P-DQN per task (Xiong et al. 2018), one pass for all strategies (section VI-B)."""

from __future__ import annotations

from iomt_core.algorithms.agents import PRINTED, DecisionRules
from iomt_core.algorithms.mpmt_dqn import MPMTDQN
from iomt_core.algorithms.parameterised_q import ParameterisedQ
from iomt_core.nets.inputs import Sizes


class MTPDQN(MPMTDQN):
    """MT-MP-DQN without the passes."""

    name = "mt-pdqn"
    label = "MT-PDQN (VDN)"
    summary = "A P-DQN a task: one pass values every strategy of that task; values added up."

    def agents(self, sizes: Sizes, recurrent: bool, rounds: int, rules: DecisionRules = PRINTED) -> ParameterisedQ:
        """One pass. Tasks ignore each other, so they always decide at once; `rounds` and `rules` do not apply."""
        return ParameterisedQ(sizes, passes=False, columns=False, recurrent=recurrent)
