"""What one browser session works on: a scenario, a policy, a seed, what is selected and what is pinned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import streamlit as st

from iomt_core.policies.base import SHARES, Shares
from iomt_core.scenario import PRESETS, Scenario, ScenarioError
from iomt_core.scenario.links import LONGEST_LINK, from_query, to_query, whole_number
from iomt_core.training.catalogue import catalogue, entry, make_policy
from iomt_core.twin.northbound import checked_seed

VIEW_KEYS = ("page", "policy", "shares", "episode_seed", "step", "task")
PAGE_VIEW = "v_"  # what a page adds to a link begins so
LONGEST_VIEW = LONGEST_LINK  # characters of such an entry: it may describe a second scenario
Point = tuple[int, int, int]  # step, user, task, from 1


@dataclass(frozen=True)
class Pinned:
    """What a what-if is compared with."""

    scenario: Scenario
    policy: str
    shares: Shares
    seed: int


@dataclass
class Session:
    """The session's state; every control writes here, every view reads here."""

    scenario: Scenario = PRESETS["paper"]
    policy: str = "optimum"
    shares: Shares = "own"
    seed: int = 0
    step: int = 1
    picked: Point | None = None
    pinned: Pinned | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # how an upload was read
    wanted_page: str | None = None  # of the link that began the session, until it is opened
    view: dict[str, str] = field(default_factory=dict)  # what pages added to the link; each page checks its own

    def try_change(self, change: Any) -> None:
        """Takes the scenario that `change()` gives, or keeps the present one and remembers why."""
        try:
            self.scenario = change()
            self.problems = []
        except ScenarioError as error:
            self.problems = error.problems
        if self.picked is not None and not self._exists(self.picked):
            self.picked = None
        self.step = min(self.step, self.scenario.T)

    def drop_deleted_policies(self) -> None:
        """A run that was chosen or pinned may have been deleted meanwhile, by another tab or another process."""
        known = catalogue()
        if self.policy not in known:
            self.problems = [f"policy = {self.policy!r} is there no more: its run was deleted. Shown is the optimum."]
            self.policy = "optimum"
        if self.pinned is not None and self.pinned.policy not in known:
            self.pinned = None

    @property
    def shown_policy(self) -> str:
        """The chosen policy, or the optimum where that cannot decide on this ward."""
        return "optimum" if self.policy_problems else self.policy

    @property
    def policy_problems(self) -> list[str]:
        """Why the chosen policy cannot decide on this ward; empty where it can."""
        try:
            make_policy(self.policy, self.scenario)
        except ScenarioError as error:
            return error.problems
        return []

    def _exists(self, point: Point) -> bool:
        step, user, task = point
        return step <= self.scenario.T and user <= self.scenario.users and task <= self.scenario.tasks

    def query(self, page: str, view: Mapping[str, str] | None = None) -> dict[str, str]:
        """The entries of a link that restores all of this on a page, with what the page adds in `view`.

        Raises `ScenarioError` where it is too long.
        """
        added = {PAGE_VIEW + name: value for name, value in (view or {}).items()}
        seen = {"policy": self.policy, "episode_seed": str(self.seed), "step": str(self.step)}
        if self.shares != "own":
            seen["shares"] = self.shares
        if self.picked is not None:
            seen["task"] = ".".join(str(n) for n in self.picked)
        return {"page": page, **to_query(self.scenario), **seen, **added}


def current() -> Session:
    """This session's lab; at the session's first run, the one its link describes."""
    if "session" not in st.session_state:
        st.session_state["session"] = from_link(dict(st.query_params))
    session = cast(Session, st.session_state["session"])
    session.drop_deleted_policies()
    return session


def from_link(query: Mapping[str, str]) -> Session:
    """A session that begins with what a link says; an entry that cannot be used is a problem of the lab."""
    session = Session()
    if not query:
        return session
    session.wanted_page = query.get("page", "explore")
    session.view = {key.removeprefix(PAGE_VIEW): value for key, value in query.items() if key.startswith(PAGE_VIEW)}
    session.try_change(lambda: from_query(query, ignore=(*VIEW_KEYS, *(PAGE_VIEW + name for name in session.view))))
    for name, value in session.view.items():
        if len(value) > LONGEST_VIEW:
            session.problems.append(
                f"{PAGE_VIEW}{name[:40]} in the link is longer than {LONGEST_VIEW} characters; it is left out."
            )
    session.view = {name: value for name, value in session.view.items() if len(value) <= LONGEST_VIEW}
    for read in (_read_policy, _read_seed, _read_step, _read_task):
        try:
            read(session, query)
        except ScenarioError as error:
            session.problems = [*session.problems, *error.problems]
    return session


def _read_policy(session: Session, query: Mapping[str, str]) -> None:
    policy, shares = query.get("policy", session.policy), query.get("shares", session.shares)
    try:
        entry(policy)
    except ScenarioError as error:
        raise ScenarioError([f"in the link: {problem}" for problem in error.problems]) from None
    if shares not in SHARES:
        raise ScenarioError(f"shares = {shares[:40]!r} in the link is not known: allowed is {', '.join(SHARES)}.")
    session.policy, session.shares = policy, shares


def _read_seed(session: Session, query: Mapping[str, str]) -> None:
    session.seed = checked_seed(_whole(query, "episode_seed", session.seed))


def _read_step(session: Session, query: Mapping[str, str]) -> None:
    step = _whole(query, "step", 1)
    if not 1 <= step <= session.scenario.T:
        raise ScenarioError(f"step = {step} in the link is out of range: allowed is 1 to {session.scenario.T}.")
    session.step = step


def _read_task(session: Session, query: Mapping[str, str]) -> None:
    text = query.get("task")
    if text is None:
        return
    parts = text.split(".", 3)
    limits = (session.scenario.T, session.scenario.users, session.scenario.tasks)
    step, user, task = (whole_number(p, 1, most) for p, most in zip((*parts, "", "", "")[:3], limits, strict=True))
    if len(parts) != 3 or step is None or user is None or task is None:
        raise ScenarioError(
            f"task = {text[:40]!r} in the link is not step.user.task: allowed is 1.1.1 to {'.'.join(map(str, limits))}."
        )
    session.picked = (step, user, task)


def _whole(query: Mapping[str, str], key: str, default: int) -> int:
    text = query.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise ScenarioError(f"{key} = {text[:40]!r} in the link is not a whole number.")
    return int(text)


def update_link(session: Session, page: str = "explore", view: Mapping[str, str] | None = None) -> str:
    """Keeps the browser's address in step with the lab on a page, and returns the link to share.

    Raises `ScenarioError` where the scenario does not fit into a link.
    """
    query = session.query(page, view)
    if dict(st.query_params) != query:
        st.query_params.from_dict(query)
    address = urlsplit(str(st.context.url or ""))
    return f"{address.scheme}://{address.netloc}/?{urlencode(query)}"
