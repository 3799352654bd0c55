"""Playing what the Compare page compares: the first episodes are shown at once, the others are added as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.compare.state import Compare
from iomt_core.experiments.comparison.sides import Side, advance, finished
from iomt_core.scenario import ScenarioError

MIN_EPISODES = 2  # episodes: one gives no interval
MAX_WAIT = 0.1  # s that are waited for all episodes, before the first will do: heuristics are done after one piece more
BAR_DELAY = 0.5  # s after which the wait for the first ones has a bar
INTERRUPT_INTERVAL = 0.05  # s after which a click may interrupt
TIMER_SLICE = 0.25  # s of playing beside what is shown; a click on it waits no longer than that, or one piece


class Playing:
    """A comparison that is played piece by piece, over as many runs of the script as it takes."""

    def __init__(self, state: Compare, a: Side, b: Side, seed: int) -> None:
        self.state, self.sides, self.seed, self.episodes = state, (a, b), seed, state.episodes
        self.key = (a.key, b.key, seed, self.episodes)
        self.begun = self.done / self.episodes  # share that is there already
        self.part, self.spent = 0.0, 0.0  # of what was missing; seconds
        if state.beside != self.key:
            state.seconds_per_episode = None
        self.turns = 0  # of the timer
        self._pieces = self._from_here()
        self._since = self._breath = 0.0  # when a piece began, and when somebody could last interrupt it
        self._touch: Callable[[], object] = lambda: None

    @property
    def done(self) -> int:
        """Episodes that both sides have played."""
        return finished(*self.sides, self.seed, self.episodes)

    @property
    def elapsed(self) -> float:
        """Seconds of playing, the piece that is played now among them."""
        return self.spent + (time.monotonic() - self._since if self._since else 0.0)

    @property
    def stopped(self) -> bool:
        """Whether a person has stopped just this comparison."""
        return self.state.stopped == self.key

    def stop(self) -> None:
        """What has been played stays."""
        self.state.stopped = self.key

    def piece(self, touch: Callable[[], object]) -> bool:
        """Plays one piece; False where none is left. Raises `ScenarioError` where a side's run is gone by now.

        `touch` is called between the steps of a policy that remembers, and writes to the page: there Streamlit breaks off
        for a person who wants another thing now, and the piece is lost.
        """
        self._since = self._breath = time.monotonic()
        self._touch = touch
        try:
            self.part = next(self._pieces, 1.0)
        except BaseException:  # Streamlit's are no Exceptions. A generator that was broken off reads as one at its end.
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
        """Episodes that were not there at the beginning; a side may have more of them than both together."""
        return max(1.0, (1 - self.begun) * self.episodes)

    def show(self, bar: DeltaGenerator, what: str) -> None:
        """Progress and time left, in the place of `bar`."""
        share, seconds_per_episode = self.begun + (1 - self.begun) * self.part, self.state.seconds_per_episode
        left = (
            ""
            if seconds_per_episode is None
            else f", about {(1 - self.part) * self._missing * seconds_per_episode:.0f} s left"
        )
        bar.progress(share, f"{what}: {100 * share:.0f} %{left}")

    def row(self, what: str, key: str) -> DeltaGenerator:
        """Progress, time left and Cancel, where the script is; returns the bar's place."""
        with st.container(horizontal=True, vertical_alignment="center"):
            bar = st.empty()
            self.show(bar, what)
            st.button("Cancel", on_click=self.stop, icon=":material/stop:", key=key)
        return bar


def play(state: Compare, a: Side, b: Side, seed: int) -> int:
    """Plays both sides and returns how many episodes both have; shows progress, time left and Cancel where it takes long.

    Where it does, the first episodes will do, up to the one that the map shows; the others are played while they are looked
    at, and the page takes more in each time there are twice as many. Called outside fragments, for a click in one does not
    interrupt, while one that has the whole page run again does, and what has been played stays.
    """
    # Two places: what is put into one after another in the same run would stand there together.
    first, slot, playing = st.empty(), st.empty(), Playing(state, a, b, seed)
    bar: DeltaGenerator | None = None
    words, needed = f"Playing {state.episodes} episodes of A and of B", max(MIN_EPISODES, state.shown)
    if not playing.stopped:
        state.stopped = None
        patience = 0.0 if state.beside == playing.key else MAX_WAIT

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
    state.beside = None if playing.stopped or done == state.episodes else playing.key
    if playing.stopped and done < state.episodes:
        with slot.container():
            _stopped(state, done)
    elif state.beside:
        with slot.container():
            st.fragment(_play_others, run_every=TIMER_SLICE)(playing, done)
    return done


def _play_others(playing: Playing, there: int) -> None:
    """Plays on beside the first episodes, of which `there` are on the page: a turn at each call of the timer's."""
    words = f"The first {there} of {playing.episodes} episodes are below; playing the others"
    bar = playing.row(words, "compare_cancel")
    if playing.turns:  # the first call is the page's own
        until, more = playing.spent + TIMER_SLICE, True
        try:
            while not playing.stopped and more and playing.spent < until:
                more = playing.piece(lambda: playing.show(bar, words))
                playing.show(bar, words)
        except ScenarioError:
            more = False  # the page says what is gone
        if playing.stopped or not more or playing.done >= min(2 * there, playing.episodes):
            st.rerun()
    playing.turns += 1


def _stopped(state: Compare, done: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        what = f"the figures below are of these {done}" if done else "there is nothing to show yet"
        st.warning(f"Stopped after {done} of {state.episodes} episodes; {what}.", icon=":material/stop_circle:")
        st.button("Go on", on_click=_go_on, args=(state,), icon=":material/play_arrow:")


def _go_on(state: Compare) -> None:
    state.stopped = None
