"""The state of the Answers page: the question, its form, and which answer is shown; and how a link describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from dashboard.session import Session, page_state
from dashboard.sweep.form import AxisForm, usual
from iomt_core.experiments.answers.goal_seek import TARGETS, USUAL, GoalSeek, usual_target
from iomt_core.experiments.answers.question import MOST_EPISODES, Question, metric_named
from iomt_core.experiments.answers.run import ANSWERS, QUESTIONS, make_question
from iomt_core.experiments.answers.screening import FEWEST, METHODS, Screening
from iomt_core.experiments.answers.sensitivity import Sensitivity
from iomt_core.experiments.answers.trade_off import LEAST, TradeOff
from iomt_core.experiments.sweeps.executors import default_workers
from iomt_core.experiments.sweeps.spec import ends_from_words, sweepable
from iomt_core.scenario import ScenarioError, check_known
from iomt_core.scenario.links import whole_number
from iomt_core.training.catalogue import entry

# What the page asks, by the name of the first of its kinds of questions.
TOPICS = MappingProxyType(
    {Sensitivity.name: Sensitivity.title, GoalSeek.name: GoalSeek.title, TradeOff.name: TradeOff.title}
)
RANGES_AT_FIRST = ("users", "tasks", "servers", "F_k", "B_k")
SEEKS = MappingProxyType({"least": "the least", "most": "the most"})


@dataclass
class Form:
    """What a person has filled in; numbers are in the units shown on the page."""

    topic: str = Sensitivity.name  # a key of `TOPICS`
    ranges: bool = False  # what matters most: over whole ranges
    change: float = 10.0  # %
    over: dict[str, AxisForm] = field(default_factory=dict)  # whole ranges, by parameter
    method: str = "morris"
    samples: int = 8
    axis: AxisForm | None = None  # of the goal seek; None: servers
    seek: str = "least"
    metric: str = "mean_delay_s"
    target: float | None = None  # None: a usual one
    policies: list[str] | None = None  # of the trade-off; None: the session's and two others
    weights: int = 11
    episodes: int | None = None  # None: as many as take seconds
    workers: int = field(default_factory=default_workers)

    @property
    def kind(self) -> str:
        """Name of the question that is asked."""
        return Screening.name if self.topic == Sensitivity.name and self.ranges else self.topic

    def axis_for(self, session: Session) -> AxisForm:
        """The range of the goal seek; at first that of the servers, or of what else can be varied in this ward."""
        usable = sweepable(session.scenario)
        if self.axis is None or self.axis.parameter not in usable:
            self.choose_axis(session, "servers" if "servers" in usable else next(iter(usable)))
        assert self.axis is not None
        return self.axis

    def choose_axis(self, session: Session, parameter: str) -> None:
        """Sets the parameter of the goal seek, with its usual range and direction."""
        self.axis, self.seek = usual(session.scenario, parameter), USUAL.get(parameter, "least")
        self.axis.count = 2

    def ranges_for(self, session: Session) -> dict[str, AxisForm]:
        """The ranges of all chosen parameters that can be varied in this ward."""
        usable = sweepable(session.scenario)
        if not self.over:
            self.choose_ranges(session, [name for name in RANGES_AT_FIRST if name in usable])
        return {name: axis for name, axis in self.over.items() if name in usable}

    def choose_ranges(self, session: Session, names: list[str]) -> None:
        """Sets the parameters over whose ranges the question is asked; new ones get their usual range."""
        self.over = {name: self.over.get(name) or usual(session.scenario, name) for name in names}
        for axis in self.over.values():
            axis.count = 2

    def target_for(self, session: Session) -> float:
        """The target in the metric's displayed unit."""
        metric = metric_named(self.metric)
        return usual_target(metric, session.scenario) * metric.factor if self.target is None else self.target

    def policies_for(self, session: Session) -> list[str]:
        """The policies of the trade-off."""
        others = (session.shown_policy, "price-response", "optimum")
        return list(dict.fromkeys(others)) if self.policies is None else self.policies

    def question(self, session: Session) -> Question:
        """The question that the form describes. Raises `ScenarioError`."""
        values: dict[str, Any] = {
            "kind": self.kind, "scenario": session.scenario, "shares": session.shares, "seed": session.seed,
            "policy": session.shown_policy,
        }  # fmt: skip
        if self.episodes is not None:
            values["episodes"] = self.episodes
        if self.kind == Sensitivity.name:
            values["change"] = self.change / 100
        elif self.kind == Screening.name:
            axes = [axis.axis() for axis in self.ranges_for(session).values()]
            values |= {"axes": axes, "method": self.method, "samples": self.samples}
        elif self.kind == GoalSeek.name:
            target = self.target_for(session) / metric_named(self.metric).factor
            values |= {
                "axis": self.axis_for(session).axis(), "metric": self.metric, "target": float(f"{target:.9g}"),
                "seek": self.seek,
            }  # fmt: skip
        else:
            del values["policy"]
            values |= {"compared": tuple(self.policies_for(session)), "weights": spaced_weights(self.weights)}
        return make_question(values)


