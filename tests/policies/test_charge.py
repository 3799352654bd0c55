"""Users that decide alone take no more of their charge than there is, and leave little of it unused."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from iomt_core.policies.charge import CLOSE, DEARER, TRIES, within_charge


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.1, 1), st.floats(0, 50)), min_size=1, max_size=6))
def test_a_step_fits_at_a_price_that_is_hardly_higher_than_needed(users: list[tuple[float, float, float]]) -> None:
    """With energy 1 / sqrt(1 + κ) of the usual one, which (1) and (2) give a local task, the lowest price is known exactly."""
    usual, charge, kappa = (torch.tensor([column], dtype=torch.float64) for column in zip(*users, strict=True))

    def energy(price: Tensor) -> Tensor:
        return usual / (1 + price).sqrt()

    used, price = within_charge(
        energy(kappa), kappa, 1.0, energy, lambda x: x > charge, lambda rows, x, y: torch.where(rows, x, y)
    )
    lowest = torch.maximum((usual / charge) ** 2 - 1, kappa)
    # Near enough for so many tries, of which four are needed to close in.
    found = lowest + 1 < (kappa + 1) * DEARER ** (TRIES - 4)
    torch.testing.assert_close(used, energy(price))
    assert bool((used <= charge)[found].all())
    assert bool((price + 1 <= CLOSE * (lowest + 1) * (1 + 1e-9))[found].all())


def test_who_has_enough_decides_as_before() -> None:
    """A user's price rises only where its own step does not fit."""
    kappa, charge = torch.tensor([[0.0, 2.0, 0.0]]), torch.tensor([[2.0, 2.0, 0.5]])
    used, price = within_charge(
        1 / (1 + kappa),
        kappa,
        1.0,
        lambda x: 1 / (1 + x),
        lambda x: x > charge,
        lambda rows, x, y: torch.where(rows, x, y),
    )
    assert price[0, :2].tolist() == [0.0, 2.0]
    assert bool((used <= charge).all())
