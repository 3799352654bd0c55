"""`iomt twin train-agent`, `generate` and `compare-generated`: what is made from the log of one user."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from iomt_core.charts.agents import check_table, fidelity_table
from iomt_core.cli.common import notes, progress_bar
from iomt_core.experiments.agent_twins import EPISODES, check_twin
from iomt_core.experiments.generated_training import EPISODES as TRAINING_EPISODES
from iomt_core.experiments.generated_training import MINUTES, SEEDS, compare_generated
from iomt_core.scenario import ScenarioError
from iomt_core.scenario.files import write_text_atomically
from iomt_core.training.catalogue import policy_label
from iomt_core.training.checkpoints import MARK
from iomt_core.twin.access.hooks import audit_hook
from iomt_core.twin.audit_log import open_audit_log
from iomt_core.twin.mapping.agent_training import UPDATES
from iomt_core.twin.mapping.agent_twin import train_agent as train_twin
from iomt_core.twin.mapping.generation import MOST_STEPS
from iomt_core.twin.mapping.generation import generate as generate_tasks
from iomt_core.twin.mapping.task_models import MODELS
from iomt_core.twin.mapping.task_steps import write_workload
from iomt_core.twin.warehouse.reading import Warehouse

FolderArgument = Annotated[Path, typer.Argument(help="Directory of the warehouse; it is not changed.", metavar="DIR")]
RecordingOption = Annotated[int | None, typer.Option(help="Number of the recording; without it the latest.")]
SeedOption = Annotated[int, typer.Option(help="Seed of all random draws.")]
ModelOption = Annotated[str, typer.Option(help=f"One of {', '.join(MODELS)}.")]
NOT_PRIVATE = "Not private: no model here is trained with differential privacy."


def train_agent(
    folder: FolderArgument,
    user: Annotated[int, typer.Option(help="Number of the user.")],
    out: Annotated[Path, typer.Option(help="A new directory for the twin.", metavar="DIR")],
    updates: Annotated[int, typer.Option(help="Updates of the networks.")] = UPDATES,
    episodes: Annotated[int, typer.Option(help="Episodes in which the twin is compared; 0: none.", min=0)] = EPISODES,
    recording: RecordingOption = None,
    seed: SeedOption = 0,
) -> None:
    """Train the twin of a user's agent from this user's log alone, and compare it with the recorded policy.

    The training process gets the user's key and log, and can open nothing else. Ctrl-C ends the training and keeps the weights
    so far. The comparison needs the keys of all users.
    """
    if (out / MARK).exists():
        raise ScenarioError(f"out = {str(out)!r} already holds a twin: choose another place.")
    with progress_bar("{task.fields[loss]}") as progress, _stop_after_ctrl_c() as stop, open_audit_log(folder) as log:
        bar = progress.add_task(f"agent of user {user}", total=updates, loss="")

        def on_progress(line: Mapping[str, Any]) -> None:
            progress.update(bar, completed=line["done"], loss=f"loss {line['loss']:.2g}")

        twin = train_twin(folder, user, updates, seed, recording, on_progress, stop, audit_hook(log, f"agent:{user}"))
    twin.save(out)
    made = twin.facts["updates"]
    words = "" if made == updates else f", stopped after {made} of {updates} updates"
    notes.print(f"Written: {out}, from {twin.facts['episodes']} episodes of user {user}{words}.", soft_wrap=True)
    if episodes and not stop():
        check = check_twin(folder, twin, episodes)
        label = policy_label(check.policy)
        _print(
            check_table(check),
            f"{episodes} episodes that were not recorded: {label} for all, and the twin for user {user}",
        )


def generate(
    folder: FolderArgument,
    out: Annotated[Path, typer.Option(help="A new CSV for `--workload`.", metavar="CSV")],
    user: Annotated[list[int] | None, typer.Option(help="Number of a user; may be repeated. Without it all.")] = None,
    model: ModelOption = MODELS[-1],
    steps: Annotated[int, typer.Option(help=f"Steps of the workload, 1 to {MOST_STEPS}.")] = MOST_STEPS,
    report: Annotated[bool, typer.Option("--report", help="Print how good the generated tasks are.")] = False,
    report_json: Annotated[Path | None, typer.Option(help="Write all measures to this file.", metavar="FILE")] = None,
    recording: RecordingOption = None,
    seed: SeedOption = 0,
) -> None:
    """Generate tasks of users, by a model that is trained on the earlier part of their logs, and write them as a workload.

    Each user's model is trained by a process that can open nothing but this user's log. The tasks are not private.
    """
    if out.exists():
        raise ScenarioError(f"out = {str(out)!r} is already there: choose another name.")
    warehouse = Warehouse(folder)
    users = user or [number for number in warehouse.users if number not in warehouse.forgotten]
    found = []
    with progress_bar("{task.fields[user]}") as progress, open_audit_log(folder) as log:
        bar = progress.add_task(f"{model} of {len(users)} users" if len(users) > 1 else model, total=1.0, user="")
        for place, number in enumerate(users):
            follow = _follow(progress, bar, place, len(users), f"user {number}")
            audit = audit_hook(log, f"agent:{number}")
            found.append(generate_tasks(folder, number, model, steps, seed, recording, follow, audit=audit))
        progress.update(bar, completed=1.0, user="")
    write_workload(out, [(one.user, one.steps) for one in found])
    count = sum(len(one.steps.tasks) for one in found)
    notes.print(f"Written: {count:,} tasks to {out}. {NOT_PRIVATE}", soft_wrap=True)
    if report_json is not None:
        reports = {str(one.user): one.report for one in found}
        write_text_atomically(report_json, json.dumps({"model": model, "users": reports}, indent=1) + "\n")
    for one in found if report else ():
        _print(fidelity_table(one.report), f"User {one.user}, {model}: generated tasks beside held-out recorded ones")


def compare(
    folder: FolderArgument,
    model: ModelOption = MODELS[-1],
    seeds: Annotated[int, typer.Option(help="Seeds of training; the interval is over seeds.")] = SEEDS,
    episodes: Annotated[int, typer.Option(help="Episodes of each training.")] = TRAINING_EPISODES,
    minutes: Annotated[float, typer.Option(help="Time: no seed begins that would not end in time.")] = MINUTES,
    recording: RecordingOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train policies on generated and on recorded tasks of all users, and compare both on held-out recorded tasks."""
    with progress_bar("{task.fields[words]}") as progress:
        bar = progress.add_task(model, total=1.0, words="")

        def on_progress(part: float, words: str) -> None:
            progress.update(bar, completed=part, words=words)

        found = compare_generated(folder, model, seeds, episodes, minutes, recording, on_progress)
        progress.update(bar, completed=1.0, words="")
    cost = found.cost
    if as_json:
        values = {"recorded": cost.a, "generated": cost.b, "difference": cost.difference, "interval": cost.interval}
        print(
            json.dumps({**values, "reference": found.reference, "seeds": found.seeds, "steps": found.steps}, indent=2)
        )
        return
    if found.seeds < found.wanted:
        notes.print(f"The time was up after {found.seeds} of {found.wanted} seeds.")
    table = Table(
        "trained on", "cost on held-out tasks", title=f"{found.steps} steps of tasks each, {found.seeds} seeds"
    )
    table.add_row("recorded tasks", f"{cost.mean_a:.4f}")
    table.add_row("generated tasks", f"{cost.mean_b:.4f}")
    table.add_row("nothing: price response", f"{found.reference:.4f}")
    notes.print(table)
    print(f"generated against recorded: {cost.change_words}; {cost.interval_words.replace('episodes', 'seeds')}")


def _follow(progress: Progress, bar: Any, place: int, users: int, words: str) -> Callable[[Mapping[str, Any]], None]:
    progress.update(bar, completed=place / users, user=words)

    def follow(line: Mapping[str, Any]) -> None:
        progress.update(bar, completed=(place + line["done"] / line["total"]) / users, user=words)

    return follow


@contextmanager
def _stop_after_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came; a second Ctrl-C interrupts as usual."""
    came = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print(rows: Any, title: str) -> None:
    table = Table(*rows.columns, title=title)
    for row in rows.itertuples(index=False):
        table.add_row(*map(str, row))
    notes.print(table)
