"""What one browser session works on: scenario, policy, seed, the selected task and the pinned scenario."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import streamlit as st

from dashboard.links import opened_address, read_link, went_through_history
from iomt_core.policies.base import Shares
from iomt_core.scenario import PRESETS, Scenario, ScenarioError
from iomt_core.training.catalogue import (
    FALLBACK,
    catalogue,
    default_policy,
    describe,
    policy_label,
    usable_policy,
    why_not,
)

S = TypeVar("S")
# What a link sets; all else of a session stays when the browser goes back.
LINKED = (
    "scenario", "policy", "shares", "seed", "step", "picked", "pinned", "problems", "hints", "wanted_page", "view", "view_page"
)  # fmt: skip
Point = tuple[int, int, int]  # step from 1, the user's number in the whole ward, task from 1


@dataclass(frozen=True)
class Pinned:
    """A scenario and policy that later ones are compared with."""

    scenario: Scenario
    policy: str
    shares: Shares
    seed: int


@dataclass
class Session:
    """The state of one session. Controls write here; views read from here."""

    scenario: Scenario = PRESETS["paper"]
    policy: str = field(default_factory=default_policy)
    shares: Shares = "own"
    seed: int = 0
    step: int = 1
    picked: Point | None = None
    pinned: Pinned | None = None
    also: tuple[str, ...] = ()  # other policies whose curves are drawn
    moved: str | None = None  # the parameter that a person has changed last
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # notes on how an upload was interpreted
    wanted_page: str | None = None  # to be opened at the next run: from the link, the tour or a map
    hints: list[str] = field(default_factory=list)  # quiet notes on the link that was opened
    view: dict[str, str] = field(default_factory=dict)  # the link's entries of `view_page`, which checks them itself
    view_page: str | None = None  # the page that the link opens, until it has read its entries

    def try_change(self, change: Any) -> None:
        """Sets the scenario that `change()` returns; on `ScenarioError` keeps the present one and stores the problems."""
        try:
            self.scenario = change()
            self.problems, self.hints = [], []
        except ScenarioError as error:
            self.problems = [f"{problem} The page still shows the last valid scenario." for problem in error.problems]
        if self.picked is not None and not self.exists(self.picked):
            self.picked = None
        self.step = min(self.step, self.scenario.T)

    def drop_deleted_policies(self) -> None:
        """Replaces a chosen or pinned run that another tab or process has deleted."""
        known = catalogue([self.policy] if self.pinned is None else [self.policy, self.pinned.policy])
        if self.policy not in known:
            deleted, self.policy = self.policy, default_policy()
            self.problems = [
                f"policy = {deleted!r} does not exist any more: its run was deleted. Shown instead: "
                f"{policy_label(self.policy)}."
            ]
        if self.pinned is not None and self.pinned.policy not in known:
            self.pinned = None

    @property
    def chosen(self) -> tuple[Hashable, ...]:
        """What a person has chosen; a page that was drawn with other choices is to be drawn again."""
        return (
            self.scenario, self.policy, self.shares, self.seed, self.step, self.picked, self.pinned, self.also, self.moved
        )  # fmt: skip

    @property
    def shown_policy(self) -> str:
        """The policy that decides: the chosen one, or price response if the chosen one cannot decide in this scenario."""
        return usable_policy(self.policy, self.scenario)

    @property
    def policy_label(self) -> str:
        """The policy that decides, with its network: "SAE-MT-QMIX, general network"."""
        return policy_label(self.shown_policy)

    @property
    def title(self) -> str:
        """What decides and where: "Policy: SAE-MT-QMIX, general network · Ward: 8 users × 8 tasks, 4 servers"."""
        return describe(self.shown_policy, self.scenario)

    def pick(self, point: Any) -> None:
        """Selects a task, a `Point`, and goes to its step."""
        step, user, task = (int(n) for n in point)
        self.picked, self.step = (step, user, task), step

    def exists(self, point: Point) -> bool:
        """Whether the scenario has this task's step, user and place."""
        step, user, task = point
        s = self.scenario
        return step <= s.T and user in s.user_numbers and task <= s.tasks

    def toggle(self, kind: str, number: int) -> None:
        """Switches a "server" or "user" off, or on again; all others stay as they are. The last one cannot be switched off."""
        if kind not in ("server", "user"):  # it comes from a browser
            return
        field = f"{kind}s_off"
        off = {*getattr(self.scenario, field)} ^ {number}
        self.try_change(lambda: self.scenario.changed(**{field: tuple(off)}))

    def pin(self, side: Session) -> None:
        """Pins scenario, policy, shares and seed of a session."""
        self.pinned = Pinned(side.scenario, side.policy, side.shares, side.seed)


def replaced_policy(policy: str, s: Scenario) -> str:
    """Why another policy than this one decides in a scenario, and which; empty if this one does."""
    reason = why_not(policy, s)
    return f"{reason} Shown instead: {policy_label(FALLBACK).lower()}." if reason else ""


def current() -> Session:
    """The state of the browser session that runs; at its first run, what its link describes."""
    if "session" not in st.session_state:
        st.session_state["session"] = from_link(opened_address())
    session = cast(Session, st.session_state["session"])
    session.drop_deleted_policies()
    return session


def follow_history() -> None:
    """After the browser's Back or Forward, sets the session to what its address describes; once in a run."""
    if went_through_history():
        session, linked = current(), from_link(opened_address())
        if linked.pinned == session.pinned:
            linked.pinned = session.pinned  # pages recognise a new pin by its being another object
        for name in LINKED:
            setattr(session, name, getattr(linked, name))


def from_link(query: Mapping[str, str]) -> Session:
    """The session that a link describes; each entry that cannot be used becomes one of its problems."""
    session = Session()
    if query:
        read_link(session, query)
    return session


def page_state(session: Session, page: str, read: Callable[[Mapping[str, str]], S]) -> S:
    """A page's state in this session: made by `read` from the page's entries of the link, each time a link opens the page."""
    states = st.session_state.setdefault("pages", {})
    if page not in states or session.view_page == page:
        view, session.view_page = session.view if session.view_page == page else {}, None
        states[page] = read(view)
    return cast(S, states[page])
