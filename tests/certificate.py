"""What must hold of every scenario that is accepted: 0 <= bound <= cost of any decision, and every number finite.

Shared by the property test and by `python -m benchmarks.certificate`, which checks many more scenarios.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iomt_core.adapters.agents import AgentOptions
from iomt_core.adapters.pettingzoo_env import WardEnv
from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.environment.observation import limited_state, mixer_observation
from iomt_core.environment.world import World
from iomt_core.experiments.evaluation import Summary
from iomt_core.model.batch import Batch, concatenate
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.model.what_if import what_if
from iomt_core.policies.base import Planner, Policy
from iomt_core.policies.dual import DualSolution, solve_dual
from iomt_core.policies.episode_dual import solve_episodes
from iomt_core.policies.optimum import StepOptimum
from iomt_core.policies.plan import episode_returns
from iomt_core.policies.registry import POLICIES
from iomt_core.policies.shares import optimal_shares
from iomt_core.record import Record
from iomt_core.rollout import Rollout
from iomt_core.scenario import Scenario
from iomt_core.training.general_encoder import GeneralObservationEncoder
from iomt_core.training.settings import Settings
from iomt_core.training.trainer import Trainer
from iomt_core.twin.northbound import play

# Columns of a record that are empty for a local task, and for a skipped one.
OF_A_LINK = ("distance_m", "rate_bps", "bandwidth_share_requested")
OF_A_DELAY = ("delay_s", "delay_tx_s", "delay_exe_s")
MEANS = ("mean_delay_s", "mean_energy_j", "return_gap")  # have no value where every task is skipped
EXTREME_SHARES = (0.0, 1e-30, 1e-12, 1e-3, 1.0)
DTYPES = {"float64": torch.float64, "float32": torch.float32}
TINY = Settings(episodes=2, num_envs=2, updates=1, warm_up=1, replay=2, batch=1, rounds=1)
Finding = tuple[int, str]  # number of the scenario in its group, and what does not hold there


class ExtremeRequests(Policy):
    """Random devices, and shares of nothing, next to nothing or all."""

    name = "extreme requests"

    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        rng = np.random.default_rng(snapshot.key.abs().numpy())
        shape = tuple(snapshot.D.shape)
        choice = torch.from_numpy(rng.integers(0, snapshot.shape[3] + 1, shape))
        cpu, bandwidth = (torch.from_numpy(rng.choice(EXTREME_SHARES, shape)).to(snapshot.D.dtype) for _ in range(2))
        return Action(choice, cpu, bandwidth)


def certificate_violations(group: Sequence[Scenario], seed: int) -> Iterator[Finding]:
    """Bounds, policies' costs and outcomes of a group of `wards.whole_range`, decided and priced as one batch."""
    s = group[0]  # for sizes and objective, which all have in common; all else is in the snapshot
    rows = torch.arange(len(group)).repeat_interleave(s.T)
    for name, dtype in DTYPES.items():
        steps = [step for one in group for step in World(one, world_seeds(seed, 0, 1), dtype).episode()]
        snapshot = replace(concatenate(steps), max_ratio=math.inf, all_active=False)
        dual = solve_dual(snapshot, s)
        yield from _not_finite(f"{name} certificate", dual, rows)
        yield from _where(dual.bound < 0, rows, f"{name}: the bound is below 0", dual.bound)
        policies = [kind(s) for kind in (*POLICIES.values(), ExtremeRequests)]
        actions = {policy.name: policy.decide(snapshot, dual) for policy in policies}
        actions["best shares"] = optimal_shares(snapshot, actions[ExtremeRequests.name].choice, s)
        for policy, action in actions.items():
            result = outcome(snapshot, action, s)
            yield from _not_finite(f"{name} {policy}: outcome", result, rows)
            total = (result.cost * snapshot.weight).sum((1, 2))
            excess = torch.where(result.skipped.flatten(1).any(1), dual.skip_bound, dual.bound) - total
            yield from _where(~(excess <= 0), rows, f"{name} {policy}: costs less than the bound, by", excess)
            if policy == ExtremeRequests.name:
                yield from _not_finite(f"{name} what-if", what_if(snapshot, action, result, s), rows)


def return_violations(group: Sequence[Scenario], seed: int) -> Iterator[Finding]:
    """Bounds on returns of a group of `wards.whole_range`, with its batteries and with others that bind."""
    s, rows = group[0], torch.arange(len(group))
    for name, dtype in DTYPES.items():
        worlds = [World(one, world_seeds(seed, 0, 1), dtype).episode() for one in group]
        steps = [concatenate([episode[t] for episode in worlds]) for t in range(s.T)]  # by step, then episode
        full = replace(concatenate(steps), max_ratio=math.inf, all_active=False)
        dual = solve_dual(full, s)
        spent = outcome(full, StepOptimum(s).decide(full, dual), s).energy.sum(-1).view(s.T, len(group), -1).sum(0)
        for part in (None, 0.9, 0.3, 0.0):
            capacity = full.battery[: len(group)] if part is None else spent * part
            snapshot = replace(full, battery=capacity.repeat(s.T, 1))
            certificate = solve_episodes(snapshot, s, capacity, dual)
            bound = certificate.return_bound[: len(group)]
            yield from _not_finite(f"{name} certificate of the episode", certificate, rows.repeat(s.T))
            for policy in [kind(s) for kind in (*POLICIES.values(), ExtremeRequests)]:
                if isinstance(policy, Planner):
                    action = policy.plan(snapshot, s.T, certificate)
                else:
                    action = policy.decide(snapshot, certificate)
                result = outcome(snapshot, action, s)
                excess = episode_returns(snapshot, result, capacity) - bound
                what = f"{name} {policy.name}, batteries x {part}: returns more than the bound, by"
                yield from _where(~(excess <= 0), rows, what, excess)
                if isinstance(policy, Planner):
                    over = result.energy.sum(-1).view(s.T, *capacity.shape).sum(0) > capacity
                    saved = episode_returns(snapshot, result, capacity)
                    yield from _where(over.any(1) & (saved <= 0), rows, f"{name} {policy.name}: overdraws a battery")


