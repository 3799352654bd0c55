"""Links: what an address says about a session, and how the browser's address follows the session.

A link comes from anybody. An entry that cannot be used leaves out only itself, with a message; an entry that the lab does not
know, such as a tag of a mailing list, gets a quiet note.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from iomt_core.policies.base import SHARES
from iomt_core.scenario import ScenarioError, metadata
from iomt_core.scenario.links import (
    LONGEST_LINK,
    from_query,
    kept_digests,
    read_entries,
    read_pairs,
    to_query,
    whole_number,
)
from iomt_core.scenario.own_data import OwnDataStore
from iomt_core.training.catalogue import entry
from iomt_core.twin.northbound import checked_seed

if TYPE_CHECKING:
    from dashboard.session import Session

VIEW_KEYS = ("page", "policy", "shares", "episode_seed", "step", "task", "pin")
PAGE_VIEW = "v_"  # what a page adds to a link begins so
LONGEST_VIEW = LONGEST_LINK  # characters of such an entry
LONGEST_PIN = 2000  # characters of the pinned scenario; the other one may have the rest of the link
MOST_NAMED = 5  # unknown entries
ADDRESS = "address"  # in session state


def write_link(session: Session, page: str, view: Mapping[str, str] | None = None) -> dict[str, str]:
    """The entries of a link that restores a session on a page; `view` holds what the page adds.

    Raises `ScenarioError` if the link would be too long.
    """
    store = OwnDataStore.from_environment()
    query = {"page": page, **to_query(session.scenario, store, LONGEST_LINK - LONGEST_PIN)}
    query |= {"policy": session.policy, "episode_seed": str(session.seed), "step": str(session.step)}
    if session.shares != "own":
        query["shares"] = session.shares
    if session.picked is not None:
        query["task"] = ".".join(str(n) for n in session.picked)
    if session.pinned is not None:
        pin = session.pinned
        about = {"policy": pin.policy, "shares": pin.shares, "episode_seed": str(pin.seed)}
        query["pin"] = urlencode({**to_query(pin.scenario, store, LONGEST_PIN), **about})
    return query | {PAGE_VIEW + name: value for name, value in (view or {}).items()}


def kept_until(query: Mapping[str, str]) -> float:
    """When the first own data that a link names will be deleted, in seconds since 1970; 0 if it names none."""
    store = OwnDataStore.from_environment()
    digests = kept_digests(query) + kept_digests(dict(parse_qsl(query.get("pin", ""))))
    return min(map(store.kept_until, digests), default=0.0)


def read_link(session: Session, query: Mapping[str, str]) -> None:
    """Sets a fresh session to what a link describes; each entry that cannot be used becomes one of its problems."""
    session.wanted_page = session.view_page = query.get("page", "explore")
    known = {key: value for key, value in query.items() if key in metadata() or key == "preset"}
    session.scenario, session.problems = read_entries(known, OwnDataStore.from_environment())
    for read in (_read_policy, _read_shares, _read_seed, _read_step, _read_task, _read_pin, _read_view):
        try:
            read(session, query)
        except ScenarioError as error:
            session.problems += error.problems
    # `ScenarioError` names only the first of many.
    session.problems = [
        f"{problem} The rest of the link is used." for problem in ScenarioError(session.problems).problems
    ]
    session.hints = _unknown_entries(query)


def _unknown_entries(query: Mapping[str, str]) -> list[str]:
    names = (*VIEW_KEYS, "preset", *metadata())
    unknown = [key for key in query if key not in names and not key.startswith(PAGE_VIEW)]
    found = []
    for key in unknown[:MOST_NAMED]:
        near = difflib.get_close_matches(key[:40], names, n=1, cutoff=0.75)
        found.append(f"{key[:40]!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    more = f" and {len(unknown) - MOST_NAMED} more" if len(unknown) > MOST_NAMED else ""
    return [f"Not known in the link, and ignored: {', '.join(found)}{more}."] if found else []


def _read_policy(session: Session, query: Mapping[str, str]) -> None:
    policy = query.get("policy", session.policy)
    try:
        session.policy = entry(policy).name
    except ScenarioError as error:
        raise ScenarioError([f"in the link: {problem}" for problem in error.problems]) from None


def _read_shares(session: Session, query: Mapping[str, str]) -> None:
    shares = query.get("shares", session.shares)
    if shares not in SHARES:
        raise ScenarioError(f"shares = {shares[:40]!r} in the link is not known: allowed is {', '.join(SHARES)}.")
    session.shares = shares


def _read_seed(session: Session, query: Mapping[str, str]) -> None:
    session.seed = checked_seed(_whole(query, "episode_seed", session.seed))


def _read_step(session: Session, query: Mapping[str, str]) -> None:
    step = _whole(query, "step", 1)
    if not 1 <= step <= session.scenario.T:
        raise ScenarioError(f"step = {step} in the link is out of range: allowed is 1 to {session.scenario.T}.")
    session.step = step


def _read_task(session: Session, query: Mapping[str, str]) -> None:
    text = query.get("task")
    if text is None:
        return
    parts = text.split(".", 3)
    s = session.scenario
    limits = (s.T, s.ward_users, s.tasks)
    step, user, task = (whole_number(p, 1, most) for p, most in zip((*parts, "", "", "")[:3], limits, strict=True))
    if len(parts) != 3 or step is None or user is None or task is None:
        raise ScenarioError(
            f"task = {text[:40]!r} in the link is not step.user.task: allowed is 1.1.1 to {'.'.join(map(str, limits))}."
        )
    if user in s.users_off:
        raise ScenarioError(f"task = {text[:40]!r} in the link cannot be selected: user {user} is switched off.")
    session.picked = (step, user, task)


def _read_pin(session: Session, query: Mapping[str, str]) -> None:
    """Reads the pinned scenario. A part of it would be another scenario, so one bad entry leaves it out."""
    text = query.get("pin")
    if text is None:
        return
    about, side = read_pairs("pin", text), replace(session)
    try:
        for read in (_read_policy, _read_shares, _read_seed):
            read(side, about)
        side.scenario = from_query(about, VIEW_KEYS, OwnDataStore.from_environment())
    except ScenarioError as error:
        raise ScenarioError([f"the pinned scenario is left out: {problem}" for problem in error.problems]) from None
    session.pin(side)


def _read_view(session: Session, query: Mapping[str, str]) -> None:
    view = {key.removeprefix(PAGE_VIEW): value for key, value in query.items() if key.startswith(PAGE_VIEW)}
    session.view = {name: value for name, value in view.items() if len(value) <= LONGEST_VIEW}
    if long := [name for name in view if name not in session.view]:
        raise ScenarioError(
            [
                f"{PAGE_VIEW}{name[:40]} in the link is longer than {LONGEST_VIEW} characters; it is left out."
                for name in long
            ]
        )


def _whole(query: Mapping[str, str], key: str, default: int) -> int:
    text = query.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise ScenarioError(f"{key} = {text[:40]!r} in the link is not a whole number.")
    return int(text)


@dataclass
class _Address:
    """What is known of the browser's address."""

    opened: Mapping[str, str]  # the entries of the link that was opened last
    meaning: Mapping[str, str] | None = None  # what `write_link` made of it
    written: Mapping[str, str] | None = None  # the entries that the session has set since


