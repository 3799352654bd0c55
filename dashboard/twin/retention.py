"""Looking after a warehouse: limits of its tiers, room, keys, a user who is to be forgotten, and its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.person import current_person
from dashboard.text import plain
from dashboard.twin import warehouses
from dashboard.twin.state import View
from dashboard.twin.warehouses import SUBJECT
from iomt_core.runs.owner import owner_of
from iomt_core.scenario import ScenarioError, counted
from iomt_core.twin.access.hooks import audit_hook
from iomt_core.twin.audit_log import open_audit_log
from iomt_core.twin.warehouse.limits import MEGABYTE, NO_LIMIT, Limits
from iomt_core.twin.warehouse.writer import WarehouseWriter

TIERS = ("device", "edge", "archive")
MOST_STEPS, MOST_MB = 10**9, 10**8
Work = Callable[[WarehouseWriter], str]  # changes the warehouse and says what was done


def retention(folder: Path, state: dict[str, Any], view: View) -> None:
    """Buttons for the owner of a warehouse; each asks before it acts, and says what it did."""
    name = folder.name
    if name in view.changed:
        done, words = view.changed[name]
        (st.success if done else st.error)(plain(words), icon=f":material/{'check_circle' if done else 'error'}:")
    if not current_person().may_change(owner_of(folder)):
        st.caption("Only the owner of this warehouse or the operator of the lab can change it.")
        return
    job = warehouses.recording_of(name)
    busy = job is not None and job.state == "running"
    with st.container(horizontal=True):  # new keys after a change close what was open, which would hide the result
        options: dict[str, Any] = {"disabled": busy, "help": "Wait until the recording is done." if busy else None}
        with st.popover("Limits", icon=":material/tune:", key=f"twin_limits_{view.changes}", **options):
            _limits(folder, state, view)
        with st.popover("Tidy", icon=":material/mop:", key=f"twin_tidy_{view.changes}", **options):
            _tidy(folder, state, view)
        with st.popover("Rotate keys", icon=":material/key:", key=f"twin_rotate_{view.changes}", **options):
            st.write("Every user gets a new key. The segments' keys are wrapped again; no data are written anew.")
            if st.button("Rotate now", key="twin_really_rotate"):
                _change(folder, state, view, lambda writer: f"Rotated: {counted(writer.rotate(), 'segment key')}.")
        with st.popover("Forget a user", icon=":material/person_off:", key=f"twin_forget_{view.changes}", **options):
            _forget(folder, state, view)
        with st.popover("Delete", icon=":material/delete:", key=f"twin_delete_{view.changes}", **options):
            _delete(folder, view)


def _limits(folder: Path, state: dict[str, Any], view: View) -> None:
    known = Limits.from_json(state["limits"])
    st.write(
        "Beyond a limit, whole segments move to the next tier, the oldest first. What leaves the archive is **dropped**."
    )
    values: dict[str, int] = {}
    for tier in TIERS:
        row = st.container(horizontal=True)
        steps, size = known.steps(tier), known.bytes(tier) / MEGABYTE
        key = f"twin_limit_{folder.name}_{tier}"
        # 0 stands for no limit.
        chosen = row.number_input(f"{tier}: age (steps)", 0, MOST_STEPS, steps if steps < NO_LIMIT else 0, key=f"{key}_steps",
                                  help="0: no limit", width=170)  # fmt: skip
        room = row.number_input(f"{tier}: size (MB)", 0.001, float(MOST_MB), float(size), key=f"{key}_mb", width=170)
        values[f"{tier}_steps"], values[f"{tier}_bytes"] = int(chosen) or NO_LIMIT, round(room * MEGABYTE)
    if st.button("Set limits", key="twin_really_limit"):

        def work(writer: WarehouseWriter) -> str:
            before = state["dropped_rows"]
            writer.set_limits(replace(known, **values))
            lost = warehouses.dropped_rows(folder) - before
            return f"The limits are set. {counted(lost, 'record')} dropped at the end of the archive."

        _change(folder, state, view, work)


def _tidy(folder: Path, state: dict[str, Any], view: View) -> None:
    st.write("Moves what the limits ask to be moved, and **drops** the oldest records of all tiers to make room.")
    free = st.number_input("Room to make (MB)", 0.0, float(MOST_MB), 0.0, key=f"twin_free_{folder.name}",
                           help="0: drops nothing.")  # fmt: skip
    if st.button("Tidy now", key="twin_really_tidy"):

        def work(writer: WarehouseWriter) -> str:
            segments, rows = writer.tidy(int(free * MEGABYTE))
            writer.settle()
            return f"Tidied: {counted(rows, 'record')} in {counted(segments, 'segment')} dropped."

        _change(folder, state, view, work)


def _forget(folder: Path, state: dict[str, Any], view: View) -> None:
    left = [user for user in state["users"] if user not in state["forgotten"]]
    if not left:
        st.write("All users were forgotten.")
        return
    st.write("Destroys the user's key, so that no copy of the user's data can be read any more, and removes the data.")
    user = st.selectbox("User", left, key=f"twin_forget_{folder.name}")
    typed = st.text_input(
        f"Type *forget {user}* to confirm. This cannot be undone.", key=f"twin_forget_words_{folder.name}"
    )
    if _confirm("Forget for ever", "twin_really_forget", typed.strip() == f"forget {user}"):

        def work(writer: WarehouseWriter) -> str:
            writer.forget(user)
            return f"User {user} is forgotten; the key is destroyed."

        _change(folder, state, view, work)


def _delete(folder: Path, view: View) -> None:
    name = folder.name
    st.write(
        f"Removes {plain(name)} with all records and its audit log, and destroys its keys, so that no copy can be read."
    )
    typed = st.text_input(
        "Type the name of the warehouse to confirm. This cannot be undone.", key=f"twin_delete_words_{name}"
    )
    if _confirm("Delete for ever", "twin_really_delete", typed.strip() == name):
        try:
            warehouses.delete(folder)
        except ScenarioError as error:
            view.changed[name] = False, str(error)
        else:
            view.warehouse, view.into = None, None
            view.changed.pop(name, None)
        st.rerun()


def _confirm(label: str, key: str, typed: bool) -> bool:
    """A button that waits until the confirmation was typed; whether it was pressed."""
    return st.button(label, type="primary" if typed else "secondary", key=key, disabled=not typed)


def _change(folder: Path, state: dict[str, Any], view: View, work: Work) -> None:
    """Does it, as the one writer of the warehouse, and keeps the result for the next run of the page."""
    try:
        with (
            open_audit_log(folder) as log,
            WarehouseWriter(folder, audit=audit_hook(log, SUBJECT), create=False) as writer,
        ):
            view.changed[folder.name] = True, work(writer)
    except ScenarioError as error:
        view.changed[folder.name] = False, str(error)
    view.changes += 1
    st.rerun()
