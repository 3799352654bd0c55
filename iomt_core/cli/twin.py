"""`iomt twin`: ask a data warehouse what would have happened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.table import Table

from iomt_core.charts.forks import fork_numbers
from iomt_core.cli.common import notes
from iomt_core.experiments.evaluation import summary_of
from iomt_core.policies.base import SHARES, Shares
from iomt_core.training.catalogue import catalogue, policy_label
from iomt_core.twin.recorded_fork import CHANGEABLE, overrides_from_words, recorded_episode

app = typer.Typer(no_args_is_help=True, help="What would have happened: forks of recorded episodes.")


@app.callback()
def twin() -> None:
    """What would have happened: forks of recorded episodes."""


@app.command()
def fork(
    folder: Annotated[Path, typer.Argument(help="Directory of the warehouse; it is not changed.", metavar="DIR")],
    at: Annotated[int, typer.Option(help="The first step that may differ, from 1.", metavar="STEP")],
    episode: Annotated[int, typer.Option(help="Number of the episode in the recording, from 1.")] = 1,
    recording: Annotated[int | None, typer.Option(help="Number of the recording; without it the latest.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="What is changed, such as servers_off=3; may be repeated. servers=3 switches the last servers off until three "
            f"are left. One of servers, users, {', '.join(CHANGEABLE)}.",
        ),
    ] = None,
    policy: Annotated[
        str, typer.Option(help=f"One of {', '.join(catalogue())}; without it the recorded one.", show_default=False)
    ] = "",
    shares: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(SHARES)}; without it the recorded ones.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, in SI units.")] = False,
) -> None:
    """Fork a recorded episode at a step, play its future with something changed, and compare it with what happened.

    Tasks and places stay the same. With nothing changed, the fork repeats what happened.
    """
    recorded = recorded_episode(folder, episode, recording)
    found = recorded.fork(at, overrides_from_words(set_ or []), policy, cast("Shares | None", shares))
    if as_json:
        happened, forked = (summary_of(record, recorded.policy) for record in (found.happened, found.forked))
        origin = {"recording": recorded.recording, "episode": recorded.episode, "step": at}
        change = {
            "overrides": found.overrides,
            "policy": policy or recorded.policy,
            "shares": shares or recorded.shares,
        }
        print(json.dumps({**origin, **change, "happened": happened, "fork": forked}, indent=2))
        return
    print(f"{policy_label(recorded.policy)} on {recorded.scenario.name}: episode {recorded.episode} of recording "
          f"{recorded.recording}, from step {at} on; fork: {found.words}")  # fmt: skip
    numbers = fork_numbers(found)
    table = Table(*numbers.columns)
    for row in numbers.itertuples(index=False):
        table.add_row(*row)
    notes.print(table)
