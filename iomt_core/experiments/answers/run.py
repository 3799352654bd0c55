"""An answer on disk: its folder, and the queue of answers.

In addition to the files of every run (see `runs.directory`) the folder contains

answer.json     the question, and the versions of code and libraries that created it; needed to resume
scenario.yaml   its ward
points.jsonl    one line for each point, added when the point is done
results.csv, report.html   written when the answer finishes, stops or fails
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from iomt_core.experiments.answers.goal_seek import GoalSeek
from iomt_core.experiments.answers.question import FEWEST_EPISODES, Question, validated
from iomt_core.experiments.answers.results import Key, Results
from iomt_core.experiments.answers.screening import Screening
from iomt_core.experiments.answers.sensitivity import Sensitivity
from iomt_core.experiments.answers.trade_off import TradeOff
from iomt_core.experiments.sweeps.point_run import CSV, POINTS, REPORT, Job, PointRun, SpecFile, versions
from iomt_core.experiments.sweeps.points import Point, Store, jobs
from iomt_core.paths import user_folder
from iomt_core.runs.directory import read_lines
from iomt_core.scenario import check_known
from iomt_core.scenario.files import write_text_atomically, written_whole
from iomt_core.training.catalogue import entry

QUESTIONS: Mapping[str, type[Question]] = MappingProxyType(
    {kind.name: kind for kind in (Sensitivity, Screening, GoalSeek, TradeOff)}
)
# A function that writes the HTML report of an answer from its results so far and the versions that computed them.
Report = Callable[[Question, Results, Mapping[str, str]], str]


def make_question(values: Mapping[str, Any], known: bool = True) -> Question:
    """A validated question from plain values; `kind` names it. Without episodes it gets the usual number of them.

    With `known` false its policies need not exist any more, as in an old answer. Raises `ScenarioError`.
    """
    kind = values.get("kind")
    check_known("question", kind, QUESTIONS)
    found = validated(QUESTIONS[str(kind)], {"episodes": FEWEST_EPISODES, **values})
    if known:
        found = found.with_policies([entry(name).name for name in found.policies])
    return found if "episodes" in values else found.model_copy(update={"episodes": found.usual_episodes})


SPEC = SpecFile("answer.json", "answer", lambda values: make_question(values, known=False))


class Answer(PointRun[Question]):
    """The answer to a question in its folder; `run` computes its points."""

    spec_file = SPEC

    @property
    def known(self) -> Results:
        """The results so far."""
        return Results(self.results)

    @property
    def total(self) -> int:
        """Number of points as far as it is known; at most `Question.count` before the end."""
        return max(self.spec.count if self.wanted() else 0, len(self.results))

    def wanted(self) -> Sequence[Point]:
        """The points that the question calls for and that are not known yet."""
        return [point for point in self.spec.points(self.known) if self.key_of(point) not in self.results]

    def jobs(self, points: Iterable[Point]) -> Iterable[Job]:
        """The points with their keys; their results have the sums of every episode."""
        q = self.spec
        return jobs(points, q.shares, q.seed, q.episodes, per_episode=True)

    def key_of(self, point: Point) -> Key:
        """Digest of the scenario, and policy."""
        return point.scenario.digest, point.policy

    def describe(self, point: Point) -> str:
        """Policy and ward of a point."""
        return f"{point.policy} on {point.scenario.name} {point.scenario.digest[:8]}"

    def write_results(self, report: Report | None) -> None:
        """Writes results.csv and, with `report`, report.html."""
        with written_whole(self.folder / CSV) as part:
            self.spec.table(self.known).to_csv(part, index=False)
        if report is not None:
            write_text_atomically(self.folder / REPORT, report(self.spec, self.known, versions()))


def read_results(folder: Path) -> Results:
    """The results so far of an answer's folder. Raises `ScenarioError`."""
    lines = (line for line in read_lines(folder / POINTS) if isinstance(line.get("result"), dict))
    return Results({(str(line["scenario_digest"]), str(line["policy"])): line["result"] for line in lines})


def answers_root() -> Path:
    """The folder of the user's answers: the environment variable IOMT_ANSWERS, or `answers/`."""
    return user_folder("IOMT_ANSWERS")


def point_store() -> Store:
    """The store of all computed points, shared by all answers."""
    return Store(answers_root() / ".points")


ANSWERS = SPEC.queue("IOMT_ANSWERS", answers_root)
