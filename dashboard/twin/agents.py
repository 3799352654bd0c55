"""The tab about agents' twins, and about tasks that are generated from a user's log."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.chart_tables import chart_table, csv_button
from dashboard.person import current_person
from dashboard.plotly_chart import plotly_chart
from dashboard.runs import clock
from dashboard.text import plain, show_errors
from dashboard.twin import agent_jobs
from dashboard.twin.agent_jobs import AgentJob
from dashboard.twin.state import View
from dashboard.widgets import form_widget
from iomt_core.charts.agents import (
    VARIABLES,
    check_table,
    device_bars,
    device_table,
    fidelity_table,
    quantile_figure,
    quantile_table,
)
from iomt_core.runs.owner import owner_of
from iomt_core.scenario import ScenarioError
from iomt_core.training.catalogue import policy_label
from iomt_core.twin.mapping.task_models import MODELS
from iomt_core.twin.mapping.task_steps import workload_csv

WIDTH = 150


def agents(folder: Path, state: dict[str, Any], view: View) -> None:
    """Trains the twin of a user's agent or a model of the user's tasks, and shows how good they are."""
    if not state["recordings"]:
        st.info("Nothing is recorded yet that an agent could learn from.", icon=":material/smart_toy:")
        return
    if not current_person().may_change(owner_of(folder)):
        st.info("Only the owner of this warehouse can train from its logs.", icon=":material/lock:")
        return
    every = 1.0 if agent_jobs.running() is not None else None
    users = [user for user in state["users"] if user not in state["forgotten"]]

    @st.fragment(run_every=every)
    def content() -> None:
        if (agent_jobs.running() is None) != (every is None):
            st.rerun()
        _content(folder, users, view)

    content()


def _content(folder: Path, users: list[int], view: View) -> None:
    form, busy = view.agents, agent_jobs.running() is not None
    form.user = form.user if form.user in users else users[0]
    row = st.container(horizontal=True, vertical_alignment="bottom")
    form_widget("User", row.selectbox, "user", form, "twin_agent_user", options=users, width=WIDTH)
    form_widget("Model of tasks", row.selectbox, "model", form, "twin_model", options=list(MODELS), width=WIDTH)

    def start(kind: agent_jobs.Kind) -> None:
        view.problems.clear()
        try:
            if kind == "twin":
                agent_jobs.start_twin(folder, form.user, current_person())
            else:
                agent_jobs.start_tasks(folder, form.user, form.model, current_person())
        except ScenarioError as error:
            view.problems += error.problems

    row.button("Train the agent's twin", icon=":material/smart_toy:", key="twin_train", on_click=start, args=("twin",),
               disabled=busy)  # fmt: skip
    row.button(
        "Generate tasks", icon=":material/casino:", key="twin_generate", on_click=start, args=("tasks",), disabled=busy
    )
    st.caption("A process of its own trains. It gets the log and the key of this user, and can open nothing else.")
    twin, tasks = (agent_jobs.job_of(folder.name, kind, form.user) for kind in ("twin", "tasks"))
    for job in (twin, tasks):
        if job is not None:
            _progress(job)
    if twin is not None and twin.check is not None:
        _twin(twin)
    elif agent_jobs.twin_of(folder, form.user) is not None:
        st.info(f"A twin of user {form.user} is on disk. Train it again to compare it.", icon=":material/smart_toy:")
    if tasks is not None and tasks.generated is not None:
        _generated(tasks)


def _progress(job: AgentJob) -> None:
    what = f"The twin of user {job.user}" if job.kind == "twin" else f"The tasks of user {job.user}"
    if job.state == "running":
        row = st.container(horizontal=True, vertical_alignment="center")
        left = f", about {clock(job.seconds_left)} left" if job.seconds_left is not None else ""
        row.progress(
            min(1.0, job.part), f"{what}: {100 * job.part:.0f} %{left}" if job.part < 1 else f"{what}: comparing…"
        )
        row.button("Cancel", icon=":material/stop:", key=f"twin_stop_{job.kind}", on_click=job.cancel.set,
                   disabled=job.cancel.is_set(), help="Ends the training, and keeps what it has so far.")  # fmt: skip
    elif job.state == "failed":
        show_errors([f"{what}: {job.problem}"])


def _twin(job: AgentJob) -> None:
    assert job.check is not None
    check = job.check
    st.subheader(f"Twin of user {job.user}")
    st.markdown(
        f"{len(check.own.a)} episodes that were not recorded, twice: with **{plain(policy_label(check.policy))}** for all users, "
        f"and with the twin for user {job.user}. The tasks are the same in both."
    )
    st.table(check_table(check), border="horizontal", hide_index=True, alt="Cost with and without the twin")
    plotly_chart(device_bars(check), "twin_devices")
    chart_table("twin_devices", lambda: device_table(check), "Share of the user's tasks on each device")


def _generated(job: AgentJob) -> None:
    assert job.generated is not None
    found = job.generated
    st.subheader(f"Generated tasks of user {job.user}")
    st.markdown(
        "Beside recorded tasks that the model has not seen. **Not private:** it was trained without differential privacy."
    )
    st.table(fidelity_table(found.report), border="horizontal", hide_index=True, alt="How good the generated tasks are")
    names = [name for name in ("data_bits", "cycles") if name in found.report["quantiles"]]
    with st.container(key="wide_generated"):
        for name in names:
            with st.container():
                plotly_chart(quantile_figure(found.report, name), f"twin_generated_{name}")
                chart_table(f"twin_generated_{name}", partial(quantile_table, found.report, name),
                            f"{VARIABLES[name][0]} of generated and held-out tasks")  # fmt: skip
    csv_button("Download the tasks (CSV)", workload_csv([(found.user, found.steps)]),
               f"{job.warehouse}-user-{job.user}-{found.model}.csv", key="twin_tasks_csv")  # fmt: skip
