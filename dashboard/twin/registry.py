"""The tab of the registry of models: versions, aliases with promote and roll back, and the log of their changes."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from dashboard.chart_tables import csv_button
from dashboard.person import current_person
from dashboard.session import Session
from dashboard.text import plain
from dashboard.widgets import form_widget
from iomt_core.scenario import ScenarioError
from iomt_core.training.versions import SHORT
from iomt_core.twin.management import aliases, registry
from iomt_core.twin.management.registry import Model

MOST_ROWS, ROW, HEAD = 10, 35, 38  # rows without scrolling; heights, pixels


@dataclass
class ModelsForm:
    """What is to be promoted, and what came of the last change: whether it worked, and in words."""

    alias: str = aliases.CHAMPION
    version: str | None = None
    here: bool = False  # only for the scenario of the sidebar
    reason: str = ""
    result: tuple[bool, str] | None = None


def models(session: Session, form: ModelsForm) -> None:
    """Shows all versions, changes of aliases, and their log. Raises `ScenarioError` if the log was changed."""
    known = registry.models()
    if not known:
        st.info("There are no trained models yet: train one on the page *Train*.", icon=":material/deployed_code:")
        return
    st.dataframe(
        version_table(known), hide_index=True, key="twin_models", alt="All versions of trained models, with their aliases",
        height=HEAD + ROW * min(len(known), MOST_ROWS),
    )  # fmt: skip
    st.caption(
        "A version is a hash of weights and settings, and never changes. An alias such as *champion* means one version: commands "
        "and HTTP take it as a policy. A version that was promoted is kept, also if its run is deleted."
    )
    _changes(session, form, known)
    if form.result is not None:
        done, words = form.result
        (st.success if done else st.error)(plain(words), icon=f":material/{'check_circle' if done else 'error'}:")
    _log()


def version_table(known: tuple[Model, ...]) -> pd.DataFrame:
    """One row for each version, as text."""
    return pd.DataFrame(
        {
            "version": [one.short for one in known],
            "network": [one.label for one in known],
            "aliases": [one.alias_words for one in known],
            "gap to the bound": [one.problem or one.how_good for one in known],
            "covers": [one.covers for one in known],
            "from": [one.origin for one in known],
        }
    )


def log_table(changes: tuple[aliases.Change, ...]) -> pd.DataFrame:
    """One row for each change of an alias, the newest first, as text."""
    return pd.DataFrame(
        {
            "time (UTC)": [f"{one.time:%Y-%m-%d %H:%M:%S}" for one in changes],
            "who": [one.who for one in changes],
            "action": [one.action for one in changes],
            "alias": [one.alias for one in changes],
            "where": [one.scope.rpartition(":")[0] or one.scope for one in changes],
            "before": [one.before or aliases.NOTHING for one in changes],
            "after": [one.after[:SHORT] for one in changes],
            "reason": [one.why for one in changes],
        }
    )[::-1]


def _changes(session: Session, form: ModelsForm, known: tuple[Model, ...]) -> None:
    person = current_person()
    if not person.operator:
        st.caption("Only the operator of the lab changes aliases.")
        return
    labels = {one.version: f"{one.short} · {one.label}" for one in known if not one.problem}
    form.version = form.version if form.version in labels else next(iter(labels), None)
    row = st.container(horizontal=True, vertical_alignment="bottom")
    form_widget("Alias", row.text_input, "alias", form, "twin_alias", max_chars=30, width=150)
    form_widget("Version", row.selectbox, "version", form, "twin_version", options=list(labels), width=340,
                format_func=lambda version: labels.get(version, ""))  # fmt: skip
    form_widget("Reason", row.text_input, "reason", form, "twin_reason", max_chars=aliases.LONGEST_WHY, width=280,
                placeholder="needed; it stays in the log")  # fmt: skip
    form_widget(f"Only for {plain(session.scenario.name)}", row.checkbox, "here", form, "twin_here",
                help="The scenario of the sidebar, with exactly these values. Otherwise everywhere.")  # fmt: skip
    scope = session.scenario if form.here else None
    who = person.name

    def change(promoted: bool) -> None:
        try:
            if promoted:
                done = registry.promote(form.alias, form.version or "", who, form.reason, scope)
            else:
                done = registry.roll_back(form.alias, who, form.reason, scope)
        except ScenarioError as error:
            form.result = False, str(error)
            return
        where = done.scope.rpartition(":")[0] or done.scope
        form.result = (
            True,
            f"{done.alias} ({where}) now means version {done.after[:SHORT]}; before: {done.before or 'none'}.",
        )
        form.reason = ""

    missing = "Give a reason first." if not form.reason.strip() else None
    buttons = st.container(horizontal=True)
    buttons.button("Promote", icon=":material/trending_up:", key="twin_promote", on_click=change,
                   type="secondary" if missing else "primary",
                   args=(True,), disabled=missing is not None, help=missing)  # fmt: skip
    buttons.button("Roll back", icon=":material/undo:", key="twin_rollback", on_click=change, args=(False,),
                   disabled=missing is not None, help=missing or "The alias means again what it meant before.")  # fmt: skip


def _log() -> None:
    changes = aliases.changes()
    if not changes:
        st.info("No alias has been set yet.", icon=":material/history:")
        return
    table = log_table(changes)
    st.markdown("**Changes of aliases**")
    st.dataframe(table, hide_index=True, key="twin_alias_log", alt="All changes of aliases, the newest first",
                 height=HEAD + ROW * min(len(table), MOST_ROWS))  # fmt: skip
    found = aliases.verification()
    row = st.container(horizontal=True, vertical_alignment="center")
    row.caption(plain(found.text()) if found is not None else "")
    with row:
        csv_button("Download (CSV)", table.to_csv(index=False), "aliases.csv", key="twin_alias_csv")
