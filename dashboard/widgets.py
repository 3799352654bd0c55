"""Controls that show what the lab holds, and which of their changes a person has made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

P = ParamSpec("P")
V = TypeVar("V")
REPLACED = "put_over"  # in session state: what controls showed before they were brought to something else


def sync_widget(key: str, value: V) -> V:
    """Brings a control to the lab's value, touching it only where it differs. Returns the value: the control's default.

    Without that default a page that runs again before the browser has made its controls would have them begin at their
    least: the second run puts nothing and says so, and the first one's word is gone.
    """
    if key not in st.session_state or st.session_state[key] != value:
        if key in st.session_state:
            st.session_state.setdefault(REPLACED, {})[key] = st.session_state[key]
        st.session_state[key] = value
    return value


def clamp(value: Any, low: Any, high: Any) -> Any:
    """A number brought between its bounds: one that is a rounding beyond them is good for the lab, but for no control."""
    return min(max(value, low), high)


def index_of(options: Iterable[object], value: object) -> int | None:
    """Where a value stands among a choice's options; None where it does not."""
    return next((n for n, option in enumerate(options) if option == value), None)


def on_user_change(key: str, update: Callable[P, None]) -> Callable[P, None]:
    """A callback of a control that stands in no fragment and is `put`: not called for what the page itself did.

    A fragment's timer sends what all controls show. Of what was just put the browser may not have heard yet, and Streamlit
    takes the old value for a change that a person made. A person's own change may come with a timer's call too.
    """

    @wraps(update)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        context, before = get_script_run_ctx(), st.session_state.get(REPLACED, {})
        timer = context is not None and bool(context.fragment_ids_this_run)
        if not (timer and key in before and st.session_state[key] == before[key]):
            update(*args, **kwargs)

    return checked
