"""What must hold of every scenario that is accepted: 0 <= bound <= cost of any decision, and every number finite.

Shared by the property test and by `python -m benchmarks.certificate`, which checks many more scenarios.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.environment.observation import limited_state, mixer_observation
from iomt_core.environment.parallel_env import WardEnv
from iomt_core.environment.world import World
from iomt_core.experiments.evaluation import Summary
from iomt_core.model.batch import Batch, concatenate
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.model.what_if import what_if
from iomt_core.policies.dual import DualSolution, solve_dual
from iomt_core.policies.optimum import Optimum
from iomt_core.policies.price_response import PriceResponse, mean_prices
from iomt_core.policies.registry import POLICIES
from iomt_core.policies.shares import optimal_shares
from iomt_core.scenario import Scenario
from iomt_core.training.settings import Settings
from iomt_core.training.trainer import Trainer
from iomt_core.twin.record import Record

# Columns of a record that are empty for a local task.
OF_A_LINK = ("distance_m", "rate_bps", "bandwidth_share_asked")
EXTREME_SHARES = (0.0, 1e-30, 1e-12, 1e-3, 1.0)
TINY = Settings(episodes=2, worlds=2, updates=1, warm_up=1, replay=2, batch=1, rounds=1)


def violations(s: Scenario, seed: int = 0, train: bool = False) -> list[str]:
    """What does not hold in this scenario, empty if all does; `train` adds one update of a learner, which takes longer."""
    found: list[str] = []
    for dtype in (torch.float64, torch.float32):
        found += _of_certificate(s, seed, dtype)
    found += _of_ward_env(s, seed)
    if train:
        found += _of_training(s, seed)
    return found


def _of_certificate(s: Scenario, seed: int, dtype: torch.dtype) -> Iterator[str]:
    name = str(dtype).removeprefix("torch.")
    snapshot = concatenate(World(s, world_seeds(seed, 0, 1), dtype).episode())
    dual = solve_dual(snapshot, s)
    yield from _not_finite(f"{name} certificate", dual)
    if not bool((dual.bound >= 0).all()):
        yield f"{name}: the bound is {dual.bound.tolist()}, below 0"
    for policy, action in _actions(snapshot, dual, s, seed):
        result = outcome(snapshot, action, s)
        yield from _not_finite(f"{name} {policy}: outcome", result)
        total = (result.cost * snapshot.weight).sum((1, 2))
        if not bool((dual.bound <= total).all()):
            yield f"{name} {policy}: costs {total.tolist()}, below the bound {dual.bound.tolist()}"
        if policy == "extreme shares":
            yield from _not_finite(f"{name} what-if", what_if(snapshot, action, result, s))
            if dtype == torch.float64:
                yield from _of_record(snapshot, action, dual, s)
            yield from _of_environment(s, seed, action, dtype)


def _actions(snapshot: Snapshot, dual: DualSolution, s: Scenario, seed: int) -> Iterator[tuple[str, Action]]:
    """What every policy decides, and decisions at random."""
    for name, kind in POLICIES.items():
        if kind is Optimum:
            yield name, Optimum(s).decide(snapshot, dual)
        elif kind is PriceResponse:  # at these steps' prices, not at those of a sample, which would take as long again
            yield name, PriceResponse(s, mean_prices(dual.prices)).decide(snapshot)
        else:
            yield name, kind(s).decide(snapshot)
    rng = np.random.default_rng(seed)
    shape = tuple(snapshot.D.shape)
    choice = torch.from_numpy(rng.integers(0, s.servers + 1, shape))
    cpu, bandwidth = (torch.from_numpy(rng.choice(EXTREME_SHARES, shape)).to(snapshot.D.dtype) for _ in range(2))
    yield "extreme shares", Action(choice, cpu, bandwidth)
    yield "best shares", optimal_shares(snapshot, choice, s)


def _of_record(snapshot: Snapshot, action: Action, dual: DualSolution, s: Scenario) -> Iterator[str]:
    count = torch.ones(len(snapshot.D), dtype=torch.int64)
    ended = torch.zeros(len(snapshot.D), dtype=torch.bool)
    record = Record(s, count, count.cumsum(0), snapshot, action, outcome(snapshot, action, s), dual, ended)
    table = record.table()
    for column in table.select_dtypes("number"):
        values = table[column].to_numpy(dtype=float)
        if column in OF_A_LINK:
            values = values[table["choice"].to_numpy() > 0]
        if not np.isfinite(values).all():
            yield f"record: {column} holds {values[~np.isfinite(values)][0]}"
    summary = Summary(s, "extreme", "own", 0)
    summary.add(record)
    yield from (f"summary: {name} = {x}" for name, x in summary.values().items() if _is_wrong(x))


def _of_environment(s: Scenario, seed: int, action: Action, dtype: torch.dtype) -> Iterator[str]:
    environment = Environment(s, world_seeds(seed, 0, 1), dtype)
    for step in range(s.T):
        done = environment.step(action.worlds(slice(step, step + 1)))
        yield from _not_finite(f"{dtype} transition", done)
        now = environment.snapshot
        yield from _not_finite(f"{dtype} snapshot", now)
        seen = (environment.observation, limited_state(now, s), mixer_observation(now, s))
        if not all(bool(torch.isfinite(x).all()) for x in seen):
            yield f"{dtype}: an observation or state is not finite"


def _of_ward_env(s: Scenario, seed: int) -> Iterator[str]:
    """One episode of the PettingZoo environment, first with everything local, then with random actions of its spaces."""
    env = WardEnv(s)
    for local in (True, False):
        observations, infos = env.reset(seed=seed)
        while env.agents:
            actions = {agent: dict(env.action_space(agent).sample()) for agent in env.agents}
            if local:
                actions = {agent: {**a, "choice": np.zeros_like(a["choice"])} for agent, a in actions.items()}
            observations, rewards, _, _, infos = env.step(actions)
            numbers = [*observations.values(), *rewards.values(), env.state()]
            numbers += [x for info in infos.values() for x in info.values()]
            if not all(np.isfinite(x).all() for x in numbers):
                yield "PettingZoo: an observation, reward, state or info is not finite"
            if not all(env.observation_space(agent).contains(x) for agent, x in observations.items()):
                yield "PettingZoo: an observation lies outside its space"


def _of_training(s: Scenario, seed: int) -> Iterator[str]:
    """One batch of episodes and one update, of networks for this ward and of the lab's."""
    for name, algorithm in ALGORITHMS.items():
        trainer = Trainer(algorithm, s, TINY, seed)
        seen = trainer.advance()
        yield from (f"training {name}: {what} = {x}" for what, x in seen.items() if not np.isfinite(x))
        weights = [*trainer.learner.agents.parameters(), *trainer.learner.mixer.parameters()]
        if not all(bool(torch.isfinite(w).all()) for w in weights):
            yield f"training {name}: a weight is not finite"


def _not_finite(what: str, batch: Batch) -> Iterator[str]:
    """Names every field of a batch, and of batches in it, that holds a NaN or an infinity."""
    for field in fields(batch):  # type: ignore[arg-type]
        value = getattr(batch, field.name)
        if isinstance(value, Batch):
            yield from _not_finite(f"{what}.{field.name}", value)
        elif isinstance(value, Tensor) and not bool(torch.isfinite(value).all()):
            yield f"{what}.{field.name} is not finite"


def _is_wrong(value: Any) -> bool:
    return isinstance(value, float) and not np.isfinite(value)
