"""Which changes of a control a person has made."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from streamlit.runtime.scriptrunner import get_script_run_ctx

P = ParamSpec("P")


def touched(take: Callable[P, None]) -> Callable[P, None]:
    """A callback of a control that stands in no fragment: does nothing in a run of a fragment alone.

    A fragment's timer sends what all controls show. Where the page has just set some, the browser may not have heard of it
    yet, and Streamlit takes their old values for a change that a person made. Who touches such a control runs the page.
    """

    @wraps(take)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        context = get_script_run_ctx()
        if context is None or not context.fragment_ids_this_run:
            take(*args, **kwargs)

    return checked
