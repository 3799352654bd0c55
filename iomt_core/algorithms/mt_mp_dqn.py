"""MT-MP-DQN with VDN: one MP-DQN (Bester et al. 2019) for each task, which values only this task (section VI-B)."""

from __future__ import annotations

from iomt_core.algorithms.agents import PRINTED, DecisionRules
from iomt_core.algorithms.mpmt_dqn import MPMTDQN
from iomt_core.algorithms.parameterised_q import ParameterisedQ
from iomt_core.nets.inputs import Sizes


class MTMPDQN(MPMTDQN):
    """MPMT-DQN without the columns of (16)."""

    name = "mt-mp-dqn"
    label = "MT-MP-DQN (VDN)"
    summary = "A multi-pass Q-network a task that looks at its own task's value alone; values added up."

    def agents(self, sizes: Sizes, recurrent: bool, rounds: int, rules: DecisionRules = PRINTED) -> ParameterisedQ:
        """One value per strategy. Tasks ignore each other, so they always decide at once; `rounds` and `rules` do not apply."""
        return ParameterisedQ(sizes, columns=False, recurrent=recurrent)
