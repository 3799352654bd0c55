"""Training that replays from the data warehouse beside training that replays from memory.

`python -m benchmarks.warehouse_training` trains SAE-MT-QMIX on the paper's ward twice with the default settings. Both runs take
turns, batch by batch, so that other processes disturb them alike. Every episode is recorded, encrypted, written through to the
disk and audited before it is replayed. Both must end with the same weights.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from iomt_core.runs.training_run import TrainingRun
from iomt_core.scenario import PRESETS
from iomt_core.training.run_spec import RunSpec, default_settings
from iomt_core.twin.warehouse.checks import status
from iomt_core.twin.warehouse_replay import WarehouseReplay

BATCHES = 8
WANTED = 1.10  # wall time relative to memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=BATCHES)
    batches = parser.parse_args().batches
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "warehouse"
        os.environ["IOMT_KEYS"] = str(Path(place) / "keys")
        settings = default_settings("sae-mt-qmix")
        spec = RunSpec("sae-mt-qmix", PRESETS["paper"], settings, seed=0)
        trainers = [spec.trainer(), spec.trainer(make_replay=partial(WarehouseReplay, folder, {}))]
        seconds: list[list[float]] = [[], []]
        for number in range(batches):
            for turn in (0, 1) if number % 2 else (1, 0):
                start = time.perf_counter()
                trainers[turn].advance()
                seconds[turn].append(time.perf_counter() - start)
        memory, warehouse = map(sum, seconds)
        weights = [list(trainer.learner.agents.parameters()) for trainer in trainers]
        same = all(map(torch.equal, *weights))
        pairs = [b / a for a, b in zip(*seconds, strict=True)]
        print(
            f"Training on the paper's ward, {trainers[0].played} episodes: replay from memory {memory:.1f} s, from the "
            f"warehouse {warehouse:.1f} s, ratio {warehouse / memory:.3f}, median of {batches} batches "
            f"{statistics.median(pairs):.3f} (wanted: at most {WANTED:.2f}); weights {'equal' if same else 'DIFFERENT'}"
        )
        trainers[1].replay.close()
        state = status(folder)
        print(f"Recorded: {state['rows']:,} rows, {state['bytes'] / state['rows']:.0f} bytes each")
        resume(Path(place) / "run", folder, spec)


def resume(run: Path, folder: Path, spec: RunSpec) -> None:
    """How long it takes to fill the buffer from the warehouse again."""
    short = spec.settings.model_copy(update={"episodes": 192, "warm_up": 10_000, "checkpoint_every": 160})
    stops = iter([False] * 5 + [True])
    TrainingRun.create(run, replace(spec, settings=short, warehouse=str(folder))).train(stop=lambda: next(stops))
    start = time.perf_counter()
    trainer = TrainingRun.resume(run).trainer
    seconds = time.perf_counter() - start
    trainer.replay.close()
    print(f"Resuming reads the {len(trainer.replay)} episodes of the buffer in {seconds:.2f} s")


if __name__ == "__main__":
    main()
