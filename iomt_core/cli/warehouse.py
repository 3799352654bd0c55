"""`iomt warehouse`: record what happens in the ward, encrypted, and look after the records."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.table import Table

from iomt_core.cli.common import PlacesOption, ScenarioOption, WorkloadOption, notes, progress_bar, scenario_from
from iomt_core.cli.options import SeedOption, SharesOption, policy_help
from iomt_core.cli.warehouse_access import audit, query, token
from iomt_core.paths import keys_folder
from iomt_core.policies.base import Shares
from iomt_core.training.catalogue import default_policy
from iomt_core.twin.access.hooks import audit_hook
from iomt_core.twin.audit_log import open_audit_log
from iomt_core.twin.management.registry import resolve
from iomt_core.twin.warehouse.checks import status as read_status
from iomt_core.twin.warehouse.checks import verify as check_everything
from iomt_core.twin.warehouse.columns import LOGS, TASKS
from iomt_core.twin.warehouse.errors import DamagedError
from iomt_core.twin.warehouse.export import export as export_records
from iomt_core.twin.warehouse.limits import MEGABYTE, Limits
from iomt_core.twin.warehouse.reading import Warehouse
from iomt_core.twin.warehouse.recorder import record as record_episodes
from iomt_core.twin.warehouse.writer import WarehouseWriter

app = typer.Typer(
    no_args_is_help=True,
    help="The data warehouse: an encrypted log of each user, on the device, on the edge, and in the archive. Keys are in the "
    "folder that IOMT_KEYS names; keep a copy of them, since nothing can be read without.",
)
FolderArgument = Annotated[Path, typer.Argument(help="Directory of the warehouse.", metavar="DIR")]
SUBJECT = "command line"  # in the audit log
BAD = 1  # exit status of `verify` for a damaged warehouse


app.command()(token)
app.command()(query)
app.command()(audit)


@app.command()
def record(
    folder: FolderArgument,
    scenario: ScenarioOption,
    policy: Annotated[str, typer.Option(help=policy_help())] = default_policy(),
    episodes: Annotated[int, typer.Option(help="Number of episodes.")] = 10,
    seed: SeedOption = 0,
    shares: SharesOption = "own",
    certify: Annotated[
        bool, typer.Option("--certify", help="Record each step's certified bound too; takes longer.")
    ] = False,
    durable: Annotated[
        bool, typer.Option("--durable", help="Keep acknowledged commits even if the power fails; slower.")
    ] = False,
    device_steps: Annotated[int | None, typer.Option(help="Steps that a record stays on the device.")] = None,
    edge_steps: Annotated[int | None, typer.Option(help="Steps after which a record goes to the archive.")] = None,
    archive_steps: Annotated[int | None, typer.Option(help="Steps after which a record is dropped.")] = None,
    archive_mb: Annotated[
        float | None, typer.Option(help="Size of the archive; the oldest is dropped beyond it.")
    ] = None,
    workload: WorkloadOption = None,
    places: PlacesOption = None,
) -> None:
    """Play episodes under a policy and record them; a warehouse that exists goes on.

    Ctrl-C keeps what is recorded. Limits that are given stay with the warehouse.
    """
    s = scenario_from(scenario, workload, places)
    policy = resolve(policy, s)
    given = {"device_steps": device_steps, "edge_steps": edge_steps, "archive_steps": archive_steps}
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if archive_mb is not None:
        values["archive_bytes"] = int(archive_mb * MEGABYTE)
    kept, at = 0, 0

    def on_commit(count: int, revision: int) -> None:
        nonlocal kept, at
        kept, at = count, revision
        progress.update(bar, completed=count)

    try:
        with progress_bar() as progress, open_audit_log(folder, create=True) as log:
            bar = progress.add_task(f"{policy} on {s.name}", total=max(1, episodes))
            record_episodes(
                s, policy, episodes, seed, folder, cast(Shares, shares), certify, _limits(folder, values),
                "FULL" if durable else "NORMAL", audit_hook(log, SUBJECT), on_commit,
            )  # fmt: skip
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the message
        notes.print(f"Interrupted: {kept} of {episodes} episodes are kept in {folder}, revision {at}.", soft_wrap=True)
        raise
    notes.print(f"Recorded: {episodes} episodes in {folder}, revision {at}. Keys: {keys_folder()}", soft_wrap=True)


@app.command()
def status(
    folder: FolderArgument, as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False
) -> None:
    """How full each tier is, and whether records are missing. Needs no key."""
    state = read_status(folder)
    if as_json:
        print(json.dumps(state, indent=2))
        return
    table = Table("tier", "records", "segments", "MB", "age in steps", "full")
    for name, tier in state["tiers"].items():
        table.add_row(
            name, f"{tier['rows']:,}", f"{tier['segments']:,}",
            f"{tier['bytes'] / MEGABYTE:.2f}{_of_limit(tier['limit_bytes'], MEGABYTE)}",
            f"{tier['age_steps']:,}{_of_limit(tier['limit_steps'])}", "yes" if tier["full"] else "no",
        )  # fmt: skip
    notes.print(table)
    print(f"revision: {state['revision']}, head hash: {state['head_hash'] or 'none'}")
    print(f"users: {len(state['users']) - len(state['forgotten'])}, forgotten: {len(state['forgotten'])}")
    print(f"missing records: {state['sequence_gaps']}, dropped at the end of the archive: {state['dropped_rows']:,}")


@app.command()
def verify(folder: FolderArgument) -> None:
    """Read everything and check it. Exit status 1 and the first bad record if anything was changed or is missing."""
    try:
        found = check_everything(folder)
    except DamagedError as error:
        record = f"{error.log} {error.sequence} of user {error.user}" if error.sequence else "none that can be named"
        print(f"damaged: {error}\nfirst bad record: {record}")
        raise typer.Exit(BAD) from None
    print(f"intact: {found['rows']:,} records in {found['segments']:,} segments, {found['commits']:,} commits")


@app.command()
def rotate(folder: FolderArgument) -> None:
    """Give every user a new key; no data are written anew."""
    with _writer(folder) as writer:
        count = writer.rotate()
        print(f"rotated: {counted_keys(count)}; the old keys are destroyed")


@app.command()
def forget(folder: FolderArgument, user: Annotated[int, typer.Option(help="Number of the user.")]) -> None:
    """Destroy a user's key, so that no copy of the user's data can be read any more, and remove the data. Final."""
    with _writer(folder) as writer:
        writer.forget(user)
    print(f"forgotten: user {user}; the key is destroyed")


@app.command()
def tidy(
    folder: FolderArgument,
    free_mb: Annotated[float, typer.Option(help="Drop the oldest records of all tiers, at least so many MB.")] = 0.0,
) -> None:
    """Move what the limits ask to be moved, and drop the oldest records to make room; works on a full disk."""
    with _writer(folder) as writer:
        segments, rows = writer.tidy(int(free_mb * MEGABYTE))
        writer.settle()
    print(f"dropped: {rows:,} records in {segments:,} segments")


@app.command()
def export(
    folder: FolderArgument,
    out: Annotated[Path, typer.Option(help="A .parquet or .csv file, not encrypted.", metavar="FILE")],
    user: Annotated[list[int] | None, typer.Option(help="Number of a user; may be repeated. Without it all.")] = None,
    table: Annotated[str, typer.Option(help=f"One of {', '.join(LOGS)}.")] = TASKS,
    at: Annotated[int | None, typer.Option(help="Revision; without it the latest.")] = None,
) -> None:
    """Write records into a plain file, which the warehouse protects no more."""
    with open_audit_log(folder) as log:
        rows = export_records(Warehouse(folder, audit=audit_hook(log, SUBJECT)), out, table, user, at)
    print(f"written: {rows:,} records to {out}; the file is not encrypted")


@contextmanager
def _writer(folder: Path) -> Iterator[WarehouseWriter]:
    """The writer of a warehouse that exists; the audit log keeps what it changes."""
    with (
        open_audit_log(folder) as log,
        WarehouseWriter(folder, audit=audit_hook(log, SUBJECT), create=False) as writer,
    ):
        yield writer


def _of_limit(limit: int | None, unit: int = 1) -> str:
    return "" if limit is None else f" of {limit / unit:,.0f}"


def counted_keys(count: int) -> str:
    """ "1 segment key", "8 segment keys"."""
    return f"{count:,} segment key{'s' * (count != 1)}"


def _limits(folder: Path, values: dict[str, Any]) -> Limits | None:
    """The warehouse's limits with these values; None if there are none."""
    if not values:
        return None
    known = Limits()
    if (folder / "warehouse.sqlite").exists():
        known = Limits.from_json(read_status(folder)["limits"])
    return replace(known, **values)
