"""SAE-MT-QMIX, the paper's algorithm: MPMT-DQN agents and a mixing network with self-attention (section V)."""

from __future__ import annotations

from types import MappingProxyType

from iomt_core.algorithms.qmix import QMIX
from iomt_core.environment.observation import MIXER_OBSERVATION_SIZE
from iomt_core.nets.inputs import Sizes
from iomt_core.nets.mixers import SAEQMIX, Mixer


class SAEMTQMIX(QMIX):
    """QMIX with self-attention (22), (23) before the mixing (24); attention uses ô only, so that (25) holds."""

    name = "sae-mt-qmix"
    label = "SAE-MT-QMIX"
    summary = "The paper's algorithm: multi-pass multi-task agents, mixed by a self-attention QMIX."

    def mixer(self, sizes: Sizes) -> Mixer:
        """The SAE-QMIX mixer with attention that depends on ô only."""
        return SAEQMIX(sizes.users, sizes.state, MIXER_OBSERVATION_SIZE)


class SAEMTQMIXPaper(SAEMTQMIX):
    """SAE-MT-QMIX with queries and keys computed from (ô_i, Q_i), as (22) is printed."""

    name = "sae-mt-qmix-paper"
    label = "SAE-MT-QMIX as printed"
    summary = (
        "SAE-MT-QMIX exactly as printed: attention (22) on observations and values, so that (25) can break; (19) learns "
        "the observed reward; an agent's tasks decide all at once; every network starts and learns on its own."
    )
    tuned = MappingProxyType(
        {"critic_target": "observed", "rounds": 0, "parameter_tying": 0.0, "margins": (0.03, -0.02)}
    )

    def mixer(self, sizes: Sizes) -> Mixer:
        """The SAE-QMIX mixer with attention that depends on ô and on the values."""
        return SAEQMIX(sizes.users, sizes.state, MIXER_OBSERVATION_SIZE, "paper")
