"""A chart's table twin: the same numbers as a table that can be read out, sorted and downloaded."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st


def chart_table(key: str, build: Callable[[], pd.DataFrame], what: str, label: str = "As a table") -> None:
    """An expander with the table of `build()`, computed only while it is open; `what` says what it holds."""
    box = st.expander(label, key=f"twin_{key}", on_change="rerun")
    if box.open:
        table = build()
        with box:
            st.dataframe(table, hide_index=True, key=f"twin_{key}_table", alt=what)
            download(table, key, what)


def download(table: pd.DataFrame, key: str, what: str) -> None:
    """A small table as CSV; the file takes its name from the key.

    It is written now and not when asked for: a click that meets a rerun would ask for a file that the rerun withdrew.
    """
    st.download_button(
        "Download (CSV)", table.to_csv(index=False), f"{key.replace('_', '-')}.csv", "text/csv",
        on_click="ignore", key=f"twin_{key}_csv", help=what,
    )  # fmt: skip
