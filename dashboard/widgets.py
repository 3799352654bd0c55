"""Controls that show a value of the session, and callbacks that run only for changes made by a person."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import wraps
from typing import Any, ParamSpec

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_run_context import ThreadState

P = ParamSpec("P")
REPLACED = "replaced_values"  # in session state: the values of controls before `synced` replaced them


def synced(key: str, value: object, on_change: Callable[..., object]) -> dict[str, Any]:
    """Arguments of a control that shows a value of the session and calls `on_change` when a person changes it.

    Sets the control to the value if it shows another one. The value must also be the control's default: if a page runs again
    before the browser has built the control, the second run finds the value in place and sends no update, and the control would
    start at its lowest value.
    """
    if key not in st.session_state or st.session_state[key] != value:
        if key in st.session_state:
            st.session_state.setdefault(REPLACED, {})[key] = st.session_state[key]
        st.session_state[key] = value
    return {"key": key, "on_change": _by_a_person(key, on_change)}


def clamp(value: Any, low: Any, high: Any) -> Any:
    """A number limited to its bounds: controls refuse a value that a rounding error has moved outside."""
    return min(max(value, low), high)


def index_of(options: Iterable[object], value: object) -> int | None:
    """Position of a value among options; None if it is not one of them."""
    return next((n for n, option in enumerate(options) if option == value), None)


def _by_a_person(key: str, callback: Callable[P, object]) -> Callable[P, None]:
    """A callback for a control of `synced` that ignores changes made by the page itself.

    The timer of a fragment sends the values of all controls. The browser may not know a value that was just synchronised, and
    Streamlit takes the old value for a change by a person. A real change may arrive with a timer's call too; it also calls the
    fragment that the control is in.
    """

    @wraps(callback)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        context, replaced = get_script_run_ctx(), st.session_state.get(REPLACED, {})
        fragments = (context.fragment_ids_this_run if context is not None else None) or []
        # A person's change calls the control's own fragment, or the whole page.
        timer = bool(fragments) and ThreadState.get().fragment_id not in fragments
        if not (timer and key in replaced and st.session_state[key] == replaced[key]):
            callback(*args, **kwargs)

    return checked


def choose(
    place: Any, label: str, key: str, options: Collection[str], value: str | None, set_value: Callable[[Any], object],
    **more: Any,
) -> None:  # fmt: skip
    """A select box outside fragments that shows a value of the session; `set_value` gets what a person chooses."""
    place.selectbox(
        label, list(options), index_of(options, value), **synced(key, value, lambda: set_value(st.session_state[key])), **more,
    )  # fmt: skip


def open_tab(labels: Mapping[str, str], key: str, value: str, set_value: Callable[[str], object]) -> tuple[str, Any]:
    """Shows tabs and returns the name and place of the open one, so that only its content is computed.

    labels: labels by name; value: the session's open tab; `set_value` gets the one that a person opens, before the rerun. The
    tabs have no default: with another default they would be other tabs, and the click that changed it would be lost.
    """

    def opened() -> None:
        set_value(next(name for name, label in labels.items() if label == st.session_state[key]))

    places = st.tabs(list(labels.values()), **synced(key, labels[value], opened))
    return value, places[list(labels).index(value)]


def form_widget(label: str, widget: Any, name: str, target: Any, key: str, convert: Any = None, **options: Any) -> Any:
    """A control whose value is the attribute `name` of `target`, so that it survives a change of pages."""
    value = getattr(target, name)
    value = convert(value) if convert is not None else value
    if "min_value" in options:
        value = clamp(value, options["min_value"], options["max_value"])
    default = {"selectbox": "index", "multiselect": "default"}.get(widget.__name__, "value")
    options[default] = index_of(options["options"], value) if default == "index" else value

    def update() -> None:
        now = st.session_state[key]
        if now is not None:
            setattr(target, name, now)

    return widget(label, **synced(key, value, update), **options)
