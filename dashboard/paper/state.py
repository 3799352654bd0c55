"""The state of the Paper page: the figure, the metric and the ward that it shows, and how a link describes that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dashboard.session import Session, page_state
from iomt_core.charts.paper import metrics_of
from iomt_core.experiments.paper.figures import FIGURES, Figure, figure_named
from iomt_core.scenario import ScenarioError, check_known
from iomt_core.scenario.links import whole_number

FIRST = "figure-10"


@dataclass
class View:
    """What the page shows in this session. metric "": the paper's; at None: the middle of the axis."""

    name: str = FIRST
    metric: str = ""
    at: int | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def figure(self) -> Figure:
        """The figure."""
        return FIGURES[self.name]

    @property
    def shown_metric(self) -> str:
        """The metric that is drawn; the paper's own where this figure does not have the chosen one."""
        return self.metric if self.metric in metrics_of(self.figure) else self.figure.metric

    @property
    def value(self) -> float:
        """The value of the axis whose ward Explore opens."""
        values = tuple(self.figure.wards)
        return float(self.at) if self.at in values else values[len(values) // 2]


def current_view(session: Session) -> View:
    """The page's state in this session; at first what the link says."""
    return page_state(session, "paper", from_view)


def link_view(view: View) -> dict[str, str]:
    """The page's entries of a link."""
    entries = {"figure": view.name}
    if view.metric:
        entries["metric"] = view.metric
    return entries | ({"at": str(view.at)} if view.at is not None else {})


def from_view(entries: Mapping[str, str]) -> View:
    """The state that the page's entries of a link describe; an invalid entry becomes a problem of the view."""
    view = View()
    for read in (_read_figure, _read_metric, _read_at):
        try:
            read(view, entries)
        except ScenarioError as error:
            view.problems += error.problems
    return view


def _read_figure(view: View, entries: Mapping[str, str]) -> None:
    if "figure" in entries:
        view.name = figure_named(entries["figure"]).name


def _read_metric(view: View, entries: Mapping[str, str]) -> None:
    if "metric" in entries:
        check_known("metric", entries["metric"], metrics_of(view.figure))
        view.metric = entries["metric"]


def _read_at(view: View, entries: Mapping[str, str]) -> None:
    if "at" in entries:
        values = tuple(view.figure.wards)
        at = whole_number(entries["at"], int(values[0]), int(values[-1]))
        if at not in values:
            allowed = ", ".join(f"{value:g}" for value in values)
            raise ScenarioError(f"at = {entries['at'][:40]!r} in the link is not on the axis: allowed is {allowed}.")
        view.at = at
