"""Our networks against other implementations with the same weights; `oracles/` has their outputs and how they were made."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional

from iomt_core.nets.mixers import QMIX
from iomt_core.training.checkpoints import load_module


def test_qmix_mixes_as_torchrl_does() -> None:
    kept = load_file(Path(__file__).parent / "oracles" / "qmixer.safetensors")
    q, state = kept["q"], kept["state"]
    mixer = QMIX(q.shape[1], state.shape[1], functional.elu)
    load_module(mixer, {name.removeprefix("weights/"): x for name, x in kept.items() if "/" in name}, "oracle")
    torch.testing.assert_close(mixer(q, torch.empty(0), state), kept["q_tot"], rtol=1e-5, atol=1e-5)
