"""What all questions have in common: ward, shares, seed and episodes, and what an answer consists of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import pandas as pd
from pydantic import ValidationError, model_validator

from iomt_core.experiments.answers.results import Results
from iomt_core.experiments.sweeps.points import Point
from iomt_core.metrics import ANSWERS, METRICS, Metric
from iomt_core.policies.base import Shares
from iomt_core.scenario import Frozen, Scenario, ScenarioError, check_known, check_range
from iomt_core.scenario.errors import explain
from iomt_core.scenario.units import read_number
from iomt_core.training.catalogue import policy_label
from iomt_core.twin.northbound import checked_seed

FEWEST_EPISODES, MOST_EPISODES = 2, 1_000  # an interval needs two
IMPACTS = ("cost", "mean_delay_s", "mean_energy_j")  # the metrics whose changes are shown
MOST_USUAL = 20  # episodes that are played unless a person asks for more
# Tasks that the slowest policy decides about in a second of one core, and the seconds that all points may take by default: two
# cores need about ten, and some for their start.
TASKS_A_SECOND, SECONDS = 12_000, 24


class Question(Frozen):
    """A question about a ward. Together with the code it determines every number of the answer."""

    name: ClassVar[str]  # in commands, links and files
    title: ClassVar[str]  # as people ask it
    intervals: ClassVar[str] = "Intervals are 95 % intervals over episodes"

    scenario: Scenario
    shares: Shares = "own"
    seed: int = 0
    episodes: int

    @model_validator(mode="after")
    def _validate(self) -> Question:
        problems = [
            problem
            for check in (
                lambda: check_range("episodes", self.episodes, FEWEST_EPISODES, MOST_EPISODES),
                lambda: checked_seed(self.seed),
                *self._checks(),
            )
            for problem in _problems(check)
        ]
        if problems:
            raise ScenarioError(problems)
        return self

    def _checks(self) -> Sequence[Callable[[], object]]:
        """Further checks; each raises `ScenarioError`."""
        return ()

    @property
    @abstractmethod
    def policies(self) -> tuple[str, ...]:
        """The policies that decide."""

    @abstractmethod
    def with_policies(self, names: Sequence[str]) -> Self:
        """The same question about these policies, as many as now."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of points, at most."""

    @property
    def usual_episodes(self) -> int:
        """So many episodes that an answer takes less than 20 seconds on two cores, as far as the ward's size allows."""
        s = self.scenario
        episodes = SECONDS * TASKS_A_SECOND / (s.T * s.users * s.tasks * self.count)
        return max(FEWEST_EPISODES, min(MOST_USUAL, round(episodes)))

    @abstractmethod
    def points(self, results: Results) -> list[Point]:
        """The points that the results so far call for, known ones included."""

    def is_complete(self, results: Results) -> bool:
        """Whether all points that the results call for are known."""
        return all(results.of(point.scenario, point.policy) is not None for point in self.points(results))

    def answer(self, results: Results, metric: str = "cost") -> str:
        """The answer in plain words, for a metric where its change is asked about; while points are missing it says so."""
        words = self.sentence(results, metric)
        return words if self.is_complete(results) else f"Not complete, so far: {words}"

    @abstractmethod
    def sentence(self, results: Results, metric: str = "cost") -> str:
        """The answer by the known points, in one or a few sentences."""

    @abstractmethod
    def notes(self, results: Results) -> list[str]:
        """What a reader must know in addition, one sentence or two each."""

    @abstractmethod
    def table(self, results: Results) -> pd.DataFrame:
        """The numbers of the answer, in SI units."""

    @property
    def policy_names(self) -> str:
        """The policies' labels, with the networks that decide."""
        return "; ".join(policy_label(policy) for policy in self.policies)


class PolicyQuestion(Question):
    """A question about one policy."""

    policy: str

    @property
    def policies(self) -> tuple[str, ...]:
        """The one policy."""
        return (self.policy,)

    def with_policies(self, names: Sequence[str]) -> Self:
        """The same question about this policy."""
        return self.model_copy(update={"policy": names[0]})


def metric_named(name: str) -> Metric:
    """A metric of `METRICS` or `ANSWERS`. Raises `ScenarioError`."""
    known = {**METRICS, **ANSWERS}
    check_known("metric", name, known)
    return known[name]


def target_from_words(text: str, metric: Metric) -> float:
    """Read an amount of a metric, SI, from a number with or without a unit: "10 ms", "0.01", "1 %". Raises `ScenarioError`."""
    try:
        if metric.unit == "%" and text.strip().endswith("%"):
            return float(read_number(text.strip()[:-1], "")) / metric.factor
        return float(read_number(text, metric.si))
    except ValueError as error:
        raise ScenarioError(f"target = {text[:60]!r} cannot be read: {error}.") from None


def unavailable_notes(reasons: Sequence[tuple[str, str]], what: str = "Not available") -> Iterator[str]:
    """A note for each reason why there is no result; `reasons` has (where, reason)."""
    places: dict[str, list[str]] = {}
    for where, reason in reasons:
        places.setdefault(reason, []).append(where)
    for reason, found in places.items():
        more = f" and {len(found) - 6} more" if len(found) > 6 else ""
        yield f"{what}: {', '.join(found[:6])}{more}: {reason}{'' if reason.endswith('.') else '.'}"


def _problems(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except ScenarioError as error:
        return error.problems
    return []


def validated(kind: type[Question], values: Mapping[str, Any]) -> Question:
    """A question from plain values. Raises `ScenarioError`."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise explain(error, lambda field: "") from None
