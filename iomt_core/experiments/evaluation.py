"""Evaluates a policy on a scenario: plays episodes, summarises them and writes every decision to disk."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from iomt_core.experiments.statistics import mean_interval
from iomt_core.metrics import CONTEXT, METRICS
from iomt_core.model.utility import delay_utility, energy_utility
from iomt_core.policies.base import Shares
from iomt_core.policies.episode_dual import EpisodeDual
from iomt_core.record import Record
from iomt_core.rollout import draw_episodes, play_episodes
from iomt_core.scenario import Scenario, ScenarioError, check_range, os_errors
from iomt_core.scenario.files import replace_file, write_text_atomically
from iomt_core.training.catalogue import entry, make_policy
from iomt_core.twin.mapping.stale_policy import on_twin
from iomt_core.twin.mapping.synchronisation import Synchronisation
from iomt_core.twin.northbound import checked_seed, checked_shares, first_episode, play

# Number of task values in a chunk of episodes, so that memory does not grow with the number of episodes.
CHUNK = 1_500_000
MOST_EPISODES = 1_000_000
WORTH = 1e-3  # part of the return that batteries are worth from which on they matter
RESULTS = ("summary.json", "decisions.parquet", "decisions.csv")


def episode_bounds(s: Scenario, seed: int) -> dict[str, float]:
    """What no policy can beat in the episode of `northbound.play`: "cost", mean over all its steps, and "return"."""
    episode = first_episode(s, seed)
    assert isinstance(episode.dual, EpisodeDual)
    weight = float(episode.snapshot.weight.sum())
    cost = float(episode.dual.bound.sum()) / weight if weight else math.nan
    return {"cost": cost, "return": float(episode.dual.return_bound[0])}


def is_partial(values: Mapping[str, Any]) -> bool:
    """Whether the cost of a summary leaves something out: an episode ended early, or tasks were skipped.

    Costs, delays and energies are means of what was done. Where some policies do less, they are compared by their return.
    """
    return bool(values.get("episodes_ended_by_battery")) or bool(values.get("skipped_share"))


def batteries_matter(record: Record) -> bool:
    """Whether a battery ended an episode, or would spare energy for later steps under the best plan."""
    if bool(record.ended.any()) or not isinstance(record.dual, EpisodeDual):
        return bool(record.ended.any())
    worth = (record.dual.battery * record.dual.battery.new_tensor(record.scenario.device_values["Cap"])).sum(-1)
    return bool((worth > WORTH * record.dual.return_bound.abs()).any())


def battery_charges(record: Record) -> Tensor:
    """Charge of each battery at the start of an episode and after each of its steps, (R + 1, U) J; 0 if it could not pay."""
    last = record.snapshot.battery[-1] - record.outcome.energy[-1].sum(-1)
    return torch.cat([record.snapshot.battery, last[None].clamp_min(0.0)]).to(torch.float64)


def compared_by(record: Record) -> Literal["cost", "return"]:
    """The metric that policies are compared by on these episodes: the return if batteries matter or tasks were skipped."""
    return "return" if batteries_matter(record) or bool(record.outcome.skipped.any()) else "cost"


def records(
    s: Scenario, policy: str, episodes: int, seed: int, shares: Shares = "own",
    synchronisation: Synchronisation | None = None, certify: bool = True,
) -> Iterator[Record]:  # fmt: skip
    """Plays the episodes in chunks, in order. Raises `ScenarioError` for an unknown policy or a number out of range.

    synchronisation: of the twin that the policy decides on; None if it decides on the ward itself. certify: with certificates.
    """
    check_range("episodes", episodes, 1, MOST_EPISODES)
    checked_shares(shares)
    checked_seed(seed)
    decider = on_twin(make_policy(policy, s), synchronisation)
    size = max(1, CHUNK // (s.T * s.users * s.tasks * (s.servers + 1)))
    return (
        play_episodes(decider, draw_episodes(s, seed, first, min(size, episodes - first), certify), shares)
        for first in range(0, episodes, size)
    )


def step_sums(record: Record) -> dict[str, Tensor]:
    """The sums over each step's tasks that metrics are made of, by name, (R,) each; see `Metric.aggregate`."""
    s, out, snap = record.scenario, record.outcome, record.snapshot
    active, done = snap.active, snap.active & ~out.skipped  # a skipped task has no delay and takes no energy
    sums = {
        "tasks": active.sum((1, 2)),
        "done": done.sum((1, 2)),
        "done_weight": (snap.weight * done).sum((1, 2)),
        "weight": snap.weight.sum((1, 2)),
        "delay": (out.delay * done).sum((1, 2)),
        "energy": (out.energy * done).sum((1, 2)),
        # As in the cost, relative to the task's own deadline.
        "weighted_delay": (out.delay * (s.T_max / snap.deadline) * snap.weight * done).sum((1, 2)),
        "weighted_energy": (out.energy * snap.weight * done).sum((1, 2)),
        "cost": record.totals,
        "missed": (out.missed & active).sum((1, 2)),
        "skipped": out.skipped.sum((1, 2)),
        "return": record.returns,
        "local": ((record.action.choice == 0) & active).sum((1, 2)),
        "T_all": (delay_utility(out.delay, snap.P, s) * done).sum((1, 2)),
        "E_all": (energy_utility(out.energy, snap.P, s) * done).sum((1, 2)),
        "ended": record.ended,
        "steps": torch.ones_like(record.step),
    }
    if record.dual is not None:
        prices = record.dual.prices
        sums["bound"] = record.bound
        # What all of a resource is worth at its shadow price, named by the parameter that sets the resource.
        sums["worth_F_k"] = (prices.cpu * snap.F_k).sum(1)
        sums["worth_B_k"] = (prices.bandwidth * snap.B_k).sum(1)
        sums["worth_F_i"] = (prices.own * snap.F_i).sum(1)
    return sums