def opened_address() -> dict[str, str]:
    """The entries of a link that was just opened; `update_address` then leaves it as it is until something changes."""
    query = dict(st.query_params)
    st.session_state[ADDRESS] = _Address(query)
    return query


def went_through_history() -> bool:
    """Whether this run answers the browser's Back or Forward."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def update_address(query: Mapping[str, str]) -> None:
    """Sets the browser's address to a link, unless the address is a link that was opened and still means the same.

    The browser keeps each address that a person's action leads to, so Back returns to it (see `browser.js`).
    """
    known, shown = cast(_Address, st.session_state[ADDRESS]), dict(st.query_params)
    if known.written is None and shown == known.opened and known.meaning in (None, query):
        known.meaning = query
    # `st.query_params` is the address at the browser's last request, which may be older than the one that was set since.
    elif not shown == query == known.written:
        known.written = query
        st.query_params.from_dict(query)


def full_link(query: Mapping[str, str]) -> str:
    """A link with these entries, as it is opened in a browser: at the root of the lab, wherever that is served."""
    address = urlsplit(str(st.context.url or ""))
    base = str(st.get_option("server.baseUrlPath")).strip("/")
    if base:  # a proxy may serve the lab below a further path, which comes before the base path
        before, found, _ = address.path.partition(f"/{base}")
        root = f"{before if found else ''}/{base}/"
    else:
        root = address.path.rstrip("/").removesuffix(f"/{query['page']}") + "/"
    return f"{address.scheme}://{address.netloc}{root}?{urlencode(query)}"
