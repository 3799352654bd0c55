"""What one browser session works on: scenario, policy, seed, the selected task and the pinned scenario."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import streamlit as st

from iomt_core.policies.base import SHARES, Shares
from iomt_core.scenario import PRESETS, Scenario, ScenarioError
from iomt_core.scenario.links import LONGEST_LINK, from_query, to_query, whole_number
from iomt_core.training.catalogue import (
    FALLBACK,
    catalogue,
    default_policy,
    describe,
    entry,
    usable_policy,
    why_not,
)
from iomt_core.twin.northbound import checked_seed

VIEW_KEYS = ("page", "policy", "shares", "episode_seed", "step", "task")
PAGE_VIEW = "v_"  # what a page adds to a link begins so
LONGEST_VIEW = LONGEST_LINK  # characters of such an entry: it may describe a second scenario
Point = tuple[int, int, int]  # step, user, task, from 1


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
    view: dict[str, str] = field(default_factory=dict)  # entries of the link that pages added; each page checks its own

    def try_change(self, change: Any) -> None:
        """Sets the scenario that `change()` returns; on `ScenarioError` keeps the present one and stores the problems."""
        try:
            self.scenario = change()
            self.problems = []
        except ScenarioError as error:
            self.problems = error.problems
        if self.picked is not None and not self._exists(self.picked):
            self.picked = None
        self.step = min(self.step, self.scenario.T)

    def drop_deleted_policies(self) -> None:
        """Replaces a chosen or pinned run that another tab or process has deleted."""
        known = catalogue()
        if self.policy not in known:
            deleted, self.policy = self.policy, default_policy()
            self.problems = [
                f"policy = {deleted!r} does not exist any more: its run was deleted. Shown instead: "
                f"{policy_label(self.policy)}."
            ]
        if self.pinned is not None and self.pinned.policy not in known:
            self.pinned = None

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
        """Selects a task (step, user, task, from 1) and goes to its step."""
        step, user, task = (int(n) for n in point)
        self.picked, self.step = (step, user, task), step

    def _exists(self, point: Point) -> bool:
        step, user, task = point
        return step <= self.scenario.T and user <= self.scenario.users and task <= self.scenario.tasks

    def query(self, page: str, view: Mapping[str, str] | None = None) -> dict[str, str]:
        """The entries of a link that restores this state on a page; `view` holds what the page adds.

        Raises `ScenarioError` if the link would be too long.
        """
        added = {PAGE_VIEW + name: value for name, value in (view or {}).items()}
        chosen = {"policy": self.policy, "episode_seed": str(self.seed), "step": str(self.step)}
        if self.shares != "own":
            chosen["shares"] = self.shares
        if self.picked is not None:
            chosen["task"] = ".".join(str(n) for n in self.picked)
        return {"page": page, **to_query(self.scenario), **chosen, **added}


def policy_label(policy: str) -> str:
    """A policy's label with its network: "SAE-MT-QMIX, general network"; its bare name if its run was deleted."""
    known = catalogue()
    return known[policy].label if policy in known else f"{policy} (deleted)"


def replaced_policy(policy: str, s: Scenario) -> str:
    """Why another policy than this one decides in a scenario, and which; empty if this one does."""
    reason = why_not(policy, s)
    return f"{reason} Shown instead: {policy_label(FALLBACK).lower()}." if reason else ""


def current() -> Session:
    """The state of the browser session that runs; at its first run, what its link describes."""
    if "session" not in st.session_state:
        st.session_state["session"] = from_link(dict(st.query_params))
    session = cast(Session, st.session_state["session"])
    session.drop_deleted_policies()
    return session


def from_link(query: Mapping[str, str]) -> Session:
    """The session that a link describes; each entry that cannot be used becomes one of its problems."""
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
        policy = entry(policy).name
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
    """Sets the browser's address to the link that restores the session on a page, and returns that link.

    Raises `ScenarioError` if the scenario does not fit into a link.
    """
    query = session.query(page, view)
    if dict(st.query_params) != query:
        st.query_params.from_dict(query)
    address = urlsplit(str(st.context.url or ""))
    return f"{address.scheme}://{address.netloc}/?{urlencode(query)}"
