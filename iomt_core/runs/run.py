"""A training run on disk: a directory that says what runs, how it goes and where it can be taken up.

run.json          algorithm, scenario, settings, seed: what `--resume` needs
metrics.jsonl     a line a batch of episodes
evaluations.jsonl a line an evaluation, on held-out seeds, beside the bound and the heuristics
status.json       state, progress, speed, time left, and whose words these are
beside.json       what the heuristics and the optimum reach on the episodes of the evaluations
checkpoints/N     after N episodes; the last two are kept
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from iomt_core.nets.kernels.library import identity
from iomt_core.runs.workers import Worker
from iomt_core.scenario import ScenarioError
from iomt_core.scenario.files import write_text_atomically
from iomt_core.training.checkpoints import MARK, CheckpointError, complete_checkpoints, last_checkpoint, read_facts
from iomt_core.training.run_spec import RunSpec
from iomt_core.training.saved_trainer import restore, save
from iomt_core.training.trainer import CPU, Trainer

log = logging.getLogger(__name__)

KEPT = 2
LONGEST = 1e10  # seconds


class Run:
    """A run's directory, and the loop that fills it."""

    def __init__(self, place: Path, spec: RunSpec, trainer: Trainer, seconds: float = 0.0) -> None:
        """`seconds` is what the run took before."""
        self.place, self.spec, self.trainer = place, spec, trainer
        self.before, self.started, self.started_at = seconds, time.monotonic(), trainer.played
        self.me, self.halted = Worker.me(), _never_halted

    @property
    def here(self) -> float:
        """Seconds of running in this process, without those that it was halted for."""
        return time.monotonic() - self.started - self.halted()

    @property
    def seconds(self) -> float:
        """Of running, in all processes so far."""
        return self.before + self.here

    @classmethod
    def create(cls, place: Path, spec: RunSpec, device: torch.device = CPU) -> Run:
        """A new run. Raises `ScenarioError` where the directory already holds one or cannot be made."""
        if (place / "run.json").exists():
            raise ScenarioError(
                f"out = {str(place)!r} already holds a run: take it up with --resume, or choose another place."
            )
        try:
            (place / "checkpoints").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ScenarioError(f"out = {str(place)!r} cannot be made a directory: {error.strerror}.") from None
        write_text_atomically(place / "run.json", json.dumps(spec.as_json(), indent=1, ensure_ascii=False) + "\n")
        return cls(place, spec, spec.trainer(device))

    @classmethod
    def resume(cls, place: Path, device: torch.device = CPU) -> Run:
        """A run from its last complete checkpoint, or from its beginning where it has none. Raises `CheckpointError`."""
        try:
            facts = json.loads((place / "run.json").read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(
                f"resume = {str(place)!r} is not a run: run.json cannot be read ({error.strerror})."
            ) from None
        except (ValueError, RecursionError):
            raise CheckpointError(f"resume = {str(place)!r}: run.json is not JSON.") from None
        spec = RunSpec.from_json(facts, f"{str(place)!r}: run.json")
        last = last_checkpoint(place)
        trainer = spec.trainer(device) if last is None else restore(last, device)[0]
        known = {} if last is None else read_facts(last)
        if last is not None and device == CPU and known.get("kernels") != identity():
            log.warning("the run was saved with other kernels: it goes on, but not to the same weights to the last bit")
        before = _seconds(known)
        run = cls(place, spec, trainer, before)
        for name in ("metrics.jsonl", "evaluations.jsonl"):
            _cut(place / name, trainer.played)
        return run

    def go(
        self,
        stop: Callable[[], bool] = lambda: False,
        evaluate: Callable[[Trainer], Mapping[str, Any]] | None = None,
        tell: Callable[[Mapping[str, Any]], None] = lambda status: None,
    ) -> str:
        """Trains until all episodes are played or `stop` says so, then saves. Returns the state: finished or stopped.

        Raises `CheckpointError` where the disk is full or the directory was removed; the last complete checkpoint stays.
        """
        trainer, settings = self.trainer, self.spec.settings
        self._status("running", tell)
        while not trainer.done and not stop():
            before = trainer.played
            seen = trainer.advance()
            _append(self.place / "metrics.jsonl", {"episodes": trainer.played, "updates": trainer.updates, **seen})
            if evaluate is not None and _passed(before, trainer.played, settings.evaluate_every, trainer.done):
                _append(self.place / "evaluations.jsonl", {"episodes": trainer.played, **evaluate(trainer)})
            if _passed(before, trainer.played, settings.checkpoint_every, trainer.done):
                self.save()
            self._status("running", tell)
        if not trainer.done:
            self.save()
        state = "finished" if trainer.done else "stopped"
        self._status(state, tell)
        return state

    def save(self) -> None:
        """A checkpoint now; older ones but the last two go. Raises `CheckpointError`."""
        folder = self.place / "checkpoints"
        if not (self.place / "run.json").exists():  # or a directory that somebody removed would be there again
            raise CheckpointError(f"run = {str(self.place)!r} was removed.")
        save(self.trainer, self.spec, folder / f"{self.trainer.played:08d}", self.seconds)
        for old in complete_checkpoints(folder)[:-KEPT]:
            (old / MARK).unlink(missing_ok=True)
            for file in old.iterdir():
                file.unlink(missing_ok=True)
            old.rmdir()

    def _status(self, state: str, tell: Callable[[Mapping[str, Any]], None]) -> None:
        trainer, total, here = self.trainer, self.spec.settings.episodes, self.here
        speed = (trainer.played - self.started_at) / here if here > 0 else 0.0
        status = {
            "state": state,
            "episodes": trainer.played,
            "of": total,
            "updates": trainer.updates,
            "episodes_per_s": speed,
            "device": str(trainer.device),
            "seconds": self.seconds,
            "seconds_left": (total - trainer.played) / speed if speed > 0 else None,
            "pid": self.me.pid,
            "started": self.me.started,
            "time": time.time(),
        }
        write_status(self.place, status)
        tell(status)


@contextlib.contextmanager
def told_if_it_fails(place: Path) -> Iterator[None]:
    """Around what a worker does with a run: what goes wrong stands in its status, in words, and is raised as `ScenarioError`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ScenarioError):
            reason = " ".join(error.problems)
        elif isinstance(error, OSError):
            reason = f"{error.strerror or error}" + (f": {str(error.filename)!r}" if error.filename else "") + "."
        else:
            reason = f"{type(error).__name__}: {error}"
        last = {**_read_status(place), "state": "failed", "reason": reason, "time": time.time(), **vars(Worker.me())}
        # Where not even this can be written, the run reads as interrupted, which is true as well.
        with contextlib.suppress(OSError, ScenarioError):
            write_status(place, last)
        if isinstance(error, OSError):
            raise CheckpointError(f"run = {str(place)!r} cannot go on: {reason}") from None
        raise


def _read_status(place: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((place / "status.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}


def write_status(place: Path, status: Mapping[str, Any]) -> None:
    """How a run goes, whole or not at all. Raises `ScenarioError`."""
    write_text_atomically(place / "status.json", json.dumps(status) + "\n")


def _never_halted() -> float:
    return 0.0


def _passed(before: int, now: int, every: int, last: bool) -> bool:
    return last or before // every != now // every


def _append(path: Path, line: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _cut(path: Path, played: int) -> None:
    """Drops lines of episodes that the checkpoint does not know, and a half-written last one."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["episodes"] <= played:
                kept.append(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    write_text_atomically(path, "".join(line + "\n" for line in kept))


def _seconds(facts: Mapping[str, Any]) -> float:
    value = facts.get("seconds")
    return float(value) if isinstance(value, (int, float)) and 0 <= value < LONGEST else 0.0
