"""`iomt train`: train an algorithm, or resume a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.cli.common import (
    PlacesOption,
    ScenarioOption,
    WorkloadOption,
    notes,
    print_notes,
    progress_bar,
    scenario_from,
)
from iomt_core.experiments.fine_tuning import FineTuning
from iomt_core.experiments.run_length import with_length
from iomt_core.experiments.training_check import RUN_CHECKED, RUN_EPISODES, RUN_HELD_OUT, Evaluator, references_of_run
from iomt_core.metrics import METRICS
from iomt_core.runs.process import StopRequest, device_named, prepare
from iomt_core.runs.training_run import TRAINING, TrainingRun
from iomt_core.scenario import ScenarioError
from iomt_core.training.checkpoints import KEPT
from iomt_core.training.run_spec import RunSpec, settings_for, settings_from_words
from iomt_core.training.settings import Settings
from iomt_core.training.start import Start, StartFrom, why_from_scratch
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.training.trainer import Trainer
from iomt_core.twin.northbound import checked_seed

SETTINGS_HELP = "; ".join(
    f"{name} ({field.default}): {field.description}" for name, field in Settings.model_fields.items()
)


def train(
    algorithm: Annotated[str | None, typer.Option(help=f"One of {', '.join(ALGORITHMS)}.")] = None,
    scenario: ScenarioOption = "paper",
    seed: Annotated[int, typer.Option(help="Seed of all random draws of the run.")] = 0,
    out: Annotated[Path | None, typer.Option(help="A new directory for the run.", metavar="DIR")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the run in this directory.", metavar="DIR")] = None,
    start_from: Annotated[
        StartFrom | None,
        typer.Option(
            help="Where the weights start: the shipped general network, which is fine-tuned (default where it fits), or scratch."
        ),
    ] = None,
    seconds: Annotated[
        int | None,
        typer.Option(
            help="Play as many episodes as take about so long on an idle machine; it is measured first, in a few seconds.",
            metavar="SECONDS",
        ),
    ] = None,
    warehouse: Annotated[
        Path | None,
        typer.Option(
            help="Record every episode in this data warehouse and replay from there; the weights are the same as without.",
            metavar="DIR",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help=f"A setting, NAME=VALUE; may be repeated. {SETTINGS_HELP}.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Number of threads.", min=1)] = 1,
    device: Annotated[
        str, typer.Option(help="Where it is computed: cpu, cuda, or cuda:N of several GPUs.", metavar="DEVICE")
    ] = "cpu",
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard event files into the run too.")] = False,
    workload: WorkloadOption = None,
    places: PlacesOption = None,
) -> None:
    """Train an algorithm; Ctrl-C and SIGTERM stop it after the batch and save.

    --resume continues a run, on the device where it began, and gives the same weights as a run that was never stopped.
    """
    prepare(threads)
    torch_device = device_named(device)
    if resume is not None:
        if (
            any(given is not None for given in (algorithm, out, start_from, seconds, warehouse, workload, places))
            or set_
        ):
            raise ScenarioError(
                "resume: a run continues with its own settings; allowed with it are threads, device and tensorboard only."
            )
        with TRAINING.working(resume):
            _train(TrainingRun.resume(resume, torch_device), tensorboard)
        return
    if algorithm is None or out is None:
        missing = "algorithm" if algorithm is None else "out"
        raise ScenarioError(f"{missing} is missing: a new run needs --algorithm and --out.")
    s, changes = scenario_from(scenario, workload, places), settings_from_words(set_ or [])
    if seconds is not None and "episodes" in changes:
        raise ScenarioError(
            f"seconds = {seconds} cannot be used with episodes = {changes['episodes']}: allowed is one of both."
        )
    start = _start(algorithm, start_from, changes)
    settings = settings_for(algorithm, start, changes)
    place = None if warehouse is None else os.fspath(warehouse.absolute())
    spec = RunSpec(algorithm, s, settings, checked_seed(seed), start, place)
    if seconds is not None:
        spec = with_length(spec, seconds, torch_device, changes)
    run = TrainingRun.create(out, spec, torch_device)
    with TRAINING.working(out):
        _train(run, tensorboard)


def _start(algorithm: str, start_from: StartFrom | None, changes: Mapping[str, Any]) -> Start | None:
    """The checkpoint from which a run starts; None for from scratch, with a note where that was not chosen."""
    if start_from == "scratch":
        return None
    reasons = why_from_scratch(algorithm, changes)
    if not reasons:
        return Start.general(algorithm)
    print_notes([f"The run starts from scratch: {reasons}."])
    return None


def _train(run: TrainingRun, tensorboard: bool) -> None:
    s, total = run.spec.scenario, run.spec.settings.episodes
    with (
        progress_bar("{task.fields[speed]:.1f} episodes/s", "{task.fields[latest]}") as progress,
        StopRequest(run.folder) as stop,
    ):
        name = f"{run.spec.algorithm} on {s.name}, seed {run.spec.seed}"
        bar = progress.add_task(name, total=total, completed=run.trainer.played, speed=0.0, latest="")
        run.report_loading("the held-out episodes")
        evaluator = Evaluator(s, RUN_EPISODES, RUN_HELD_OUT, RUN_CHECKED)
        tuning = None if run.spec.start is None else FineTuning(run.folder, run.spec, evaluator)

        def evaluate(trainer: Trainer) -> Mapping[str, Any]:
            policy = TrainedPolicy.from_trainer(trainer, run.spec)
            found = evaluator.evaluate_run(policy)
            if tuning is not None:
                found |= tuning.evaluate(trainer, policy)
            latest = ", ".join(f"{name} {METRICS[name].show(found[name])}" for name in ("gap", "cost"))
            progress.update(bar, latest=latest + f", {found['collapsed']}" * bool(found["collapsed"]))
            return found

        on_line = _tensorboard(run) if tensorboard else None
        run.report_loading("the first evaluation")
        run.evaluate_start(evaluate, on_line)
        run.report_loading("the policies to compare with")
        references = references_of_run(run.folder, evaluator)

        def on_status(status: Mapping[str, Any]) -> None:
            progress.update(bar, completed=status["done"], speed=status["episodes_per_s"])

        def conclude() -> str:
            comparison = None if tuning is None else tuning.conclude()
            return "" if comparison is None else comparison.words

        state = run.train(stop, evaluate, on_line, on_status, conclude)
    kept = run.conclusion and TrainedPolicy.load(run.folder / KEPT)
    found = evaluator.evaluate(kept or TrainedPolicy.from_trainer(run.trainer, run.spec))
    table = Table("policy", "cost", "gap", title=f"{name}: {state} after {run.trainer.played} of {total} episodes")
    for label, values in {run.spec.algorithm: found, **references}.items():
        table.add_row(label, *(METRICS[name].show(values[name]) for name in ("cost", "gap")))
    notes.print(table)
    if run.conclusion:
        notes.print(run.conclusion)
    if state == "stopped":
        notes.print(f"Continue with: iomt train --resume {run.folder}")


def _tensorboard(run: TrainingRun) -> Callable[[str, Mapping[str, Any]], None]:
    from iomt_core.runs.tensorboard import TensorBoardLog  # an import of a second that few runs need

    return TensorBoardLog(run.folder, run.trainer.played).write
