"""The sidebar: a field beside each slider takes every value that is allowed, also one that the slider does not span."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from iomt_core.scenario import Scenario

SCRIPT = """
import streamlit as st
from dashboard.controls import sidebar
from dashboard.session import Session
session = st.session_state.setdefault("session", Session())
sidebar(session)
for problem in session.problems:
    st.error(problem)
"""


@pytest.fixture(scope="module")
def app() -> AppTest:
    app = AppTest.from_string(SCRIPT, default_timeout=60)
    for group in ("tasks", "objective"):  # other groups are closed: their controls are not made
        app.session_state[f"group_{group}"] = True
    return app.run()


def entered(app: AppTest, name: str, text: str) -> Scenario:
    """The scenario after a person has written a text into the field of a parameter."""
    app.text_input(key=f"x_{name}").set_value(text).run()
    assert not app.exception
    found: Scenario = app.session_state["session"].scenario
    return found


def slider(app: AppTest, name: str) -> Any:
    return next(one for kind in (app.slider, app.select_slider) for one in kind if one.key == f"p_{name}")


@pytest.mark.parametrize(
    ("name", "text", "value", "usual"),
    [
        ("users", "12", 12, True),
        ("users", "200", 200, False),
        ("T_max", "15", 0.015, True),
        ("T_max", "2 h", 7200.0, False),
        ("D", "10..60", (80_000.0, 480_000.0), True),
        ("D", "240 kbit to 20 MB", (240_000.0, 1.6e8), False),
        ("C", "150", (1.5e5, 1.5e5), True),
    ],
)
def test_a_value_is_taken_exactly_and_marked_where_the_slider_cannot_show_it(
    app: AppTest, name: str, text: str, value: Any, usual: bool
) -> None:
    s = entered(app, name, text)
    assert getattr(s, name) == pytest.approx(value, rel=1e-12)
    assert not app.error
    shown = slider(app, name)
    assert shown.label.endswith("▸") != usual
    assert ("beyond the usual ones" in shown.help) != usual


@pytest.mark.parametrize(("name", "text"), [("users", "9999"), ("T_max", "20 KB"), ("D", "lots"), ("D", "60..10")])
def test_what_is_not_allowed_is_named_and_changes_nothing(app: AppTest, name: str, text: str) -> None:
    before = getattr(app.session_state["session"].scenario, name)
    assert getattr(entered(app, name, text), name) == before
    assert any(name in one.value for one in app.error)
    assert app.text_input(key=f"x_{name}").value != text