def _percentile_95(delay: Tensor) -> float:
    return float(delay.quantile(0.95)) if len(delay) else math.nan


@dataclass
class Summary:
    """Sums over the steps of each episode; `sums` has one value for each episode, for `Metric.aggregate`."""

    scenario: Scenario
    policy: str
    shares: str
    seed: int
    network: str = ""  # which one decided, see `catalogue.Entry`
    sums: dict[str, list[float]] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Adds complete episodes."""
        episode = record.episode - record.episode.min()
        count = int(episode.max()) + 1
        for name, values in step_sums(record).items():
            sums = torch.zeros(count, dtype=torch.float64).index_add_(0, episode, values.to(torch.float64))
            self.sums.setdefault(name, []).extend(sums.tolist())
        self.sums.setdefault("episodes", []).extend([1.0] * count)
        if record.return_bound is not None:
            bounds = torch.zeros(count, dtype=torch.float64).index_copy_(0, episode, record.return_bound)
            self.sums.setdefault("return_bound", []).extend(bounds.tolist())
        delay, active = record.outcome.delay, record.snapshot.active & ~record.outcome.skipped
        self.sums.setdefault("delay_p95", []).extend(
            _percentile_95(delay[episode == n][active[episode == n]]) for n in range(count)
        )

    def values(self) -> dict[str, Any]:
        """All metrics by name, SI units; `ci95` holds 95 % intervals over episodes (Student), `None` for one episode."""
        total = {name: math.fsum(values) for name, values in self.sums.items()}
        known = [metric for metric in METRICS.values() if {metric.numerator, metric.denominator} <= total.keys()]
        values: dict[str, Any] = {
            "scenario": self.scenario.name, "scenario_digest": self.scenario.digest, "policy": self.policy,
            "network": self.network, "shares": self.shares, "seed": self.seed, "episodes": int(total["episodes"]),
        }  # fmt: skip
        for metric in (*CONTEXT.values(), *known):
            if metric.numerator in total:
                value = metric.aggregate(total)
                values[metric.name] = value if metric.denominator else int(value)
        values["ci95"] = {
            metric.name: mean_interval([x for x in metric.per_episode(self.sums) if math.isfinite(x)])
            for metric in known
        }
        return values


def summary_of(record: Record, policy: str) -> dict[str, Any]:
    """All metrics of the steps of a record, as if each episode in it had only these; see `Summary.values`."""
    summary = Summary(record.scenario, policy, "own", 0)
    summary.add(record)
    return summary.values()


def evaluate_episode(s: Scenario, policy: str, seed: int = 0, shares: Shares = "own") -> dict[str, Any]:
    """The summary of the one episode that `northbound.play` plays. Raises `ScenarioError`."""
    summary = Summary(s, policy, shares, seed)
    summary.add(play(s, policy, seed, shares))
    return summary.values()


def evaluate(
    s: Scenario,
    policy: str,
    episodes: int,
    seed: int,
    out: Path | None = None,
    shares: Shares = "own",
    csv: bool = False,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Plays the episodes and returns the summary; with `out`, writes `summary.json` and `decisions.parquet` (or .csv).

    Files appear as a whole or not at all; a folder made for them disappears if none is written. `progress` gets the number
    of episodes that were just finished. Raises `ScenarioError`, also where `out` holds another evaluation and `overwrite`
    is false.
    """
    decider = entry(policy)
    chunks = records(s, decider.name, episodes, seed, shares)
    summary = Summary(s, decider.name, shares, seed, decider.network)
    writer = _Decisions(out, csv, overwrite) if out is not None else None
    try:
        for record in chunks:
            summary.add(record)
            if writer is not None:
                writer.add(record.table())
            progress(int(record.episode.max() - record.episode.min()) + 1)
        values = summary.values()
        if writer is not None:
            writer.finish(json.dumps(values, indent=2) + "\n")
    finally:
        if writer is not None:
            writer.close()
    return values


