"""Q_tot never decreases with an agent's value, (25), for the mixers that promise it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iomt_core.nets.mixers import QMIX, SAEQMIX, VDN, Mixer

USERS, STATE, CORRECTED = 5, 7, 6


def shaken(mixer: Mixer, seed: int, scale: float = 1.0) -> Mixer:
    """A mixer with random weights: monotonicity must not depend on the initialisation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return mixer.double()


def slopes(mixer: Mixer, seed: int, count: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    q = (5 * torch.randn(count, USERS, generator=generator)).double().requires_grad_()
    corrected = torch.rand(count, USERS, CORRECTED, generator=generator).double()
    state = torch.rand(count, STATE, generator=generator).double()
    return torch.autograd.grad(mixer(q, corrected, state).sum(), q)[0]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.01, 3.0))
@pytest.mark.parametrize("kind", ["vdn", "qmix", "sae"])
def test_monotone(kind: str, seed: int, scale: float) -> None:
    made = {"vdn": VDN, "qmix": lambda: QMIX(USERS, STATE), "sae": lambda: SAEQMIX(USERS, STATE, CORRECTED)}
    assert (slopes(shaken(made[kind](), seed, scale), seed) >= -1e-12).all()


def test_the_attention_as_printed_is_not_monotone() -> None:
    """(25) can fail if queries and keys contain the values; docs/training.md says how often it did in a trained network."""
    broken = [
        (slopes(shaken(SAEQMIX(USERS, STATE, CORRECTED, "paper"), seed), seed) < -1e-9).any() for seed in range(20)
    ]
    assert sum(broken) > 0


def test_mixers_start_as_the_sum() -> None:
    q, corrected, state = torch.rand(9, USERS) + 4, torch.rand(9, USERS, CORRECTED), torch.rand(9, STATE)
    for mixer in (QMIX(USERS, STATE), SAEQMIX(USERS, STATE, CORRECTED)):
        assert (mixer(q, corrected, state) / q.sum(1) - 1).abs().max() < 0.5


def test_attention_rows_add_up_to_one() -> None:
    mixer = SAEQMIX(USERS, STATE, CORRECTED)
    weights = mixer.weights(torch.rand(9, USERS), torch.rand(9, USERS, CORRECTED))
    assert weights.shape == (9, USERS, USERS)
    torch.testing.assert_close(weights.sum(-1), torch.ones(9, USERS))
