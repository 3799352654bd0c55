"""What γ and the GRU are worth: `python -m benchmarks.discount_and_memory --runs runs/discount --seeds 3`.

SAE-MT-QMIX on `paper` and on the same ward with users that walk, bursty tasks and servers with other load, each with and
without GRU at γ = 0, and with γ = 0.5 and the paper's 0.95. Runs are taken up where they were left; the table holds what is
finished.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from concurrent.futures import as_completed
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any

from iomt_core.experiments.paper.pretraining import is_finished, mean_of_seeds, train_one
from iomt_core.experiments.sweeps.executors import executor
from iomt_core.experiments.training_check import Evaluator
from iomt_core.scenario import PRESETS, Scenario
from iomt_core.scenario.files import write_text_atomically
from iomt_core.training.checkpoints import last_checkpoint
from iomt_core.training.run_spec import RunSpec, default_settings
from iomt_core.training.trained_policy import TrainedPolicy

WARDS: Mapping[str, Scenario] = MappingProxyType(
    {
        "paper": PRESETS["paper"],
        "dynamic": PRESETS["paper"].changed(
            name="dynamic", speed=1.5, burst=0.8, background=0.3, background_correlation=0.9
        ),
    }
)
ARMS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "γ = 0, GRU": {"gamma": 0.0},
        "γ = 0, no GRU": {"gamma": 0.0, "recurrent": False},
        "γ = 0.95, GRU": {"gamma": 0.95},
        "γ = 0.5, GRU": {"gamma": 0.5},
    }
)
EPISODES = 1216
HELD_OUT_EPISODES = 20
GAP = "gap.json"


def spec(ward: str, arm: str, seed: int) -> RunSpec:
    """One run of the study."""
    settings = default_settings("sae-mt-qmix", **{"episodes": EPISODES, **ARMS[arm]})
    return RunSpec("sae-mt-qmix", WARDS[ward], settings, seed)


def place_of(runs: Path, ward: str, arm: str, seed: int) -> Path:
    """Where it stands."""
    return runs / f"{ward}-{list(ARMS).index(arm)}-{seed}"


def train(ward: str, arm: str, seed: int, place: Path) -> float:
    """Trains a run to its end and judges it. Returns seconds of training."""
    seconds = train_one(spec(ward, arm, seed), place)
    gap_of(ward, place)
    return seconds


def gap_of(ward: str, place: Path) -> float | None:
    """A finished run's gap to the bound on held-out episodes, computed once and written beside it; nothing of another."""
    if not (place / GAP).exists():
        last = last_checkpoint(place)
        if last is None or not is_finished(place):
            return None
        gap = Evaluator(WARDS[ward], HELD_OUT_EPISODES).evaluate(TrainedPolicy.load(last))["gap"]
        write_text_atomically(place / GAP, json.dumps(gap) + "\n")
    return float(json.loads((place / GAP).read_text(encoding="utf-8")))


def table(runs: Path, seeds: range) -> str:
    """Gaps to the bound as Markdown, and each arm's distance from the first one, seed by seed; of the finished runs."""
    lines = ["| ward | arm | gap, % | 95 % interval | median | each seed |", "|---|---|---|---|---|---|"]
    beside = []
    for ward in WARDS:
        first: dict[int, float] = {}
        for number, arm in enumerate(ARMS):
            found = {seed: gap_of(ward, place_of(runs, ward, arm, seed)) for seed in seeds}
            gaps = {seed: 100 * gap for seed, gap in found.items() if gap is not None}
            if not gaps:
                continue
            mean, spread = _mean(list(gaps.values()))
            each = ", ".join(f"{gap:.1f}" for gap in gaps.values())
            lines.append(f"| {ward} | {arm} | {mean} | {spread} | {median(gaps.values()):.1f} | {each} |")
            if number == 0:
                first = gaps
            elif pairs := [gap - first[seed] for seed, gap in gaps.items() if seed in first]:
                mean, spread = _mean(pairs)
                beside.append(f"{ward}, {arm} less {next(iter(ARMS))}: {mean} ({spread}), {len(pairs)} seeds")
    return "\n".join([*lines, "", *beside])


def _mean(values: list[float]) -> tuple[str, str]:
    found = mean_of_seeds(values)
    return f"{found['mean']:.2f}", " to ".join(f"{x:.2f}" for x in found["ci95"] or ())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/discount"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--arms",
        type=int,
        nargs="+",
        choices=range(len(ARMS)),
        default=list(range(len(ARMS))),
        help=f"which of {', '.join(f'{n}: {arm}' for n, arm in enumerate(ARMS))}; γ > 0 takes three times as long",
    )
    parser.add_argument("--workers", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--no-train", action="store_true", help="only the table of what is finished")
    told = parser.parse_args()
    # All arms of a seed come before the next seed, so that a stop leaves them comparable.
    wanted = [
        (ward, arm, seed) for seed in range(told.seeds) for ward in WARDS for arm in (list(ARMS)[n] for n in told.arms)
    ]
    if not told.no_train:
        with executor(told.workers) as pool:
            waiting = {pool.submit(train, *one, place_of(told.runs, *one)): one for one in wanted}
            for future in as_completed(waiting):
                ward, arm, seed = waiting[future]
                print(f"{ward}, {arm}, seed {seed}: {future.result():.0f} s of training", flush=True)
    print(table(told.runs, range(told.seeds)))


if __name__ == "__main__":
    main()
