"""SAE-MT-QMIX, the paper's algorithm: MPMT-DQN agents under a mixing network with self-attention (section V)."""

from __future__ import annotations

from types import MappingProxyType

from iomt_core.algorithms.qmix import QMIX
from iomt_core.environment.observation import CORRECTED
from iomt_core.nets.inputs import Sizes
from iomt_core.nets.mixers import SAEQMIX, Mixer


class SAEMTQMIX(QMIX):
    """QMIX with (22) and (23) before (24); attention on ô alone, so that (25) holds."""

    name = "sae-mt-qmix"
    label = "SAE-MT-QMIX"
    summary = "The paper's algorithm: multi-pass multi-task agents, mixed by a self-attention QMIX."

    def mixer(self, sizes: Sizes) -> Mixer:
        """Attention that does not see the values."""
        return SAEQMIX(sizes.users, sizes.state, CORRECTED)


class SAEMTQMIXPaper(SAEMTQMIX):
    """The same with queries and keys from (ô_i, Q_i), as (22) is printed."""

    name = "sae-mt-qmix-paper"
    label = "SAE-MT-QMIX as printed"
    summary = (
        "SAE-MT-QMIX by the letter: attention (22) of observations and values, so that (25) can break; (19) on the reward "
        "of what was done; an agent's tasks decide all at once; every network begins and learns for itself."
    )
    tuned = MappingProxyType({"critic_target": "observed", "rounds": 0, "parameter_tying": 0.0})

    def mixer(self, sizes: Sizes) -> Mixer:
        """Attention that sees the values."""
        return SAEQMIX(sizes.users, sizes.state, CORRECTED, "paper")