def spaced_weights(count: int) -> tuple[float, ...]:
    """So many values of α_T, evenly from 0 to 1; the first is the smallest that is allowed."""
    inner = (float(f"{n / (count - 1):.4g}") for n in range(1, count))
    return (LEAST, *inner)


@dataclass
class View:
    """What the page shows in this session, and its form."""

    form: Form = field(default_factory=Form)
    shown: dict[str, str] = field(default_factory=dict)  # the answer that is shown, by kind of question
    metric: str = "cost"  # whose change a tornado and indices show
    problems: list[str] = field(default_factory=list)


def current_view(session: Session) -> View:
    """The page's state in this session; at first what the link says."""
    return page_state(session, "answers", lambda entries: from_view(session, entries))


def link_view(view: View, session: Session) -> dict[str, str]:
    """The page's entries of a link. Raises `ScenarioError` where a range in the form is not valid."""
    form = view.form
    entries = {"question": form.kind}
    if form.episodes is not None:
        entries["episodes"] = str(form.episodes)
    if form.kind == Sensitivity.name:
        entries["change"] = f"{form.change:g}"
    elif form.kind == Screening.name:
        entries["over"] = ";".join(axis.axis().end_words for axis in form.ranges_for(session).values())
        entries |= {"method": form.method, "samples": str(form.samples)}
    elif form.kind == GoalSeek.name:
        entries |= {"over": form.axis_for(session).axis().end_words, "metric": form.metric, "seek": form.seek}
        entries["target"] = f"{form.target_for(session):.9g}"
    else:
        entries |= {"policies": ",".join(form.policies_for(session)), "weights": str(form.weights)}
    return entries | ({"answer": view.shown[form.kind]} if form.kind in view.shown else {})


def from_view(session: Session, entries: Mapping[str, str]) -> View:
    """The state that the page's entries of a link describe; an invalid entry becomes a problem of the view."""
    view = View()
    for read in (_read_question, _read_numbers, _read_ranges, _read_choices, _read_answer):
        try:
            read(view, session, entries)
        except ScenarioError as error:
            view.problems += error.problems
    return view


def _read_question(view: View, session: Session, entries: Mapping[str, str]) -> None:
    if "question" in entries:
        kind = entries["question"]
        check_known("question", kind, QUESTIONS)
        view.form.ranges = kind == Screening.name
        view.form.topic = Sensitivity.name if view.form.ranges else kind


def _read_numbers(view: View, session: Session, entries: Mapping[str, str]) -> None:
    for name, low, high in (("episodes", 2, MOST_EPISODES), ("samples", 4, 1024), ("weights", 2, 41)):
        if name in entries:
            count = whole_number(entries[name], low, high)
            if count is None:
                raise ScenarioError(
                    f"{name} = {entries[name][:40]!r} in the link is out of range: allowed is {low} to {high}."
                )
            setattr(view.form, name, count)
    for name in ("change", "target"):
        if name in entries:
            try:
                setattr(view.form, name, float(entries[name]))
            except ValueError:
                raise ScenarioError(f"{name} = {entries[name][:40]!r} in the link is not a number.") from None


def _read_ranges(view: View, session: Session, entries: Mapping[str, str]) -> None:
    if "over" not in entries:
        return
    axes = [AxisForm.of(ends_from_words(words, session.scenario)) for words in entries["over"].split(";")[:20]]
    if view.form.kind == Screening.name and len(axes) >= FEWEST:
        view.form.over = {axis.parameter: axis for axis in axes}
    elif view.form.kind == GoalSeek.name:
        view.form.axis = axes[0]


def _read_choices(view: View, session: Session, entries: Mapping[str, str]) -> None:
    for name, known in (("method", METHODS), ("metric", TARGETS), ("seek", SEEKS)):
        if name in entries:
            check_known(name, entries[name], known)
            setattr(view.form, name, entries[name])
    if "policies" in entries:
        view.form.policies = [entry(name).name for name in dict.fromkeys(entries["policies"].split(",")) if name]


def _read_answer(view: View, session: Session, entries: Mapping[str, str]) -> None:
    if "answer" in entries:
        run = ANSWERS.run(entries["answer"])
        if run.spec is not None:
            view.shown[run.spec.name] = run.name
