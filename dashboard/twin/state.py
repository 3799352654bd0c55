"""The state of the Twin page: which warehouse it shows, what is asked of it, and how a link describes that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

from dashboard.session import Session, page_state
from dashboard.twin.registry import ModelsForm
from iomt_core.experiments.staleness import AXES, Axis
from iomt_core.runs.directory import NAME
from iomt_core.scenario import Scenario, ScenarioError, check_known
from iomt_core.scenario.links import whole_number
from iomt_core.training.catalogue import entry
from iomt_core.twin.access import Verification
from iomt_core.twin.access.ledger import Answer
from iomt_core.twin.access.privacy import QUERIES
from iomt_core.twin.mapping.synchronisation import LATE_GROUPS, Synchronisation
from iomt_core.twin.mapping.task_models import MODELS
from iomt_core.twin.recorded_fork import overrides_from_words

TABS = MappingProxyType(
    {
        "storage": "Storage",
        "audit": "Who asked what",
        "query": "Private query",
        "fork": "What would have happened",
        "stale": "Stale twin",
        "agents": "Agents' twins",
        "trace": "Coordination",
        "models": "Models",
    }
)
STALE_NUMBERS = MappingProxyType({"interval": (1, 20), "delay": (0, 20), "noise": (0, 50)})  # steps, steps, percent
MOST_NUMBER = 1_000_000  # of a recording or an episode in a link


@dataclass
class ForkForm:
    """What a fork changes; `recording` None is the latest."""

    recording: int | None = None
    episode: int = 1
    step: int = 1
    servers_off: list[int] | None = None  # None: as recorded
    users_off: list[int] | None = None
    other: str = ""  # more changes, NAME=VALUE; NAME=VALUE
    policy: str = ""  # "": as recorded

    def overrides(self, s: Scenario) -> dict[str, str]:
        """The changed values, for the recorded scenario. Raises `ScenarioError`."""
        found = overrides_from_words([word for word in self.other.split(";") if word.strip()])
        for name, off in (("servers_off", self.servers_off), ("users_off", self.users_off)):
            if off is not None and tuple(sorted(off)) != getattr(s, name):
                found[name] = ",".join(map(str, sorted(off)))
        return found


@dataclass
class StaleForm:
    """How the twin is synchronised, and the curve of what that costs."""

    interval: int = 1  # steps
    delay: int = 2  # steps
    noise: int = 0  # percent
    tasks: bool = False  # tasks are synchronised late too
    over: Axis = "delay"
    episodes: int = 10
    measured: bool = False

    @property
    def settings(self) -> Synchronisation:
        """The settings of the twin."""
        groups = (*LATE_GROUPS, "tasks") if self.tasks else LATE_GROUPS
        return Synchronisation(self.interval, self.delay, self.noise / 100, groups)


@dataclass
class AgentForm:
    """Whose agent is trained, and which model generates tasks."""

    user: int = 1
    model: str = MODELS[-1]


@dataclass
class View:
    """What the page shows in this session."""

    warehouse: str | None = None  # None: the latest
    tab: str = "storage"
    into: str | None = None  # the warehouse to record into, None for a new one
    episodes: int = 20
    query: str = "mean-delay"
    epsilon: float = 1.0
    fork: ForkForm = field(default_factory=ForkForm)
    agents: AgentForm = field(default_factory=AgentForm)
    stale: StaleForm = field(default_factory=StaleForm)
    answers: dict[str, list[Answer]] = field(default_factory=dict)  # by warehouse, the latest first
    models: ModelsForm = field(default_factory=ModelsForm)
    changed: dict[str, tuple[bool, str]] = field(default_factory=dict)  # by warehouse: last change, whether it worked
    changes: int = 0  # of warehouses in this session
    data_check: dict[str, tuple[int, bool, str]] = field(default_factory=dict)  # revision, whether intact, in words
    log_check: dict[str, Verification] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def current_view(session: Session) -> View:
    """The page's state in this session; at first what the link says."""
    return page_state(session, "twin", from_view)


