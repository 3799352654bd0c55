"""The import dialog: files, columns, report, use; and what is wrong in words, with nothing changed."""

from __future__ import annotations

from typing import Any

from streamlit.testing.v1 import AppTest

from tests.scenario.dirty_tables import CASES, table

SCRIPT = """
import streamlit as st
from dashboard.data_import import import_controls
from dashboard.session import Session
session = st.session_state.setdefault("session", Session())
st.title(session.scenario.size_words)
import_controls(session)
"""
CSV = "text/csv"


def dialog(*files: tuple[str, bytes]) -> AppTest:
    app = AppTest.from_string(SCRIPT, default_timeout=60).run()
    labelled(app.button, "Import tables").click().run()
    app.file_uploader[0].set_value([(name, content, CSV) for name, content in files]).run()
    assert not app.exception
    return app


def labelled(elements: Any, label: str) -> Any:
    return next(one for one in elements if one.label.replace("\\", "") == label)


def messages(app: AppTest) -> str:
    return "\n".join(
        one.value.replace("\\", "")
        for kind in (app.error, app.markdown, app.info, app.caption, app.success)
        for one in kind
    )


def test_a_dirty_table_is_shown_and_used_only_on_demand() -> None:
    app = dialog(("tasks.csv", CASES["german times"].content))
    assert app.title[0].value == "8 users × 8 tasks, 4 servers"
    assert "decimal comma and points between thousands" in messages(app)
    app.text_input(key="import_step").set_value("1 min").run()
    assert "3 steps of 1 min (chosen)" in messages(app)
    app.button(key="import_use").click().run()
    assert app.title[0].value == "3 users × 1 task, 4 servers"
    assert any("1 min" in note for note in app.session_state["session"].notes)


def test_a_column_and_its_unit_may_be_chosen() -> None:
    app = dialog(("tasks.csv", table(header=("step", "user", "amount", "cycles", "priority")).encode()))
    assert "lacks a column for data" in messages(app)
    labelled(app.selectbox, "Data").select("3: amount").run()
    assert "names no unit" in messages(app)
    labelled(app.text_input, "Unit of data").set_value("KB").run()
    assert not app.error
    app.button(key="import_use").click().run()
    assert app.session_state["session"].scenario.workload[1].D == 1500.25 * 8000


def test_what_cannot_be_read_is_named_and_changes_nothing() -> None:
    for name, words in (
        ("text for a number", "line 3, column data_kb: 'lots'"),
        ("spreadsheet", "save the sheet as CSV"),
    ):
        app = dialog(("[x](http://y).csv", CASES[name].content))
        assert words in messages(app)
        assert "Traceback" not in messages(app)
        assert not [one for one in app.button if one.key == "import_use"]
        assert app.title[0].value == "8 users × 8 tasks, 4 servers"


def test_a_table_that_shows_nothing_about_itself_is_asked_about() -> None:
    app = dialog(("x.csv", b"a,b\n1,2\n"))
    assert "do not show what its rows are" in messages(app)
    labelled(app.selectbox, "x.csv: what its rows are").select("servers").run()
    assert "lacks a column for latitude and longitude" in messages(app)
