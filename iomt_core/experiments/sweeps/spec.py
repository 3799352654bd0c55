"""The definition of a sweep: a base scenario, one or two parameters over a range, policies, and episodes for each point.

A sweep has one point for every value on its grid and every policy. `points.compute` evaluates a point, `run.Sweep` a sweep.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from iomt_core.experiments.sweeps.points import Point
from iomt_core.policies.base import SHARES, Shares
from iomt_core.scenario import (
    Frozen,
    Meta,
    Scenario,
    ScenarioError,
    beyond_bounds,
    check_range,
    metadata,
    set_elsewhere,
)
from iomt_core.scenario.errors import explain
from iomt_core.scenario.files import misread
from iomt_core.scenario.notes import note
from iomt_core.scenario.units import read_number
from iomt_core.training.catalogue import entry
from iomt_core.twin.northbound import checked_seed

Spacing = Literal["linear", "logarithmic"]
MOST_VALUES = 50  # an axis
MOST_POINTS = 5_000
MOST_EPISODES = 10_000
MOST_POLICIES = 16
SUPERSCRIPTS = dict(zip("aemrtuxTE", "ᵃᵉᵐʳᵗᵘˣᵀᴱ", strict=True))
SUBSCRIPTS = dict(zip("ik0", "ᵢₖ₀", strict=True))
# Counts of what may be switched off one by one, and the numbers of those in operation.
COUNTED = MappingProxyType({"users": "user_numbers", "servers": "server_numbers"})
DIGITS = 6  # significant digits of a value between the two ends


def sweepable(s: Scenario | None = None) -> Mapping[str, Meta]:
    """The parameters that can be swept, by name: numbers with an allowed range, and ranges whose two ends scale together.

    With `s`, without those that its workload, places or task kinds set.
    """
    known = {
        name: meta
        for name, meta in metadata().items()
        if meta.low is not None and meta.group != "file" and name not in ("P", "gamma")
    }
    decided = set_elsewhere(s) if s is not None else {}
    return MappingProxyType({name: meta for name, meta in known.items() if name not in decided})


class Axis(Frozen):
    """A parameter and its values, SI, ascending.

    For a parameter that is a range (D, C, P_tr) a value is the middle of the range, and both ends scale with it.
    """

    parameter: str
    values: tuple[float, ...] = Field(min_length=1)
    spacing: Spacing = "linear"

    @model_validator(mode="after")
    def _validate(self) -> Axis:
        meta = _known(self.parameter)
        name, values = self.parameter, self.values
        if len(values) > MOST_VALUES:
            raise ScenarioError(f"{name}: {len(values)} values are too many: allowed is 1 to {MOST_VALUES}.")
        if any(b <= a for a, b in itertools.pairwise(values)):
            shown = ", ".join(f"{v:g}" for v in values[:8])
            raise ScenarioError(f"{name} = {shown} cannot be swept: allowed are values in ascending order, each once.")
        for value in (values[0], values[-1]):
            whole = is_whole(name) and value.is_integer()
            for problem in beyond_bounds(name, int(value) if whole else value, meta):
                raise ScenarioError(problem)
        for value in values:
            if is_whole(name) and value != int(value):
                raise ScenarioError(f"{name} = {value:g} is not a whole number: allowed is {meta.allowed()}, whole.")
        if self.spacing == "logarithmic" and values[0] <= 0:
            raise ScenarioError(f"{name} = {values[0]:g} has no logarithm: allowed is more than 0, or linear spacing.")
        return self

    @property
    def meta(self) -> Meta:
        """Unit, range and meaning of the parameter."""
        return metadata()[self.parameter]

    @property
    def title(self) -> str:
        """Axis title: label, symbol, unit."""
        meta = self.meta
        unit = meta.unit if meta.shown_unit is None else meta.shown_unit
        symbol = f" {written(meta.symbol)}" if meta.symbol else ""
        middle = ", middle of its range" if _is_pair(self.parameter) else ""
        return f"{meta.label}{symbol}{middle}{f' ({unit})' if unit else ''}"

    def shown(self, value: float) -> float:
        """An SI value in the unit that people read."""
        return float(f"{value * self.meta.shown_factor:.10g}")

    def change(self, s: Scenario, value: float) -> dict[str, Any]:
        """The fields of the scenario that this value sets, for `Scenario.changed`.

        Of users and servers each value is a whole ward of that many, none switched off: all values then compare alike.
        """
        now = getattr(s, self.parameter)
        if isinstance(now, tuple):
            factor = value / ((now[0] + now[1]) / 2)
            return {self.parameter: tuple(float(f"{end * factor:.12g}") for end in now)}
        none_off: dict[str, Any] = {f"{self.parameter}_off": ()} if self.parameter in COUNTED else {}
        return {self.parameter: int(value) if is_whole(self.parameter) else value, **none_off}

    def note(self, s: Scenario) -> str:
        """What differs between `s` and the wards of all values, other than the value; empty if nothing does."""
        off = switched_off(s, self.parameter)
        if not off:
            return ""
        total = getattr(s, f"ward_{self.parameter}")
        return (
            f"{self.meta.label}: each value is a whole ward of that many, although {len(off)} of {total} "
            f"{'is' if len(off) == 1 else 'are'} switched off in the present ward."
        )

    @property
    def words(self) -> str:
        """The axis as `--over` takes it."""
        values = ",".join(str(int(v)) if v == int(v) and abs(v) < 1e6 else repr(v) for v in self.values)
        return f"{self.parameter}={values}{':log' * (self.spacing == 'logarithmic')}"

    @property
    def end_words(self) -> str:
        """The axis's two ends as `ends_from_words` reads them."""
        spacing = "log" if self.spacing == "logarithmic" else "linear"
        return f"{self.parameter}={self.values[0]!r}:{self.values[-1]!r}:{spacing}"


