"""The dialog that imports tables: choose files, check how their columns are read, read the report, use the scenario."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard.session import Session
from dashboard.text import plain, show_errors
from iomt_core.scenario import Scenario, ScenarioError, collect_notes
from iomt_core.scenario.importing import (
    BAD_ROWS,
    DECIMALS,
    LOCATIONS,
    ORDERS,
    ROLES,
    Imported,
    Input,
    Options,
    Table,
    fields_of,
    map_columns,
    read_length,
    read_table,
    run,
)
from iomt_core.scenario.importing.write import HEADINGS, packed

READ = "import_tables"  # in session state while the dialog is open: the files that were read
MEGABYTES = 10  # of one file; .streamlit/config.toml limits it too
MOST_FILES = 4
MOST_LINES = 12  # of each part of the report
NONE = "(none)"
FIRST_FIELDS = {
    "tasks": ("user", "time", "step", "data", "cycles"), "places": ("role", "x", "y", "latitude", "longitude"),
    "users": ("id", "latitude", "longitude", "x", "y"), "servers": ("id", "latitude", "longitude", "x", "y"),
}  # fmt: skip
ROLE_HELP = "What the rows are: tasks, users, servers, or places of users and servers together."


def import_controls(session: Session) -> None:
    """A button that opens the dialog."""
    st.button(
        "Import tables", icon=":material/table_convert:", width="stretch", on_click=_open,
        help="Tasks, users or servers of your own, as CSV of any dialect or Parquet: columns, units, dates and ids become a "
        "scenario.",
    )  # fmt: skip
    if READ in st.session_state:  # in every run, so that one that the page starts by itself does not close the dialog
        _dialog(session)


def _open() -> None:
    st.session_state[READ] = {}


def _close() -> None:
    for name in (READ, "import_result"):
        st.session_state.pop(name, None)


@st.dialog("Import tables", width="large", icon=":material/table_convert:", on_dismiss=_close)
def _dialog(session: Session) -> None:
    """Everything of an import; the session changes only by *Use this scenario*."""
    st.write(
        "Tables of tasks, users or servers as you have them: CSV of any dialect, or Parquet. Nothing is used before you have "
        "seen how it is read."
    )
    files = st.file_uploader(
        f"Files, at most {MOST_FILES}", ["csv", "tsv", "txt", "parquet"], accept_multiple_files=True, key="import_files",
        max_upload_size=MEGABYTES,
    )  # fmt: skip
    if not files:
        return
    tables, problems = _tables(files[:MOST_FILES])
    show_errors(problems)
    if len(files) > MOST_FILES:
        show_errors([f"{len(files)} files: only the first {MOST_FILES} are read."])
    inputs = [one for n, table in enumerate(tables) if (one := _mapping(n, table)) is not None]
    if problems or len(inputs) < len(tables) or not inputs:
        return
    try:
        found = _result(session.scenario, inputs, _options(session.scenario, inputs))
    except ScenarioError as error:
        show_errors(error.problems)
        st.caption("Nothing has changed. Choose other columns or options above, or mend the file and choose it again.")
        return
    _report(found)
    _use(session, found)


def _tables(files: list[Any]) -> tuple[list[Table], list[str]]:
    """The tables of uploaded files, each read once, and what is wrong with the others."""
    read: dict[str, Table | ScenarioError] = st.session_state.get(READ, {})
    for file in files:
        if file.file_id not in read:
            try:
                read[file.file_id] = read_table(file.getvalue(), file.name)
            except ScenarioError as error:
                read[file.file_id] = error
    for gone in read.keys() - {file.file_id for file in files}:
        del read[gone]
    results = [read[file.file_id] for file in files]
    problems = [problem for one in results if isinstance(one, ScenarioError) for problem in one.problems]
    return [one for one in results if isinstance(one, Table)], problems


def _mapping(n: int, table: Table) -> Input | None:
    """Controls for what a table and its columns are, and the result; None, with a message, where that is open."""
    st.markdown(f"**{plain(table.name)}**: {table.rows:,} rows; {table.format}")
    try:
        guessed: Input | None = map_columns(table, None, {})
    except ScenarioError:
        guessed = None
    role = st.selectbox(
        f"{plain(table.name)}: what its rows are", ROLES, None if guessed is None else ROLES.index(guessed.role),
        key=f"import_role_{n}_{table.name}", placeholder="Choose", help=ROLE_HELP,
    )  # fmt: skip
    if role is None:
        st.info("Its columns do not show what its rows are. Choose it.")
        return None
    guess = map_columns(table, role, {})
    chosen: dict[str, str] = {}
    names = [*FIRST_FIELDS[role], *(name for name in fields_of(role) if name not in FIRST_FIELDS[role])]
    _controls(n, guess, names[:5], chosen)
    more = st.expander("More columns", key=f"import_more_{n}_{role}", on_change="rerun")
    if more.open:
        with more:
            _controls(n, guess, names[5:], chosen)
    try:
        found = map_columns(table, role, chosen)
    except ScenarioError as error:
        show_errors(error.problems)
        return None
    st.dataframe(found.columns(), hide_index=True, height=180)
    for question in found.questions:
        st.caption(plain(f"{question}."))
    return found


def _controls(n: int, guess: Input, names: list[str], chosen: dict[str, str]) -> None:
    """A control a field for its column, and one for the unit; what differs from the guess goes to `chosen`."""
    headers = [f"{number}: {header}" for number, header in enumerate(guess.table.headers, 1)]
    places = st.columns(5)
    for place, name in zip(places * (len(names) // 5 + 1), names, strict=False):
        field, use = fields_of(guess.role)[name], guess.uses.get(name)
        key = f"{n}_{guess.role}_{name}"
        column = place.selectbox(
            name.capitalize(), [NONE, *headers], 0 if use is None else use.column + 1, key=f"import_column_{key}",
            help=field.meaning or None,
        )  # fmt: skip
        number = 0 if column == NONE else headers.index(column) + 1
        same = use is not None and number == use.column + 1
        unit = use.unit if use is not None and field.unit == "°" else ""
        if field.unit not in ("", "°") and number:
            unit = place.text_input(
                f"Unit of {name}", use.unit if use is not None and same else "", key=f"import_unit_{key}_{number}", max_chars=20,
                placeholder=f"such as {field.unit}",
            )  # fmt: skip
        if not number and use is not None:
            chosen[name] = ""
        elif number and (not same or (use is not None and unit != use.unit)):
            chosen[name] = f"{number}[{unit.strip()}]" if unit.strip() else str(number)


def _options(base: Scenario, inputs: list[Input]) -> Options:
    """Controls of what the cells leave open. Raises `ScenarioError` for a bad value."""
    tasks = next((one for one in inputs if one.role == "tasks"), None)
    values, step = {}, ""
    if tasks is not None:
        places = st.columns(3)
        if "time" in tasks.uses:
            step = places[0].text_input(
                "Length of a step", "", key="import_step", placeholder="automatic, or 5 min", max_chars=20
            )
        for place, name, example in (
            (places[1], "data", "30 KB"),
            (places[2], "cycles", "150 kcycles, or 1000 per bit"),
        ):
            if name not in tasks.uses:
                values[name] = place.text_input(
                    f"{name.capitalize()} of all tasks", "", key=f"import_all_{name}", placeholder=example, max_chars=40
                )
    box = st.expander("Options", key="import_options", on_change="rerun")
    more: dict[str, Any] = {}
    if box.open:
        with box:
            places = st.columns(3)
            more["bad_rows"] = places[0].selectbox(
                "Rows that cannot be used",
                BAD_ROWS,
                key="import_bad",
                format_func=lambda name: {"drop": "leave out"}.get(name, name),
            )
            more["busiest_users"] = places[1].number_input(
                "At most so many users, the busiest", 1, 2000, None, key="import_users"
            )
            more["nearest_servers"] = places[2].number_input(
                "At most so many servers, the nearest", 1, 256, None, key="import_servers"
            )
            more["dates"] = places[0].selectbox("Dates, where open", ORDERS, None, key="import_dates")
            more["decimal"] = places[1].selectbox("Decimal mark, where open", DECIMALS, None, key="import_decimal")
            more["locations"] = places[2].selectbox("Places of tasks are those of", LOCATIONS, key="import_locations")
            more["episode"] = places[0].number_input(
                "Episode of exported decisions", 1, None, None, key="import_episode"
            )
    return Options(
        base=base, values={name: text.strip() for name, text in values.items() if text.strip()},
        step=read_length(step) if step.strip() else None, **more,
    )  # fmt: skip


def _result(base: Scenario, inputs: list[Input], options: Options) -> Imported:
    """The import, computed again only if something has changed. Raises `ScenarioError`."""
    key = (
        base.digest, [(id(one.table), one.role, dict(one.uses)) for one in inputs],
        {name: value for name, value in vars(options).items() if name != "base"},
    )  # fmt: skip
    known = st.session_state.get("import_result")
    if known is None or known[0] != key:
        bar = st.progress(0.0, "Reading")

        def show(done: float, what: str) -> None:
            bar.progress(done, plain(what).capitalize())

        with collect_notes():
            known = (key, run(inputs, options, show))
        bar.empty()
        st.session_state["import_result"] = known
    found: Imported = known[1]
    return found


def _report(found: Imported) -> None:
    s = found.scenario
    st.success(f"{s.size_words}, {s.T} steps. This is what was done:")
    for kind, heading in HEADINGS.items():
        lines = [line.text for line in found.report if line.kind == kind]
        if lines:
            more = [f"… and {len(lines) - MOST_LINES} more in the report"] if len(lines) > MOST_LINES else []
            st.markdown(f"**{heading}**\n\n" + "\n".join(f"- {plain(line)}" for line in (*lines[:MOST_LINES], *more)))
    with st.expander("Numbers of users and servers"):
        st.dataframe(found.ids, hide_index=True, height=200)


def _use(session: Session, found: Imported) -> None:
    left, right = st.columns(2)
    if left.button("Use this scenario", type="primary", width="stretch", key="import_use"):
        session.notes = _notes(found)
        session.try_change(lambda: found.scenario)
        _close()
        st.rerun()
    right.download_button(
        "Download scenario, tables, ids and report", lambda: packed(found), "import.zip", "application/zip", on_click="ignore",
        width="stretch", key="import_download",
    )  # fmt: skip


def _notes(found: Imported) -> list[str]:
    """What the sidebar still says after the import: what was changed and left out."""
    lines: Mapping[str, list[str]] = {
        kind: [one.text for one in found.report if one.kind == kind] for kind in ("dropped", "changed")
    }
    return [*(f"Left out: {text}" for text in lines["dropped"][:4]), *lines["changed"][:4]]
