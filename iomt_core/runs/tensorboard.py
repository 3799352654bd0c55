"""A training run's lines as TensorBoard event files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from iomt_core.runs.directory import read_lines
from iomt_core.runs.training_run import EVALUATIONS, METRICS


class TensorBoardLog:
    """Writes every number of a run's lines as a scalar at its episode."""

    def __init__(self, folder: Path, played: int) -> None:
        """folder: the run's. played: episodes of the checkpoint that it starts from; later events are hidden."""
        events = folder / "tensorboard"
        is_new = not any(events.glob("events*"))
        self._writer = SummaryWriter(str(events), purge_step=played + 1)
        if is_new:  # a run that was begun without TensorBoard
            for name in (METRICS, EVALUATIONS):
                for line in read_lines(folder / name):
                    self.write(name, line)

    def write(self, name: str, line: Mapping[str, Any]) -> None:
        """Writes a line of this file of the run, and does not return before it is on disk.

        A checkpoint is saved after its lines, so a run that is killed and resumed has every step once.
        """
        for key, value in line.items():
            if isinstance(value, (int, float)):
                self._writer.add_scalar(f"{name.removesuffix('.jsonl')}/{key}", value, line["episodes"])
        self._writer.flush()
