"""Adam (Kingma and Ba 2015) by torch's fused function, without `torch.optim.Adam`.

The class `torch.optim.Adam` imports torch's compiler when it is made. That takes a second at the start of every run, and
nothing is compiled here. The numbers are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

BETAS, EPSILON = (0.9, 0.999), 1e-8
MOMENTS = ("exp_avg", "exp_avg_sq")  # names as in the state of `torch.optim.Adam`, which checkpoints hold


class Adam:
    """Updates parameters by their gradients. A parameter without a gradient stays as it is."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        # Of each parameter that had a gradient, by its number in the list: the steps so far and both moments.
        self.state: dict[int, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """One update of all parameters that have a gradient."""
        moved = [(n, p, p.grad) for n, p in enumerate(self.parameters) if p.grad is not None]
        for n, p, _ in moved:
            if n not in self.state:
                moments = {name: torch.zeros_like(p, memory_format=torch.preserve_format) for name in MOMENTS}
                self.state[n] = {"step": torch.zeros((), dtype=torch.float32, device=p.device), **moments}
        states = [self.state[n] for n, _, _ in moved]
        first, second = ([state[name] for state in states] for name in MOMENTS)
        adam(
            [p for _, p, _ in moved], [grad for _, _, grad in moved], first, second, [], [s["step"] for s in states],
            foreach=False, fused=True, amsgrad=False, beta1=BETAS[0], beta2=BETAS[1], lr=learning_rate, weight_decay=0.0,
            eps=EPSILON, maximize=False,
        )  # fmt: skip

    def load(self, state: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Takes over the state of another, of which it makes copies. Raises `KeyError` where a part is missing."""
        self.state = {
            n: {
                name: state[n][name].to(self.parameters[n].device, torch.float32, copy=True)
                for name in ("step", *MOMENTS)
            }
            for n in sorted(state)
        }