class _Decisions:
    """Writes the table of decisions chunk by chunk under a temporary name and renames it when it is complete."""

    def __init__(self, out: Path, csv: bool, overwrite: bool) -> None:
        present = [name for name in RESULTS if (out / name).exists()]
        if present and not overwrite:
            raise ScenarioError(
                f"out = {str(out)!r} holds the results of another evaluation ({', '.join(present)}): name another directory, "
                "or replace them with --overwrite (in Python overwrite=True)."
            )
        self.made = [folder for folder in (out, *out.parents) if not folder.exists()]
        with os_errors(f"out = {str(out)!r} cannot be made a directory"):
            out.mkdir(parents=True, exist_ok=True)
        self.csv = csv
        self.out = out
        self.final = out / ("decisions.csv" if csv else "decisions.parquet")
        self.part = self.final.with_name(f".{self.final.name}.{os.getpid()}.tmp")
        self.parquet: pq.ParquetWriter | None = None
        self.rows = 0

    def add(self, table: pd.DataFrame) -> None:
        table = table.assign(kind=table["kind"].astype(str))
        if self.csv:
            table.to_csv(self.part, mode="a" if self.rows else "w", header=not self.rows, index=False)
        else:
            arrow = pa.Table.from_pandas(table, preserve_index=False)
            if self.parquet is None:
                self.parquet = pq.ParquetWriter(self.part, arrow.schema)
            self.parquet.write_table(arrow)
        self.rows += len(table)

    def finish(self, summary: str) -> None:
        if self.parquet is not None:
            self.parquet.close()
            self.parquet = None
        self._remove_results()  # the folder must never hold a summary with the decisions of another evaluation
        try:
            replace_file(self.part, self.final)
            write_text_atomically(self.out / "summary.json", summary)
        except BaseException:
            self._remove_results()
            raise

    def _remove_results(self) -> None:
        for name in RESULTS:
            (self.out / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove what is unfinished: the temporary file, and the folders that were made for it."""
        if self.parquet is not None:
            self.parquet.close()
        self.part.unlink(missing_ok=True)
        for folder in self.made:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()
