"""Who uses this browser: a secret token that the browser keeps, a typed name, and whether it is the operator's.

The operator of the lab is whoever opens it on the machine where it runs. With `iomt dashboard --class`, for many people, it is
whoever opened the operator's link, which is printed when the server starts.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

import streamlit as st

from iomt_core.runs.owner import LONGEST_NAME, Person, digest

CLASS, OPERATOR_TOKEN = "IOMT_CLASS", "IOMT_OPERATOR_TOKEN"  # environment variables that the command line sets
COOKIE, LINK_ENTRY, KNOWN, NAME = "iomt_person", "operator", "person_token", "person_name"

_keeper = st.components.v2.component(
    "person_token", js=(Path(__file__).parent / "person_token.js").read_text(encoding="utf-8")
)


def read_operator_link() -> None:
    """Takes the operator's token out of the address, if a link brought one; before anything else reads the address.

    Another token is ignored: a link must not give a browser a secret that its author knows.
    """
    if LINK_ENTRY in st.query_params:
        token = st.query_params[LINK_ENTRY]
        del st.query_params[LINK_ENTRY]
        if _is_operators(token):
            st.session_state[KNOWN], st.session_state[LINK_ENTRY] = token, True


def keep_token() -> None:
    """Makes the browser keep a token if it has none yet; once in a run of a page where people own something."""
    cookie = dict(st.context.cookies.items()).get(COOKIE)
    token = st.session_state.get(KNOWN) or cookie or secrets.token_urlsafe(18)
    if cookie != token:
        data = {"cookie": COOKIE, "token": token, "replace": LINK_ENTRY in st.session_state}
        kept = _keeper(key="person_keeper", data=data, default={"token": None}, on_token_change=lambda: None).token
        token = kept or token
    st.session_state[KNOWN] = token


def current_person() -> Person:
    """The person at this browser, on a page that has called `keep_token`."""
    token = st.session_state[KNOWN]
    return Person.with_token(token, st.session_state.get(NAME) or "", _is_operator(token))


def name_field(place: st.delta_generator.DeltaGenerator) -> None:
    """A field for the name under which others see a person's runs."""
    place.text_input(
        "Your name", key=NAME, placeholder="anonymous", max_chars=LONGEST_NAME, persist_state="session",
        help="Shown beside your runs. Only this browser and the operator of the lab can stop, resume or delete them.",
    )  # fmt: skip


def _is_operators(token: str) -> bool:
    wanted = os.environ.get(OPERATOR_TOKEN)
    return bool(wanted) and hmac.compare_digest(digest(token), digest(str(wanted)))


def _is_operator(token: str) -> bool:
    # Behind a proxy everybody would seem to be on this machine.
    here = st.context.ip_address is None and "X-Forwarded-For" not in st.context.headers
    return _is_operators(token) or (here and CLASS not in os.environ)
