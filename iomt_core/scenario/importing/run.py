"""Import of tables that people have: tasks, users and servers become a scenario.

`open_tables` reads the files and guesses columns, which people see and may change; `run` converts them. Every value is read in
one way only, or refused with its line, its column and what would be right; what was changed or left out is in the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import pandas as pd

from iomt_core.scenario.errors import ScenarioError
from iomt_core.scenario.importing.columns import SITES
from iomt_core.scenario.importing.options import Input, Options
from iomt_core.scenario.importing.sites import place, read_sites
from iomt_core.scenario.importing.task_table import read_tasks, with_tasks
from iomt_core.scenario.importing.work import Line, Progress, Work, clean_name
from iomt_core.scenario.parameters import Scenario, ServerDevice, counted
from iomt_core.scenario.tables import with_places


@dataclass(frozen=True)
class Imported:
    """The result of an import. ids: kind ("user" or "server"), number in the ward, and id in the tables."""

    scenario: Scenario
    ids: pd.DataFrame
    report: tuple[Line, ...]
    inputs: tuple[Input, ...]


def run(inputs: Sequence[Input], options: Options, progress: Progress = lambda done, what: None) -> Imported:
    """Convert tables to a scenario. progress: called with the share that is done and what comes next. Raises `ScenarioError`."""
    options.check()
    work = Work(inputs, options, progress)
    if not work.inputs:
        raise ScenarioError("no table was given: allowed are tasks, users, servers, or places.")
    sites = {role: read_sites(work, one) for role, one in work.inputs.items() if role in SITES}
    tasks = read_tasks(work, work.inputs["tasks"]) if "tasks" in work.inputs else None
    progress(0.6, "matching ids and places")
    site, users, ids = place(work, sites, tasks)
    s = options.base
    if site is not None:
        s = with_places(s, site)
    if tasks is not None:
        progress(0.7, "making tasks")
        s = with_tasks(work, s, tasks, users)
    s = _with_names(work, s, ids)
    named = (work.inputs.get("tasks") or inputs[0]).table.name
    s = s.changed(name=clean_name(PurePath(named).stem) or "import")
    progress(1.0, "done")
    return Imported(s, ids, tuple(work.lines), tuple(inputs))


def _with_names(work: Work, s: Scenario, ids: pd.DataFrame) -> Scenario:
    """The scenario whose servers without a name have their id as name; an id that is the number itself is none.

    Ids of users stay out of scenarios and links: they may say who a patient is.
    """
    of = {one.number: one for one in s.server_devices}
    named = 0
    for number, identity in ids.loc[ids["kind"] == "server", ["number", "id"]].itertuples(index=False):
        name, own = clean_name(str(identity)), of.get(int(number), ServerDevice(number=int(number)))
        if name and name != str(number) and own.name is None:
            of[own.number] = own.model_copy(update={"name": name})
            named += 1
    if not named:
        return s
    work.say(
        "taken",
        f"ids of {counted(named, 'server')} as their names. Ids of users are in no scenario, scenario file or link.",
    )
    return s.changed(server_devices=tuple(of.values()))
