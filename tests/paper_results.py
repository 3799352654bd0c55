"""Made-up results of the paper's figures, for tests of what is drawn and claimed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from iomt_core.experiments.paper.figure_runs import FIGURES_KEPT, Plan, Run
from iomt_core.experiments.paper.figures import FIGURES, REFERENCES
from iomt_core.experiments.run_files import REFERENCE, Results

Value = Callable[[Run, str], float]


def noise(run: Run) -> float:
    """A number from 0.99 to 1.01 that only this run has."""
    return 0.99 + 0.02 * int(hashlib.sha256(run.file.encode()).hexdigest()[:8], 16) / 2**32


def result(run: Run, value: Value = lambda run, name: 1.0) -> dict[str, Any]:
    """The content of a run's file; `value` gives each metric."""
    start = {"arm": run.arm, **vars(run.ward), "seed": run.seed, "episodes": run.episodes, "recipe": run.recipe}
    figures = {name: value(run, name) for name in FIGURES_KEPT}
    if run.arm == REFERENCE:
        return {**start, "policies": dict.fromkeys(REFERENCES, figures), "core_seconds": 5.0}
    names = ("return", "cost", "gap", "mean_delay_s", "mean_energy_j")
    end = float(run.episodes)
    curve = {"episodes": [0.0, end / 4, end / 2, 3 * end / 4, end]}
    curve |= {name: [value(run, name) * part for part in (0.5, 0.8, 0.99, 1.0, 1.0)] for name in names}
    training = {name: curve[name][1:] for name in ("episodes", "return", "cost")}
    return {**start, "figures": figures, "held_out": curve, "training": training, "collapsed": "", "core_seconds": 60.0}


def results(runs: Sequence[Run], value: Value = lambda run, name: noise(run)) -> Results:
    """Results of these runs, as `read_results` returns them."""
    return {(run.arm, run.ward, run.seed): result(run, value) for run in runs}


def all_runs(seeds: int = 3) -> list[Run]:
    """All runs of the plan with so many seeds."""
    return Plan(seeds=seeds).runs(tuple(FIGURES.values()))