def switched_off(s: Scenario, parameter: str) -> tuple[int, ...]:
    """The numbers of the users or servers that are switched off; empty for all other parameters."""
    return getattr(s, f"{parameter}_off") if parameter in COUNTED else ()


def spaced(parameter: str, low: float, high: float, count: int, spacing: Spacing = "linear") -> Axis:
    """An axis of `count` values from `low` to `high`, SI; whole numbers where the parameter is one, each once.

    Raises `ScenarioError`.
    """
    _known(parameter)
    check_range(f"{parameter}: count", count, 1, MOST_VALUES)
    if not (math.isfinite(low) and math.isfinite(high)) or high < low:
        raise ScenarioError(
            f"{parameter} = {low:g} to {high:g} cannot be swept: the low end may not lie above the high."
        )
    if count == 1 and high > low:
        raise ScenarioError(
            f"{parameter}: count = 1 is out of range: from {low:g} to {high:g} takes at least 2 values."
        )
    if spacing == "logarithmic" and low <= 0:
        raise ScenarioError(f"{parameter} = {low:g} has no logarithm: allowed is more than 0, or linear spacing.")
    between = np.geomspace if spacing == "logarithmic" else np.linspace
    values = [low, *(float(f"{v:.{DIGITS}g}") for v in between(low, high, count)[1:-1]), high][: max(1, count)]
    if is_whole(parameter):
        values = [float(round(v)) for v in values]
    return _axis(parameter=parameter, values=tuple(sorted(set(values))), spacing=spacing)


def usual_ends(s: Scenario, name: str) -> tuple[float, float, Spacing]:
    """A range to begin with, SI: a quarter to four times the value if it is logarithmic, otherwise all usual values.

    A range without an upper limit ends at 9, and one whose value is beyond the usual ones at twice that value. Raises
    `ScenarioError` for a parameter that cannot be swept.
    """
    meta, value = _known(name), getattr(s, name)
    now = sum(value) / 2 if isinstance(value, tuple) else value
    allowed_low, allowed_high = meta.low or 0.0, meta.high or 0.0
    low, high = meta.span
    if meta.log and now is not None:
        at = now or low
        return max(allowed_low, at / 4), min(allowed_high, at * 4), "logarithmic"
    high = high if now is None or now <= high else min(allowed_high, 2 * now)
    return low, min(high, 9 if high > 1e6 else high), "linear"


