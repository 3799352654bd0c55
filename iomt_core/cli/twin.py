"""`iomt twin`: what would have happened in a recorded episode, and how a step was coordinated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.table import Table

from iomt_core.charts.coordination import border_table, coordination_notes, decided_table, observed_table
from iomt_core.charts.forks import fork_numbers
from iomt_core.cli.common import ScenarioOption, notes, scenario_from
from iomt_core.cli.options import SeedOption, policy_help
from iomt_core.experiments.evaluation import summary_of
from iomt_core.policies.base import SHARES, Shares
from iomt_core.scenario import check_range
from iomt_core.training.catalogue import default_policy, make_policy, policy_label
from iomt_core.twin.management.registry import resolve
from iomt_core.twin.management.trace import trace as trace_step
from iomt_core.twin.northbound import Twin
from iomt_core.twin.recorded_fork import CHANGEABLE, overrides_from_words, recorded_episode

app = typer.Typer(no_args_is_help=True, help="Twins: what would have happened, and how a step was coordinated.")


@app.callback()
def twin() -> None:
    """Twins: what would have happened, and how a step was coordinated."""


@app.command()
def fork(
    folder: Annotated[Path, typer.Argument(help="Directory of the warehouse; it is not changed.", metavar="DIR")],
    at: Annotated[int, typer.Option(help="The first step that may differ, from 1.", metavar="STEP")],
    episode: Annotated[int, typer.Option(help="Number of the episode in the recording, from 1.")] = 1,
    recording: Annotated[int | None, typer.Option(help="Number of the recording; without it the latest.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help=f"What is changed, such as servers_off=3; may be repeated. One of {', '.join(CHANGEABLE)}."
        ),
    ] = None,
    policy: Annotated[str, typer.Option(help=f"{policy_help()} Without it the recorded one.", show_default=False)] = "",
    shares: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(SHARES)}; without it the recorded ones.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, in SI units.")] = False,
) -> None:
    """Fork a recorded episode at a step, play its future with something changed, and compare it with what happened.

    Tasks and places stay the same. With nothing changed, the fork repeats what happened.
    """
    recorded = recorded_episode(folder, episode, recording)
    found = recorded.fork(
        at, overrides_from_words(set_ or []), resolve(policy, recorded.scenario), cast("Shares | None", shares)
    )
    if as_json:
        happened, forked = (summary_of(record, recorded.policy) for record in (found.happened, found.forked))
        origin = {"recording": recorded.recording, "episode": recorded.episode, "step": at}
        change = {
            "overrides": found.overrides,
            "policy": found.policy or recorded.policy,
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


@app.command()
def trace(
    step: Annotated[int, typer.Option(help="Number of the step, from 1.")] = 1,
    scenario: ScenarioOption = "paper",
    policy: Annotated[str, typer.Option(help=policy_help())] = default_policy(),
    seed: SeedOption = 0,
    warehouse: Annotated[
        Path | None,
        typer.Option(
            help="Trace a recorded episode instead, under the policy that it was recorded with.", metavar="DIR"
        ),
    ] = None,
    episode: Annotated[int, typer.Option(help="Number of the episode, from 1.")] = 1,
    recording: Annotated[int | None, typer.Option(help="Number of the recording; without it the latest.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Trace how a step was coordinated: observations in, the mixer's weights, decisions out, and bytes across borders."""
    if warehouse is not None:
        recorded = recorded_episode(warehouse, episode, recording)
        s, name = recorded.scenario, recorded.policy
        found = trace_step(make_policy(name, s), recorded.record, step)
    else:
        s = scenario_from(scenario)
        name = resolve(policy, s)
        check_range("step", step, 1, s.T)
        twin = Twin(s, name, seed, episode=episode)
        for _ in range(step):
            if not twin.done:
                twin.advance()
        found = twin.trace(step)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
        return
    print(f"{policy_label(name)} on {s.name}: step {found.step} of episode {episode}")
    for frame in (observed_table(found), decided_table(found), border_table(found)):
        table = Table(*frame.columns)
        for row in frame.itertuples(index=False):
            table.add_row(*row)
        Console(markup=False).print(table)
    print("\n".join(coordination_notes(found)))
