"""The runs behind the paper's figures: their plan, and what one computes.

A run trains one algorithm on one ward from one seed, for the same number of episodes everywhere, and evaluates it on held-out
episodes. Figures share runs. Each result is a file, see `experiments/run_files.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from iomt_core.experiments.paper.figures import ARMS, CENTRE, FIGURES, REFERENCES, TABLE_III, Figure, Ward
from iomt_core.experiments.paper.table_iii import table_iii
from iomt_core.experiments.run_files import (
    REFERENCE,
    Results,
    check_stop,
    code_version,
    durations,
    read_result,
    recipe_digest,
    result_of,
    rounded,
)
from iomt_core.experiments.training_check import Evaluator
from iomt_core.metrics import CONTEXT, METRICS
from iomt_core.runs.curves import thinned
from iomt_core.runs.directory import read_json, write_json
from iomt_core.scenario import ScenarioError, check_range, counted, os_errors
from iomt_core.training.run_spec import RunSpec, default_settings
from iomt_core.training.settings import Settings
from iomt_core.training.trained_policy import TrainedPolicy

PLAN, TABLE_FILE = "plan.json", f"{TABLE_III}.json"
EPISODES, SEEDS = 1500, 3
MOST_EPISODES, MOST_SEEDS = 10_000, 20
HELD_OUT_EPISODES = 20  # of the final evaluation
CURVE_EPISODES, CURVE_POINTS = 4, 25  # held-out episodes of each evaluation of a curve, and number of evaluations
MOST_CURVE_POINTS = 60  # of a curve that are kept
CURVES = ("return", "cost", "gap", "mean_delay_s", "mean_energy_j")
FIGURES_KEPT = tuple(name for name in (*METRICS, *CONTEXT) if name != "tasks")  # that name is the axis's

# Core-seconds of a training episode on the paper's ward (one core of 2.1 GHz with AVX-512) and how they grow with the ward; the
# estimates of the time left. Finished runs correct them.
SECONDS = {
    "sae-mt-qmix": 0.065, "qmix": 0.065, "mpmt-dqn": 0.065, "mt-mp-dqn": 0.052, "mt-pdqn": 0.035, "pa-ddpg": 0.028,
    "ma-pa-ddpg": 0.059, "sae-mt-qmix-paper": 0.037, "mpmt-dqn-paper": 0.035,
}  # fmt: skip
EVALUATION = 6.0  # core-seconds of a run's evaluations, and of the policies without training on a ward


@dataclass(frozen=True)
class Plan:
    """How the figures are made: training episodes of each run, the same for all, and number of training seeds."""

    episodes: int = EPISODES
    seeds: int = SEEDS

    def __post_init__(self) -> None:
        check_range("episodes", self.episodes, 32, MOST_EPISODES)
        check_range("seeds", self.seeds, 1, MOST_SEEDS)

    @property
    def words(self) -> str:
        """The plan in words, below figures."""
        return (
            f"{self.episodes} training episodes a run, {counted(self.seeds, 'training seed')}, {HELD_OUT_EPISODES} held-out "
            "episodes of the preset paper with this number of users, tasks and servers"
        )

    @classmethod
    def of(cls, folder: Path) -> Plan:
        """The plan of a folder of results; the default one where there is none. Raises `ScenarioError`."""
        found = read_json(folder / PLAN) or {}
        values = {name: found.get(name, default) for name, default in vars(cls()).items()}
        for name, value in values.items():
            if not isinstance(value, int):
                raise ScenarioError(f"{PLAN}: {name} = {str(value)[:40]!r} cannot be used: allowed is a whole number.")
        return cls(**values)

    def save(self, folder: Path) -> None:
        """Writes the plan into the folder, which is made; the folder keeps its number of seeds if that is larger.

        Raises `ScenarioError`, also where it holds runs of another length.
        """
        seeds = self.seeds
        if list(folder.glob("*-s[0-9]*.json")):
            known = Plan.of(folder)
            seeds = max(seeds, known.seeds)
            if known.episodes != self.episodes:
                raise ScenarioError(
                    f"episodes = {self.episodes} cannot be used in {str(folder)!r}: its runs have {known.episodes}; name another "
                    "directory with --out."
                )
        with os_errors(f"out = {str(folder)!r} cannot be made a directory"):
            folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / PLAN, {**vars(self), "seeds": seeds})

    def runs(self, figures: Sequence[Figure] = tuple(FIGURES.values())) -> list[Run]:
        """All runs of some figures, each once: seed by seed, and in a seed first the ends and the middle of the axes.

        So a stopped plan already draws all figures.
        """
        found: dict[Run, tuple[int, int]] = {}
        for figure in figures:
            wards = tuple(figure.wards.values()) if figure.arms else ()
            coarse = {wards[0], wards[len(wards) // 2], wards[-1]} if wards else set()
            for ward in wards:
                late = int(ward not in coarse)
                found.setdefault(Run(REFERENCE, ward, 0, self.episodes), (0, -1))
                for arm in (ARMS[name] for name in figure.arms):
                    if ward in figure.wards_of(arm):
                        for seed in range(self.seeds):
                            run = Run(arm.name, ward, seed, self.episodes)
                            found[run] = min(found.get(run, (seed, late)), (seed, late))
        return sorted(found, key=found.__getitem__)


@dataclass(frozen=True)
class Run:
    """One run of the plan; that of the arm `REFERENCE` evaluates the policies without training."""

    arm: str
    ward: Ward
    seed: int
    episodes: int

    @property
    def file(self) -> str:
        """Name of the result's file."""
        return f"{self.arm}-{self.ward.name}" + (f"-s{self.seed}" if self.arm != REFERENCE else "") + ".json"

    @property
    def spec(self) -> RunSpec:
        """The training run; not of `REFERENCE`."""
        return replace(_spec(self.arm, self.ward, self.episodes), seed=self.seed)

    @property
    def recipe(self) -> str:
        """Digest of all that determines the result but the code: ward, algorithm, settings, seed, episodes of evaluation."""
        if self.arm == REFERENCE:
            facts: dict[str, Any] = {"policies": REFERENCES}
        else:
            facts = {name: value for name, value in self.spec.as_json().items() if name not in ("format", "scenario")}
        facts |= {"ward": self.ward.scenario.digest, "evaluated": [HELD_OUT_EPISODES, CURVE_EPISODES, CURVE_POINTS]}
        return recipe_digest(facts)

    def seconds(self, known: Mapping[tuple[str, Ward], float]) -> float:
        """Core-seconds that the run will take, from finished runs of other seeds where there are any (see `durations`)."""
        if (self.arm, self.ward) in known:
            return known[self.arm, self.ward]
        size = self.ward.users * self.ward.tasks / (CENTRE.users * CENTRE.tasks) * (0.7 + 0.3 * self.ward.servers / 4)
        return EVALUATION + SECONDS.get(self.arm, 0.0) * self.episodes * (0.1 + 0.9 * size)