def number_violations(s: Scenario, seed: int) -> Iterator[str]:
    """Every number of a record, its summary, the environments and their observations, under extreme requests."""
    for name, dtype in DTYPES.items():
        environment = Environment(s, world_seeds(seed, 0, 1), dtype)
        rollout = Rollout(ExtremeRequests(s), environment)
        records: list[Record] = []
        while not rollout.done:
            step = rollout.step(solve_dual(environment.snapshot, s) if dtype == torch.float64 else None)
            records.append(step.record(s, torch.ones(1, dtype=torch.int64)))
            later = environment.snapshot
            yield from (what for _, what in _not_finite(f"{name} transition", step.transition))
            yield from (what for _, what in _not_finite(f"{name} snapshot", later))
            for seen in (environment.observation, limited_state(later, s), mixer_observation(later, s)):
                if not bool(torch.isfinite(seen).all()):
                    yield f"{name}: an observation or state is not finite"
        if dtype == torch.float64:
            yield from _of_record(concatenate(records))
    yield from _of_ward_env(s, seed)


def training_violations(s: Scenario, seed: int) -> Iterator[str]:
    """One batch of episodes and one update of every algorithm, and an episode as the northbound interface plays it."""
    yield from _of_record(play(s, "price-response", seed % 2**31))
    snapshot = concatenate(World(s, world_seeds(seed, 0, 1)).episode())
    for name, value in vars(GeneralObservationEncoder(s, True).inputs(snapshot)).items():
        if isinstance(value, Tensor) and not bool(torch.isfinite(value).all()):
            yield f"an input of the general networks is not finite: {name}"
    for name, algorithm in ALGORITHMS.items():
        trainer = Trainer(algorithm, s, TINY, seed)
        yield from (f"training {name}: {what} = {x}" for what, x in trainer.advance().items() if not math.isfinite(x))
        weights = [*trainer.learner.agents.parameters(), *trainer.learner.mixer.parameters()]
        if not all(bool(torch.isfinite(w).all()) for w in weights):
            yield f"training {name}: a weight is not finite"


def _of_record(record: Record) -> Iterator[str]:
    table = record.table()
    sent = table["choice"].to_numpy() > 0
    for column in table.select_dtypes("number"):
        values = table[column].to_numpy(dtype=float)
        known = sent if column in OF_A_LINK else ~table["skipped"] if column in OF_A_DELAY else slice(None)
        if not np.isfinite(values[known]).all():
            yield f"record: {column} is not finite"
    summary = Summary(record.scenario, "any", "own", 0)
    summary.add(record)
    for name, value in summary.values().items():
        nothing = name in MEANS and bool(table["skipped"].all() or not summary.values()["return"])
        if isinstance(value, float) and not math.isfinite(value) and not nothing:
            yield f"summary: {name} = {value}"


def _of_ward_env(s: Scenario, seed: int) -> Iterator[str]:
    """An episode of the PettingZoo environment with everything local, and one with random actions of its spaces."""
    env = WardEnv(s, AgentOptions(certificate=True))
    for number, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed((seed + number) % 2**31)
    for local in (True, False):
        env.reset(seed=seed)
        while env.agents:
            actions: dict[str, Any] = {agent: dict(env.action_space(agent).sample()) for agent in env.agents}
            if local:
                actions = {agent: {**a, "choice": np.zeros_like(a["choice"])} for agent, a in actions.items()}
            observations, rewards, _, _, infos = env.step(actions)
            numbers = [*observations.values(), *rewards.values(), env.state()]
            numbers += [x for info in infos.values() for x in info.values()]
            if not all(np.isfinite(x).all() for x in numbers):
                yield "PettingZoo: an observation, reward, state or info is not finite"
            if any(info["step_bound"] > info["step_cost"] for info in infos.values()):
                yield "PettingZoo: a step costs less than its bound"
            if not all(env.observation_space(agent).contains(x) for agent, x in observations.items()):
                yield "PettingZoo: an observation lies outside its space"


def _not_finite(what: str, batch: Batch, rows: Tensor | None = None) -> Iterator[Finding]:
    """Names every field of a batch, and of batches in it, that holds a NaN or an infinity."""
    for field in fields(batch):  # type: ignore[arg-type]
        value = getattr(batch, field.name)
        if isinstance(value, Batch):
            yield from _not_finite(f"{what}.{field.name}", value, rows)
        elif isinstance(value, Tensor):
            wrong = ~torch.isfinite(value).flatten(1).all(1) if value.dim() > 1 else ~torch.isfinite(value)
            yield from _where(wrong, rows, f"{what}.{field.name} is not finite")


def _where(wrong: Tensor, rows: Tensor | None, what: str, values: Tensor | None = None) -> Iterator[Finding]:
    for n in wrong.nonzero().flatten().tolist() if bool(wrong.any()) else ():
        yield 0 if rows is None else int(rows[n]), what if values is None else f"{what} {float(values[n]):.6g}"
