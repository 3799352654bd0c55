"""What happened: steps of episodes with their snapshots, actions, outcomes and certificates, and as a tidy table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.environment.world import World
from iomt_core.metrics import TASK
from iomt_core.model.batch import Batch, concatenate
from iomt_core.model.outcome import Outcome, outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import Memory, Policy, Shares, with_shares
from iomt_core.policies.dual import DualSolution, Prices, solve_dual
from iomt_core.policies.optimum import Optimum
from iomt_core.policies.price_response import PriceResponse
from iomt_core.scenario import Scenario

# What each column of `Record.table` holds, in SI.
COLUMNS = {name: metric.si_help for name, metric in TASK.items()}

SETTLED = 1e-5  # of a battery's capacity: what a policy asks for moves by less than single precision then


@dataclass(frozen=True)
class Record(Batch):
    """R steps, of one episode or many; the batch axis of every tensor is the step."""

    scenario: Scenario
    episode: Tensor  # (R,) from 1
    step: Tensor  # (R,) from 1
    snapshot: Snapshot
    action: Action
    outcome: Outcome
    dual: DualSolution | None
    ended: Tensor  # (R,) bool: somebody ran empty in this step (C5)

    def __len__(self) -> int:
        return len(self.step)

    @property
    def totals(self) -> Tensor:
        """Total weighted cost of each step, (R,)."""
        return (self.outcome.cost * self.snapshot.weight).sum((1, 2))

    @property
    def prices(self) -> Prices | None:
        """The shadow prices of each step."""
        return None if self.dual is None else self.dual.prices

    def table(self) -> pd.DataFrame:
        """One row a task that exists, with the columns of `COLUMNS`."""
        snap, out, act = self.snapshot, self.outcome, self.action
        _, u, j, _ = snap.shape
        shape = snap.D.shape
        local = act.choice == 0
        distance = snap.distance.gather(2, (act.choice - 1).clamp_min(0)).masked_fill(local, torch.nan)

        def step_wise(x: Tensor) -> Tensor:
            return x[:, None, None].expand(shape)

        ones_u = torch.arange(1, u + 1)[None, :, None].expand(shape)
        ones_j = torch.arange(1, j + 1)[None, None, :].expand(shape)
        bound = torch.full_like(self.totals, torch.nan) if self.dual is None else self.dual.bound
        columns = {
            "episode": step_wise(self.episode),
            "step": step_wise(self.step),
            "user": ones_u,
            "task": ones_j,
            "priority": snap.P.to(torch.int64),
            "data_bits": snap.D,
            "cycles": snap.C,
            "choice": act.choice,
            "cpu_hz": out.f,
            "bandwidth_hz": out.b.masked_fill(local, 0.0),
            "distance_m": distance,
            "power_w": snap.P_tr[:, :, None].expand(shape),
            "rate_bps": out.rate.masked_fill(local, torch.nan),
            "delay_tx_s": out.delay_tx,
            "delay_exe_s": out.delay_exe,
            "delay_s": out.delay,
            "energy_j": out.energy,
            "cost": out.cost,
            "deadline_missed": out.missed,
            "bound": step_wise(bound),
            "weight": snap.weight,
            "cpu_share_asked": act.cpu,
            "bandwidth_share_asked": act.bandwidth.masked_fill(local, torch.nan),
        }
        active = snap.active.flatten()
        flat = {name: x.reshape(-1)[active].numpy() for name, x in columns.items()}
        names = self.scenario.kind_names
        kinds = pd.Categorical([names[n] for n in snap.kind.flatten()[active].tolist()], categories=list(names))
        return pd.DataFrame(flat).assign(kind=kinds)


@dataclass(frozen=True)
class Draw:
    """All steps of some episodes as they would come, undecided, with their certificates; shared by all policies."""

    scenario: Scenario
    episodes: int
    first: int
    seed: int
    snapshot: Snapshot  # (episodes · T, …), a step's episodes together
    dual: DualSolution | None


def draw(s: Scenario, seed: int, first: int = 0, episodes: int = 1, certify: bool = True) -> Draw:
    """Draws `episodes` episodes from number `first` (from 0) on, and certifies each step unless told not to."""
    snapshot = concatenate(World(s, world_seeds(seed, first, episodes)).episode())
    return Draw(s, episodes, first, seed, snapshot, solve_dual(snapshot, s) if certify else None)


def run(
    policy: Policy,
    drawn: Draw,
    shares: Shares = "own",
    decided: Action | None = None,
    between: Callable[[], None] = lambda: None,
) -> Record:
    """What the policy makes of these episodes, each up to its end; `decided` is what `decide` gave, where it is known.

    A policy that remembers is asked step after step: `between` is called after each, for who must not be kept waiting.
    """
    if policy.past == "remembered":
        return _run_stepwise(policy, drawn, shares, between)
    return _run_at_once(policy, drawn, shares, decided)


def decide(policy: Policy, drawn: Draw) -> Action | None:
    """What the policy decides in all steps, however shares come about; None where that depends on the steps before."""
    return _decide(policy, drawn, drawn.snapshot) if policy.past == "nothing" else None


def _decide(policy: Policy, drawn: Draw, snapshot: Snapshot) -> Action:
    return policy.decide(snapshot, drawn.dual) if isinstance(policy, Optimum) else policy.decide(snapshot)


def _run_at_once(policy: Policy, drawn: Draw, shares: Shares, decided: Action | None) -> Record:
    """All steps in one batch; of a policy that sees batteries again, those steps whose batteries turn out other than thought.

    Each time one more step is certainly as it would be one by one, so that it ends; as a battery tells a policy little, it
    ends after a few.
    """
    s, sees = drawn.scenario, policy.past == "batteries"
    snapshot = _foreseen(drawn) if sees else drawn.snapshot
    action = _decide(policy, drawn, snapshot) if decided is None else decided
    seen = snapshot.battery
    for _ in range(s.T + 1):
        asked = with_shares(action, snapshot, s, shares)
        result = outcome(snapshot, asked, s)
        battery, total = _left(drawn, result)
        snapshot = replace(snapshot, battery=battery)
        if not sees:
            break
        rows = ((seen - battery).abs().amax(-1) > SETTLED * s.Cap).nonzero().flatten()
        if not len(rows):
            break
        seen = seen.index_copy(0, rows, battery[rows])
        action = action.replaced(rows, policy.decide(snapshot.worlds(rows)))
    empty = (total > s.Cap).any(-1)
    alive = (empty.cumsum(0) - empty.to(torch.int64)) == 0
    step = torch.arange(1, s.T + 1)[:, None].expand(s.T, drawn.episodes)
    episode = torch.arange(drawn.first + 1, drawn.first + drawn.episodes + 1).expand(s.T, drawn.episodes)
    # Rows come out episode by episode, steps in order, as a person reads them.
    order = torch.arange(s.T * drawn.episodes).view(s.T, drawn.episodes).T.flatten()
    order = order[alive.T.flatten()]
    record = Record(s, episode.flatten(), step.flatten(), snapshot, asked, result, drawn.dual, empty.flatten())
    return record.worlds(order)


def _foreseen(drawn: Draw) -> Snapshot:
    """The steps with about the batteries that they will find: those of users who answer to prices."""
    s = drawn.scenario
    likely = outcome(drawn.snapshot, PriceResponse(s).decide(drawn.snapshot), s)
    return replace(drawn.snapshot, battery=_left(drawn, likely)[0])


def _left(drawn: Draw, result: Outcome) -> tuple[Tensor, Tensor]:
    """Energy left in the batteries before each step, J (R, U), and what was spent up to and with it, (T, episodes, U)."""
    s = drawn.scenario
    spent = result.energy.sum(-1).view(s.T, drawn.episodes, s.users)
    total = spent.cumsum(0)
    return (s.Cap - (total - spent)).clamp_min(0.0).flatten(0, 1), total


def _run_stepwise(policy: Policy, drawn: Draw, shares: Shares, between: Callable[[], None]) -> Record:
    s, n = drawn.scenario, drawn.episodes
    environment = Environment(s, world_seeds(drawn.seed, drawn.first, n), torch.float64)
    parts = []
    memory: Memory | None = None
    while not environment.done:
        now, t = environment.snapshot, environment.t
        own, memory = policy.step(now, memory)
        action = with_shares(own, now, s, shares)
        done = environment.step(action)
        rows = slice(t * n, (t + 1) * n)
        certificate = None if drawn.dual is None else drawn.dual.worlds(rows)
        episode = torch.arange(drawn.first + 1, drawn.first + n + 1)
        step = torch.full_like(episode, t + 1)
        record = Record(s, episode, step, now, action, done.outcome, certificate, done.terminated)
        parts.append(record.worlds(done.alive))
        between()
    return joined(parts)


def joined(parts: Sequence[Record]) -> Record:
    """Several records of one scenario as one, sorted by episode and step."""
    record = concatenate(parts)
    return record.worlds((record.episode * (record.scenario.T + 1) + record.step).argsort())
