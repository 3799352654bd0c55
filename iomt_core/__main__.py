"""Command line: `python -m iomt_core --help`."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.experiments.evaluation import evaluate as run_evaluation
from iomt_core.experiments.pretraining import Job, publish, train_all
from iomt_core.experiments.pretraining import jobs as pretraining_jobs
from iomt_core.experiments.results_table import results_table
from iomt_core.experiments.table_iii import table_iii
from iomt_core.experiments.training_check import Check, written_beside
from iomt_core.parameter_table import parameter_table
from iomt_core.policies.base import SHARES
from iomt_core.scenario import PRESET_NOTES, PRESETS, Scenario, ScenarioError
from iomt_core.scenario_files import read_scenario
from iomt_core.scenario_tables import read_places_csv, read_workload_csv, with_places, with_workload
from iomt_core.sweep_command import sweep
from iomt_core.training.catalogue import PRETRAINED, catalogue, runs_place
from iomt_core.training.jobs import start_waiting, wants_stop
from iomt_core.training.process import StopSignal, device_named, prepare
from iomt_core.training.runs import Run, RunSpec, default_settings, settings_from_words, told_if_it_fails
from iomt_core.training.settings import Settings
from iomt_core.training.tensorboard import TensorBoard
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.training.trainer import Trainer
from iomt_core.training.workers import seat
from iomt_core.twin.northbound import checked_seed

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
app.command()(sweep)
notes = Console(stderr=True, markup=False)  # names and paths are a person's: "[/b]" in one is no markup

ScenarioOption = Annotated[
    str, typer.Option(help=f"A preset ({', '.join(PRESETS)}) or a YAML or JSON file.", metavar="PRESET|FILE")
]


def _scenario(source: str, workload: Path | None, places: Path | None) -> Scenario:
    s = read_scenario(source)
    if places is not None:
        s = with_places(s, read_places_csv(places))
    return s if workload is None else with_workload(s, read_workload_csv(workload))


@app.command()
def scenario(
    source: Annotated[str, typer.Argument(metavar="PRESET|FILE", help="A preset's name, or a YAML or JSON file.")],
) -> None:
    """Print the full scenario as JSON in SI units."""
    print(json.dumps(read_scenario(source).resolved(), indent=2, ensure_ascii=False))


@app.command()
def parameters() -> None:
    """Print the table of all parameters as Markdown."""
    print(parameter_table())


@app.command()
def presets() -> None:
    """List the presets."""
    table = Table("preset", "what it is")
    for name in PRESETS:
        table.add_row(name, PRESET_NOTES[name])
    Console(markup=False).print(table)


@app.command()
def policies() -> None:
    """List the policies."""
    table = Table("policy", "decentralised", "trained", "what it does")
    for policy in catalogue().values():
        words = ("yes" if yes else "no" for yes in (policy.decentralised, policy.trained))
        table.add_row(policy.name, *words, policy.summary)
    Console(markup=False).print(table)


@app.command()
def evaluate(
    scenario: ScenarioOption,
    policy: Annotated[str, typer.Option(help=f"One of {', '.join(catalogue())}.")],
    out: Annotated[Path, typer.Option(help="Directory for summary.json and decisions.parquet.", metavar="DIR")],
    episodes: Annotated[int, typer.Option(help="How many episodes.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the tasks; the layout's stands in the scenario.")] = 0,
    shares: Annotated[str, typer.Option(help=f"Whose shares: {', '.join(SHARES)}.")] = "own",
    csv: Annotated[bool, typer.Option("--csv", help="Write decisions.csv instead of decisions.parquet.")] = False,
    workload: Annotated[
        Path | None, typer.Option(help="CSV of tasks: step, user, data_kb, cycles, priority.", metavar="CSV")
    ] = None,
    places: Annotated[
        Path | None, typer.Option(help="CSV of places: kind (user|server), x_m, y_m.", metavar="CSV")
    ] = None,
) -> None:
    """Run episodes of a scenario under a policy; write every decision and a summary beside the certified bound."""
    s = _scenario(scenario, workload, places)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=notes) as progress:
        bar = progress.add_task(f"{policy} on {s.name}", total=max(1, episodes))
        values = run_evaluation(
            s, policy, episodes, seed, out, shares, csv, progress=lambda done: progress.advance(bar, done)  # type: ignore[arg-type]
        )  # fmt: skip
    table = Table("figure", "value", title=f"{policy} on {s.name}, {values['episodes']} episodes, seed {seed}")
    rows = {
        "mean delay": f"{values['mean_delay_s'] * 1e3:.4g} ms",
        "mean energy": f"{values['mean_energy_j'] * 1e6:.4g} µJ",
        "priority-weighted mean cost": f"{values['cost']:.4f}",
        "certified lower bound": f"{values['lower_bound']:.4f}",
        "gap to the bound": f"{values['gap'] * 100:.2f} %",
        "deadline misses": f"{values['deadline_miss_share'] * 100:.2f} %",
        "episodes ended by an empty battery": str(values["episodes_ended_by_battery"]),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    notes.print(table)
    notes.print(f"Written: {out / 'summary.json'} and {out / ('decisions.csv' if csv else 'decisions.parquet')}")


SETTINGS_HELP = "; ".join(
    f"{name} ({field.default}): {field.description}" for name, field in Settings.model_fields.items()
)


@app.command()
def train(
    algorithm: Annotated[str | None, typer.Option(help=f"One of {', '.join(ALGORITHMS)}.")] = None,
    scenario: ScenarioOption = "paper",
    seed: Annotated[int, typer.Option(help="Seed of everything that the run draws.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Directory of the run; a new one.", metavar="DIR")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this directory.", metavar="DIR")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help=f"A setting, NAME=VALUE; may be repeated. {SETTINGS_HELP}.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of this process.", min=1)] = 1,
    device: Annotated[
        str, typer.Option(help="Where it is computed: cpu, cuda, or cuda:N of several GPUs.", metavar="DEVICE")
    ] = "cpu",
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard event files into the run too.")] = False,
) -> None:
    """Train an algorithm; SIGTERM and Ctrl-C save and stop.

    --resume goes on to the same weights as if never stopped, on the device where it began.
    """
    prepare(threads)
    where = device_named(device)
    if resume is not None:
        if algorithm is not None or out is not None or set_:
            raise ScenarioError(
                "resume: a run is taken up as it was begun; allowed beside it are threads, device and tensorboard only."
            )
        taken_up = resume
    else:
        if algorithm is None or out is None:
            raise ScenarioError(f"{'algorithm' if algorithm is None else 'out'} is missing: a new run needs both.")
        settings = default_settings(algorithm, **settings_from_words(set_ or []))
        spec = RunSpec(algorithm, read_scenario(scenario), settings, checked_seed(seed))
        taken_up = Run.create(out, spec).place
    with seat(taken_up):
        try:
            with told_if_it_fails(taken_up):
                _train(Run.resume(taken_up, where), tensorboard)
        finally:
            if taken_up.resolve().parent == runs_place().resolve():
                start_waiting(leaving=taken_up.name)


def _train(run: Run, tensorboard: bool) -> None:
    s, total = run.spec.scenario, run.spec.settings.episodes
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[speed]:.1f} episodes/s"), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[latest]}", markup=False),
    )  # fmt: skip
    with Progress(*columns, console=notes) as progress, StopSignal() as stop:
        name = f"{run.spec.algorithm} on {s.name}, seed {run.spec.seed}"
        bar = progress.add_task(name, total=total, completed=run.trainer.played, speed=0.0, latest="")
        check = Check(s)
        beside = written_beside(run.place, check)
        watch = TensorBoard(run.place) if tensorboard else None

        def evaluated(trainer: Trainer) -> Mapping[str, Any]:
            found = check.of(TrainedPolicy.of(trainer, run.spec))
            progress.update(bar, latest=f"gap {found['gap'] * 100:.1f} %, cost {found['cost']:.4f}")
            return found

        def told(status: Mapping[str, Any]) -> None:
            progress.update(bar, completed=status["episodes"], speed=status["episodes_per_s"])
            if watch is not None:
                watch.catch_up()

        run.halted = lambda: stop.halted
        state = run.go(lambda: stop() or wants_stop(run.place), evaluated, told)
    found = check.of(TrainedPolicy.of(run.trainer, run.spec))
    table = Table("policy", "cost", "gap", title=f"{name}: {state} after {run.trainer.played} of {total} episodes")
    for label, values in {run.spec.algorithm: found, **beside}.items():
        table.add_row(label, f"{values['cost']:.4f}", f"{values['gap'] * 100:.2f} %")
    notes.print(table)
    if state == "stopped":
        notes.print(f"Go on with: python -m iomt_core train --resume {run.place}")


@app.command()
def pretrained(
    runs: Annotated[Path, typer.Option(help="Where the runs stand, and are taken up.", metavar="DIR")] = Path(
        "runs/pretrained"
    ),
    out: Annotated[
        Path, typer.Option(help="Where the shipped policies and their manifest go.", metavar="DIR")
    ] = PRETRAINED,
    only: Annotated[list[str] | None, typer.Option(help="One of the plan's policies; may be repeated.")] = None,
    jobs: Annotated[int, typer.Option(help="How many to train at once, a core each.", min=1, max=64)] = 2,
    train: Annotated[bool, typer.Option(help="Without: ship the runs that are finished.")] = True,
) -> None:
    """Train every shipped policy from all its seeds, going on where it was left, and ship the median seed of each."""
    chosen = pretraining_jobs(only or ())
    if train:
        _train_all(chosen, runs, jobs)
    publish(chosen, runs, out, notes.print)
    notes.print(f"Written: {out / 'manifest.json'}")


def _train_all(chosen: Sequence[Job], runs: Path, jobs: int) -> None:
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as executor:
        train_all(chosen, runs, executor, notes.print)


@app.command()
def results(
    place: Annotated[Path, typer.Option(help="Where the shipped policies stand.", metavar="DIR")] = PRETRAINED,
) -> None:
    """Print the results of the shipped policies as Markdown, from their manifest."""
    print(results_table(place))


@app.command()
def table3() -> None:
    """Count parameters and FLOPs of every agent network as the paper's Table III does, beside its figures."""
    table = Table(
        "network", "parameters", "paper", "", "FLOPs", "paper", title="Table III: 10 tasks, 4 servers, one step"
    )
    for row in table_iii():
        off = f"{(row.parameters / row.paper_parameters - 1) * 100:+.1f} %"
        table.add_row(
            row.network,
            f"{row.parameters:,}",
            f"{row.paper_parameters:,}",
            off,
            f"{row.flops:,}",
            f"{row.paper_flops:,}",
        )
    Console(markup=False).print(table)


def main() -> None:
    """Runs the command line; a bad scenario, file or value is a message and exit code 2, not a traceback."""
    try:
        app()
    except ScenarioError as error:
        for problem in error.problems:
            notes.print(f"error: {problem}", style="red", highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
