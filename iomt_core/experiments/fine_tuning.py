"""Whether a run that starts from a shipped network made it better, and which of its weights decide afterwards.

At every evaluation the run's weights play tuning episodes, and the best so far are kept in the run's folder. At the end these
and the start play the same held-out episodes. The best weights decide from then on if they are better than the start with 95 %
confidence; otherwise the start does.

start/  the weights before the first episode, as a checkpoint that can decide
best/   the best weights so far, by the tuning episodes
kept/   the weights that decide: those of `best/` or `start/`
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iomt_core.experiments.comparison.paired import Paired
from iomt_core.experiments.evaluation import compared_by
from iomt_core.experiments.training_check import Evaluator
from iomt_core.metrics import METRICS
from iomt_core.rollout import play_episodes
from iomt_core.runs.directory import read_lines
from iomt_core.runs.training_run import EVALUATIONS
from iomt_core.training.checkpoints import KEPT, MARK, POLICY, read_facts, read_tensors, write_checkpoint
from iomt_core.training.run_spec import RunSpec
from iomt_core.training.saved_trainer import save_policy
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.training.trainer import Trainer

TUNING = (
    5_000_011  # seed of the episodes by which the best weights are chosen; no curve and no result is reported on them
)
TUNING_EPISODES = 20
START, BEST = "start", "best"
TUNED_BY = "return_gap"  # what the best weights are chosen by: the whole problem's objective, also where batteries bind


@dataclass(frozen=True)
class StartComparison:
    """The best weights of a run (B) and its start (A) on the same held-out episodes."""

    pair: Paired
    episodes: int  # training episodes after which the weights were the best

    @property
    def better(self) -> bool:
        """Whether the best weights decide from now on."""
        return self.pair.verdict == "better"

    @property
    def words(self) -> str:
        """The comparison in plain words, with its 95 % interval."""
        pair = self.pair
        metric, ends = pair.metric, pair.interval
        if pair.same or ends is None:
            return "The run decides exactly as its start does, which is kept."
        first = {
            "better": "Better than its start",
            "worse": "Worse than its start",
        }.get(pair.verdict, "Not distinguishable from its start")
        low, high = (metric.number(end, "+") for end in ends)
        label = f"{metric.label[:1].lower()}{metric.label[1:]}"
        kept = f"The weights after {self.episodes:,} episodes are used" if self.better else "The start is kept"
        return (
            f"{first}: {label}, mean of {len(pair.a)} held-out episodes, {metric.show(pair.mean_b)} after {self.episodes:,} "
            f"training episodes, {metric.show(pair.mean_a)} before; difference {metric.number(pair.difference, '+')} "
            f"{metric.difference_unit}, 95 % interval {low} to {high}. {kept}."
        )


class FineTuning:
    """Keeps the best weights of a run, and compares them with its start at the end."""

    def __init__(self, folder: Path, spec: RunSpec, held_out: Evaluator) -> None:
        """held_out: the episodes of the comparison, from another seed than `TUNING`."""
        self.folder, self.spec, self.held_out = folder, spec, held_out
        self.tuning = Evaluator(spec.scenario, TUNING_EPISODES, TUNING, (TUNED_BY,))

    def evaluate(self, trainer: Trainer, policy: TrainedPolicy) -> dict[str, float]:
        """Keeps the weights of `policy` if they are the best so far. Returns what they reach on the tuning episodes.

        Called once for each line of the run's evaluations, before it is written. Raises `CheckpointError`.
        """
        value = self.tuning.evaluate(policy)[TUNED_BY]
        if not trainer.played:
            save_policy(trainer, self.spec, self.folder / START, {"tuning": value})
            return {"tuning": value}
        earlier = [
            float(line["tuning"])
            for line in read_lines(self.folder / EVALUATIONS)
            if line.get("episodes") and isinstance(line.get("tuning"), (int, float))
        ]
        if value < min(earlier, default=float("inf")):
            save_policy(trainer, self.spec, self.folder / BEST, {"tuning": value})
        return {"tuning": value}

    def conclude(self) -> StartComparison | None:
        """Compares the best weights with the start and keeps the better of them. Returns None for a run of an older version.

        The result is the same each time. Raises `CheckpointError`.
        """
        if not all((self.folder / name / MARK).is_file() for name in (START, BEST)):
            return None
        records = [
            play_episodes(TrainedPolicy.load(self.folder / name), self.held_out.episodes) for name in (START, BEST)
        ]
        by = "return_gap" if "return" in map(compared_by, records) else "gap"
        start, best = (self.held_out.summary(record).sums for record in records)
        found = StartComparison(Paired.of(METRICS[by], start, best), int(read_facts(self.folder / BEST)["played"]))
        self._keep(BEST if found.better else START, found)
        return found

    def _keep(self, name: str, found: StartComparison) -> None:
        place = self.folder / name
        facts: dict[str, Any] = read_facts(place)
        tensors = read_tensors(place, POLICY, facts)
        facts = {key: value for key, value in facts.items() if key not in ("format", "sha256")}
        facts["comparison"] = {
            "kept": name, "metric": found.pair.metric.name, "verdict": found.pair.verdict,
            "start": list(found.pair.a), "best": list(found.pair.b), "interval": found.pair.interval,
        }  # fmt: skip
        write_checkpoint(self.folder / KEPT, {POLICY: tensors}, facts)
