"""What matters most over whole ranges: Morris screening and Sobol indices of several parameters at once, by SALib.

The parameters are sampled on the unit cube and then scaled: evenly or in the logarithm, and whole numbers are equally likely.
Every sample is played on the same episodes, so the indices are about the parameters and not about chance.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Literal, cast

import numpy as np
import pandas as pd

from iomt_core.experiments.answers.question import IMPACTS, PolicyQuestion, unavailable_notes
from iomt_core.experiments.answers.results import Results
from iomt_core.experiments.sweeps.points import Point
from iomt_core.experiments.sweeps.spec import MOST_POINTS, Axis, is_whole
from iomt_core.metrics import METRICS
from iomt_core.scenario import Scenario, ScenarioError, check_known, set_elsewhere
from iomt_core.training.catalogue import policy_label

Method = Literal["morris", "sobol"]
METHODS = MappingProxyType({"morris": "Morris screening", "sobol": "Sobol indices"})
FEWEST, MOST = 2, 12  # parameters
LEVELS = 4  # of a Morris design
FEWEST_SAMPLES, MOST_SAMPLES = 4, 1024
# Columns of `indices` by method: the one that ranks parameters, and all others.
RANKED_BY = MappingProxyType({"morris": "mu_star", "sobol": "total"})
COLUMNS = MappingProxyType(
    {"morris": ("mu_star", "mu_star_conf", "sigma"), "sobol": ("total", "total_conf", "first", "first_conf")}
)


class Screening(PolicyQuestion):
    """Which parameter matters most over ranges of all of them?

    Each axis has two values, the ends of the range. samples: trajectories of Morris, base samples of Sobol (a power of 2).
    """

    name: ClassVar[str] = "screening"
    title: ClassVar[str] = "What matters most over whole ranges?"
    intervals: ClassVar[str] = "Intervals are 95 % intervals by bootstrap over the samples"

    kind: Literal["screening"] = "screening"
    axes: tuple[Axis, ...]
    method: Method = "morris"
    samples: int = 8

    def _checks(self) -> Sequence[Callable[[], object]]:
        return (
            lambda: check_known("method", self.method, METHODS),
            self._check_axes, self._check_samples,
        )  # fmt: skip

    def _check_axes(self) -> None:
        names = [axis.parameter for axis in self.axes]
        decided = set_elsewhere(self.scenario)
        problems = [f"over = {n!r} cannot be varied: it is {decided[n]}." for n in names if n in decided]
        if not FEWEST <= len(names) <= MOST:
            problems.append(f"over = {len(names)} parameters: allowed is {FEWEST} to {MOST} of them.")
        problems += [f"over = {n!r} is given twice." for n in dict.fromkeys(names) if names.count(n) > 1]
        problems += [f"over = {a.words!r}: allowed are two values, the ends." for a in self.axes if len(a.values) != 2]
        if problems:
            raise ScenarioError(problems)

    def _check_samples(self) -> None:
        power = self.samples > 0 and self.samples & (self.samples - 1) == 0
        if not FEWEST_SAMPLES <= self.samples <= MOST_SAMPLES or (self.method == "sobol" and not power):
            words = ", a power of 2" if self.method == "sobol" else ""
            raise ScenarioError(
                f"samples = {self.samples} cannot be used: allowed is {FEWEST_SAMPLES} to {MOST_SAMPLES}{words}."
            )
        if self.count > MOST_POINTS:
            raise ScenarioError(f"samples: {self.count} points are too many: allowed is {MOST_POINTS}.")

    @property
    def count(self) -> int:
        """Number of sampled points."""
        return self.samples * block_size(self.method, self.axes)

    @cached_property
    def design(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The sampled points on the unit cube, (count, parameters), block by block.

        The seed is that of the episodes plus 1, here and in `indices`: for SALib's bootstrap 0 means no seed.
        """
        from SALib.sample import morris, sobol  # two seconds

        if self.method == "morris":
            found = morris.sample(_problem(self.axes), self.samples, num_levels=LEVELS, seed=1 + self.seed)
        else:
            found = sobol.sample(_problem(self.axes), self.samples, calc_second_order=False, seed=1 + self.seed)
        return cast("np.ndarray[Any, np.dtype[np.float64]]", found)

    @cached_property
    def wards(self) -> tuple[Scenario, ...]:
        """The scenario of every sampled point. Raises `ScenarioError` where the values do not fit to the rest."""
        found = []
        for row in self.design:
            change: dict[str, Any] = {}
            for axis, u in zip(self.axes, row, strict=True):
                change |= axis.change(self.scenario, scaled(axis, float(u)))
            found.append(self.scenario.changed(**change))
        return tuple(found)

    def points(self, results: Results) -> list[Point]:
        """All sampled points."""
        return [Point((), self.policy, ward) for ward in self.wards]

    def indices(self, results: Results, metric: str) -> pd.DataFrame:
        """The indices of the parameters for a metric, one row each, see `COLUMNS`; empty until enough points are known.

        morris: `mu_star` is the mean change of the metric (SI) when the parameter moves over its whole range; `sigma` how much
        that differs from place to place. sobol: the part of the metric's variance that goes with the parameter `total`ly or by
        itself, `first`. `_conf` is half a 95 % interval by bootstrap. Only complete blocks count.
        """
        values = np.array([self._value(ward, metric, results) for ward in self.wards])
        return indices(self.method, self.axes, self.design, values, self.seed)

    def _value(self, ward: Scenario, metric: str, results: Results) -> float:
        found = results.of(ward, self.policy)
        return math.nan if found is None else found.mean(METRICS[metric])

    def sentence(self, results: Results, metric: str = "cost") -> str:
        """Which parameter has the largest index, and how sure that is."""
        label = METRICS[metric].heading.partition(" (")[0]
        table = self.indices(results, metric)
        if table.empty:
            return f"Not known: {policy_label(self.policy)} decided at too few points of these ranges."
        by = RANKED_BY[self.method]
        ordered = table.sort_values(by, ascending=False, kind="stable").reset_index(drop=True)
        first, second = ordered.to_dict("records")[:2]
        if not first[by] > 0:
            return f"None of these parameters changes the {label} over these ranges."
        axis = self.axis(str(first["parameter"]))
        matters = "matter" if is_whole(axis.parameter) else "matters"
        words = f"Over these ranges {axis.meta.label} {matters} most for the {label}"
        sure = first[by] - first[f"{by}_conf"] > second[by] + second[f"{by}_conf"]
        doubt = (
            ""
            if sure
            else f" {self.axis(str(second['parameter'])).meta.label} may matter as much: the intervals overlap."
        )
        if self.method == "morris":
            shown = METRICS[metric]
            size = f"{shown.number(first[by])} {shown.difference_unit}".strip()
            return f"{words}: moving it over its range changes the {label} by {size} on average.{doubt}"
        percent, half = 100 * first[by], 100 * first[f"{by}_conf"]
        return f"{words}: {percent:.0f} % of the variance of the {label} goes with it (± {half:.0f} percentage points).{doubt}"

    def axis(self, parameter: str) -> Axis:
        """The axis of a parameter."""
        return next(axis for axis in self.axes if axis.parameter == parameter)

    def notes(self, results: Results) -> list[str]:
        """Points where the policy cannot decide, and networks, if there were several."""
        found = [e for ward in self.wards if (e := results.of(ward, self.policy)) is not None]
        missing = [
            (f"{sum(bool(e.reason) for e in found)} of {self.count} points", e.reason) for e in found if e.reason
        ]
        notes = list(unavailable_notes(missing[:1]))
        if missing:
            notes.append("Samples with such a point are left out; narrower ranges give all of them.")
        return [*notes, *filter(None, (axis.note(self.scenario) for axis in self.axes))]

    def table(self, results: Results) -> pd.DataFrame:
        """The indices of every metric in `IMPACTS`, one row for each metric and parameter."""
        parts = []
        for name in IMPACTS:
            part = self.indices(results, name)
            ranges = [f"{a.meta.show(a.values[0])} to {a.meta.show(a.values[1])}" for a in self.axes]
            if not part.empty:
                part.insert(0, "metric", name)
                part.insert(2, "range", ranges)
                parts.append(part)
        if not parts:
            return pd.DataFrame()
        return pd.concat(parts, ignore_index=True).assign(
            method=METHODS[self.method], policy=self.policy, samples=self.samples, episodes=self.episodes,
            episode_seed=self.seed, shares=self.shares,
        )  # fmt: skip


