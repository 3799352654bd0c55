"""`make pretrained`: trains every shipped policy from several seeds, ships each algorithm's median seed, writes the manifest.

Each run has its own directory and is resumed where it was stopped, so that the whole can be interrupted at any time.
"""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from iomt_core.algorithms.parameterised_q import ParameterisedQ
from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.experiments.statistics import mean, mean_interval
from iomt_core.experiments.training_check import (
    CHECKED,
    HELD_OUT,
    VALIDATION,
    Evaluator,
    Floats,
    RangeEvaluator,
    for_any_ward,
    paired,
)
from iomt_core.metrics import METRICS
from iomt_core.paths import PACKAGE
from iomt_core.runs.directory import read_lines, read_status
from iomt_core.runs.process import prepare
from iomt_core.runs.training_run import EVALUATIONS, TrainingRun
from iomt_core.scenario import PRESETS, ScenarioError, check_known
from iomt_core.scenario.files import write_text_atomically
from iomt_core.training.catalogue import make_policy
from iomt_core.training.checkpoints import MARK, POLICY, last_checkpoint, read_facts, read_tensors, write_checkpoint
from iomt_core.training.formats import migrate, with_rules
from iomt_core.training.run_spec import RunSpec, checked_settings, default_settings
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.training.trainer import Trainer

CHECKED_EPISODES = 4  # held-out, on which tests check that each shipped policy still decides as when it was shipped
CHECKED_WARDS = {"paper": ("paper",), "general": ("paper", "lecture")}  # presets, by kind of policy
EPISODES = 20  # held-out episodes for the manifest; the points of a learning curve use fewer
HALVED_WITHIN = 1e-3  # largest change of the gap for which half precision is shipped
# Factors on what general networks have learned, of which the best is shipped. At 0 they decide by prices alone, as untrained.
SCALES = (0.0, 0.4, 0.7, 1.0)
VALIDATION_WARDS = 40
# Standard errors by which what was learned must be better than the start. With two, the best of some thirty checkpoints and
# factors often is by chance.
CLEARLY = 3.0
BEST = "best"  # folder of the best checkpoint and scale of a general run, beside its checkpoints
REFERENCES = ("optimum", "price-response", "greedy", "nearest", "offload-evenly", "all-local", "random")


