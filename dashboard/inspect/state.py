"""The state of the Inspect page: the selected decision, the controls that step, and the page's entries of a link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from dashboard.session import Point, Session, page_state
from dashboard.widgets import index_of, synced
from iomt_core.record import Record
from iomt_core.twin.northbound_inspect import Seen

TABS = {
    "values": "Expected values",
    "shares": "Shares",
    "seen": "What the agent observes",
    "mixer": "How agents are combined",
    "regret": "Regret",
    "formulas": "Formulas",
}
MOST_ROUNDS = 99  # in a link; there are fewer rounds, and moves of one user's tasks
RANKS = {"best": "the best device for the task alone", "optimum": "the optimum's device"}


@dataclass
class InspectState:
    """What the page shows, for the whole session; `round` is a round or move of the choice, 0 the last one."""

    tab: str = "values"
    rank: str = "best"
    round: int = 0
    agreed: object = None  # the episode for which a person has started the long computation
    seen: Seen | None = None  # what is known of the episode in a large ward; None where all of it is computed at once

    def link(self) -> dict[str, str]:
        """The page's entries of a link."""
        view = {"tab": self.tab, "rank": self.rank}
        return {**view, "round": str(self.round)} if self.round else view


def state(session: Session) -> InspectState:
    """The page's state in this session; at first what the link says."""
    return page_state(session, "inspect", lambda view: from_view(session, view))


def from_view(session: Session, view: Mapping[str, str]) -> InspectState:
    """The state that the page's entries of a link describe; an invalid entry becomes a problem of the session."""
    fresh = InspectState()
    for name, allowed in (("tab", TABS), ("rank", RANKS)):
        value = view.get(name, getattr(fresh, name))
        if value in allowed:
            setattr(fresh, name, value)
        else:
            words = ", ".join(allowed)
            session.problems.append(f"v_{name} = {value[:40]!r} in the link is not known: allowed is {words}.")
    text = view.get("round", "0")
    if text in {str(n) for n in range(MOST_ROUNDS + 1)}:
        fresh.round = int(text)
    else:
        session.problems.append(f"v_round = {text[:40]!r} in the link is out of range: allowed is 0 to {MOST_ROUNDS}.")
    return fresh


def select(session: Session, shown: Record) -> Point | None:
    """Selects a decision in the session's step and returns it: the selected task, or the first task of the step.

    Returns None for a step in which nobody has a task; a workload from a file may have such steps.
    """
    session.step = step = min(session.step, len(shown))
    active = shown.snapshot.active[step - 1]
    if not bool(active.any()):
        return None
    numbers = shown.scenario.user_numbers
    user, task = (session.picked[1], session.picked[2]) if session.picked else (numbers[0], 1)
    if user not in numbers or task > active.shape[1] or not bool(active[numbers.index(user), task - 1]):
        first = active.nonzero()[0].tolist()
        user, task = numbers[first[0]], first[1] + 1
    session.picked = (step, user, task)
    return session.picked


def stepping(session: Session, shown: Record, point: Point | None) -> None:
    """Buttons First, Back, Next and Last, and controls for step, user and task."""
    numbers = shown.scenario.user_numbers
    step, user, task = point or (session.step, numbers[0], 1)
    last, active = len(shown), shown.snapshot.active[step - 1]

    def go(to: int) -> None:
        session.step = max(1, min(last, to))
        session.picked = (session.step, user, task)

    def update() -> None:
        session.step = int(st.session_state["inspect_step"])
        chosen, number = (int(st.session_state.get(f"inspect_{name}", 1)) for name in ("user", "task"))
        session.picked = (session.step, chosen, number)

    def other_user() -> None:
        chosen = int(st.session_state["inspect_user"])
        there = active[numbers.index(chosen)]
        same = task <= len(there) and bool(there[task - 1])
        session.picked = (step, chosen, task if same else int(there.nonzero()[0]) + 1)

    users = [n for n, tasks in zip(numbers, active, strict=True) if bool(tasks.any())]
    tasks = (active[numbers.index(user)].nonzero().flatten() + 1).tolist()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for label, icon, to, off in (
            ("First", "first_page", 1, step == 1),
            ("Back", "chevron_left", step - 1, step == 1),
            ("Next", "chevron_right", step + 1, step == last),
            ("Last", "last_page", last, step == last),
        ):
            st.button(label, icon=f":material/{icon}:", on_click=go, args=(to,), disabled=off, key=f"inspect_{icon}")
        st.number_input(
            f"Step of {last}", 1, last, step, **synced("inspect_step", step, update), width=130,
            help="Step t of the episode. The policy, its memory and the batteries are those of that step.",
        )  # fmt: skip
        if point is None:
            return
        st.selectbox(
            "User", users, index_of(users, user), **synced("inspect_user", user, other_user), width=100,
            help="Agent i, who decides.",
        )  # fmt: skip
        st.selectbox(
            "Task", tasks, index_of(tasks, task), **synced("inspect_task", task, update), width=100,
            help="Task j of this user; or click it on the map.",
        )  # fmt: skip
