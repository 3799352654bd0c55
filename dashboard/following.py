"""What another process computes, so that the page need not wait for it: slow policies, and in a large ward nearly everything."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.session import Session
from dashboard.text import plain
from iomt_core.experiments.around import Request, certificate, curve_computer, needs_certificate, played
from iomt_core.policies.base import BatteryAware, Planner, Shares
from iomt_core.policies.registry import POLICIES
from iomt_core.record import Record
from iomt_core.scenario import Scenario
from iomt_core.training.catalogue import entry
from iomt_core.twin.northbound import play, values_in_episode

FOLLOWING = tuple(name for name, policy in POLICIES.items() if issubclass(policy, (Planner, BatteryAware)))
SLOWEST = "greedy-saving"  # comes last
# Tasks times devices of an episode: with more, the page does not wait for its certificate, about 4 microseconds each; with still
# more, nor for the decisions.
LARGE, MOST_AT_ONCE = 100_000, 500_000
MOST_OF_NETWORKS = 200_000  # of trained networks, which take ten times as long
EVERY = 0.4  # s between two looks at what is being computed


def is_large(s: Scenario) -> bool:
    """Whether the certificate of an episode takes so long that the page shows a policy's figures before it."""
    return values_in_episode(s) > LARGE


def client() -> str:
    """Names this browser session for the process that computes what follows."""
    return str(st.session_state.setdefault("curves_client", uuid.uuid4().hex))


def following(
    s: Scenario, seed: int, part: str, shown: str = "", everything: Iterable[str] = (), shares: Mapping[str, Shares] | None = None
) -> Mapping[str, Mapping[str, Any]]:  # fmt: skip
    """What is known by now of policies in the episode of a seed, see `around.evaluate`; by name.

    They are those of `FOLLOWING`, and in a large ward all of `everything`. part: names the part of the page that asks; shown: a
    policy that is not asked for, because the page has computed it; shares: share rules other than a policy's own.
    """
    wanted = dict.fromkeys((*FOLLOWING, *everything)) if is_large(s) else FOLLOWING
    names = sorted((name for name in wanted if name != shown), key=lambda name: name == SLOWEST)
    found = curve_computer().episodes(
        f"{client()} {part}", s, {name: (shares or {}).get(name, "own") for name in names}, seed
    )
    return {name: result for name, result in found.items() if not isinstance(result, str)}


@dataclass(frozen=True)
class Episode:
    """An episode as far as it is known by now."""

    record: Record | None  # without certificates until they are there
    problem: str = ""  # why there is none
    certified: bool = True
    share: float = 1.0  # that is done of what comes next

    @property
    def complete(self) -> bool:
        """Whether nothing of it is being computed."""
        return bool(self.problem) or (self.record is not None and self.certified)


def episode(part: str, s: Scenario, policy: str, shares: Shares, seed: int, certify: bool = True) -> Episode:
    """The first episode of a seed under a policy. Returns at once in large wards: ask again until it is complete.

    part: names the part of the page that asks. certify: whether certificates are wanted too.
    """
    if not is_large(s):
        return Episode(play(s, policy, seed, shares))
    slow = policy in (SLOWEST, "optimum-causal") or needs_certificate(policy)
    here = not slow and values_in_episode(s) <= (MOST_OF_NETWORKS if entry(policy).trained else MOST_AT_ONCE)
    wanted = {} if here else {"record": Request.of(played, s, policy, shares, seed, quick=not slow)}
    if certify:
        wanted["certificate"] = Request.of(certificate, s, "optimum", seed)
    found, done = curve_computer().large(f"{client()} {part}", wanted)
    record = play(s, policy, seed, shares, certify=False) if here else found.get("record")
    if not isinstance(record, Record):
        return Episode(None, record or "", False, done["record"])
    if not certify:
        return Episode(record)
    dual = found.get("certificate")
    if dual is None or isinstance(dual, str):
        return Episode(record, dual or "", False, done["certificate"])
    return Episode(replace(record, dual=dual.select(record.step - 1)))


@dataclass
class Awaited:
    """What a page waits for: names for people, how to look again, and what was seen. The page is drawn within `with`."""

    session: Session
    on_page: Callable[[], Hashable] = lambda: None  # what is chosen on the page, not in the session or by a control
    parts: list[tuple[str, Callable[[], Episode], Episode]] = field(default_factory=list)
    drawn: Hashable = None  # what was chosen when the page was drawn

    def __enter__(self) -> Awaited:
        return self

    def __exit__(self, *_: object) -> None:
        self.drawn = self._chosen()

    def _chosen(self) -> Hashable:
        controls = ((key, value) for key, value in st.session_state.items() if isinstance(value, bool | int | str))
        return self.session.chosen, self.on_page(), frozenset(controls)

    def draw_what_is_chosen(self) -> None:
        """Draws the page again if it is behind what is chosen; for each fragment of it that asks to be drawn again by itself.

        If a person clicks at the moment when a fragment asks, Streamlit's front end sends both in one message, in the name of
        only one of them: the click's callback is called, but only the fragment is drawn.
        """
        if self.drawn is not None and self._chosen() != self.drawn:
            st.rerun()

    def episode(self, name: str, look: Callable[[], Episode]) -> Episode:
        """The episode as far as it is known; the page is drawn again when more of it is."""
        now = look()
        if not now.complete:
            self.parts.append((name, look, now))
        return now

    def show(self, place: DeltaGenerator) -> None:
        """Says what is being computed, and how far it is."""
        if self.parts:
            with place:
                _waiting(self)


@st.fragment(run_every=EVERY)
def _waiting(awaited: Awaited) -> None:
    awaited.draw_what_is_chosen()
    looked = [(name, look(), before) for name, look, before in awaited.parts]
    if any((now.record is None, now.certified, now.problem) != (old.record is None, old.certified, old.problem)
           for _, now, old in looked):  # fmt: skip
        st.rerun()  # the whole page
    for name, now, _ in looked:
        decides = f"{name} decides, and its figures follow"
        progress_of(now.share, decides if now.record is None else "The certified bound is computed, then the optimum")


def progress_of(share: float, doing: str) -> None:
    """A bar that says what is computed, and how far it is."""
    st.progress(share, f"{doing}: {100 * share:.0f} %, in the background. The page stays usable meanwhile.")


def known_by_now(part: str, doing: str, request: Request) -> Any:
    """What the process beside the dashboard computes, None until it is there; the page then says so and is drawn again.

    A failure becomes an error on the page.
    """
    found = curve_computer().large(f"{client()} {part}", {"": request})[0]
    if "" not in found:
        _wait_for(part, doing, request)
    elif isinstance(found[""], str):
        st.error(plain(found[""]), icon=":material/error:")
        return None
    return found.get("")


@st.fragment(run_every=EVERY)
def _wait_for(part: str, doing: str, request: Request) -> None:
    found, done = curve_computer().large(f"{client()} {part}", {"": request})
    if found:
        st.rerun()
    progress_of(done[""], doing)