@lru_cache(maxsize=512)
def _spec(arm: str, ward: Ward, episodes: int) -> RunSpec:
    found = ARMS[arm]
    settings = default_settings(found.algorithm, **{**found.changes, "episodes": episodes})
    return RunSpec(found.algorithm, ward.scenario, settings, 0)


def compute(run: Run, stop: Path | None = None) -> dict[str, Any]:
    """The result of a run, as its file holds it. Runs on a worker, in one thread; deterministic but for the times.

    Raises `AbandonedError` between two batches of episodes when the file `stop` appears.
    """
    facts = {"arm": run.arm, **vars(run.ward), "seed": run.seed, "episodes": run.episodes, "recipe": run.recipe}
    return result_of(lambda: facts | (_references(run) if run.arm == REFERENCE else _train(run, stop)))


def _references(run: Run) -> dict[str, Any]:
    evaluator = Evaluator(run.ward.scenario, HELD_OUT_EPISODES, names=FIGURES_KEPT)
    return {"policies": {name: _rounded(found) for name, found in evaluator.references(REFERENCES).items()}}


def _train(run: Run, stop: Path | None) -> dict[str, Any]:
    spec = run.spec
    trainer = spec.trainer()
    checked = Evaluator(run.ward.scenario, CURVE_EPISODES, names=CURVES)
    every = max(1, run.episodes // CURVE_POINTS)
    training: list[dict[str, float]] = []
    held_out = [{"episodes": 0.0, **checked.evaluate(TrainedPolicy.from_trainer(trainer, spec))}]
    while not trainer.done:
        check_stop(stop)
        before = trainer.played
        means = trainer.advance()
        training.append({"episodes": float(trainer.played), **{name: means[name] for name in ("return", "cost")}})
        if trainer.done or before // every != trainer.played // every:
            found = checked.evaluate(TrainedPolicy.from_trainer(trainer, spec))
            held_out.append({"episodes": float(trainer.played), **found})
    policy = TrainedPolicy.from_trainer(trainer, spec)
    last = Evaluator(run.ward.scenario, HELD_OUT_EPISODES, names=FIGURES_KEPT).evaluate_run(policy)
    collapsed, last = last["collapsed"], {name: last[name] for name in FIGURES_KEPT}
    usual = Settings().model_dump(mode="json")
    changes = {name: value for name, value in spec.settings.model_dump(mode="json").items() if value != usual[name]}
    return {
        "settings": changes, "updates": trainer.updates, "figures": _rounded(last), "collapsed": collapsed,
        "training": _columns(training), "held_out": _columns(held_out),
    }  # fmt: skip


def _columns(lines: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Lines as columns with at most `MOST_CURVE_POINTS` points."""
    columns = {name: [line[name] for line in lines] for name in lines[0]}
    kept: dict[str, list[float]] = {}
    for name in columns.keys() - {"episodes"}:
        kept["episodes"], kept[name] = thinned(columns, name, MOST_CURVE_POINTS)
    return {name: [rounded(value) for value in kept[name]] for name in columns}


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: rounded(value) for name, value in figures.items() if math.isfinite(value)}


def read_results(folder: Path) -> Results:
    """All results in a folder; files that are not results are left out."""
    found = {}
    for path in sorted(folder.glob("*-u*-t*-k*.json")):
        values = read_result(path)
        if values is not None and (run := _run_of(values)) is not None and run.file == path.name:
            found[run.arm, run.ward, run.seed] = values
    return found


def _run_of(values: Mapping[str, Any]) -> Run | None:
    """The run of a result, None if it is not one."""
    numbers = [values.get(name) for name in ("users", "tasks", "servers", "seed", "episodes")]
    arm = values.get("arm")
    if not all(isinstance(number, int) for number in numbers):
        return None
    if arm not in (*ARMS, REFERENCE) or not isinstance(values.get("recipe"), str):
        return None
    users, tasks, servers, seed, episodes = numbers
    return Run(str(arm), Ward(users, tasks, servers), seed, episodes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Progress:
    """Which runs of a plan are done. `outdated`: made by other settings; `other_code`: done, by another version of the code."""

    done: Sequence[Run]
    missing: Sequence[Run]
    outdated: Sequence[Run]
    other_code: Sequence[Run]
    seconds_done: float
    seconds_left: float  # core-seconds


def progress(runs: Sequence[Run], results: Results) -> Progress:
    """How far a plan is."""
    known = durations(results)
    code = code_version()
    done, missing, outdated, other = [], [], [], []
    for run in runs:
        found = results.get((run.arm, run.ward, run.seed))
        if found is None:
            missing.append(run)
        elif found["recipe"] != run.recipe:
            outdated.append(run)
        else:
            done.append(run)
            if found.get("code") != code:
                other.append(run)
    spent = sum(float(results[run.arm, run.ward, run.seed].get("core_seconds", 0.0)) for run in done)
    left = sum(run.seconds(known) for run in (*missing, *outdated))
    return Progress(done, missing, outdated, other, spent, left)


def write_table_iii(folder: Path) -> None:
    """Counts the networks of Table III and writes them into the folder. Raises `ScenarioError`."""
    write_json(
        folder / TABLE_FILE,
        {row.network: {k: v for k, v in vars(row).items() if k != "network"} for row in table_iii()},
        1,
    )


def read_table_iii(folder: Path) -> Mapping[str, Mapping[str, int]]:
    """The rows of Table III by network, as `write_table_iii` wrote them; empty where they are not there."""
    return read_json(folder / TABLE_FILE) or {}
