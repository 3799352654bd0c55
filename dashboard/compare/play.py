"""Plays the episodes of the Compare page: the first are shown at once, the others are added while the page is open."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.compare.state import Compare
from iomt_core.experiments.comparison.sides import Side, advance, finished
from iomt_core.scenario import ScenarioError

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


def _stopped(state: Compare, done: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        what = f"the results below are of these {done}" if done else "there is nothing to show yet"
        st.warning(f"Stopped after {done} of {state.episodes} episodes; {what}.", icon=":material/stop_circle:")
        st.button("Continue", on_click=_continue, args=(state,), icon=":material/play_arrow:")


def _continue(state: Compare) -> None:
    state.stopped = None