@dataclass(frozen=True)
class Job:
    """One shipped policy: an algorithm on a ward, from several seeds."""

    kind: str
    algorithm: str
    seeds: tuple[int, ...]
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of its directory in `pretrained/`."""
        return f"{self.kind}-{self.algorithm}"

    def spec(self, seed: int) -> RunSpec:
        """The run of one seed."""
        return RunSpec(self.algorithm, PRESETS["paper"], default_settings(self.algorithm, **self.changes), seed)


GENERAL = MappingProxyType(
    {
        "wards": "general", "recurrent": False, "episodes": 640, "ward_count": 8, "updates": 16, "batch": 4, "replay": 512,
        "learning_rate": 5e-4, "actor_learning_rate": 1e-4, "decay_from": 0.3, "tau": 0.01, "temperature": (0.01, 0.005),
        "share_noise": (0.05, 0.02), "evaluate_every": 64, "checkpoint_every": 64,
    }
)  # fmt: skip
PLAN = (
    Job("paper", "sae-mt-qmix", (0, 1, 2, 3, 4)),
    Job("paper", "qmix", (0, 1, 2, 3, 4)),
    Job("general", "sae-mt-qmix", (0,), GENERAL),
    Job("general", "qmix", (0,), GENERAL),
    *(
        Job("paper", name, (0, 1, 2))
        for name in ("mpmt-dqn", "mt-mp-dqn", "mt-pdqn", "pa-ddpg", "ma-pa-ddpg", "sae-mt-qmix-paper")
    ),
)


def jobs(names: Sequence[str] = ()) -> tuple[Job, ...]:
    """The jobs with these names, or all. Raises `ScenarioError` for an unknown name."""
    known = {job.name: job for job in PLAN}
    for name in names:
        check_known("only", name, known)
    return tuple(known[name] for name in names) if names else PLAN


def train_all(
    chosen: Sequence[Job], runs: Path, executor: Executor, tell: Callable[[str], None] = lambda line: None
) -> None:
    """Trains what is not trained yet, seed by seed, so that after a stop as many algorithms as possible are comparable."""
    waiting = {}
    for number in range(max(len(job.seeds) for job in chosen)):
        for job in chosen:
            if number < len(job.seeds):
                seed = job.seeds[number]
                waiting[executor.submit(train_one, job.spec(seed), run_place(runs, job, seed))] = (
                    f"{job.name}, seed {seed}"
                )
    for count, future in enumerate(as_completed(waiting), 1):
        seconds = future.result()
        tell(f"{count}/{len(waiting)} {waiting[future]}: {seconds:.0f} s of training")


def finished(job: Job, runs: Path) -> list[int]:
    """The seeds of a job whose runs are finished."""
    return [seed for seed in job.seeds if read_status(run_place(runs, job, seed)).get("state") == "finished"]


def run_place(runs: Path, job: Job, seed: int) -> Path:
    """Directory of a run."""
    return runs / f"{job.name}-{seed}"


def train_one(spec: RunSpec, place: Path) -> float:
    """Trains a run to its end in this process, from its last checkpoint. Returns its total training time in seconds."""
    prepare(1)
    run = TrainingRun.resume(place) if (place / "run.json").exists() else TrainingRun.create(place, spec)
    if run.spec != spec:
        raise ScenarioError(f"runs: {str(place)!r} holds another run than is asked for; move it away.")
    evaluator = Evaluator(spec.scenario)
    validation = RangeEvaluator(VALIDATION_WARDS, seed=VALIDATION) if spec.settings.wards == "general" else None

    def evaluate(trainer: Trainer) -> dict[str, Any]:
        policy = TrainedPolicy.from_trainer(trainer, spec)
        if validation is None:
            return evaluator.evaluate(policy)
        return {**evaluator.evaluate(policy), "validation": keep_best(policy, trainer, place / BEST, validation)}

    if not run.trainer.done:
        run.train(evaluate=evaluate)
    return _seconds(place)


def keep_best(policy: TrainedPolicy, trainer: Trainer, place: Path, wards: RangeEvaluator) -> dict[str, float]:
    """Evaluates general networks at every factor of `SCALES` and keeps them in `place` where one is better than what is there.

    What was learned must be better than the start by `CLEARLY` standard errors of the difference, paired by ward; otherwise the
    start stays. Returns the score over the `wards` by factor.
    """
    best = read_facts(place)["validation_score"] if (place / MARK).exists() else math.inf
    start = wards.gaps(for_any_ward(scaled_policy(policy, 0.0)))
    found = {}
    for factor in SCALES if not trainer.played else SCALES[1:]:  # at 0 all checkpoints are the same
        scaled = scaled_policy(policy, factor)
        gaps = wards.gaps(for_any_ward(scaled)) if factor else start
        found[str(factor)] = score = wards.summary(gaps)["score"]
        pair = paired(gaps, start)
        if score < best and (not factor or pair["score"] < -CLEARLY * pair["score_standard_error"]):
            best = score
            modules = (("agents", scaled.original_agents), ("mixer", scaled.mixer))
            tensors = {
                f"{part}/{n}": x.detach() for part, m in modules if m is not None for n, x in m.named_parameters()
            }
            facts = {"played": trainer.played, "updates": trainer.updates, "scale": factor, "validation_score": score}
            write_checkpoint(place, {POLICY: tensors}, {**policy.spec.as_json(), **facts})
    return found


def scaled_policy(policy: TrainedPolicy, factor: float) -> TrainedPolicy:
    """The same general networks with the corrections that they have learned, of values and of requests, times a factor."""
    agents = copy.deepcopy(policy.original_agents)
    assert isinstance(agents, ParameterisedQ)
    with torch.no_grad():
        for parameter in (*agents.q.out.parameters(), *agents.actor.out.parameters()):
            parameter.mul_(factor)
    return TrainedPolicy(policy.scenario, policy.spec, agents, policy.mixer)


def publish(chosen: Sequence[Job], runs: Path, place: Path, tell: Callable[[str], None] = lambda line: None) -> None:
    """Evaluates finished seeds on held-out episodes, ships each job's median seed (the worse of two), writes the manifest last.

    The manifest also has the metrics of each shipped policy on a few fixed episodes (`check_figures`), and those of chosen
    general networks and of formulas over a range of wards, also where a run is gone: after a wanted change of decisions,
    `iomt pretrained --no-train` writes these anew.

    A planned seed that is not finished is missing from the manifest's metrics but listed in `seeds_planned`. A seed whose run
    was deleted keeps its entry in the manifest if it was trained and evaluated with the same settings; if it is the median,
    the available seed closest to it is shipped.
    """
    torch.set_num_threads(1)
    path = place / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    shipped: dict[str, Any] = manifest.get("policies", {})
    s = PRESETS["paper"]
    evaluator = Evaluator(s, EPISODES)
    references = evaluator.references(REFERENCES)
    held_out = {"seed": HELD_OUT, "episodes": EPISODES, "steps": EPISODES * s.T}
    for job in chosen:
        if not finished(job, runs):
            continue
        same = manifest.get("held_out") == held_out and shipped.get(job.name)
        shipped[job.name] = _ship_median(job, runs, place, evaluator, same or {})
        tell(f"{job.name}: mean gap {METRICS['gap'].show(shipped[job.name]['mean']['gap']['mean'])}")
    for name, entry in shipped.items():
        entry["check"] = check_figures(place / name, entry["kind"])
    if general := [job.name for job in chosen if job.kind == "general" and job.name in shipped]:
        wards = RangeEvaluator()
        gaps = {
            name: wards.gaps(lambda s, name=name: make_policy(name, s))  # type: ignore[misc]
            for name in ("optimum", "price-response", "greedy")
        }
        manifest["references_range"] = {name: wards.summary(found) for name, found in gaps.items()}
        for name in general:
            shipped[name]["range"] = found = _over_range(place / name, wards, gaps["price-response"])
            tell(f"{name}: mean gap over {len(wards.evaluators)} wards {found['trained']['mean']:.2%}")
    manifest |= {
        "what": "Trained policies of this directory, how each came about and how good it is; made by `make pretrained`.",
        "held_out": held_out,
        "references": references,
        "policies": shipped,
    }
    write_text_atomically(path, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def check_figures(place: Path, kind: str) -> dict[str, dict[str, float]]:
    """Cost and gap of a shipped policy of a kind on a few fixed episodes, by preset: any change of its decisions shows."""
    found = {}
    for ward in CHECKED_WARDS[kind]:
        evaluator = Evaluator(PRESETS[ward], CHECKED_EPISODES)
        figures = evaluator.evaluate(TrainedPolicy.load(place, PRESETS[ward]))
        found[ward] = {name: figures[name] for name in ("cost", "gap")}
    return found


PER_SEED = ("seeds", "training_seconds", "curves", "commits")


def _ship_median(job: Job, runs: Path, place: Path, evaluator: Evaluator, known: Mapping[str, Any]) -> dict[str, Any]:
    """Ships the median seed of a job and returns its entry in the manifest; `known` is the present entry."""
    now = finished(job, runs)
    spec = job.spec(now[0])
    facts = {
        "algorithm": job.algorithm,
        "label": ALGORITHMS[job.algorithm].label,
        "kind": job.kind,
        "scenario": spec.scenario.name,
        "scenario_digest": spec.scenario.digest,
        "settings": spec.settings.model_dump(mode="json"),
    }
    of_seed: dict[str, dict[str, Any]] = {name: {} for name in PER_SEED}
    if known:  # settings that are newer than the manifest have the values that they would have in an old checkpoint
        known = {**known, "settings": checked_settings(with_rules(known["settings"])).model_dump(mode="json")}
    if all(known.get(name) == value for name, value in facts.items()):
        of_seed |= {name: dict(known.get(name, {})) for name in PER_SEED}
    commit = _commit()
    for seed in now:
        found = evaluator.evaluate(TrainedPolicy.load(_to_ship(job, runs, seed)))
        at = run_place(runs, job, seed)
        values = (found, round(_seconds(at)), _curve(at), commit)
        for name, value in zip(PER_SEED, values, strict=True):
            of_seed[name][str(seed)] = value
    of_seed = {name: dict(sorted(values.items(), key=lambda one: int(one[0]))) for name, values in of_seed.items()}
    figures = {name: [one[name] for one in of_seed["seeds"].values()] for name in CHECKED}
    gaps = dict(zip(map(int, of_seed["seeds"]), figures["gap"], strict=True))
    median = sorted(gaps, key=gaps.__getitem__)[len(gaps) // 2]
    at_hand = [seed for seed in gaps if seed in now or seed == known.get("shipped_seed")]
    shipped = min(at_hand, key=lambda seed: abs(gaps[seed] - gaps[median]))  # the median, or what is nearest to it
    precision = known.get("precision")
    if shipped in now:
        half = ship(_to_ship(job, runs, shipped), place / job.name, lambda policy: evaluator.evaluate(policy)["gap"])
        precision = "float16" if half else "float32"
    return {
        **facts,
        "seeds_planned": list(job.seeds),
        "seeds": of_seed["seeds"],
        "mean": {name: {"mean": mean(x), "ci95": mean_interval(x)} for name, x in figures.items()},
        "median_seed": median,
        "shipped_seed": shipped,
        "precision": precision,
        "updates": read_facts(place / job.name)["updates"],
        **{name: of_seed[name] for name in PER_SEED if name != "seeds"},
        "bytes": (place / job.name / POLICY).stat().st_size,
        "sha256": read_facts(place / job.name)["sha256"][POLICY],
        "commit": commit,
    }


def _to_ship(job: Job, runs: Path, seed: int) -> Path:
    place = run_place(runs, job, seed)
    if (place / BEST / MARK).exists():
        return place / BEST
    last = last_checkpoint(place)
    if last is None:
        raise ScenarioError(f"runs: {job.name} has no checkpoint for seed {seed} in {str(runs)!r}.")
    return last


def _over_range(place: Path, wards: RangeEvaluator, price_response: Floats) -> dict[str, Any]:
    """Gap of shipped general networks over the range of wards, beside those of their start, prices alone, and price response."""
    trained = TrainedPolicy.load(place)
    gaps = {
        "trained": wards.gaps(for_any_ward(trained)),
        "untrained": wards.gaps(for_any_ward(scaled_policy(trained, 0.0))),
        "price-response": price_response,
    }
    differences = {f"trained_minus_{name}": paired(gaps["trained"], gaps[name]) for name in list(gaps)[1:]}
    return {**{name: wards.summary(found) for name, found in gaps.items()}, **differences}


def ship(last: Path, place: Path, gap: Callable[[TrainedPolicy], float]) -> bool:
    """Copies the policy of a checkpoint, in half precision if the gap stays the same. Returns whether it does."""
    facts = read_facts(last)
    tensors = read_tensors(last, POLICY, facts)
    kept = {name: value for name, value in migrate(facts).items() if name not in ("sha256", "format", "replayed")}
    write_checkpoint(place, {POLICY: {name: x.half() for name, x in tensors.items()}}, kept)
    whole, halved = gap(TrainedPolicy.load(last)), gap(TrainedPolicy.load(place))
    if abs(halved - whole) <= HALVED_WITHIN:
        return True
    shutil.rmtree(place)
    write_checkpoint(place, {POLICY: tensors}, kept)
    return False


def _seconds(place: Path) -> float:
    return float(read_status(place)["seconds"])


def _curve(place: Path) -> list[list[float]]:
    """The learning curve: pairs of episodes and gap."""
    return [[one["episodes"], round(one["gap"], 5)] for one in read_lines(place / EVALUATIONS)]


def _commit() -> str:
    try:
        command = ["git", "-C", os.fspath(PACKAGE), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
