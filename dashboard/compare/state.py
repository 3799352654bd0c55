"""The state of the Compare page: the source of side A, the number of episodes, and the episode that the maps show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from dashboard.session import Pinned, Session, page_state, replaced_policy
from iomt_core.experiments.comparison.sides import EPISODES, MOST_EPISODES, Side
from iomt_core.policies.base import SHARES, Shares
from iomt_core.scenario import PRESETS, ScenarioError
from iomt_core.scenario.links import from_query, read_pairs, whole_number
from iomt_core.training.catalogue import default_policy, entry, usable_policy

SAME, PINNED = "same", "pinned"


@dataclass
class Compare:
    """The page's state. `policy` and `shares` belong to A, unless A is the pinned side, which has its own."""

    source: str = SAME  # scenario of A. SAME: the sidebar's; PINNED: the pinned one; otherwise a preset's name
    policy: str = "optimum"
    shares: Shares = "own"
    episodes: int = EPISODES
    shown: int = 1  # the episode on the map
    stopped: tuple[object, ...] | None = None  # the comparison that was stopped
    continuing: tuple[object, ...] | None = None  # the comparison whose first episodes are shown while
    # the others are played
    seconds_per_episode: float | None = None  # measured in that comparison
    last_pinned: Pinned | None = None  # what was pinned at the last run of the page

    def side_a(self, session: Session) -> Side:
        """Side A: its scenario, policy and shares."""
        if self.source == PINNED and session.pinned is not None:
            return Side(session.pinned.scenario, session.pinned.policy, session.pinned.shares)
        ward = PRESETS.get(self.source, session.scenario)
        return Side(ward, self.policy, self.shares)

    def set_source(self, session: Session, source: str) -> None:
        """Sets where A's scenario comes from; two scenarios are compared under B's policy unless a person chooses another."""
        new = side_b(session) if self.source == SAME != source else self.side_a(session)
        self.source, self.policy, self.shares = source, new.policy, new.shares

    def set_a(self, session: Session, policy: str, shares: Shares) -> None:
        """Sets policy and shares of A."""
        if self.source == PINNED and session.pinned is not None:
            session.pinned = self.last_pinned = replace(session.pinned, policy=policy, shares=shares)
        else:
            self.policy, self.shares = policy, shares

    def pin(self, session: Session, side: Side) -> None:
        """Pins `side`, for all pages, and makes it side A."""
        session.pinned = self.last_pinned = Pinned(side.scenario, side.policy, side.shares, session.seed)
        self.source = PINNED

    def swap(self, session: Session) -> None:
        """Exchanges A and B; the sidebar then shows the old A."""
        a, b = self.side_a(session), side_b(session)
        if self.source == SAME:
            self.policy, self.shares = b.policy, b.shares
        else:
            self.pin(session, b)
            session.try_change(lambda: a.scenario)
        session.policy, session.shares = a.policy, a.shares

    def entries(self, session: Session) -> dict[str, str]:
        """The page's part of a link, by name."""
        a = self.side_a(session)
        about = {"ward": self.source}
        if self.source != PINNED:  # the link of every page has the pinned side
            about |= {"policy": a.policy, "shares": a.shares}
        return {"a": urlencode(about), "episodes": str(self.episodes), "shown": str(self.shown)}


def side_b(session: Session) -> Side:
    """Side B: the sidebar's scenario and policy."""
    return Side(session.scenario, session.policy, session.shares)


def usable(side: Side) -> tuple[Side, str]:
    """The side with the policy that decides, and why it is not the chosen one; "" if it is."""
    return replace(side, policy=usable_policy(side.policy, side.scenario)), replaced_policy(side.policy, side.scenario)


def linkable_session(session: Session) -> Session:
    """The session with step and selected task limited to B's scenario, which the link describes; A may have more of both."""
    picked = session.picked if session.picked is not None and session.exists(session.picked) else None
    return replace(session, step=min(session.step, session.scenario.T), picked=picked)


def state(session: Session) -> Compare:
    """The page's state; at the first run it is read from the link. A newly pinned scenario becomes side A."""
    found = page_state(session, "compare", lambda view: from_view(session, view))
    if session.pinned is not found.last_pinned:
        found.last_pinned = session.pinned
        found.source = PINNED if session.pinned is not None else SAME
    found.shown = min(found.shown, found.episodes)
    return found


def from_view(session: Session, view: Mapping[str, str]) -> Compare:
    """The state that the page's entries of a link describe; invalid ones are added to `session.problems`.

    Without entries, A is the pinned scenario if there is one.
    """
    found = Compare(PINNED if session.pinned is not None else SAME, last_pinned=session.pinned)
    for read_part in (_read_a, _read_episodes, _read_shown):
        try:
            read_part(found, session, view)
        except ScenarioError as error:
            session.problems = [
                *session.problems,
                *(f"Side A or its settings in the link: {p}" for p in error.problems),
            ]
    return found


def _read_a(found: Compare, session: Session, view: Mapping[str, str]) -> None:
    text = view.get("a")
    if text is None:
        return
    about = read_pairs("v_a", text)
    source, policy, shares = about.pop("ward", SAME), about.pop("policy", default_policy()), about.pop("shares", "own")
    if source not in (SAME, PINNED, *PRESETS):
        allowed = ", ".join((SAME, PINNED, *PRESETS))
        raise ScenarioError(f"ward = {source[:40]!r} is not known: allowed is {allowed}.")
    policy = entry(policy).name
    if shares not in SHARES:
        raise ScenarioError(f"shares = {shares[:40]!r} is not known: allowed is {', '.join(SHARES)}.")
    if source == PINNED and about:  # links of version 0.1 have the pinned side here
        found.pin(session, Side(from_query(about), policy, shares))
    elif source == PINNED:
        if session.pinned is None:
            raise ScenarioError("there is no pinned scenario.")
        found.source = PINNED
    else:
        found.source, found.policy, found.shares = source, policy, shares


def _read_episodes(found: Compare, session: Session, view: Mapping[str, str]) -> None:
    found.episodes = _number(view, "episodes", found.episodes, MOST_EPISODES)


def _read_shown(found: Compare, session: Session, view: Mapping[str, str]) -> None:
    found.shown = _number(view, "shown", found.shown, found.episodes)


def _number(view: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = view.get(name, str(default))
    value = whole_number(text, 1, most)
    if value is None:
        raise ScenarioError(f"v_{name} = {text[:40]!r} is not a whole number from 1 to {most}.")
    return value
