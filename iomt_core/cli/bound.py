"""`iomt bound`: the certified bound of one step, on as many workers as the ward needs."""

from __future__ import annotations

import signal
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from iomt_core.cli.common import PlacesOption, ScenarioOption, WorkloadOption, notes, print_notes, scenario_from
from iomt_core.cli.options import ClusterOption, SeedOption, WorkersOption, check_place
from iomt_core.experiments.blocks.block import MOST_WARD_USERS, WardStep
from iomt_core.experiments.blocks.bound import WardBound, ward_bound
from iomt_core.scenario import Scenario, ScenarioError, collect_notes
from iomt_core.scenario.importing.write import mapping_of
from iomt_core.scenario.units import read_number


def bound(
    scenario: ScenarioOption = "paper",
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help=f"A value of the scenario, NAME=VALUE; may be repeated. `users` may be up to {MOST_WARD_USERS:,} here.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    step: Annotated[int, typer.Option(help="Step of the first episode of this seed, from 1.")] = 1,
    seed: SeedOption = 0,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    workload: WorkloadOption = None,
    places: PlacesOption = None,
) -> None:
    """Bound the cost of one step from below, with the ward's users divided among workers.

    Prints the certified bound, what a decision at its prices costs, the time, and the memory of each worker. With a cluster all
    of its workers take part. A lost worker ends the command: nothing else has its users.
    """
    check_place(workers, cluster)
    s, users = _with_changes(scenario_from(scenario, workload, places), changes or [])
    ward = WardStep(s, users, step - 1, seed)
    try:
        with notes.status(f"{ward.size_words}: drawing users") as shown:
            found = ward_bound(
                ward, workers, cluster, lambda count: shown.update(f"{ward.size_words}: iteration {count}")
            )
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the message
        notes.print("Interrupted: a bound is found as a whole or not at all.")
        raise
    for table in _tables(ward, found):
        Console(markup=False).print(table)


def _with_changes(s: Scenario, words: list[str]) -> tuple[Scenario, int]:
    """The scenario with these values, and the ward's users, of which there may be more than a scenario holds."""
    values = dict(mapping_of(words, "set"))
    wanted = values.pop("users", None)
    with collect_notes() as found:
        s = s.changed(**values) if values else s
    print_notes(found)
    if wanted is None:
        return s, s.users
    try:
        users = read_number(wanted, "")
    except ValueError as error:
        raise ScenarioError(f"users = {wanted[:60]!r}: {error}.") from None
    if users % 1:  # not 0 for infinity and NaN either
        raise ScenarioError(f"users = {wanted[:60]!r} is no whole number: allowed is 1 to {MOST_WARD_USERS}.")
    return s, int(users)


def _tables(ward: WardStep, found: WardBound) -> tuple[Table, Table]:
    values = Table("", "", title=f"{ward.scenario.name}: {ward.size_words}, step {ward.step + 1}, seed {ward.seed}")
    skips = f", {found.skipped} tasks skipped" if found.skipped else ""
    for name, value in (
        ("certified bound of the total cost", f"{found.bound:.8g}"),
        ("certified bound if tasks may be skipped", f"{found.skip_bound:.8g}"),
        ("cost of a decision at these prices", f"{found.cost:.8g}{skips}"),
        ("gap of this decision to the bound", f"{100 * found.gap:.2f} %"),
        ("drawing the users", f"{found.drawing:.1f} s"),
        ("search for prices", f"{found.seconds:.1f} s, {found.iterations} iterations"),
        ("exchanged with each worker", f"{found.bytes_exchanged / len(found.workers) / 1e6:.3g} MB"),
    ):
        values.add_row(name, value)
    used = Table("worker", "users", "CPU time", "peak memory", "before it had users")
    for one in found.workers:
        used.add_row(
            one.name, f"{one.users:,}", f"{one.cpu:.1f} s", f"{one.peak / 1e6:.0f} MB", f"{one.before / 1e6:.0f} MB"
        )
    return values, used
