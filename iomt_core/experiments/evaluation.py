"""Evaluates a policy on a scenario: many episodes, a summary, and every decision on disk."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from scipy import stats

from iomt_core.model.utility import delay_utility, energy_utility
from iomt_core.policies.base import Shares
from iomt_core.record import Record
from iomt_core.rollout import draw_episodes, play_episodes
from iomt_core.scenario import Scenario, ScenarioError
from iomt_core.scenario.files import write_text_atomically
from iomt_core.training.catalogue import network_of
from iomt_core.training.catalogue import policy as make_policy
from iomt_core.twin.northbound import checked_seed, checked_shares

# Task values per chunk of episodes: keeps memory flat however many episodes are asked for.
CHUNK = 1_500_000
MOST_EPISODES = 1_000_000
RESULTS = ("summary.json", "decisions.parquet", "decisions.csv")


def records(s: Scenario, policy: str, episodes: int, seed: int, shares: Shares = "own") -> Iterator[Record]:
    """The episodes in chunks, in order. Raises `ScenarioError` for an unknown policy or a number out of range."""
    if not 1 <= episodes <= MOST_EPISODES:
        raise ScenarioError(f"episodes = {episodes} is out of range: allowed is 1 to {MOST_EPISODES}.")
    checked_shares(shares)
    checked_seed(seed)
    decider = make_policy(policy, s)
    size = max(1, CHUNK // (s.T * s.users * s.tasks * (s.servers + 1)))
    return (
        play_episodes(decider, draw_episodes(s, seed, first, min(size, episodes - first)), shares)
        for first in range(0, episodes, size)
    )


@dataclass
class Summary:
    """Sums over steps, added record by record; one column an episode."""

    scenario: Scenario
    policy: str
    shares: str
    seed: int
    network: str | None = None  # which one decided, see `catalogue.network_of`
    sums: dict[str, list[float]] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Adds whole episodes."""
        s, out, snap = self.scenario, record.outcome, record.snapshot
        active = snap.active
        per_step = {
            "tasks": active.sum((1, 2)),
            "weight": snap.weight.sum((1, 2)),
            "delay": (out.delay * active).sum((1, 2)),
            "energy": (out.energy * active).sum((1, 2)),
            "cost": record.totals,
            "missed": (out.missed & active).sum((1, 2)),
            "local": ((record.action.choice == 0) & active).sum((1, 2)),
            "T_all": (delay_utility(out.delay, snap.P, s) * active).sum((1, 2)),
            "E_all": (energy_utility(out.energy, snap.P, s) * active).sum((1, 2)),
            "ended": record.ended,
            "steps": torch.ones_like(record.step),
        }
        if record.dual is not None:
            per_step["bound"] = record.dual.bound
        place = record.episode - record.episode.min()
        count = int(place.max()) + 1
        for name, values in per_step.items():
            sums = torch.zeros(count, dtype=torch.float64).index_add_(0, place, values.to(torch.float64))
            self.sums.setdefault(name, []).extend(sums.tolist())

    def values(self) -> dict[str, Any]:
        """The figures, SI units; intervals are 95 % over episodes (Student), absent where there is one episode."""
        total = {name: math.fsum(values) for name, values in self.sums.items()}
        episodes = len(self.sums["steps"])
        result: dict[str, Any] = {
            "scenario": self.scenario.name,
            "scenario_digest": self.scenario.digest,
            "policy": self.policy,
            "network": self.network,
            "shares": self.shares,
            "seed": self.seed,
            "episodes": episodes,
            "steps": int(total["steps"]),
            "tasks": int(total["tasks"]),
            "mean_delay_s": total["delay"] / total["tasks"],
            "mean_energy_j": total["energy"] / total["tasks"],
            "cost": total["cost"] / total["weight"],
            "deadline_miss_share": total["missed"] / total["tasks"],
            "delay_utility_12": total["T_all"] / total["steps"],
            "energy_utility_13": total["E_all"] / total["steps"],
            "local_share": total["local"] / total["tasks"],
            "episodes_ended_by_battery": int(total["ended"]),
            "mean_steps": total["steps"] / episodes,
        }
        ratios = {
            "mean_delay_s": ("delay", "tasks"), "mean_energy_j": ("energy", "tasks"), "cost": ("cost", "weight"),
            "deadline_miss_share": ("missed", "tasks"), "delay_utility_12": ("T_all", "steps"),
            "energy_utility_13": ("E_all", "steps"), "local_share": ("local", "tasks"),
        }  # fmt: skip
        if "bound" in total:
            result["lower_bound"] = total["bound"] / total["weight"]
            result["gap"] = total["cost"] / total["bound"] - 1
            ratios["gap"] = ("cost", "bound")
        result["ci95"] = {
            name: _interval(self.sums[above], self.sums[below], 1.0 if name == "gap" else 0.0)
            for name, (above, below) in ratios.items()
        }
        return result


def _interval(above: list[float], below: list[float], less: float) -> list[float] | None:
    values = [a / b - less for a, b in zip(above, below, strict=True) if b > 0]
    if len(values) < 2:
        return None
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    middle = math.fsum(values) / len(values)
    return [middle - half, middle + half]


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
    """Play the episodes and return the summary; with `out`, write `summary.json` and `decisions.parquet` (or .csv).

    Files appear as a whole or not at all; a folder made for them disappears if none is written. `progress` gets the number
    of episodes that were just finished. Raises `ScenarioError`, also where `out` holds another evaluation and `overwrite`
    is false.
    """
    chunks = records(s, policy, episodes, seed, shares)
    summary = Summary(s, policy, shares, seed, network_of(policy, s))
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
    """Writes the table of decisions chunk by chunk under a temporary name, and renames it when it is complete."""

    def __init__(self, out: Path, csv: bool, overwrite: bool) -> None:
        present = [name for name in RESULTS if (out / name).exists()]
        if present and not overwrite:
            raise ScenarioError(
                f"out = {str(out)!r} holds the results of another evaluation ({', '.join(present)}): name another directory, "
                "or replace them with --overwrite (in Python overwrite=True)."
            )
        self.made = [folder for folder in (out, *out.parents) if not folder.exists()]
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ScenarioError(f"out = {str(out)!r} cannot be made a directory: {error.strerror}.") from None
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
        self._remove_results()  # a summary must never stand beside the decisions of another evaluation
        try:
            os.replace(self.part, self.final)
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
