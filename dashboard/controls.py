"""The sidebar: one control for each parameter, generated from the scenario's metadata."""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import streamlit as st

from dashboard.data_import import MEGABYTES, import_controls
from dashboard.devices import device_controls, device_words
from dashboard.session import Session
from dashboard.text import plain
from dashboard.widgets import choose, clamp, synced
from iomt_core.policies.base import SHARES
from iomt_core.policies.price_response import PriceResponse, broadcast_response
from iomt_core.policies.registry import policy_type
from iomt_core.scenario import GROUPS, PRESET_NOTES, PRESETS, Meta, Scenario, collect_notes, metadata, set_elsewhere
from iomt_core.scenario.files import dump_scenario, parse_scenario
from iomt_core.training.catalogue import catalogue, policy_label, usable_policy
from iomt_core.twin.northbound import LARGEST_SEED

GROUP_LABELS = {
    "first": "Ward", "ward": "Places and steps", "tasks": "Tasks", "computing": "Computing", "channel": "Channel",
    "objective": "Objective", "advanced": "Advanced",
}  # fmt: skip
OWN_DATA_LABELS = {
    "workload": "own workload", "places": "own places", "devices": "devices that differ", "kinds": "task kinds",
}  # fmt: skip
FIRST = ("users", "tasks", "servers", "channel", "eta")
MOST_PILLS = 40  # users or servers that have a button each
SHARE_LABELS = {"own": "policy's own", "equal": "even", "optimal": "best"}
# Steps of a logarithmic slider: the E24 series of preferred numbers (IEC 60063).
E24 = (
    1.0, 1.1, 1.2, 1.3, 1.5, 1.6, 1.8, 2.0, 2.2, 2.4, 2.7, 3.0, 3.3, 3.6, 3.9, 4.3, 4.7, 5.1, 5.6, 6.2, 6.8, 7.5, 8.2, 9.1,
)  # fmt: skip
SHARES_HELP = (
    "Who sets the shares of CPU and bandwidth. *Policy's own*: the policy; *even*: all tasks on a device get the same; *best*: "
    "the best shares for the policy's choices."
)

PRICE_RESPONSE = "price-response"
PRICES = {
    "price-response-fixed": "fixed",
    PRICE_RESPONSE: "follow capacities",
    **{broadcast_response(age).name: f"{age} steps old" for age in (10, 5, 3, 2)},
    broadcast_response(1).name: "1 step old",
    broadcast_response(0).name: "of this step (ideal)",
}
PRICES_HELP = (
    "What a user knows of the servers' prices. *Fixed*: the mean over typical steps. *Follow capacities*: the mean, changed as "
    "the capacities change that every user sees; with an own workload also by the user's own tasks. *N steps old*: also the "
    "prices of N steps ago, which servers broadcast. Nobody can know those of the step itself in time: they show what fresh "
    "prices would be worth."
)


def sidebar(session: Session) -> None:
    """All controls; a change is in the session before the page runs."""
    with st.sidebar:
        _preset(session)
        _policy(session)
        locked = set_elsewhere(session.scenario)
        for group in ("first", *GROUPS):
            # Only an open group's controls are made: forty of them cost more than the ward.
            box = st.expander(GROUP_LABELS[group], expanded=group == "first", key=f"group_{group}", on_change="rerun")
            if box.open:
                with box:
                    for name in _names(group):
                        _control(session, name, metadata()[name], locked.get(name))
                    if group == "first":
                        _in_operation(session)
                        device_controls(session)
        st.caption("ᴬ An assumption of this lab: the paper does not give a value.")
        box = st.expander("Files and own data", key="group_files", on_change="rerun")
        if box.open:
            with box:
                _files(session)


def _names(group: str) -> tuple[str, ...]:
    """The parameters of a group of controls; those that most questions are about come first, in a group of their own."""
    if group == "first":
        return FIRST
    return tuple(name for name, meta in metadata().items() if meta.group == group and name not in FIRST)


