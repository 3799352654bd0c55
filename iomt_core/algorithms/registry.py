"""All algorithms by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from iomt_core.algorithms.base import Algorithm
from iomt_core.algorithms.ma_pa_ddpg import MAPADDPG
from iomt_core.algorithms.mpmt_dqn import MPMTDQN
from iomt_core.algorithms.mt_mp_dqn import MTMPDQN
from iomt_core.algorithms.mt_pdqn import MTPDQN
from iomt_core.algorithms.pa_ddpg import PADDPG
from iomt_core.algorithms.qmix import QMIX
from iomt_core.algorithms.sae_mt_qmix import SAEMTQMIX, SAEMTQMIXPaper
from iomt_core.scenario import check_known

ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {a.name: a for a in (SAEMTQMIX(), SAEMTQMIXPaper(), QMIX(), MAPADDPG(), MPMTDQN(), MTMPDQN(), MTPDQN(), PADDPG())}
)


def algorithm(name: str) -> Algorithm:
    """The algorithm of this name. Raises `ScenarioError` for an unknown one."""
    check_known("algorithm", name, ALGORITHMS)
    return ALGORITHMS[name]