def scaled(axis: Axis, u: float) -> float:
    """The value at u, from 0 to 1, between the ends of an axis; every whole number has an equal part of the interval."""
    low, high = axis.values
    if is_whole(axis.parameter):
        return min(high, low + math.floor(u * (high - low + 1)))
    value = low * (high / low) ** u if axis.spacing == "logarithmic" else low + u * (high - low)
    return min(high, max(low, float(f"{value:.9g}")))


def block_size(method: Method, axes: Sequence[Axis]) -> int:
    """Number of points of one trajectory (Morris) or one base sample (Sobol)."""
    return len(axes) + (1 if method == "morris" else 2)


def indices(
    method: Method,
    axes: Sequence[Axis],
    design: np.ndarray[Any, np.dtype[np.float64]],
    values: np.ndarray[Any, np.dtype[np.float64]],
    seed: int,
) -> pd.DataFrame:
    """The indices of any function at the points of a design, see `Screening.indices`; unknown values are NaN."""
    from SALib.analyze import morris, sobol

    block = block_size(method, axes)
    whole = ~np.isnan(values).reshape(-1, block).any(1)
    if whole.sum() < FEWEST_SAMPLES:
        return pd.DataFrame()
    rows = np.repeat(whole, block)
    x, y = design[rows], values[rows]
    names = [axis.parameter for axis in axes]
    if np.ptp(y) <= 1e-12 * np.abs(y).max():  # no variance to share out
        return pd.DataFrame({"parameter": names, **dict.fromkeys(COLUMNS[method], 0.0)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, about bootstrap samples without variance
        if method == "morris":
            found = morris.analyze(_problem(axes), x, y, num_levels=LEVELS, seed=1 + seed)
            columns = {"mu_star": found["mu_star"], "mu_star_conf": found["mu_star_conf"], "sigma": found["sigma"]}
        else:
            found = sobol.analyze(_problem(axes), y, calc_second_order=False, seed=1 + seed)
            columns = {
                "total": found["ST"], "total_conf": found["ST_conf"], "first": found["S1"], "first_conf": found["S1_conf"],
            }  # fmt: skip
    return pd.DataFrame({"parameter": names, **{name: np.asarray(x, float) for name, x in columns.items()}})


def _problem(axes: Sequence[Axis]) -> dict[str, Any]:
    return {"num_vars": len(axes), "names": [axis.parameter for axis in axes], "bounds": [[0.0, 1.0]] * len(axes)}