def _preset(session: Session) -> None:
    def set_preset(name: str | None) -> None:
        if name:
            session.notes = []
            session.try_change(lambda: PRESETS[name])

    match = next((name for name, preset in PRESETS.items() if preset.digest == session.scenario.digest), None)
    choose(
        st, "Preset", "preset", PRESETS, match, set_preset, placeholder=f"{session.scenario.name} (changed)",
        help="\n\n".join(f"**{name}**: {note}" for name, note in PRESET_NOTES.items()),
    )  # fmt: skip


def policy_and_shares(
    left: Any, right: Any, prefix: str, label: str, side: Any, set_policy: Callable[[Any], object],
    set_shares: Callable[[Any], object],
) -> None:  # fmt: skip
    """Controls for a policy and for who sets its shares; `side` has both, `label` is a format such as "A: {}".

    The control shows the policy that decides; if that is not the chosen one, a caption names the chosen one.
    """
    known = {name: p for name, p in catalogue().items() if name == PRICE_RESPONSE or name not in PRICES}
    labels = {name: p.label for name, p in known.items()}
    deciding = usable_policy(side.policy, side.scenario)
    prices = price_options(deciding)
    shown = PRICE_RESPONSE if prices else deciding
    choose(
        left, label.format("policy").capitalize(), f"{prefix}policy", labels, shown, set_policy,
        format_func=lambda name: labels[name],
        help="A *general network* works for any scenario; as included it decides by prices. A *paper network* works for the "
        "paper's ward only.\n\n"
        + "\n\n".join(f"**{plain(p.label)}**: {plain(p.summary)}" for p in known.values()),
    )  # fmt: skip
    if deciding != side.policy:
        left.caption(f"Instead of {plain(policy_label(side.policy))}, which cannot decide in this scenario.")
    if prices:
        key = f"{prefix}prices"
        left.select_slider(
            label.format("prices").capitalize(), list(prices), deciding, help=PRICES_HELP, format_func=lambda name: prices[name],
            **synced(key, deciding, lambda: set_policy(st.session_state[key])),
        )  # fmt: skip
    choose(
        right, label.format("shares").capitalize(), f"{prefix}shares", SHARES, side.shares, set_shares,
        format_func=lambda name: SHARE_LABELS[name], help=SHARES_HELP,
    )  # fmt: skip


def price_options(policy: str) -> dict[str, str]:
    """The forms of price response by name, from stale to fresh prices; empty if the policy is none of them."""
    made = policy_type(policy)
    if made is None or not issubclass(made, PriceResponse):
        return {}
    return PRICES if policy in PRICES else {policy: f"{made.steps_old} steps old", **PRICES}


def _policy(session: Session) -> None:
    def set_seed() -> None:
        session.seed = int(st.session_state["episode_seed"])

    above, columns = st.container(), st.columns([3, 2])
    policy_and_shares(
        above, columns[0], "", "{}", session, lambda name: setattr(session, "policy", name),
        lambda rule: setattr(session, "shares", rule),
    )  # fmt: skip
    columns[1].number_input(
        "Episode seed", 0, LARGEST_SEED, session.seed, **synced("episode_seed", session.seed, set_seed), step=1,
        help="Draws the tasks, transmission powers and dynamics. The places come from the layout seed.",
    )  # fmt: skip


