"""A training run on disk: its folder, and the loop that fills it.

Besides the files of every run (see `directory`) the folder holds

run.json          algorithm, scenario, settings, seed: what resuming needs
metrics.jsonl     one line per batch of episodes
evaluations.jsonl one line per evaluation on held-out episodes
references.json   what the heuristics and the optimum reach on the held-out episodes
checkpoints/N     after N episodes; the last two are kept
start/ best/ kept/  of a run that starts from a shipped network, see `experiments.fine_tuning`
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from iomt_core.nets.backend import backend_name
from iomt_core.runs.directory import append_line, read_json, read_lines, write_json, write_lines, write_status
from iomt_core.runs.queue import RunKind, RunQueue
from iomt_core.runs.worker import Worker
from iomt_core.scenario import ScenarioError, os_errors
from iomt_core.scenario.links import whole_number
from iomt_core.training.checkpoints import (
    CheckpointError,
    complete_checkpoints,
    delete_checkpoint,
    last_checkpoint,
    read_facts,
    runs_root,
)
from iomt_core.training.replay import Replay
from iomt_core.training.run_spec import RunSpec
from iomt_core.training.saved_trainer import restore, save
from iomt_core.training.trainer import CPU, MakeReplay, Trainer

log = logging.getLogger(__name__)

SPEC, METRICS, EVALUATIONS = "run.json", "metrics.jsonl", "evaluations.jsonl"
KEPT_CHECKPOINTS = 2
LONGEST = 1e10  # seconds

Line = Mapping[str, Any]
OnLine = Callable[[str, Line], None]  # called with each new line and the name of its file


class TrainingRun:
    """A training run's folder and its trainer."""

    def __init__(self, folder: Path, spec: RunSpec, trainer: Trainer, seconds: float = 0.0) -> None:
        """seconds: training time before this process."""
        self.folder, self.spec, self.trainer = folder, spec, trainer
        self.seconds_before, self.began, self.episodes_before = seconds, time.monotonic(), trainer.played
        self.collapsed = ""  # what the last evaluated policy did with every task
        self.conclusion = ""  # how the run's weights compare with its start, once it has ended
        for line in read_lines(folder / EVALUATIONS):
            self.collapsed = str(line.get("collapsed") or "") if line.get("episodes") else ""

    @classmethod
    def create(cls, folder: Path, spec: RunSpec, device: torch.device = CPU) -> TrainingRun:
        """A new run. Raises `ScenarioError` where the folder already holds one or cannot be made."""
        if (folder / SPEC).exists():
            raise ScenarioError(
                f"out = {str(folder)!r} already holds a run: take it up with --resume, or choose another place."
            )
        trainer = spec.trainer(device, _make_replay(folder, spec))
        write_run_spec(folder, spec)
        return cls(folder, spec, trainer)

    @classmethod
    def resume(cls, folder: Path, device: torch.device = CPU) -> TrainingRun:
        """A run from its last complete checkpoint, or from its beginning where it has none. Raises `ScenarioError`."""
        spec = read_run_spec(folder)
        last = last_checkpoint(folder)
        if last is None:
            run = cls(folder, spec, spec.trainer(device, _make_replay(folder, spec)))
        else:
            facts = read_facts(last)
            if device == CPU and facts.get("backend") != backend_name():
                log.warning(
                    "the run was saved with another backend of its networks: its weights will differ in the last bits"
                )
            run = cls(folder, spec, restore(last, device, _make_replay(folder, spec))[0], _seconds(facts))
        for name in (METRICS, EVALUATIONS):
            _drop_later_lines(folder / name, run.trainer.played)
        return run

    def train(
        self,
        stop: Callable[[], bool] = lambda: False,
        evaluate: Callable[[Trainer], Line] | None = None,
        on_line: OnLine | None = None,
        on_status: Callable[[Line], None] = lambda status: None,
        conclude: Callable[[], str] = lambda: "",
    ) -> str:
        """Trains until all episodes are played or `stop()` is true, then saves. Returns the state: finished or stopped.

        evaluate: the figures of an evaluation; also called before the first episode. on_line: called with each new line and
        its file's name. on_status: called with each new status. conclude: called after the last episode, before the run counts
        as finished; what it says becomes the status's `conclusion`. Raises `ScenarioError` where the disk is full or the folder
        was removed; the last complete checkpoint stays. A run that replays from a warehouse closes it at the end.
        """
        try:
            return self._train(stop, evaluate, on_line, on_status, conclude)
        finally:
            self.trainer.replay.close()

    def _train(
        self,
        stop: Callable[[], bool],
        evaluate: Callable[[Trainer], Line] | None,
        on_line: OnLine | None,
        on_status: Callable[[Line], None],
        conclude: Callable[[], str],
    ) -> str:
        trainer, settings = self.trainer, self.spec.settings
        if evaluate is not None:
            self.evaluate_start(evaluate, on_line)
        self.began = time.monotonic()
        self._report("running", on_status)
        while not trainer.done and not stop():
            before = trainer.played
            means = trainer.advance()
            self._append(METRICS, {"updates": trainer.updates, **means}, on_line)
            if evaluate is not None and _passed(before, trainer.played, settings.evaluate_every, trainer.done):
                self._evaluate(evaluate, on_line)
            if _passed(before, trainer.played, settings.checkpoint_every, trainer.done):
                self.save()
            self._report("running", on_status)
        if not trainer.done:
            self.save()
        else:
            self.conclusion = conclude()
        state = "finished" if trainer.done else "stopped"
        self._report(state, on_status)
        return state

    def evaluate_start(self, evaluate: Callable[[Trainer], Line], on_line: OnLine | None = None) -> None:
        """The curve's first point: an evaluation before the first episode, unless there is one. Raises `ScenarioError`."""
        if not self.trainer.played and not any(read_lines(self.folder / EVALUATIONS)):
            self._evaluate(evaluate, on_line)

    def report_loading(self, part: str) -> None:
        """Says in the status what is done before the first episode. Raises `ScenarioError`."""
        self._report("running", lambda status: None, loading=part)

    def save(self) -> None:
        """Writes a checkpoint and removes all but the last two. Raises `CheckpointError`."""
        if not (self.folder / SPEC).exists():  # writing would create a removed folder again
            raise CheckpointError(f"run = {str(self.folder)!r} was removed.")
        seconds = self.seconds_before + self._seconds_here
        save(self.trainer, self.spec, self.folder / "checkpoints" / f"{self.trainer.played:08d}", seconds)
        for old in complete_checkpoints(self.folder)[:-KEPT_CHECKPOINTS]:
            delete_checkpoint(old)

    @property
    def _seconds_here(self) -> float:
        return time.monotonic() - self.began

    def _evaluate(self, evaluate: Callable[[Trainer], Line], on_line: OnLine | None) -> None:
        found = evaluate(self.trainer)
        if self.trainer.played:  # what an untrained policy does is no news
            self.collapsed = str(found.get("collapsed") or "")
        self._append(EVALUATIONS, found, on_line)

    def _append(self, name: str, line: Line, on_line: OnLine | None) -> None:
        line = {"episodes": self.trainer.played, **line}
        append_line(self.folder / name, line)
        if on_line is not None:
            on_line(name, line)

    def _report(self, state: str, on_status: Callable[[Line], None], loading: str = "") -> None:
        trainer, total, seconds = self.trainer, self.spec.settings.episodes, self._seconds_here
        speed = (trainer.played - self.episodes_before) / seconds if seconds > 0 else 0.0
        status = {
            "state": state, "done": trainer.played, "total": total, "updates": trainer.updates, "episodes_per_s": speed,
            "device": str(trainer.device), "seconds": self.seconds_before + seconds,
            "seconds_left": (total - trainer.played) / speed if speed > 0 else None,
            "collapsed": self.collapsed, "conclusion": self.conclusion, "loading": loading,
            "updated_at": time.time(), **vars(Worker.current()),
        }  # fmt: skip
        write_status(self.folder, status)
        on_status(status)


