"""What γ and the GRU are worth: `python -m benchmarks.discount_and_memory --runs runs/discount --seeds 3`.

SAE-MT-QMIX on `paper` and on the same ward with users that walk, bursty tasks and servers with other load, each with and
without GRU at γ = 0, and with γ = 0.5 and the paper's 0.95. Runs are taken up where they were left; the table holds what is
finished.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import Any

from iomt_core.experiments.pretraining import mean_of_seeds, train_one
from iomt_core.experiments.training_check import Check
from iomt_core.scenario import PRESETS, Scenario
from iomt_core.scenario_files import write_text_atomically
from iomt_core.training.runs import RunSpec, default_settings, last_checkpoint
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
    """Trains a run to its end and has its gap to the bound on held-out episodes written beside it. Returns seconds."""
    seconds = train_one(spec(ward, arm, seed), place)
    last = last_checkpoint(place)
    if last is not None and not (place / GAP).exists():
        gap = Check(WARDS[ward], HELD_OUT_EPISODES).of(TrainedPolicy.load(last))["gap"]
        write_text_atomically(place / GAP, json.dumps(gap) + "\n")
    return seconds


def table(runs: Path, seeds: range) -> str:
    """Mean gap to the bound with its 95 % interval, as Markdown; of the finished runs."""
    lines = ["| ward | arm | gap, % | 95 % interval | each seed | seeds |", "|---|---|---|---|---|---|"]
    for ward in WARDS:
        for arm in ARMS:
            places = [place_of(runs, ward, arm, seed) / GAP for seed in seeds]
            gaps = [float(json.loads(place.read_text(encoding="utf-8"))) for place in places if place.exists()]
            if gaps:
                found = mean_of_seeds(gaps)
                spread = " to ".join(f"{x * 100:.2f}" for x in found["ci95"] or ())
                each = ", ".join(f"{gap * 100:.1f}" for gap in gaps)
                lines.append(f"| {ward} | {arm} | {found['mean'] * 100:.2f} | {spread} | {each} | {len(gaps)} |")
    return "\n".join(lines)


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
        with ProcessPoolExecutor(told.workers, mp_context=get_context("spawn")) as executor:
            waiting = {executor.submit(train, *one, place_of(told.runs, *one)): one for one in wanted}
            for future in as_completed(waiting):
                ward, arm, seed = waiting[future]
                print(f"{ward}, {arm}, seed {seed}: {future.result():.0f} s of training", flush=True)
    print(table(told.runs, range(told.seeds)))


if __name__ == "__main__":
    main()