def _control(session: Session, name: str, meta: Meta, locked: str | None) -> None:
    key = f"p_{name}"
    value = getattr(session.scenario, f"ward_{name}" if name in ("users", "servers") else name)

    def change(convert: Callable[[Any], Any]) -> None:
        session.moved = name
        # Another number of users or servers is another ward, in which none is switched off.
        off = {f"{name}_off": ()} if name in ("users", "servers") else {}
        session.try_change(lambda: session.scenario.changed(**{name: convert(st.session_state[key])}, **off))

    unit = meta.unit if meta.shown_unit is None else meta.shown_unit
    label = f"{meta.label}" + (f", {unit}" if unit else "")
    if meta.source == "assumption":
        label += " ᴬ"
    source = "an assumption" if meta.source == "assumption" else meta.source
    allowed = f" Allowed: {meta.allowed()}." if meta.allowed() else ""
    explained = (
        f"{meta.meaning[:1].upper()}{meta.meaning[1:]}. Symbol: {meta.symbol or 'none'}.{allowed} Source: {source}."
    )
    common: dict[str, Any] = {
        "disabled": locked is not None, "help": f"**{locked}.** {explained}" if locked else explained,
    }  # fmt: skip

    def shows(now: Any) -> dict[str, Any]:
        """Arguments of the control, whichever kind it is, that shows the value `now`."""
        return synced(key, now, change) | common

    place: Any = st
    if meta.usual:  # a slider for the usual values, and beside it a field for all that are allowed
        place, field = st.columns([7, 4], gap="small", vertical_alignment="bottom")
        _exact_value(field, session, name, meta, value, locked)
        if not meta.is_usual(value):
            label += " ▸"
            common["help"] += " ▸ The value is beyond the usual ones that the slider spans."
            value = _within(value, *meta.span)
    if name == "channel":
        options = typing.get_args(Scenario.model_fields["channel"].annotation)
        st.segmented_control(label, options, default=value, args=(str,), required=True, **shows(value))
    elif meta.high is not None and meta.high > 1e8 and isinstance(value, int):
        st.number_input(label, int(meta.low or 0), int(meta.high), value, step=1, args=(int,), **shows(value))
    elif type(None) in typing.get_args(Scenario.model_fields[name].annotation):
        # An empty control means automatic; the browser resets an empty control to its default, so that must be None.
        now = None if value is None else clamp(value, meta.low, meta.high)
        st.number_input(
            label, meta.low, meta.high, None, format="%g", placeholder="automatic", args=(lambda v: v,), **shows(now)
        )
    elif meta.log:
        _log_slider(place, label, meta, value, shows)
    else:
        kind = int if isinstance(value, int) or (isinstance(value, tuple) and isinstance(value[0], int)) else float
        factor = meta.shown_factor
        convert = _tuple_of(kind) if isinstance(value, tuple) else lambda shown: kind(shown / factor)
        low, high, step = (kind(x * factor) for x in (*meta.span, meta.step or 1))
        now = value if isinstance(value, tuple) else kind(value * factor)
        place.slider(label, low, high, now, step=step, args=(convert,), **shows(now))


def _within(value: Any, low: float, high: float) -> Any:
    """A value, or both ends of a range, limited to what a slider spans."""
    if isinstance(value, tuple):
        return tuple(_within(end, low, high) for end in value)
    return type(value)(clamp(value, low, high))


def _exact_value(place: Any, session: Session, name: str, meta: Meta, value: Any, locked: str | None) -> None:
    """A field for a value that its slider cannot show: a number in the unit of the slider, or with any other unit."""
    key, unit = f"x_{name}", meta.unit if meta.shown_unit is None else meta.shown_unit
    ends = value if isinstance(value, tuple) else (value,)
    shown = "..".join(f"{end * meta.shown_factor:.6g}" for end in ends)

    def change() -> None:
        parts = [part.strip() for part in str(st.session_state[key]).replace(" to ", "..").split("..")]
        words = [part if re.search(r"[a-zµ]\s*$", part, re.IGNORECASE) else f"{part} {unit}".strip() for part in parts]
        session.moved = name
        off = {f"{name}_off": ()} if name in ("users", "servers") else {}
        new = (
            words * (3 - len(words)) if isinstance(value, tuple) else words[0] if len(words) == 1 else "..".join(words)
        )
        session.try_change(lambda: session.scenario.changed(**{name: new}, **off))

    place.text_input(
        f"{meta.label}, exactly", shown, **synced(key, shown, change),
        label_visibility="collapsed", disabled=locked is not None, max_chars=60,
    )  # fmt: skip


def _in_operation(session: Session) -> None:
    """Who is in operation: each server and user can be switched off alone."""
    s = session.scenario
    for kind, numbers, total in (
        ("servers", s.server_numbers, s.ward_servers),
        ("users", s.user_numbers, s.ward_users),
    ):
        key = f"{kind}_in_operation"

        def change(kind: str = kind, key: str = key, total: int = total) -> None:
            off = set(range(1, total + 1)) - set(st.session_state[key])
            session.try_change(lambda: session.scenario.changed(**{f"{kind}_off": tuple(off)}))

        if total > MOST_PILLS:
            _switched_off(session, kind, total)
            continue
        st.pills(
            f"{kind.capitalize()} in operation", range(1, total + 1), selection_mode="multi",
            default=list(numbers), **synced(key, list(numbers), change),
            help=f"Switch one of the {kind} off, or on again. All others keep their places, numbers and tasks.",
        )  # fmt: skip


