"""The tabs about access: who asked what, and private queries."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard.chart_tables import csv_button
from dashboard.text import plain
from dashboard.twin.state import View
from dashboard.twin.warehouses import SUBJECT
from dashboard.widgets import choose, form_widget
from iomt_core.scenario import ScenarioError
from iomt_core.twin.access import AGGREGATES, Gate, Identity, verify_log
from iomt_core.twin.access.audit import FILE
from iomt_core.twin.access.hooks import AUDIT_FOLDER, audit_hook
from iomt_core.twin.access.identity import KEY, issue_token
from iomt_core.twin.access.keys import signing_key
from iomt_core.twin.access.ledger import BUDGET, Answer, PrivateAggregates, budget_left
from iomt_core.twin.access.privacy import QUERIES, clamps, margin
from iomt_core.twin.audit_log import open_audit_log
from iomt_core.twin.warehouse.reading import Warehouse

LAST, MINUTE = 50, 60.0
SMALLEST, LARGEST = 0.01, 5.0  # ε of a question on this page


def _exists(folder: Path) -> bool:
    return (folder / AUDIT_FOLDER / FILE).is_file()


def audit(folder: Path, identity: str, view: View) -> None:
    """The last records of the audit log, and its check."""
    if not _exists(folder):
        st.info("There is no audit log yet: nobody has asked, or recorded on this page.", icon=":material/history:")
        return
    with open_audit_log(folder) as log:
        records = log.latest(LAST)
    table = records.assign(time=records["time"].dt.strftime("%Y-%m-%d %H:%M:%S"))
    table = table.rename(columns={"budget": "budget (ε)", "time": "time (UTC)"})
    st.dataframe(
        table, hide_index=True, key="twin_audit", alt="The last records of the audit log, the newest first", height=380
    )
    row = st.container(horizontal=True, vertical_alignment="center")
    row.caption(
        f"The last {len(table)} records: who did what with which data, and what it cost. No data of users are in it."
    )
    csv_button("Download (CSV)", table.to_csv(index=False), f"{folder.name}-audit.csv", key="twin_audit_csv")
    if st.button("Verify the audit log", icon=":material/verified_user:", key="twin_verify_log",
                 help="Follows the hashes of all records, and compares them with the signed checkpoints."):  # fmt: skip
        with st.spinner("Reading every record…"):
            view.log_check[folder.name] = verify_log(folder / AUDIT_FOLDER, identity)
    if folder.name in view.log_check:
        found = view.log_check[folder.name]
        if found.valid:
            st.success(plain(found.text()), icon=":material/check_circle:")
        else:
            st.error(plain(found.text()), icon=":material/error:")


def query(folder: Path, identity: str, view: View) -> None:
    """Asks for a mean over all users with differential privacy."""
    left = _budget(folder, identity)
    st.progress(min(1.0, max(0.0, left / BUDGET)), f"Privacy budget left: ε = {left:g}")
    warehouse = Warehouse(folder)
    scenario, users = warehouse.scenario, len(warehouse.users)
    row = st.container(horizontal=True, vertical_alignment="bottom")

    def update(name: str) -> None:
        view.query = name

    choose(row, "Question", "twin_query", list(QUERIES), view.query, update, width=260,
           format_func=lambda name: f"{QUERIES[name].metric.label}, mean over users")  # fmt: skip
    form_widget(
        "Privacy loss ε", row.number_input, "epsilon", view, "twin_epsilon", convert=float, min_value=SMALLEST,
        max_value=LARGEST, step=0.1, format="%g", width=150, help="What the answer costs. Less means more noise.",
    )  # fmt: skip
    metric, (low, high) = QUERIES[view.query].metric, clamps(scenario)[view.query]

    def ask() -> None:
        view.problems.clear()
        try:
            view.answers.setdefault(folder.name, []).insert(0, _ask(folder, view.query, view.epsilon))
        except ScenarioError as error:
            view.problems += error.problems

    row.button("Ask", icon=":material/send:", type="primary", key="twin_ask", on_click=ask)
    spread = margin((high - low) / users / view.epsilon)
    noise = metric.brief(spread)
    row.caption(f"Noise of about ±{noise} (95 %), since each of {users} users may count from {metric.brief(low)} to "
                f"{metric.brief(high)}.")  # fmt: skip
    if spread > high - low:
        st.caption("This noise is wider than all possible answers: take a larger ε, or a warehouse of more users.")
    for n, answer in enumerate(view.answers.get(folder.name, ())[:5]):
        _show(answer, latest=n == 0)
    if not view.answers.get(folder.name):
        st.info(
            "An answer has noise, so that it tells almost nothing of any single user.", icon=":material/shield_person:"
        )


def _show(answer: Answer, latest: bool) -> None:
    if latest:
        metric = answer.metric
        with st.container(key="headline"):
            st.metric(metric.label, metric.brief(answer.value), help=metric.sentence)
            st.metric("Noise (95 %)", f"± {metric.brief(answer.margin)}")
            st.metric("Paid", "ε = 0" if answer.repeated else f"ε = {answer.epsilon:g}")
        if answer.repeated:
            st.caption("The same question about the same data gets the same answer, and is paid once.")
    else:
        st.caption(plain(answer.text()))


def _budget(folder: Path, identity: str) -> float:
    if not _exists(folder):
        return BUDGET
    with open_audit_log(folder) as log:
        return budget_left(log)


def _ask(folder: Path, name: str, epsilon: float) -> Answer:
    identity, key = Warehouse(folder).identity, signing_key(KEY)
    token = issue_token(Identity("operator", name=SUBJECT), identity, MINUTE, key)
    with open_audit_log(folder) as log:
        gate = Gate(log, key.public_key())
        grant = gate.authorise(token, "query", AGGREGATES)
        warehouse = Warehouse(folder, audit=audit_hook(log, str(grant.identity)))
        return PrivateAggregates(warehouse, gate, clamps(warehouse.scenario)).query(grant, name, round(epsilon, 6))
