"""How users that decide alone keep within their batteries' charge: at the lowest price of a joule at which a step fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

RESERVED = 0.99  # part of the charge that a step may take, as it is reckoned with
DEARER = 1.6  # factor by which a joule becomes dearer for a user whose step does not fit, until it does
CLOSE = 1.1  # the search ends where a price that fits is at most this factor above one that does not
TRIES = 10

T = TypeVar("T")


def within_charge(
    found: T,
    kappa: Tensor,
    joule: float,
    decide: Callable[[Tensor], T],
    too_much: Callable[[T], Tensor],
    where: Callable[[Tensor, T, T], T],
) -> tuple[T, Tensor]:
    """What users do so that their steps fit into their charge, and the price κ of a joule at which each decides, (B, U) in 1/J.

    For a user whose step would take too much, a joule costs more until the step fits; then the lowest such price is searched,
    because charge that is left over is a loss as well.

    found: what they do at the price `kappa`, (B, U) 1/J; joule: what a joule costs besides, in 1/J. decide: what they do at
    given prices, each for itself; too_much: for whom that takes too much, (B, U) bool; where(rows, a, b): `a` for the users in
    `rows`, (B, U) bool, and `b` for the rest.

    For a user whose step fits at no price that is tried, the decision at the highest price that was tried.
    """
    searching = too_much(found)
    too_low, fitting = kappa + joule, torch.full_like(kappa, torch.inf)
    for _ in range(TRIES):
        if not bool(searching.any()):
            break
        none_found = fitting.isinf()
        price = torch.where(none_found, too_low * DEARER, (too_low * fitting).sqrt())
        price = torch.where(searching, price, kappa + joule)
        tried = decide(price - joule)
        over = too_much(tried)
        better = searching & (none_found | ~over)
        found, kappa = where(better, tried, found), torch.where(better, price - joule, kappa)
        too_low = torch.where(searching & over, price, too_low)
        fitting = torch.where(searching & ~over, price, fitting)
        searching = searching & (fitting > CLOSE * too_low)
    return found, kappa
