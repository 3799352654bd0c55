"""Adam gives the numbers of `torch.optim.Adam`, also where a parameter has no gradient at first and after a restart."""

from __future__ import annotations

import torch
from torch import nn

from iomt_core.algorithms.adam import Adam

RATES = (1e-2, 1e-2, 3e-3, 1e-3)


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 5), (4,), (2, 2, 2))]


def set_gradients(own: list[nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for n, parameter in enumerate(own):
        slope = torch.randn(parameter.shape, generator=generator)
        parameter.grad = None if n == 1 and step == 0 else slope


def test_every_step_is_that_of_torch() -> None:
    ours, theirs = parameters(), parameters()
    adam, reference = Adam(ours), torch.optim.Adam(theirs, fused=True)
    for step, rate in enumerate(RATES):
        for own in (ours, theirs):
            set_gradients(own, step)
        reference.param_groups[0]["lr"] = rate
        reference.step()
        adam.step(rate)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        restarted = Adam(ours)
        restarted.load(adam.state)
        assert restarted.state.keys() == reference.state_dict()["state"].keys()
        adam = restarted
    adam.zero_grad()
    assert all(parameter.grad is None for parameter in ours)
