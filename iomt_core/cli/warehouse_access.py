"""`iomt warehouse token`, `query` and `audit`: who may ask a data warehouse, private answers, and the proof of its audit log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from iomt_core.cli.common import notes
from iomt_core.twin.access import AGGREGATES, AuditLog, Gate, Identity, verify_log
from iomt_core.twin.access.hooks import AUDIT_FOLDER as FOLDER
from iomt_core.twin.access.hooks import audit_hook
from iomt_core.twin.access.identity import KEY, LONGEST_LIFETIME, issue_token
from iomt_core.twin.access.keys import signing_key
from iomt_core.twin.access.ledger import BUDGET, LARGEST, PrivateAggregates
from iomt_core.twin.access.privacy import QUERIES, clamps
from iomt_core.twin.warehouse.reading import Warehouse

HOUR = 3600.0
MINUTE = 60.0

DirectoryArgument = Annotated[Path, typer.Argument(help="Directory of the warehouse.", metavar="DIR")]


def token(
    identity: Annotated[
        str, typer.Argument(help="agent:3, management, operator or operator:anna.", metavar="IDENTITY")
    ],
    directory: DirectoryArgument,
    hours: Annotated[float, typer.Option(help=f"For how long, at most {LONGEST_LIFETIME / HOUR:.0f}.")] = 8.0,
) -> None:
    """Print a signed token with which somebody can use the warehouse. Only who can read the keys can issue one."""
    warehouse = Warehouse(directory)
    print(issue_token(Identity.parse(identity), warehouse.identity, hours * HOUR, signing_key(KEY)))


def query(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(QUERIES)}.", metavar="QUERY")],
    directory: DirectoryArgument,
    epsilon: Annotated[
        float, typer.Option(help=f"Privacy loss of the answer, at most {LARGEST:g}; less means more noise.")
    ],
    token: Annotated[
        str | None,
        typer.Option(
            help="Token of an operator; without it the command issues one to itself, with your keys.",
            envvar="IOMT_TOKEN",
        ),
    ] = None,
    request: Annotated[
        str, typer.Option(help="Name of the question: the same one gets the same answer and is paid once.")
    ] = "",
    budget: Annotated[float, typer.Option(help="Privacy budget of the warehouse, where it has none yet.")] = BUDGET,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON, in SI units.")] = False,
) -> None:
    """Ask for a mean over all users with differential privacy; the privacy budget pays for it."""
    identity = Warehouse(directory).identity
    key = signing_key(KEY)
    if token is None:
        token = issue_token(Identity("operator", name="local"), identity, MINUTE, key)
    with AuditLog(directory / FOLDER, identity) as log:
        gate = Gate(log, key.public_key())
        grant = gate.authorise(token, "query", AGGREGATES)
        warehouse = Warehouse(directory, audit=audit_hook(log, str(grant.identity)))
        answer = PrivateAggregates(warehouse, gate, clamps(warehouse.scenario), budget).query(
            grant, name, epsilon, request
        )
    print(json.dumps(answer.as_dict()) if as_json else answer.text())


def audit(
    directory: DirectoryArgument,
    last: Annotated[int, typer.Option(help="Print that many of the last records too.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Verify the audit log: every record and all signed checkpoints. Exit status 1 and the first bad record if it is wrong."""
    warehouse = Warehouse(directory)
    found = verify_log(directory / FOLDER, warehouse.identity)
    if as_json:
        print(json.dumps(found.as_dict()))
    else:
        print(found.text())
    if not found.valid:
        raise typer.Exit(1)
    if last:
        with AuditLog(directory / FOLDER, warehouse.identity) as log:
            records = log.latest(last)
        table = Table(*records.columns)
        for sequence, moment, *texts in records.itertuples(index=False):
            table.add_row(str(sequence), f"{moment:%Y-%m-%d %H:%M:%S}", *map(str, texts))
        notes.print(table)
