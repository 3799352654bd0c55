"""Makes `qmixer.safetensors`: outputs of TorchRL's QMixer with our mixer's weights.

Run with TorchRL at hand: `pip install torchrl==0.14.1 tensordict==0.15.3`, then
`python -m tests.nets.oracles.make_qmixer`. TorchRL's class makes its weights with one linear layer each; here they are
given the two layers that ours have. What is compared is its `mix`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torchrl.modules.models.multiagent import QMixer

from iomt_core.nets.mixers import EMBED, QMIX

USERS, STATE, ROWS = 3, 5, 64


def two_layers(hyper: nn.Module) -> nn.Sequential:
    """Linear-ReLU-Linear with the weights of ours."""
    return nn.Sequential(hyper.wide, nn.ReLU(), hyper.out)


def main() -> None:
    torch.manual_seed(0)
    ours = QMIX(USERS, STATE)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)  # of both signs, so that the absolute value matters
    theirs = QMixer(state_shape=(STATE,), mixing_embed_dim=EMBED, n_agents=USERS, device="cpu")
    theirs.hyper_w_1, theirs.hyper_w_final = two_layers(ours.w_1), two_layers(ours.w_2)
    theirs.hyper_b_1, theirs.V = ours.b_1, two_layers(ours.b_2)
    q, state = torch.randn(ROWS, USERS), torch.randn(ROWS, STATE)
    with torch.no_grad():
        mixed = theirs(q[..., None], state).squeeze(-1)
    kept = {f"weights/{name}": value.clone() for name, value in ours.state_dict().items()}
    save_file({**kept, "q": q, "state": state, "q_tot": mixed}, Path(__file__).with_name("qmixer.safetensors"))


if __name__ == "__main__":
    main()
