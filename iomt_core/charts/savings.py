"""What one more unit of a resource would save in an episode: the prices of its certificate, as bars and as a table.

The prices are those of the best possible decisions, so they are the same for every policy. The certified return is concave in
every resource: a price says what the first little bit would save, and more of it saves at most in proportion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import pandas as pd
import plotly.graph_objects as go
import torch
from torch import Tensor

from iomt_core.charts.bars import Bars, grouped_bars
from iomt_core.charts.style import KIND_COLOURS, device_colour
from iomt_core.policies.dual import CERTIFYING
from iomt_core.policies.episode_dual import EpisodeDual, EpisodeProblem
from iomt_core.rollout import EpisodeSet
from iomt_core.scenario import Scenario
from iomt_core.twin.northbound import first_episode

PART = 0.1  # of what there is: the bars are for the largest power of ten up to this
SEEN = 1e-6  # part of the lowest possible cost: smaller savings are those of rounding
AXIS = "cost saved (% of the lowest possible)"


@dataclass(frozen=True)
class Resource:
    """A kind of resource: how one of it is named, what more of it is, and the unit people see with its factor from SI."""

    of: str
    more: str
    unit: str
    factor: float


RESOURCES = {
    "battery": Resource("battery of user", "more charge", "mJ", 1e3),
    "cpu": Resource("CPU of server", "more CPU", "GHz", 1e-9),
    "bandwidth": Resource("bandwidth of server", "more bandwidth", "MHz", 1e-6),
    "own": Resource("own CPU of user", "more own CPU", "MHz", 1e-6),
    "deadline": Resource("deadline of", "later deadline", "ms", 1e3),
}


@dataclass(frozen=True)
class Saving:
    """What more of one resource would save in an episode.

    kind: a key of `RESOURCES`; name: a number, or the name of a task kind; price: weighted cost, which is return, per SI unit;
    amount: the more that the bars are for, SI; percent: what the amount saves, of the lowest possible cost of the episode.
    """

    kind: str
    name: str
    price: float
    amount: float
    percent: float

    @property
    def resource(self) -> Resource:
        """Its kind of resource."""
        return RESOURCES[self.kind]

    @property
    def amount_words(self) -> str:
        """The amount with its unit: `0.1 mJ`."""
        return f"{self.amount * self.resource.factor:g} {self.resource.unit}"


def lowest_cost(episodes: EpisodeSet) -> float:
    """The lowest possible total weighted cost of the first episode, where what is not done costs 1: its weight less its bound."""
    assert isinstance(episodes.dual, EpisodeDual)
    rows = slice(0, None, episodes.count)
    return float(episodes.snapshot.weight[rows].sum()) - float(episodes.dual.return_bound[0])


def episode_savings(s: Scenario, _policy: str, seed: int) -> list[Saving]:
    """`savings` in the episode of `northbound.play`; the prices are those of the best decisions, whatever the policy."""
    return savings(first_episode(s, seed))


def savings(episodes: EpisodeSet) -> list[Saving]:
    """What more of each resource would save in the first of the episodes; empty where there is no cost to save."""
    s, dual = episodes.scenario, episodes.dual
    total = lowest_cost(episodes)
    if not isinstance(dual, EpisodeDual) or total <= 0 or not bool(episodes.snapshot.active.any()):
        return []
    steps = slice(0, None, episodes.count)
    found: dict[str, tuple[Sequence[object], Tensor]] = {
        "battery": (s.user_numbers, dual.battery[0]),
        "cpu": (s.server_numbers, dual.prices.cpu[steps].sum(0)),
        "bandwidth": (s.server_numbers, dual.prices.bandwidth[steps].sum(0)),
        "own": (s.user_numbers, dual.prices.own[steps].sum(0)),
        "deadline": (s.kind_names, _deadline_prices(episodes)),
    }
    # The price of a first cycle/s of a sensor without a CPU says nothing about a whole GHz.
    found["own"][1][torch.tensor(s.device_values["F_i"]) == 0] = 0.0
    most = s.largest
    there = {"battery": most["Cap"], "cpu": most["F_k"], "bandwidth": most["B_k"], "own": most["F_i"]}
    there["deadline"] = min(s.kind_deadlines)
    result = []
    for kind, (names, values) in found.items():
        factor = RESOURCES[kind].factor
        amount = 10 ** math.floor(math.log10(PART * there[kind] * factor) + 1e-9) / factor
        prices = torch.where(values * there[kind] > SEEN * total, values, 0.0).tolist()
        result += [
            Saving(kind, str(name), price, amount, 100 * price * amount / total)
            for name, price in zip(names, prices, strict=True)
        ]
    return result


def _deadline_prices(episodes: EpisodeSet) -> Tensor:
    """Weighted cost that one more second of the deadline of each kind's tasks would save, (kinds,).

    The scale of delay in the cost stays as it is. On a server it is θ; on the own CPU it is what running as fast as the deadline
    asks costs more than running slower.
    """
    s, dual = episodes.scenario, episodes.dual
    assert isinstance(dual, EpisodeDual)
    rows = torch.arange(0, len(episodes.snapshot.D), episodes.count)
    snapshot, dual = episodes.snapshot.select(rows), dual.select(rows)
    problem = EpisodeProblem(snapshot, s)
    f = problem.tasks(dual.prices, dual.battery, dual.lateness, CERTIFYING).f_own
    joule = problem.joule + dual.battery[:, :, None]
    slope = dual.prices.own[:, :, None] + 2 * joule * problem.k0C * f - problem.second * problem.C / (f * f)
    held = (f <= problem.least * (1 + 1e-9)) & ~problem.impossible
    own = torch.where(held, slope.clamp_min(0.0) * problem.least / problem.deadline, 0.0)
    weights = dual.choice_weights
    priced = weights[..., 0] * own + (weights[..., 1:-1] * dual.lateness).sum(-1)
    kinds = torch.zeros(len(s.kind_names), dtype=torch.float64)
    active = snapshot.active
    return kinds.index_add_(0, snapshot.kind[active], priced[active])


def saving_bars(found: Sequence[Saving], subtitle: str = "") -> tuple[go.Figure, ...]:
    """What a little more of each resource would save, % of the lowest possible cost: batteries, deadlines, servers, own CPUs.

    A panel of which nothing is worth anything is left out.
    """
    panels = [("battery",), ("deadline",), ("cpu", "bandwidth"), ("own",)]
    by_panel = ([[one for one in found if one.kind == kind] for kind in panel] for panel in panels)
    return tuple(_panel(series, subtitle) for series in by_panel if any(one.price for one in chain(*series)))


def worthless(found: Sequence[Saving]) -> list[str]:
    """What would save nothing if there were more of it, in words; only batteries and deadlines can be so."""
    words = {"battery": "a larger battery", "deadline": "a later deadline"}
    return [word for kind, word in words.items() if not any(one.price for one in found if one.kind == kind)]


def _panel(series: Sequence[Sequence[Saving]], subtitle: str) -> go.Figure:
    first = series[0]
    names = [f"S{one.name}" if one.kind == "cpu" else one.name for one in first]
    bars = [
        Bars(f"{one[0].amount_words} {one[0].resource.more}", [saving.percent for saving in one],
             [_colour(n, saving) for n, saving in enumerate(one)], hatched=n > 0)
        for n, one in enumerate(series)
    ]  # fmt: skip
    groups = {"cpu": "server", "deadline": "task kind"}.get(first[0].kind, "user")
    title = f"What {' or '.join(one.name for one in bars)} for one {groups} would save"
    return grouped_bars(names, bars, title, AXIS, groups, subtitle, "% of the lowest possible cost")


def _colour(n: int, saving: Saving) -> str:
    if saving.kind == "deadline":
        return KIND_COLOURS[n % len(KIND_COLOURS)]
    return device_colour(int(saving.name) if saving.kind in ("cpu", "bandwidth") else 0)


def saving_table(found: Sequence[Saving]) -> pd.DataFrame:
    """The table of `saving_bars`: every resource with what its amount saves in % of the cost and in return, and its price."""
    columns = ["resource", "more of it", AXIS, "return gained", "return per unit", "unit"]
    rows = [
        (
            f"{one.resource.of} {one.name}",
            one.amount_words,
            *(_digits(x) for x in (one.percent, one.price * one.amount, one.price / one.resource.factor)),
            one.resource.unit,
        )
        for one in found
    ]
    return pd.DataFrame(rows, columns=columns)


def _digits(value: float) -> float:
    return float(f"{value:.3g}")