def ends_from_words(words: str, s: Scenario) -> Axis:
    """Read a range, an axis of its two ends, from `NAME=LOW:HIGH[:log]` or `NAME` alone, which takes the usual range.

    Without `:log` or `:linear` the spacing is the usual one of the parameter. Raises `ScenarioError`.
    """
    name, separator, rest = words.partition("=")
    if not separator:
        low, high, spacing = usual_ends(s, name)
        return _axis(parameter=name, values=(low, high), spacing=spacing)
    parts = rest.split(":")
    if parts[-1] not in ("log", "linear"):
        parts.append("log" if _known(name).log else "linear")
    return axis_from_words(f"{name}={','.join(parts[:-1])}:{parts[-1]}")


def axis_from_words(words: str) -> Axis:
    """Read an axis from `NAME=LOW:HIGH:COUNT[:log]` or `NAME=V1,V2,…[:log]`; values are SI or have a unit ("20 ms").

    A bare number that was probably meant in another unit gets a note, see `collect_notes`. Raises `ScenarioError`.
    """
    name, separator, rest = words.partition("=")
    parts = rest.split(":")
    spacing: Spacing = "linear"
    if parts[-1] in ("log", "linear"):
        spacing = "logarithmic" if parts.pop() == "log" else "linear"
    reason = "allowed is NAME=LOW:HIGH:COUNT or NAME=V1,V2,…"
    if separator and len(parts) in (1, 3):
        texts = parts[0].split(",") if len(parts) == 1 else parts[:2]
        unit = _known(name).unit
        try:
            values = [float(read_number(text, unit)) for text in texts]
            count = int(parts[2]) if len(parts) == 3 else None
        except ValueError as error:
            reason = f"{error}; {reason}"
        else:
            if count is None:
                axis = _axis(parameter=name, values=tuple(values), spacing=spacing)
            else:
                axis = spaced(name, values[0], values[1], count, spacing)
            bare = (value for text, value in zip(texts, values, strict=True) if text.strip()[-1].isdigit())
            if doubt := next(filter(None, (misread(name, value) for value in bare)), None):
                note(doubt)
            return axis
    raise ScenarioError(
        f"over = {words[:60]!r} cannot be read: {reason} in SI units or with a unit (20 ms), with :log at the end for "
        "logarithmic spacing."
    )


