"""Tables: the numbers of a chart, which can be read out, sorted and downloaded, and tables in which a task is selected."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.session import Session, current

PAGE = 500  # rows of a table that are sent to the browser at a time


@st.fragment
def chart_table(key: str, build: Callable[[], pd.DataFrame], what: str, label: str = "As a table") -> None:
    """An expander with the table that `build()` returns, computed only while it is open; `what` describes its content.

    A fragment, so that opening it draws no more than the table, and is not lost when a timer asks for the page as well.
    """
    box = st.expander(label, key=f"table_of_{key}", on_change="rerun")
    if box.open:
        table = build()
        with box:
            shown = page_of(table, f"table_of_{key}_page")
            st.dataframe(shown, hide_index=True, key=f"table_of_{key}_data", alt=what)
            download(table, key, what)


def page_of(table: pd.DataFrame, key: str) -> pd.DataFrame:
    """The rows of the page that a person chooses, with the control for it; all rows if they are at most `PAGE`."""
    if len(table) <= PAGE:
        return table
    pages = -(-len(table) // PAGE)
    place = st.container(horizontal=True, vertical_alignment="bottom")
    if st.session_state.get(key, 1) > pages:
        st.session_state[key] = 1
    number = int(place.number_input(f"Page, 1 to {pages}", 1, pages, key=key, width=160))
    first = (number - 1) * PAGE
    rows = table.iloc[first : first + PAGE]
    place.caption(f"Rows {first + 1:,} to {first + len(rows):,} of {len(table):,}; the download has all.")
    return rows


def download(table: pd.DataFrame, key: str, what: str) -> None:
    """A button that downloads a small table as CSV; the file's name names the table and the policy with its network.

    The file is written now rather than at the click: a rerun at the same moment would withdraw a file written later.
    """
    file = f"{key.replace('_', '-')}-{file_words(current().policy_label)}.csv"
    csv_button("Download (CSV)", table.to_csv(index=False), file, key=f"table_of_{key}_csv", help=what)


def csv_button(label: str, content: str | Callable[[], str], file: str, **options: Any) -> None:
    """A button that downloads a CSV file without a rerun; a function as content is called at the click."""
    st.download_button(label, content, file, "text/csv", on_click="ignore", **options)


def file_words(text: str) -> str:
    """A text as part of a file's name: "SAE-MT-QMIX, general network" becomes "sae-mt-qmix-general-network"."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def selectable_tasks(table: pd.DataFrame, points: pd.DataFrame, session: Session, key: str, **options: Any) -> None:
    """A table of tasks; a row that is clicked becomes the selected task.

    points: step, user and task of each row, in the same order; options: arguments of `st.dataframe`.
    """

    def select() -> None:
        rows = st.session_state[key].selection.rows
        if rows and rows[0] < len(points):
            session.pick(points.iloc[rows[0]][["step", "user", "task"]])

    st.dataframe(
        table, hide_index=True, key=key, on_select=select, selection_mode="single-row", **options
    )  # fmt: skip