def _make_replay(folder: Path, spec: RunSpec) -> MakeReplay:
    """Makes the replay buffer of a run: in memory, or a view of its warehouse."""
    if spec.warehouse is None:
        return Replay
    from iomt_core.twin.warehouse_replay import WarehouseReplay  # loads cryptography, which other runs do not need

    return partial(
        WarehouseReplay, Path(spec.warehouse), {"training": spec.algorithm, "run": folder.name, "seed": spec.seed}
    )


def read_run_spec(folder: Path) -> RunSpec:
    """Reads the definition of the run in this folder. Raises `CheckpointError`."""
    facts = read_json(folder / SPEC)
    if facts is None:
        raise CheckpointError(f"resume = {str(folder)!r} is not a run: {SPEC} cannot be read.")
    return RunSpec.from_json(facts, f"{str(folder)!r}: {SPEC}")


def write_run_spec(folder: Path, spec: RunSpec) -> None:
    """Creates a new run's folder with its run.json. Raises `ScenarioError`."""
    with os_errors(f"out = {str(folder)!r} cannot be made a directory"):
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    write_json(folder / SPEC, spec.as_json(), indent=1)


def concurrent_runs() -> int:
    """How many runs train at once: IOMT_WORKERS, or 2. Raises `ScenarioError` where that is not a count."""
    text = os.environ.get("IOMT_WORKERS", "2")
    count = whole_number(text, 1, 64)
    if count is None:
        raise ScenarioError(f"IOMT_WORKERS = {text[:40]!r} cannot be used: allowed is 1 to 64.")
    return count


def _effort(spec: RunSpec) -> Hashable:
    """Runs with an equal effort take about the same time for an episode."""
    s, settings = spec.scenario, spec.settings
    return spec.algorithm, s.users, s.tasks, s.servers, s.T, settings.networks, settings.updates, settings.batch


TRAINING = RunQueue(
    RunKind(
        "run", "IOMT_RUNS", runs_root, "train", concurrent_runs, SPEC, read_run_spec, write_run_spec,
        total=lambda spec: spec.settings.episodes, effort=_effort,
    )
)  # fmt: skip


def _passed(before: int, now: int, every: int, last: bool) -> bool:
    return last or before // every != now // every


def _drop_later_lines(path: Path, episodes: int) -> None:
    """Removes lines of later episodes than the checkpoint's, and damaged ones."""
    if path.exists():
        kept = (
            line for line in read_lines(path) if isinstance(line.get("episodes"), int) and line["episodes"] <= episodes
        )
        write_lines(path, kept)


def _seconds(facts: Mapping[str, Any]) -> float:
    value = facts.get("seconds")
    return float(value) if isinstance(value, (int, float)) and 0 <= value < LONGEST else 0.0
