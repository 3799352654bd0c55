"""Playing what the Compare page compares: the first episodes are shown at once, the rest is added as it comes."""

from __future__ import annotations

import time

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.compare_state import Compare
from iomt_core.experiments.comparison import Side, advance, finished

FIRST = 0.2  # s of playing before what there is is shown
TURN = 0.25  # s of playing at the rest between two looks at what a person does


class Playing:
    """A comparison that is played piece by piece, over as many runs of the script as it takes."""

    def __init__(self, state: Compare, a: Side, b: Side, seed: int) -> None:
        self.state, self.sides, self.seed, self.episodes = state, (a, b), seed, state.episodes
        self.key = (a.key, b.key, seed, self.episodes)
        self.begun = self.done / self.episodes  # share that is there already
        self.part, self.spent = 0.0, 0.0  # of what was missing; seconds
        self.beside = False  # whether the first episodes are on the page already
        self._pieces = advance(a, b, seed, self.episodes)

    @property
    def done(self) -> int:
        """Episodes that both sides have played."""
        return finished(*self.sides, self.seed, self.episodes)

    @property
    def stopped(self) -> bool:
        """Whether a person has stopped just this comparison."""
        return self.state.stopped == self.key

    def piece(self) -> bool:
        """Plays one piece; False where none is left."""
        began = time.monotonic()
        self.part = next(self._pieces, 1.0)
        self.spent += time.monotonic() - began
        return self.part < 1

    def row(self, what: str) -> Row:
        """Progress, time left and Cancel, where the script is."""
        with st.container(horizontal=True, vertical_alignment="center"):
            row = Row(self, what, st.empty())
            st.button("Cancel", on_click=self.stop, icon=":material/stop:", key="compare_cancel")
        return row

    def stop(self) -> None:
        """What has been played stays."""
        self.state.stopped = self.key


class Row:
    """The progress of a comparison, as it is shown."""

    def __init__(self, playing: Playing, what: str, place: DeltaGenerator) -> None:
        self.playing, self.what, self.place = playing, what, place
        self.show()

    def show(self) -> None:
        """Brings it up to date."""
        begun, part = self.playing.begun, self.playing.part
        share = begun + (1 - begun) * part
        left = self.playing.spent * (1 - part) / part if part else 0.0
        self.place.progress(share, f"{self.what}: {100 * share:.0f} %, about {left:.0f} s left")


def play(state: Compare, a: Side, b: Side, seed: int) -> int:
    """Plays both sides and returns how many episodes both have; shows progress, time left and Cancel where it takes long.

    Where it does, the first episodes will do, up to the one that the map shows; the rest is played while they are looked
    at, and the page takes more in each time there are twice as many. Called outside fragments: only a run of the whole page
    is interrupted by a click, and it keeps what has been played.
    """
    slot, playing, row = st.empty(), Playing(state, a, b, seed), None
    if not playing.stopped:
        state.stopped = None
        while playing.piece() and (playing.spent < FIRST or playing.done < state.shown):
            if row is not None:
                row.show()
            elif playing.spent >= FIRST:
                with slot.container():
                    row = playing.row(f"Playing {state.episodes} episodes of A and of B")
    done = playing.done
    if row is not None or done == state.episodes:
        slot.empty()
    if done < state.episodes:
        with slot.container():
            if playing.stopped:
                _stopped(state, done)
            else:
                st.fragment(_rest, run_every=TURN)(playing, done)
    return done


def _rest(playing: Playing, shown: int) -> None:
    """Plays on beside the first episodes, which are `shown`: a turn at every call but the first, the page's own."""
    if playing.beside:
        until = playing.spent + TURN
        while not playing.stopped and playing.piece() and playing.spent < until:
            pass
        if playing.stopped or playing.done >= min(2 * shown, playing.episodes):
            st.rerun()
    playing.beside = True
    playing.row(f"The first {shown} of {playing.episodes} episodes are below; playing the others")


def _stopped(state: Compare, done: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        what = f"the figures below are of these {done}" if done else "there is nothing to show yet"
        st.warning(f"Stopped after {done} of {state.episodes} episodes; {what}.", icon=":material/stop_circle:")
        st.button("Go on", on_click=_go_on, args=(state,), icon=":material/play_arrow:")


def _go_on(state: Compare) -> None:
    state.stopped = None