class SweepSpec(Frozen):
    """A complete sweep: together with the code it determines every number of the result."""

    scenario: Scenario
    axes: tuple[Axis, ...]
    policies: tuple[str, ...]
    shares: Shares = "own"
    seed: int = 0
    episodes: int = 5

    @model_validator(mode="after")
    def _validate(self) -> SweepSpec:
        problems: list[str] = []
        names = [axis.parameter for axis in self.axes]
        if not 1 <= len(names) <= 2:
            problems.append(f"over = {len(names)} parameters cannot be swept: allowed is 1 or 2.")
        if len(set(names)) < len(names):
            problems.append(f"over = {names[0]!r} is given twice: allowed are two different parameters.")
        decided = set_elsewhere(self.scenario)
        problems += [f"over = {n!r} cannot be swept: it is {decided[n]}." for n in names if n in decided]
        if not 1 <= len(self.policies) <= MOST_POLICIES:
            problems.append(f"policies: {len(self.policies)} of them; allowed is 1 to {MOST_POLICIES}.")
        if len(set(self.policies)) < len(self.policies):
            problems.append("policies: one is given twice; allowed is each once.")
        problems += _problems(lambda: check_range("episodes", self.episodes, 1, MOST_EPISODES))
        problems += _problems(lambda: checked_seed(self.seed))
        count = math.prod(len(axis.values) for axis in self.axes) * len(self.policies)
        if count > MOST_POINTS:
            problems.append(f"points = {count} (values times policies) are too many: allowed is 1 to {MOST_POINTS}.")
        if problems:
            raise ScenarioError(problems)
        for _ in self.cells:  # raises where a value and the rest of the scenario do not fit together
            pass
        return self

    @cached_property
    def cells(self) -> Mapping[tuple[float, ...], Scenario]:
        """The scenario of every combination of the axes' values, first axis slowest. Raises `ScenarioError`."""
        found = {}
        for values in itertools.product(*(axis.values for axis in self.axes)):
            change: dict[str, Any] = {}
            for axis, value in zip(self.axes, values, strict=True):
                change |= axis.change(self.scenario, value)
            found[values] = self.scenario.changed(**change)
        return MappingProxyType(found)

    def points(self) -> Iterator[Point]:
        """All points, ward by ward."""
        for values, s in self.cells.items():
            for policy in self.policies:
                yield Point(values, policy, s)

    @property
    def count(self) -> int:
        """Number of points."""
        return len(self.cells) * len(self.policies)

    @property
    def notes(self) -> list[str]:
        """What a reader must know of the wards."""
        return [note for axis in self.axes if (note := axis.note(self.scenario))]


def sweep_spec(values: Mapping[str, Any], known: bool = True) -> SweepSpec:
    """A validated sweep from plain values. Raises `ScenarioError` naming field, value and what is allowed.

    With `known` false its policies need not exist any more, as in an old sweep.
    """
    try:
        spec = SweepSpec.model_validate(dict(values))
    except ValidationError as error:
        raise explain(error, lambda field: ", ".join(SHARES) if field == "shares" else "") from None
    if not known:
        return spec
    unknown = [problem for name in spec.policies for problem in _problems(lambda: entry(name))]  # noqa: B023
    if unknown:
        raise ScenarioError(unknown)
    return spec.model_copy(update={"policies": tuple(entry(name).name for name in spec.policies)})


def written(symbol: str) -> str:
    """A symbol like N_i^t in Unicode super- and subscripts; unchanged where a letter has none."""
    found = symbol
    for part in re.findall(r"[_^](?:\{\w+\}|\w(?!\w))", symbol):
        letters = part[1:].strip("{}")
        kind = SUPERSCRIPTS if part[0] == "^" else SUBSCRIPTS
        if all(letter in kind for letter in letters):
            found = found.replace(part, "".join(kind[letter] for letter in letters), 1)
    return found


def is_whole(parameter: str) -> bool:
    """Whether the parameter takes whole numbers only."""
    return Scenario.model_fields[parameter].annotation is int


def _is_pair(parameter: str) -> bool:
    return isinstance(Scenario.model_fields[parameter].default, tuple)


def _axis(**values: Any) -> Axis:
    bad = [value for value in values["values"] if not math.isfinite(value)]
    if bad:
        raise ScenarioError(f"{values['parameter']} = {bad[0]} is not a number that a parameter can have.")
    try:
        return Axis.model_validate(values)
    except ValidationError as error:
        raise explain(error, lambda field: ", ".join(SHARES) if field == "shares" else "") from None


def _known(parameter: str) -> Meta:
    known = sweepable()
    if parameter not in known:
        near = difflib.get_close_matches(parameter, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ScenarioError(f"over = {parameter[:60]!r} cannot be swept: allowed is {', '.join(known)}.{hint}")
    return known[parameter]


def _problems(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except ScenarioError as error:
        return error.problems
    return []


# Varied in Figs. 6 to 13; the values are this lab's, because the paper's figures cannot be read off exactly.
PAPER_AXES: Mapping[str, Axis] = MappingProxyType(
    {
        "tasks": spaced("tasks", 4, 12, 5),
        "servers": spaced("servers", 1, 8, 8),
        "users": spaced("users", 4, 12, 5),
    }
)
