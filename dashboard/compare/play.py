"""Plays the episodes of the Compare page: the first are shown at once, the others are added while the page is open.

In a large ward the process beside the dashboard plays them, and the page only looks how far it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.compare.state import Compare
from dashboard.following import EVERY, client, is_large, progress_of
from dashboard.text import plain
from iomt_core.experiments.around import Request, curve_computer
from iomt_core.experiments.comparison.sides import (
    Side,
    advance,
    chunk_record,
    chunk_size,
    chunk_sums,
    episode,
    finished,
    keep,
    missing,
)
from iomt_core.record import Record
from iomt_core.scenario import ScenarioError

# Pieces that the process beside the dashboard is given at a time, so that the maps' episode need not wait long.
AHEAD = 2
MIN_EPISODES = 2  # episodes; a single one gives no interval
MAX_WAIT = 0.1  # s to wait for all episodes before the first are shown; heuristics are usually done by then
BAR_DELAY = 0.5  # s of waiting for the first episodes before a progress bar appears
INTERRUPT_INTERVAL = 0.05  # s between two points at which a click may interrupt
TIMER_SLICE = 0.25  # s of playing at a call of the timer; a click waits at most this long, or for one piece


class Playing:
    """A comparison that is played piece by piece, over several runs of the script."""

    def __init__(self, state: Compare, a: Side, b: Side, seed: int) -> None:
        self.state, self.sides, self.seed, self.episodes = state, (a, b), seed, state.episodes
        self.key = (a.key, b.key, seed, self.episodes)
        self.begun = self.done / self.episodes  # fraction already played at the beginning
        self.part, self.spent = 0.0, 0.0  # fraction of the missing episodes, and seconds of playing, in finished pieces
        if state.continuing != self.key:
            state.seconds_per_episode = None
        self.calls = 0  # number of calls of the timer
        self._pieces = self._from_here()
        self._since = self._breath = 0.0  # when a piece began, and when it could last be interrupted
        self._touch: Callable[[], object] = lambda: None

    @property
    def done(self) -> int:
        """Episodes that both sides have played."""
        return finished(*self.sides, self.seed, self.episodes)

    @property
    def elapsed(self) -> float:
        """Seconds of playing, including the current piece."""
        return self.spent + (time.monotonic() - self._since if self._since else 0.0)

    @property
    def stopped(self) -> bool:
        """Whether a person has stopped this comparison."""
        return self.state.stopped == self.key

    def stop(self) -> None:
        """Stops playing; the episodes played so far stay."""
        self.state.stopped = self.key

    def piece(self, touch: Callable[[], object]) -> bool:
        """Plays one piece; returns False if none is left. Raises `ScenarioError` if a side's run has been deleted.

        `touch` is called between the steps of a policy with memory and writes to the page. At a write Streamlit ends the run
        of the script if a person has done something else; the piece is then lost.
        """
        self._since = self._breath = time.monotonic()
        self._touch = touch
        try:
            self.part = next(self._pieces, 1.0)
        except (
            BaseException
        ):  # Streamlit's are no Exception. An interrupted generator is finished, so a new one is needed.
            self._pieces, self._since = self._from_here(), 0.0
            raise
        self.spent, self._since = self.elapsed, 0.0
        self.state.seconds_per_episode = self.spent / (self.part * self._missing)
        return self.part < 1

    def _from_here(self) -> Iterator[float]:
        return advance(*self.sides, self.seed, self.episodes, self._breathe)

    def _breathe(self) -> None:
        if time.monotonic() - self._breath > INTERRUPT_INTERVAL:
            self._touch()
            self._breath = time.monotonic()

    @property
    def _missing(self) -> float:
        """Number of episodes that were missing at the beginning."""
        return max(1.0, (1 - self.begun) * self.episodes)

    def show(self, bar: DeltaGenerator, what: str) -> None:
        """Shows progress and time left in `bar`."""
        share, seconds_per_episode = self.begun + (1 - self.begun) * self.part, self.state.seconds_per_episode
        left = (
            ""
            if seconds_per_episode is None
            else f", about {(1 - self.part) * self._missing * seconds_per_episode:.0f} s left"
        )
        bar.progress(share, f"{what}: {100 * share:.0f} %{left}")

    def row(self, what: str, key: str) -> DeltaGenerator:
        """Shows progress, time left and Cancel; returns the place of the bar."""
        with st.container(horizontal=True, vertical_alignment="center"):
            bar = st.empty()
            self.show(bar, what)
            st.button("Cancel", on_click=self.stop, icon=":material/stop:", key=key)
        return bar


def play(state: Compare, a: Side, b: Side, seed: int) -> int:
    """Plays both sides. Returns how many episodes both have.

    If it takes long, it shows progress, time left and Cancel, and returns after the first episodes, up to the one on the map.
    The others are played while the page is open; the page is refreshed each time their number has doubled. To be called
    outside fragments: there a click that reruns the whole page interrupts it, but a click in a fragment does not. Episodes
    played so far stay.
    """
    if is_large(a.scenario) or is_large(b.scenario):
        return _play_beside(state, a, b, seed)
    # Two places, because elements written one after another into one place in the same run would all stay visible.
    first, slot, playing = st.empty(), st.empty(), Playing(state, a, b, seed)
    bar: DeltaGenerator | None = None
    words, needed = f"Playing {state.episodes} episodes of A and of B", max(MIN_EPISODES, state.shown)
    if not playing.stopped:
        state.stopped = None
        patience = 0.0 if state.continuing == playing.key else MAX_WAIT

        def touch() -> None:
            nonlocal bar
            if bar is not None:
                playing.show(bar, words)
            elif playing.elapsed >= BAR_DELAY:
                with first.container():
                    bar = playing.row(words, "compare_cancel_first")
            else:
                first.empty()

        while (playing.done < needed or playing.spent < patience) and playing.piece(touch):
            touch()
    first.empty()
    done = playing.done
    state.continuing = None if playing.stopped or done == state.episodes else playing.key
    if playing.stopped and done < state.episodes:
        with slot.container():
            _stopped(state, done)
    elif state.continuing:
        with slot.container():
            st.fragment(_play_others, run_every=TIMER_SLICE)(playing, done)
    return done


def _play_others(playing: Playing, shown: int) -> None:
    """Plays the other episodes, a slice at each call of the timer; `shown` episodes are on the page."""
    words = f"The first {shown} of {playing.episodes} episodes are below; playing the others"
    bar = playing.row(words, "compare_cancel")
    if playing.calls:  # not at the first call, which is the page's own
        until, more = playing.spent + TIMER_SLICE, True
        try:
            while not playing.stopped and more and playing.spent < until:
                more = playing.piece(lambda: playing.show(bar, words))
                playing.show(bar, words)
        except ScenarioError:
            more = False  # the page says what is missing
        if playing.stopped or not more or playing.done >= min(2 * shown, playing.episodes):
            st.rerun()
    playing.calls += 1


def _play_beside(state: Compare, a: Side, b: Side, seed: int) -> int:
    """The same in a large ward: returns at once with the episodes that are there."""
    playing = Playing(state, a, b, seed)
    share, problem = _collect(playing)
    done = playing.done
    if problem:
        st.error(plain(problem), icon=":material/error:")
    elif playing.stopped and done < state.episodes:
        _stopped(state, done)
    elif done < state.episodes:
        st.fragment(_follow, run_every=EVERY)(playing, done, share)
    return done


def _collect(playing: Playing) -> tuple[float, str]:
    """Keeps the episodes that have been played beside the dashboard and asks for the next ones, unless they are stopped.

    Returns the share of all that is done, and why one could not be played.
    """
    (a, b), seed, episodes = playing.sides, playing.seed, playing.episodes
    pieces = [] if playing.stopped else missing(a, b, seed, episodes)[:AHEAD]
    wanted = {
        (side, chunk): Request.of(chunk_sums, side.scenario, side.policy, side.shares, seed, chunk)
        for side, chunk in pieces
    }
    found, done = curve_computer().large(f"{client()} compare", wanted)
    for (side, chunk), sums in found.items():
        if isinstance(sums, str):
            return 0.0, sums
        keep(side, seed, chunk, sums)
    left = len(missing(a, b, seed, episodes))
    whole = len(dict.fromkeys((a, b))) * episodes / min(chunk_size(side.scenario) for side in (a, b))
    begun = sum(share for piece, share in done.items() if piece not in found)
    return min(1.0, max(0.0, 1 - (left - begun) / whole)), ""


def _follow(playing: Playing, shown: int, share: float) -> None:
    """Says how far the other episodes are; draws the page again when there are enough more of them; `shown` are on it."""
    share, problem = _collect(playing) if playing.calls else (share, "")
    needed = 2 * shown if shown else playing.state.shown
    if playing.calls and (problem or playing.stopped or playing.done >= min(needed, playing.episodes)):
        st.rerun()
    playing.calls += 1
    with st.container(horizontal=True, vertical_alignment="center"):
        progress_of(share, f"{playing.done} of {playing.episodes} episodes of A and of B are played; the others follow")
        st.button("Cancel", on_click=playing.stop, icon=":material/stop:", key="compare_cancel")


def shown_records(sides: tuple[Side, Side], seed: int, number: int) -> tuple[Record, Record] | None:
    """Episode `number` of A and of B; None until both have been played, which in a large ward happens beside the dashboard."""
    a, b = sides
    if not any(is_large(side.scenario) for side in sides):
        return episode(a, seed, number), episode(b, seed, number)
    found = _shown_records(sides, seed, number)[0]
    if len(found) < len(wanted_records := dict.fromkeys(sides)):
        _wait_for_records(sides, seed, number)
        return None
    for problem in (found[side] for side in wanted_records if isinstance(found[side], str)):
        st.error(plain(problem), icon=":material/error:")
        return None
    records = [found[side].select((found[side].episode == number).nonzero().flatten()) for side in sides]
    return records[0], records[1]


def _shown_records(sides: tuple[Side, Side], seed: int, number: int) -> tuple[dict[Side, Any], dict[Side, float]]:
    wanted = {
        side: Request.of(
            chunk_record, side.scenario, side.policy, side.shares, seed, (number - 1) // chunk_size(side.scenario)
        )
        for side in dict.fromkeys(sides)
    }
    return curve_computer().large(f"{client()} compared", wanted)


@st.fragment(run_every=EVERY)
def _wait_for_records(sides: tuple[Side, Side], seed: int, number: int) -> None:
    found, done = _shown_records(sides, seed, number)
    if len(found) == len(done):
        st.rerun()
    progress_of(min(done.values()), f"Episode {number} is played on both sides, for the maps")


def _stopped(state: Compare, done: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        what = f"the results below are of these {done}" if done else "there is nothing to show yet"
        st.warning(f"Stopped after {done} of {state.episodes} episodes; {what}.", icon=":material/stop_circle:")
        st.button("Continue", on_click=_continue, args=(state,), icon=":material/play_arrow:")


def _continue(state: Compare) -> None:
    state.stopped = None
