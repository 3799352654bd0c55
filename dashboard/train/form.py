"""The form of a new training run: algorithm, scenario, length, seed, hyper-parameters; checked while it is filled in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.person import current_person, name_field
from dashboard.runs import clock
from dashboard.session import Session
from dashboard.text import plain
from dashboard.twin import warehouses
from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.experiments.run_length import LONGEST, POINTS, SHORTEST, interval, with_length
from iomt_core.runs.directory import checked_name
from iomt_core.runs.queue import RunRecord
from iomt_core.runs.training_run import TRAINING, concurrent_runs
from iomt_core.scenario import PRESET_NOTES, PRESETS, Scenario, ScenarioError
from iomt_core.training.run_spec import RunSpec, settings_for
from iomt_core.training.settings import Settings, allowed
from iomt_core.training.start import Start, why_not_general
from iomt_core.twin.northbound import checked_seed

SIDEBAR = "sidebar"
SECONDS = 60  # default length of a run
EVERY = ("evaluate_every", "checkpoint_every")
STARTS = {"general": "general network", "scratch": "scratch"}
MEMORY, NEW = "memory", "a new warehouse"
CELL = 180  # width of a hyper-parameter's control, pixels
# Setting and label of each control; a pair of values has two controls.
HYPER_PARAMETERS = (
    ("learning_rate", "Learning rate of θ^Q"),
    ("actor_learning_rate", "Learning rate of θ^μ"),
    ("gamma", "Discount γ"),
    ("team_weight", "Weight of the team's loss"),
    ("num_envs", "Parallel environments"),
    ("updates", "Updates per batch"),
    ("batch", "Minibatch N^B, episodes"),
    ("tau", "Target update τ"),
    ("rounds", "Rounds of an agent's tasks"),
    ("critic_target", "Target of the Q-networks (19)"),
    ("temperature", "Temperature"),
    ("share_noise", "Noise on shares"),
)


def new_run(session: Session) -> str | None:
    """Shows the form. Returns the name of the run that was just started, or None."""
    known, person = TRAINING.runs(), current_person()
    fields = st.container(horizontal=True)
    algorithm = str(
        fields.selectbox(
            "Algorithm", list(ALGORITHMS), key="train_algorithm", format_func=lambda n: ALGORITHMS[n].label,
            persist_state="session", help="\n\n".join(f"**{a.label}**: {a.summary}" for a in ALGORITHMS.values()),
        )
    )  # fmt: skip
    source = fields.selectbox(
        "Scenario", [SIDEBAR, *PRESETS], key="train_scenario", persist_state="session",
        format_func=lambda n: f"as in the sidebar ({_ward_name(session.scenario)})" if n == SIDEBAR else n,
        help="The scenario to train in. The run keeps a copy, so later changes in the sidebar do not affect it.\n\n"
        + "\n\n".join(f"**{preset}**: {note}" for preset, note in PRESET_NOTES.items()),
    )  # fmt: skip
    ward = session.scenario if source in (SIDEBAR, None) else PRESETS[str(source)]
    start, reason = _start(fields, algorithm)
    seconds = fields.number_input(
        "Time, s", SHORTEST, LONGEST, SECONDS, step=30, key="train_seconds", persist_state="session", width=CELL,
        help="About how long the run takes on an idle machine. When you press Start, a few seconds are spent on measuring how "
        "many episodes fit. On the scenario *lecture*, 60 s are enough to see the gap fall from scratch.",
    )  # fmt: skip
    episodes = fields.number_input(
        "Episodes", value=None, step=32, key="train_episodes", persist_state="session", placeholder="by the time", width=CELL,
        help=f"Episodes to play, M of Algorithm 1. Allowed: {allowed('episodes')}. Empty: as many as fit into the time. The same "
        f"number of episodes and the same seed give the same run. The included policies took "
        f"{Settings.model_fields['episodes'].default}. Schedules adapt to the length of the run.",
    )  # fmt: skip
    if reason:
        st.caption(plain(f"From scratch only: {reason}."))
    last = st.container(horizontal=True, vertical_alignment="bottom")
    suggested = TRAINING.free_name(f"{algorithm}-{ward.name}")
    wanted = last.text_input(
        "Name of the run", key="train_name", placeholder=suggested, persist_state="page",
        help="Its name here and among the policies: a-z, 0-9 and -. Empty: the name shown.",
    )  # fmt: skip
    name_field(last)
    seed = last.number_input(
        "Seed", value=0, step=1, key="train_seed", persist_state="session",
        help="Seed of all random numbers of the run: weights, episodes, noise, minibatches. The same seed gives the same run.",
    )  # fmt: skip
    into = last.selectbox(
        "Replay from", [MEMORY, NEW, *warehouses.known()], key="train_replay", persist_state="session", width=180,
        help="**Memory**: episodes are forgotten when the run ends. **A data warehouse**: every episode is recorded, encrypted, "
        "and replayed from there; the weights are the same. The page *Twin* shows the warehouse. One run at a time writes to it.",
    )  # fmt: skip
    pressed_place = last.empty()
    changes = _hyper_parameters(algorithm, start, None if episodes is None else int(episodes))
    spec, problems = _spec(algorithm, ward, start, changes, seed)
    chosen = (wanted or "").strip() or suggested
    try:
        checked_name(chosen)
        if any(run.name == chosen for run in known):
            raise ScenarioError(f"name = {chosen!r} is taken: allowed is a name that no run has yet.")
    except ScenarioError as error:
        problems = [*problems, *error.problems]
    pressed = pressed_place.button(
        "Start", type="primary", icon=":material/play_arrow:", key="train_begin", disabled=bool(problems), width=160,
        help=f"{concurrent_runs()} runs train at the same time; others wait in the queue.",
    )  # fmt: skip
    if spec is not None:
        st.caption(_expected(spec, known, None if episodes is not None else int(seconds or SECONDS)))
    for problem in problems:
        st.error(plain(problem), icon=":material/error:")
    if not pressed or spec is None or problems:
        return None
    try:
        if episodes is None:
            with st.spinner("Measuring how many episodes fit into the time …"):
                fixed = {name: changes[name] for name in EVERY if name in changes}
                spec = _measured(spec, int(seconds or SECONDS), fixed)
        if into != MEMORY:
            folder = warehouses.open_for(None if into == NEW else into, ward.name, person)
            spec = replace(spec, warehouse=str(folder))
        return TRAINING.create(chosen, spec, person).name
    except ScenarioError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return None


def _start(place: DeltaGenerator, algorithm: str) -> tuple[Start | None, str]:
    """The control for where the weights start, None for from scratch; and why no general network fits, if none does."""
    reason = why_not_general(algorithm)
    options = ["scratch"] if reason else list(STARTS)
    chosen = place.selectbox(
        "Start from", options, key="train_start" + "_scratch" * bool(reason), format_func=STARTS.__getitem__,
        persist_state="session", disabled=bool(reason),
        help="**The general network** is included and decides well at once: the curve begins near it, and the run adapts it to "
        "this scenario. At its end it says whether it beats its start, and otherwise keeps the start. **From scratch** the "
        "weights are drawn at random, and the curve falls from far above; on large scenarios that takes minutes.",
    )  # fmt: skip
    return (Start.general(algorithm) if chosen == "general" else None), reason


def _ward_name(s: Scenario) -> str:
    changed = s.digest != PRESETS[s.name].digest if s.name in PRESETS else False
    return f"{s.name}, changed" if changed else s.name


def _spec(
    algorithm: str, ward: Scenario, start: Start | None, changes: Mapping[str, Any], seed: Any
) -> tuple[RunSpec | None, list[str]]:
    problems = [
        f"{name} = nothing cannot be used: allowed is {allowed(name)}." for name, v in changes.items() if v is None
    ]
    if problems:
        return None, problems
    try:
        settings = settings_for(algorithm, start, changes)
        return RunSpec(algorithm, ward, settings, checked_seed(-1 if seed is None else int(seed)), start), []
    except ScenarioError as error:
        return None, error.problems


@st.cache_data(
    max_entries=200, show_spinner=False, hash_funcs={RunSpec: lambda spec: json.dumps(spec.as_json(), sort_keys=True)}
)
def _measured(spec: RunSpec, seconds: int, fixed: Mapping[str, Any]) -> RunSpec:
    """The run with as many episodes as fit into `seconds`; the same as before if it was measured before."""
    return with_length(spec, seconds, fixed=fixed)


def _expected(spec: RunSpec, known: list[RunRecord], seconds: int | None) -> str:
    """How long the run is, and how many runs must end before it starts. seconds: its time, if that decides."""
    waits = sum(run.active or run.state == "queued" for run in known) - concurrent_runs() + 1
    queue = f" {waits} run{'s' * (waits > 1)} must end before it starts." if waits > 0 else ""
    if seconds is not None:
        return f"About {clock(seconds)} of training on an idle machine, with {POINTS} evaluations.{queue}"
    return (
        f"{spec.settings.episodes:,} episodes, with an evaluation at the start and every {spec.settings.evaluate_every} "
        f"episodes.{queue}"
    )


def _hyper_parameters(algorithm: str, start: Start | None, episodes: int | None) -> dict[str, Any]:
    """Shows the hyper-parameters. Returns their values, `episodes`, and how often the run is evaluated and saved, in episodes.

    episodes: length of the run; None if it is not known yet. Then what depends on it is left out.
    """
    own, group = settings_for(algorithm, start, {}), f"{algorithm}{'' if start is None else '_general'}"
    box = st.expander("Hyper-parameters", key="train_hyper", on_change="rerun")
    values: dict[str, Any] = {}
    every: dict[str, Any] = dict.fromkeys(EVERY)
    # The controls exist only while the box is open; their values stay valid when it is closed.
    if box.open:
        with box:
            cells = st.container(horizontal=True)
            for name, label in HYPER_PARAMETERS:
                with cells:
                    values[name] = _control(group, name, label, getattr(own, name))
            for name, label in (("evaluate_every", "Evaluate every"), ("checkpoint_every", "Checkpoint every")):
                every[name] = cells.number_input(
                    f"{label}, episodes", value=None, step=1, placeholder="automatic", key=f"train_{name}",
                    persist_state="session", width=CELL, help=f"{_help(name)} Empty: {POINTS} times in a run.",
                )  # fmt: skip
        st.session_state[f"hyper_{group}"] = values, every
    else:
        values, every = st.session_state.get(f"hyper_{group}", (values, every))
    num_envs = values.get("num_envs", own.num_envs)
    num_envs = num_envs if isinstance(num_envs, int) and num_envs > 0 else 1
    if episodes is None:
        return {**values, **{name: value for name, value in every.items() if value is not None}}
    automatic = interval(episodes, num_envs)
    return {
        **values,
        "episodes": episodes,
        **{name: automatic if value is None else value for name, value in every.items()},
    }


def _help(name: str) -> str:
    text = str(Settings.model_fields[name].description)
    limits = f" Allowed: {allowed(name)}." if allowed(name) else ""
    return f"{text[:1].upper()}{text[1:]}.{limits}"


def _control(group: str, name: str, label: str, default: Any) -> Any:
    shown = " to ".join(f"{x:g}" for x in default) if isinstance(default, tuple) else default
    key, text = f"train_{group}_{name}", f"{_help(name)} Default: {shown}. Setting: `{name}`."
    common: dict[str, Any] = {"help": text, "persist_state": "session", "width": CELL}
    if isinstance(default, str):
        options = ["counterfactual", "observed"]
        return st.selectbox(label, options, options.index(default), key=key, **common)
    if isinstance(default, tuple):
        found = tuple(
            st.number_input(f"{label}, {end}", value=value, format="%g", step=0.01, key=f"{key}_{end}", **common)
            for end, value in (("from", default[0]), ("to", default[1]))
        )
        return None if None in found else found
    if isinstance(default, int):
        return st.number_input(label, value=default, step=1, key=key, **common)
    step = 10.0 ** (math.floor(math.log10(default)) - 1) if default else 0.05
    return st.number_input(label, value=float(default), format="%g", step=step, key=key, **common)
