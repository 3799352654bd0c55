"""`iomt twin`: forks of recorded episodes, how a step was coordinated, and what a stale twin costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, TypeVar, cast

import typer
from rich.console import Console
from rich.table import Table

from iomt_core.charts.coordination import border_table, coordination_notes, decided_table, observed_table
from iomt_core.charts.forks import fork_numbers
from iomt_core.charts.staleness import cost_table
from iomt_core.cli.common import PlacesOption, ScenarioOption, WorkloadOption, notes, progress_bar, scenario_from
from iomt_core.cli.options import SeedOption, SharesOption, policy_help
from iomt_core.cli.twin_mapping import compare, generate, train_agent
from iomt_core.experiments.evaluation import summary_of
from iomt_core.experiments.staleness import settings_grid, staleness_costs, staleness_notes, staleness_table
from iomt_core.policies.base import SHARES, Shares
from iomt_core.scenario import ScenarioError, check_range
from iomt_core.scenario.files import write_text_atomically
from iomt_core.training.catalogue import default_policy, describe, make_policy, policy_label
from iomt_core.twin.management.registry import resolve
from iomt_core.twin.management.trace import trace as trace_step
from iomt_core.twin.mapping.synchronisation import FIELD_GROUPS, LATE_GROUPS
from iomt_core.twin.northbound import Twin
from iomt_core.twin.recorded_fork import CHANGEABLE, overrides_from_words, recorded_episode

N = TypeVar("N", int, float)
app = typer.Typer(
    no_args_is_help=True,
    help="Forks of recorded episodes, coordination of a step, stale twins, agents' twins, generated tasks.",
)


@app.callback()
def twin() -> None:
    """Forks of recorded episodes, coordination of a step, stale twins, agents' twins, generated tasks."""


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
    workload: WorkloadOption = None,
    places: PlacesOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Trace how a step was coordinated: observations in, the mixer's weights, decisions out, and bytes across borders."""
    if warehouse is not None:
        recorded = recorded_episode(warehouse, episode, recording)
        s, name = recorded.scenario, recorded.policy
        found = trace_step(make_policy(name, s), recorded.record, step)
    else:
        s = scenario_from(scenario, workload, places)
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


@app.command("staleness")
def stale(
    scenario: ScenarioOption,
    policy: Annotated[str, typer.Option(help=policy_help())] = default_policy(),
    interval: Annotated[str, typer.Option(help="Steps between two synchronisations; several as 1,2,4.")] = "1",
    delay: Annotated[str, typer.Option(help="Steps until a measurement arrives; several as 0,1,2,4.")] = "0",
    noise: Annotated[str, typer.Option(help="Relative noise of a measurement; several as 0,0.05,0.1.")] = "0",
    groups: Annotated[
        str, typer.Option(help=f"What is synchronised late: one or more of {','.join(FIELD_GROUPS)}.")
    ] = ",".join(LATE_GROUPS),
    episodes: Annotated[int, typer.Option(help="Number of episodes; intervals are over episodes.")] = 20,
    seed: SeedOption = 0,
    shares: SharesOption = "own",
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write the table to this file, in SI units.", metavar="FILE")
    ] = None,
    workload: WorkloadOption = None,
    places: PlacesOption = None,
) -> None:
    """Measure what it costs if a policy decides on a twin that is synchronised late, seldom or with noise.

    All combinations of the values are played on the same episodes, and compared with a fresh twin. Actions are carried out in
    the ward itself.
    """
    s = scenario_from(scenario, workload, places)
    policy = resolve(policy, s)
    settings = settings_grid(
        numbers_from_words("interval", interval, int), numbers_from_words("delay", delay, int),
        numbers_from_words("noise", noise, float), tuple(part.strip() for part in groups.split(",") if part.strip()),
    )  # fmt: skip
    costs = []
    with progress_bar() as progress:
        bar = progress.add_task(f"{policy_label(policy)} on {s.name}", total=len(settings))
        for cost in staleness_costs(s, policy, settings, episodes, seed, cast("Shares", shares)):
            costs.append(cost)
            progress.advance(bar)
    notes.print(describe(policy, s))
    shown = cost_table(costs)
    table = Table(
        *shown.columns, title=f"{s.name}, {episodes} episodes, seed {seed}: change against a fresh twin (95 %)"
    )
    for row in shown.itertuples(index=False):
        table.add_row(*row)
    notes.print(table)
    for text in staleness_notes(s, policy, costs):
        notes.print(text, soft_wrap=True, highlight=False)
    if csv is not None:
        write_text_atomically(csv, staleness_table(costs).to_csv(index=False))
        notes.print(f"Written: {csv}")


def numbers_from_words(name: str, words: str, kind: type[N]) -> list[N]:
    """The numbers of a list such as 0,1,2. Raises `ScenarioError`."""
    try:
        return [kind(word) for word in words.split(",")]
    except ValueError:
        what = "whole numbers such as 1,2,4" if kind is int else "numbers such as 0,0.05,0.1"
        raise ScenarioError(f"{name} = {words[:60]!r} cannot be used: allowed are {what}.") from None


app.command("train-agent")(train_agent)
app.command("generate")(generate)
app.command("compare-generated")(compare)
