"""The table of devices: what single servers and users have of their own, to edit in a dialog."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.session import Session
from dashboard.text import plain
from iomt_core.scenario import Meta, Scenario, ScenarioError, counted, metadata

FIELDS = {"server": ("F_k", "B_k", "latency"), "user": ("F_i", "P_tr", "Cap")}
TABLES = "device_tables"  # in session state while the dialog is open
HELP = (
    "An empty cell is the value of the whole ward, from the sliders. A cloud is a fast server with a latency; a sensor without "
    "a CPU of its own has 0."
)


def device_table(s: Scenario, kind: str) -> pd.DataFrame:
    """One row for each "server" or "user" of the whole ward; columns as `heading` says, empty where a value is the ward's."""
    own = {device.number: device for device in getattr(s, f"{kind}_devices")}
    rows = []
    for number in range(1, getattr(s, f"ward_{kind}s") + 1):
        device = own.get(number)
        row: dict[str, Any] = {"number": number}
        row["name"] = device.name if device else None
        for field in FIELDS[kind]:
            value = getattr(device, field) if device else None
            row[field] = None if value is None else float(f"{value * metadata()[field].shown_factor:.12g}")
        rows.append(row)
    frame = pd.DataFrame(rows, columns=["number", "name", *FIELDS[kind]])
    return frame.astype({"name": "string", **dict.fromkeys(FIELDS[kind], "float64")})


def devices_from_table(frame: pd.DataFrame, kind: str) -> list[dict[str, Any]]:
    """The rows that differ, as a scenario has them, SI; the inverse of `device_table`."""
    found = []
    for row in frame.to_dict("records"):
        device: dict[str, Any] = {"number": int(row["number"])}
        if isinstance(row["name"], str) and row["name"].strip():
            device["name"] = row["name"].strip()
        for field in FIELDS[kind]:
            value = row[field]
            if value is not None and not math.isnan(value):
                device[field] = float(f"{value / metadata()[field].shown_factor:.12g}")
        if len(device) > 1:
            found.append(device)
    return found


def heading(meta: Meta) -> str:
    """Label of a column with the unit of its numbers: "Server CPU, GHz"."""
    return f"{meta.label}, {meta.unit if meta.shown_unit is None else meta.shown_unit}"


def device_words(s: Scenario) -> str:
    """How many devices differ, in words; "" if none does."""
    counts = [counted(len(getattr(s, f"{kind}_devices")), kind) for kind in FIELDS if getattr(s, f"{kind}_devices")]
    return " and ".join(counts) + " with a name or values of their own" if counts else ""


def device_controls(session: Session) -> None:
    """What differs, in words, and a button that opens the table."""
    if words := device_words(session.scenario):
        st.caption(f"In use: {words}.")
    st.button(
        "Devices that differ…", width="stretch", icon=":material/table:", help=HELP, on_click=_open, args=(session,)
    )
    if TABLES in st.session_state:  # in every run, so that one that the page starts by itself does not close the dialog
        _edit(session)


def _open(session: Session) -> None:
    """Keeps the tables that the dialog opens with: they must not change while somebody edits them."""
    st.session_state[TABLES] = {kind: device_table(session.scenario, kind) for kind in FIELDS}


def _close() -> None:
    st.session_state.pop(TABLES, None)


@st.dialog("Devices that differ", width="large", on_dismiss=_close)
def _edit(session: Session) -> None:
    s, edited = session.scenario, {}
    st.caption(HELP)
    for kind, table in st.session_state[TABLES].items():
        columns = {
            "number": st.column_config.NumberColumn("No.", disabled=True, width="small"),
            "name": st.column_config.TextColumn("Name", max_chars=40),
        }
        for field in FIELDS[kind]:
            meta = metadata()[field]
            low, high = (float(end) * meta.shown_factor for end in (meta.low or 0, meta.high or 0))
            columns[field] = st.column_config.NumberColumn(
                heading(meta), min_value=low, max_value=high, format="%g", help=f"Empty: {_usual(s, field)}."
            )
        st.markdown(f"**{kind.capitalize()}s**")
        edited[kind] = st.data_editor(
            table, hide_index=True, column_config=columns, key=f"edit_{kind}s", placeholder="the ward's"
        )
    apply, remove = st.columns(2)
    if apply.button("Apply", type="primary", width="stretch"):
        devices = {f"{kind}_devices": devices_from_table(frame, kind) for kind, frame in edited.items()}
        _use(session, devices)
    if remove.button("All devices alike", width="stretch"):
        _use(session, {f"{kind}_devices": () for kind in FIELDS})


def _use(session: Session, devices: dict[str, Any]) -> None:
    try:
        session.scenario.changed(**devices)
    except ScenarioError as error:
        for problem in error.problems:
            st.error(plain(problem))
        return
    session.try_change(lambda: session.scenario.changed(**devices))
    _close()
    st.rerun()


def _usual(s: Scenario, field: str) -> str:
    """The ward's value of a field, in words."""
    value, meta = getattr(s, field), metadata()[field]
    return " to ".join(map(meta.show, value)) if isinstance(value, tuple) else meta.show(value)