def _switched_off(session: Session, kind: str, total: int) -> None:
    """Who is switched off, of so many that a button for each would fill the page."""
    key = f"{kind}_switched_off"

    def change() -> None:
        session.try_change(lambda: session.scenario.changed(**{f"{kind}_off": tuple(st.session_state[key])}))

    off = list(getattr(session.scenario, f"{kind}_off"))
    st.multiselect(
        f"{kind.capitalize()} switched off", range(1, total + 1), off, **synced(key, off, change),
        help=f"All other {kind} keep their places, numbers and tasks.",
    )  # fmt: skip


def _tuple_of(kind: type) -> Callable[[Any], Any]:
    return lambda pair: tuple(kind(x) for x in pair)


def _log_slider(place: Any, label: str, meta: Meta, value: Any, shows: Callable[[Any], dict[str, Any]]) -> None:
    """A slider over preferred numbers; shows: as in `_control`."""
    factor = meta.shown_factor

    def shown(x: float) -> float:
        return float(f"{x * factor:.6g}")

    def si(x: Any) -> Any:
        return tuple(si(y) for y in x) if isinstance(x, (tuple, list)) else float(f"{x / factor:.12g}")

    now = tuple(shown(x) for x in value) if isinstance(value, tuple) else shown(value)
    grid = _grid(*(shown(end) for end in meta.span))
    options = sorted({*grid, *(now if isinstance(now, tuple) else (now,))})
    place.select_slider(label, options, now, format_func=lambda x: f"{x:g}", args=(si,), **shows(now))


@lru_cache(maxsize=64)
def _grid(low: float, high: float) -> tuple[float, ...]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inner = (float(f"{m}e{d}") for d in decades for m in E24)
    return tuple(sorted({low, high, *(x for x in inner if low < x < high)}))


def _files(session: Session) -> None:
    form = st.segmented_control("Scenario file", ("yaml", "json"), default="yaml", required=True, key="file_form")
    st.download_button(
        "Download scenario", lambda: dump_scenario(session.scenario, form or "yaml"), f"{session.scenario.name}.{form}",
        "text/plain", on_click="ignore", width="stretch",
    )  # fmt: skip

    count = st.session_state.setdefault("uploads", 0)  # another key empties the controls: what is in use is said below

    def uploaded(key: str, read: Callable[[bytes, str], Scenario]) -> None:
        file, st.session_state["uploads"] = st.session_state[key], count + 1
        if file is not None:
            with collect_notes() as session.notes:
                session.try_change(lambda: read(file.getvalue(), file.name))

    key = f"up_scenario_{count}"
    st.file_uploader(
        "Load a scenario (YAML, JSON)", ["yaml", "yml", "json"], key=key, on_change=uploaded, args=(key, parse_scenario),
        max_upload_size=MEGABYTES,
    )  # fmt: skip
    import_controls(session)
    for note in session.notes:
        st.caption(plain(note))
    for field, what in _own_data(session.scenario).items():
        st.markdown(f"In use: **{plain(what)}**.")
        st.button(f"Remove {OWN_DATA_LABELS[field]}", on_click=_remove, args=(session, field), width="stretch")


def _own_data(s: Scenario) -> dict[str, str]:
    """What a scenario has of own data, in words, by field."""
    found = {}
    if s.workload is not None:
        found["workload"] = f"own workload, {len(s.workload)} tasks of {s.users} users in {s.T} steps"
    if s.places is not None:
        found["places"] = f"own places of {len(s.places.users)} users and {len(s.places.servers)} servers"
    if words := device_words(s):
        found["devices"] = words
    if s.kinds:
        found["kinds"] = f"task kinds {', '.join(kind.name for kind in s.kinds)}"
    return found


def _remove(session: Session, field: str) -> None:
    session.notes = []
    nothing = {"kinds": {"kinds": ()}, "devices": {"user_devices": (), "server_devices": ()}}.get(field, {field: None})
    session.try_change(lambda: session.scenario.changed(**nothing))
