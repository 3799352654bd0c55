"""A run's lines as TensorBoard event files, for those who live there."""

from __future__ import annotations

import json
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

SOURCES = ("metrics", "evaluations")


class TensorBoard:
    """Follows `metrics.jsonl` and `evaluations.jsonl`; every number becomes a scalar at its episode."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._writer = EventFileWriter(str(place / "tensorboard"))
        self._read = dict.fromkeys(SOURCES, 0)

    def catch_up(self) -> None:
        """Writes what is new."""
        for source in SOURCES:
            path = self._place / f"{source}.jsonl"
            if not path.exists():
                continue
            with path.open(encoding="utf-8") as file:
                file.seek(self._read[source])
                for line in iter(file.readline, ""):
                    self._write(source, json.loads(line))
                self._read[source] = file.tell()
        self._writer.flush()

    def _write(self, source: str, line: dict[str, float]) -> None:
        values = [Summary.Value(tag=f"{source}/{name}", simple_value=value) for name, value in line.items()]
        self._writer.add_event(Event(step=int(line["episodes"]), summary=Summary(value=values)))