def link_view(view: View) -> dict[str, str]:
    """The page's entries of a link."""
    form, entries = view.fork, {"tab": view.tab}
    if view.warehouse is not None:
        entries["warehouse"] = view.warehouse
    if view.tab == "query":
        entries |= {"query": view.query, "epsilon": f"{view.epsilon:g}"}
    elif view.tab == "trace":
        entries |= {"episode": str(form.episode), "at": str(form.step)}
        if form.recording is not None:
            entries["recording"] = str(form.recording)
    elif view.tab == "fork":
        changes = [form.other] if form.other.strip() else []
        for name, off in (("servers_off", form.servers_off), ("users_off", form.users_off)):
            changes += [f"{name}={','.join(map(str, off))}"] if off is not None else []
        entries |= {"episode": str(form.episode), "at": str(form.step), "set": ";".join(changes), "policy": form.policy}
        if form.recording is not None:
            entries["recording"] = str(form.recording)
    elif view.tab == "stale":
        entries |= {name: str(getattr(view.stale, name)) for name in STALE_NUMBERS}
        entries |= {"over": view.stale.over, "late": "tasks" if view.stale.tasks else ""}
    return entries


def from_view(entries: Mapping[str, str]) -> View:
    """The state that the page's entries of a link describe; an invalid entry becomes a problem of the view."""
    view = View()
    for read in (_read_names, _read_query, _read_numbers, _read_changes, _read_policy, _read_stale):
        try:
            read(view, entries)
        except ScenarioError as error:
            view.problems += error.problems
    return view


def _read_names(view: View, entries: Mapping[str, str]) -> None:
    tab, name = entries.get("tab", view.tab), entries.get("warehouse")
    if name is not None and not NAME.fullmatch(name):
        raise ScenarioError(f"warehouse = {name[:40]!r} in the link is not there.")
    view.warehouse = name
    check_known("tab", tab, TABS)
    view.tab = tab


def _read_query(view: View, entries: Mapping[str, str]) -> None:
    query = entries.get("query", view.query)
    check_known("query", query, tuple(QUERIES))
    view.query = query
    try:
        epsilon = float(entries.get("epsilon", view.epsilon))
    except ValueError:
        epsilon = 0.0
    if not 0.01 <= epsilon <= 5:
        raise ScenarioError(f"epsilon = {entries['epsilon'][:40]!r} in the link is out of range: allowed is 0.01 to 5.")
    view.epsilon = epsilon


def _read_numbers(view: View, entries: Mapping[str, str]) -> None:
    for name, attribute in (("recording", "recording"), ("episode", "episode"), ("at", "step")):
        if name in entries:
            number = whole_number(entries[name], 1, MOST_NUMBER)
            if number is None:
                raise ScenarioError(
                    f"{name} = {entries[name][:40]!r} in the link is out of range: allowed is 1 or more."
                )
            setattr(view.fork, attribute, number)


def _read_changes(view: View, entries: Mapping[str, str]) -> None:
    other = []
    for name, value in overrides_from_words(
        [word for word in entries.get("set", "").split(";")[:40] if word.strip()]
    ).items():
        if name in ("servers_off", "users_off"):
            numbers = [whole_number(part, 1, 16) for part in value.split(",") if part]
            if None in numbers:
                raise ScenarioError(f"{name} = {value[:40]!r} in the link is not a list of numbers from 1 to 16.")
            setattr(view.fork, name, numbers)
        else:
            other.append(f"{name}={value}")
    view.fork.other = "; ".join(other)


def _read_policy(view: View, entries: Mapping[str, str]) -> None:
    if entries.get("policy"):
        view.fork.policy = entry(entries["policy"]).name


def _read_stale(view: View, entries: Mapping[str, str]) -> None:
    form = view.stale
    for name, (low, high) in STALE_NUMBERS.items():
        if name in entries:
            number = whole_number(entries[name], low, high)
            if number is None:
                raise ScenarioError(
                    f"{name} = {entries[name][:40]!r} in the link is out of range: allowed is {low} to {high}."
                )
            setattr(form, name, number)
    over = entries.get("over", form.over)
    check_known("over", over, AXES)
    form.over, form.tasks = cast(Axis, over), entries.get("late") == "tasks"
