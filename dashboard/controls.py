"""The sidebar: one control for each parameter, generated from the scenario's metadata."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import streamlit as st

from dashboard.data_import import import_dialog
from dashboard.session import Session
from dashboard.text import plain
from dashboard.widgets import choose, clamp, on_user_change, sync_widget
from iomt_core.policies.base import SHARES
from iomt_core.scenario import GROUPS, PRESET_NOTES, PRESETS, Meta, Scenario, collect_notes, metadata, set_elsewhere
from iomt_core.scenario.files import dump_scenario, parse_scenario
from iomt_core.training.catalogue import catalogue, policy_label, usable_policy
from iomt_core.twin.northbound import LARGEST_SEED

GROUP_LABELS = {
    "first": "Ward", "ward": "Places and steps", "tasks": "Tasks", "computing": "Computing", "channel": "Channel",
    "objective": "Objective", "advanced": "Advanced",
}  # fmt: skip
OWN_DATA_LABELS = {"workload": "own workload", "places": "own places", "kinds": "task kinds"}
FIRST = ("users", "tasks", "servers", "channel", "eta")
SHARE_LABELS = {"own": "policy's own", "equal": "even", "optimal": "best"}
# Steps of a logarithmic slider: the E24 series of preferred numbers (IEC 60063).
E24 = (
    1.0, 1.1, 1.2, 1.3, 1.5, 1.6, 1.8, 2.0, 2.2, 2.4, 2.7, 3.0, 3.3, 3.6, 3.9, 4.3, 4.7, 5.1, 5.6, 6.2, 6.8, 7.5, 8.2, 9.1,
)  # fmt: skip
SHARES_HELP = (
    "Who sets the shares of CPU and bandwidth. *Policy's own*: the policy; *even*: all tasks on a device get the same; *best*: "
    "the best shares for the policy's choices."
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
    known = catalogue()
    labels = {name: p.label for name, p in known.items()}
    deciding = usable_policy(side.policy, side.scenario)
    choose(
        left, label.format("policy").capitalize(), f"{prefix}policy", labels, deciding, set_policy,
        format_func=lambda name: labels[name],
        help="A *general network* works for scenarios of many sizes, a *paper network* for the paper's ward only.\n\n"
        + "\n\n".join(f"**{plain(p.label)}**: {plain(p.summary)}" for p in known.values()),
    )  # fmt: skip
    if deciding != side.policy:
        left.caption(f"Instead of {plain(policy_label(side.policy))}, which cannot decide in this scenario.")
    choose(
        right, label.format("shares").capitalize(), f"{prefix}shares", SHARES, side.shares, set_shares,
        format_func=lambda name: SHARE_LABELS[name], help=SHARES_HELP,
    )  # fmt: skip


def _policy(session: Session) -> None:
    def set_seed() -> None:
        session.seed = int(st.session_state["episode_seed"])

    above, columns = st.container(), st.columns([3, 2])
    policy_and_shares(
        above, columns[0], "", "{}", session, lambda name: setattr(session, "policy", name),
        lambda rule: setattr(session, "shares", rule),
    )  # fmt: skip
    columns[1].number_input(
        "Episode seed", 0, LARGEST_SEED, sync_widget("episode_seed", session.seed), key="episode_seed", step=1,
        on_change=on_user_change("episode_seed", set_seed),
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
    common: dict[str, Any] = {"key": key, "on_change": on_user_change(key, change), "disabled": locked is not None}
    common["help"] = f"**{locked}.** {explained}" if locked else explained
    if name == "channel":
        options = typing.get_args(Scenario.model_fields["channel"].annotation)
        st.segmented_control(label, options, default=sync_widget(key, value), args=(str,), required=True, **common)
    elif meta.high is not None and meta.high > 1e8 and isinstance(value, int):
        st.number_input(
            label, int(meta.low or 0), int(meta.high), sync_widget(key, value), step=1, args=(int,), **common
        )
    elif type(None) in typing.get_args(Scenario.model_fields[name].annotation):
        # An empty control means automatic; the browser resets an empty control to its default, so that must be None.
        sync_widget(key, None if value is None else clamp(value, meta.low, meta.high))
        st.number_input(
            label, meta.low, meta.high, None, format="%g", placeholder="automatic", args=(lambda v: v,), **common
        )
    elif meta.log:
        _log_slider(key, label, meta, value, common)
    else:
        kind = int if isinstance(value, int) or (isinstance(value, tuple) and isinstance(value[0], int)) else float
        convert = _tuple_of(kind) if isinstance(value, tuple) else kind
        low, high, step = (kind(x) for x in (meta.low or 0, meta.high or 0, meta.step or 1))
        st.slider(label, low, high, sync_widget(key, value), step=step, args=(convert,), **common)


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

        st.pills(
            f"{kind.capitalize()} in operation", range(1, total + 1), selection_mode="multi",
            default=sync_widget(key, list(numbers)), key=key, on_change=on_user_change(key, change),
            help=f"Switch one of the {kind} off, or on again. All others keep their places, numbers and tasks.",
        )  # fmt: skip


def _tuple_of(kind: type) -> Callable[[Any], Any]:
    return lambda pair: tuple(kind(x) for x in pair)


def _log_slider(key: str, label: str, meta: Meta, value: Any, common: dict[str, Any]) -> None:
    factor = meta.shown_factor

    def shown(x: float) -> float:
        return float(f"{x * factor:.6g}")

    def si(x: Any) -> Any:
        return tuple(si(y) for y in x) if isinstance(x, (tuple, list)) else float(f"{x / factor:.12g}")

    now = tuple(shown(x) for x in value) if isinstance(value, tuple) else shown(value)
    grid = _grid(shown(meta.low or 0), shown(meta.high or 0))
    options = sorted({*grid, *(now if isinstance(now, tuple) else (now,))})
    st.select_slider(label, options, sync_widget(key, now), format_func=lambda x: f"{x:g}", args=(si,), **common)


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
        max_upload_size=2,
    )  # fmt: skip
    if st.button(
        "Import tables", icon=":material/table_convert:", width="stretch",
        help="Tasks, users or servers of your own, as CSV of any dialect or Parquet: columns, units, dates and ids become a "
        "scenario.",
    ):  # fmt: skip
        import_dialog(session)
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
    if s.kinds:
        found["kinds"] = f"task kinds {', '.join(kind.name for kind in s.kinds)}"
    return found


def _remove(session: Session, field: str) -> None:
    session.notes = []
    session.try_change(lambda: session.scenario.changed(**{field: () if field == "kinds" else None}))
