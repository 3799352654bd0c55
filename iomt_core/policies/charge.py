"""How users that decide alone keep within their batteries' charge: at the lowest price of a joule at which a step fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

RESERVED = 0.99  # part of the charge that a step may take, as it is reckoned with
DEARER = 1.6  # factor on the worth of a joule for a user whose step does not fit, until it does
CLOSE = 1.1  # then the price is searched down to this factor
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
    """What users do, and at which prices (B, U) in 1/J.

    For a user whose step would take too much, a joule costs more until the step fits; then the lowest such price is searched,
    because charge that is left over is a loss as well.

    found: what they do at the price `kappa`, (B, U) 1/J; joule: what a joule costs besides, in 1/J. decide: what they do at
    given prices, each for itself; too_much: for whom that takes too much, (B, U) bool; where: two decisions, mixed by user.
    For a user whose step fits at no price, the decision at the highest price that was tried.
    """
    searching = too_much(found)
    fits_not, fits = kappa + joule, torch.full_like(kappa, torch.inf)
    for _ in range(TRIES):
        if not bool(searching.any()):
            break
        none_fits = fits.isinf()
        price = torch.where(none_fits, fits_not * DEARER, (fits_not * fits).sqrt())
        price = torch.where(searching, price, kappa + joule)
        tried = decide(price - joule)
        over = too_much(tried)
        better = searching & (none_fits | ~over)
        found, kappa = where(better, tried, found), torch.where(better, price - joule, kappa)
        fits_not = torch.where(searching & over, price, fits_not)
        fits = torch.where(searching & ~over, price, fits)
        searching = searching & (fits > CLOSE * fits_not)
    return found, kappa
