"""Tasks that a model of a user's tasks generates: the job "generate" of a process that is shut in, and its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from iomt_core.scenario import check_known, check_range
from iomt_core.twin.mapping import own_episodes
from iomt_core.twin.mapping.confined import run
from iomt_core.twin.mapping.fidelity import log_likelihood
from iomt_core.twin.mapping.fidelity import report as fidelity_report
from iomt_core.twin.mapping.normal_scores import Encoding
from iomt_core.twin.mapping.sealed_log import SealedLog
from iomt_core.twin.mapping.task_models import MODELS, Copula, Flow, TaskModel
from iomt_core.twin.mapping.task_steps import ATTRIBUTES, TaskSteps, recorded_tasks, split_by_time
from iomt_core.twin.warehouse.errors import Audit, no_audit

MOST_STEPS = 100  # of a generated workload, as of any
COMPARED_STEPS = 2000  # of the generated tasks that are compared with held-out ones


@dataclass(frozen=True)
class GeneratedTasks:
    """Generated tasks of a user, and how good they are; see `fidelity.report`. It holds no recorded data."""

    user: int
    model: str
    steps: TaskSteps
    report: Mapping[str, Any]


def generate(
    folder: Path,
    user: int,
    model: str = "flow",
    steps: int = MOST_STEPS,
    seed: int = 0,
    recording: int | None = None,
    on_progress: Callable[[Mapping[str, Any]], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    audit: Audit = no_audit,
) -> GeneratedTasks:
    """Trains a model of a user's tasks on the earlier part of the log, and generates tasks.

    It runs in a process that can open nothing but this user's log. steps: of the generated tasks. on_progress: called with
    epochs "done" of "total". stop: when it is true, training ends. Raises `ScenarioError`.
    """
    check_known("model", model, MODELS)
    check_range("steps", steps, 1, MOST_STEPS)
    check_range("seed", seed, 0, 2**31 - 1)
    arguments = {"model": model, "steps": steps, "seed": seed, "recording": recording}
    facts, tensors = run(folder, user, "generate", arguments, on_progress, stop, audit)
    values = load(tensors)["values"].numpy()
    made = TaskSteps(tuple(facts["attributes"]), values, np.arange(len(values)) > 0)
    return GeneratedTasks(user, model, made, facts["report"])


def run_job(
    log: SealedLog, arguments: Mapping[str, Any], report: Callable[[Mapping[str, Any]], None], stop: Callable[[], bool]
) -> tuple[dict[str, Any], bytes]:
    """The job "generate": trains on a user's log; see `fit_and_generate`."""
    training, held_out = split_by_time(recorded_tasks(log, arguments["recording"]))
    return fit_and_generate(training, held_out, arguments, report, stop)


def fit_and_generate(
    training: TaskSteps,
    held_out: TaskSteps,
    arguments: Mapping[str, Any],
    report: Callable[[Mapping[str, Any]], None],
    stop: Callable[[], bool],
    **fewer: int,
) -> tuple[dict[str, Any], bytes]:
    """Trains a model, and generates. Returns attributes and report, and the generated values as safetensors.

    arguments: model, steps and seed, see `generate`; fewer: `epochs` of a flow.
    """
    generator, seed = np.random.default_rng(arguments["seed"]), arguments["seed"]
    encoding = Encoding.of(training)
    scores = encoding.scores(training, generator)
    model: TaskModel = Copula(scores, encoding.tasks)
    baseline = None
    if arguments["model"] == "flow":
        baseline = model

        def on_epoch(done: int, total: int) -> None:
            report({"done": done, "total": total})

        model = Flow(scores, encoding.tasks, encoding.count, seed, on_epoch, stop, **fewer)
    # Compared are as many steps as were held out, in sequences as long as the recorded ones.
    starts = np.flatnonzero(~held_out.follows)
    length = max(2, int(np.diff([*starts, len(held_out)]).max()))
    sequences = max(2, min(len(held_out), COMPARED_STEPS) // length + 1)
    compared = encoding.sequences(model.draw(sequences, length, generator))
    fidelity = fidelity_report(model, encoding, training, held_out, compared, seed)
    if baseline is not None:
        fidelity["log_likelihood_copula"] = log_likelihood(baseline, encoding, held_out, seed)
    made = encoding.steps(model.draw(1, arguments["steps"], generator)[0])
    report({"done": 1, "total": 1})
    facts = {"attributes": list(encoding.attributes), "report": fidelity}
    return facts, save({"values": torch.from_numpy(np.ascontiguousarray(made.values))})


def warm_up() -> None:
    """Loads what numpy, scipy, torch and zuko load at their first use, with tasks that mean nothing."""
    own_episodes.warm_up()
    generator = np.random.default_rng(0)
    values = generator.random((120, 2, len(ATTRIBUTES)))
    values[::3, 1] = np.nan
    values[..., 2] = np.floor(3 * values[..., 2])
    steps = TaskSteps(ATTRIBUTES, values, np.arange(120) % 20 > 0)
    arguments = {"model": "flow", "steps": 3, "seed": 0}
    fit_and_generate(
        steps.part(slice(80)), steps.part(slice(80, None)), arguments, lambda progress: None, lambda: True, epochs=1
    )
