"""Price response: each user minimises its own cost at the servers' shadow prices, as far as it can know them.

The prices of the dual (`dual.py`) are averaged over sample steps of the ward and broadcast once; nothing else couples the
users. A user keeps those tasks local that are cheapest there at these prices, distributes the others over the servers, and
requests the shares that follow from the prices, ∝ sqrt(p C) and sqrt(p D). Decentralised; needs no training; works on every
ward. How a user gets from the mean prices to those of a step is in `price_rule.py`: prices may be fixed, follow what every user
sees, or also follow what servers broadcast some steps later.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock
from typing import ClassVar

import torch
from cachetools import LRUCache, cached
from torch import Tensor

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.world import World
from iomt_core.model import progress
from iomt_core.model.batch import Batch, concatenate, without_autograd
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import BatteryAware, Memory, UsesPast
from iomt_core.policies.charge import RESERVED, within_charge
from iomt_core.policies.demand import OwnCpuTasks
from iomt_core.policies.dual import DualProblem, DualSolution, Prices, solve_dual
from iomt_core.policies.episode_dual import EpisodeDual, EpisodeProblem, Tasks, solve_episodes
from iomt_core.policies.own_load import OwnChoices, expected_loads
from iomt_core.policies.plan import corrected_price
from iomt_core.policies.price_rule import PriceRule, SampleSteps
from iomt_core.policies.search import OVERLOAD
from iomt_core.policies.shares import own_allocation, own_cost
from iomt_core.scenario import Scenario

# Tuned on the paper preset; results are not sensitive to them.
CROWDING = 0.05  # relative surcharge on a server for each task that the user already sends there
CROWDINGS = (0.02, 0.05, 0.1, 0.2, 0.4)  # of which a ward takes the best by its price sample
# In a ward of MANY_SERVERS, of which each is among the cheapest for some tasks only, users also try to divide their tasks by the
# softmin weights of the servers, at these temperatures relative to the cost of a task; smaller weights than LEAST_WEIGHT are 0.
MANY_SERVERS, TEMPERATURES, LEAST_WEIGHT = 16, (0.003, 0.01), 1e-3
# Relative, by which a server may then be dearer than the cheapest one.
WIDEST = -max(TEMPERATURES) * math.log(LEAST_WEIGHT)
LEAST_GAIN = 1.5e-3  # part of the cost that this must save in the sample of steps, which is short in a large ward
PHASES = (0.6180339887498949, 0.7548776662466927)  # irrational, for a sequence that fills the unit interval evenly
MEAN_GAIN = 0.01  # part of the cost that mean prices must save where prices could follow the step
FEW_USERS = 16  # of which each knows what the others are expected to put on each server, where that is worth it
REQUEST_FACTOR = 2.0  # requests are larger than demand: scaling down pro rata costs little, idle capacity costs much
LATENESS_ITERATIONS = 8
TIE = 1e-6  # relative, by which users prefer one of equal servers
ROUNDING = 1e-6  # relative, of costs, with a wide margin
# Sending is reckoned with this times the most that a step of the sample took over what was reckoned: a user that spends more than
# it has ends the episode for all. The sample is played as it is, and with users for whom a joule is worth these times as much.
CAUTION, SAVING = 1.7, (1.25, 2.0, 4.0, 10.0)
AMPLE = 2.0  # times what users spend in an episode, of a charge that never runs short
# Users whose charge runs low at the same time all request more bandwidth, and get no more than usual: a step planned with
# dearer joules is reckoned with the usual energy for sending as well, times this.
USUAL_CAUTION = 0.8
# Factors on servers' prices, tried where deadlines are missed at the prices themselves.
SURCHARGES = (1.03, 1.1, 1.2, 1.4, 2.0, 3.0)
CELLS = 1 << 18  # tasks times servers looked at in one piece: small enough for the cache, large enough to save calls
OLDEST = 20  # steps, of broadcast prices
SAMPLE_STEPS, LARGER_SAMPLE = 8, 24
SAMPLE_TASKS = 2048  # enough for mean prices, unless servers or places change from step to step
OWN_LOAD_TASKS = 1024  # in the steps from which users learn what the others use of each server
FEWEST_STEPS = 4  # then
HISTORY_WORLDS, HISTORY_STEPS = 4, 40  # from which it is learned what old prices are worth
SAMPLE_SEED, CHECK_SEED = 0x5EED_0F_A_5A3F1E, 0x5EED_0F_A_C4EC


def price_sample(s: Scenario, count: int = SAMPLE_STEPS, seed: int = SAMPLE_SEED) -> Snapshot:
    """About `count` steps of the ward over which prices are averaged, from seeds that no evaluation uses; fewer in large wards.

    A scenario's own workload is known completely, and its steps may differ much, so the sample has each of them once.
    """
    tasks = s.users * s.tasks * SAMPLE_STEPS  # in a sample of the usual size
    varies = s.speed > 0 or s.background > 0
    count = max(FEWEST_STEPS if varies else 1, min(count, round(count * SAMPLE_TASKS / tasks)))
    if s.workload is not None:
        steps = World(s, world_seeds(seed, 0, count)).episode()
        return concatenate([step.select(slice(t % count, t % count + 1)) for t, step in enumerate(steps)])
    if s.speed == 0:  # all steps have the same distribution: the first steps of several worlds
        world = World(s, world_seeds(seed, 0, count))
        return world.snapshot(world.initial_state(), 0)
    worlds = max(2, count // 4)
    steps = World(s, world_seeds(seed, 0, worlds)).episode()
    return concatenate(steps[:: max(1, worlds * len(steps) // count)])


@dataclass(frozen=True)
class MeanPrices:
    """What a ward broadcasts once to all its users, averaged over `price_sample`."""

    prices: Prices  # a batch of one
    cost: float  # certified bound per unit of task weight


@dataclass(frozen=True)
class PriceSample:
    """The steps of `price_sample` and their dual."""

    snapshot: Snapshot
    dual: DualSolution


_samples: LRUCache[tuple[Scenario, int], PriceSample] = LRUCache(8)
_lock = Lock()


@cached(_samples, key=lambda s, count=SAMPLE_STEPS: (s, count), lock=_lock)
def solved_sample(s: Scenario, count: int = SAMPLE_STEPS) -> PriceSample:
    """The steps of `price_sample` and their dual; cached."""
    sample = price_sample(s, count)
    return PriceSample(sample, solve_dual(sample, s))


@cached(LRUCache(64), key=lambda s: s, lock=Lock())
def mean_prices(s: Scenario) -> MeanPrices:
    """The ward's mean prices, which depend only on the scenario; cached."""
    sample = solved_sample(s)
    return _mean(sample.snapshot, sample.dual)


def solve_with_mean_prices(snapshot: Snapshot, s: Scenario) -> DualSolution:
    """The certificates of these steps, as `solve_dual` returns them; on the way solves what `mean_prices` needs.

    Solving steps and price sample in one batch takes about two thirds of the time of two batches, with identical results.
    """
    with _lock:
        is_cached = (s, SAMPLE_STEPS) in _samples
    if is_cached:
        return solve_dual(snapshot, s)
    steps, sample = len(snapshot.D), price_sample(s)
    dual = solve_dual(concatenate([snapshot, sample]), s)
    with _lock:
        _samples[s, SAMPLE_STEPS] = PriceSample(sample, dual.select(slice(steps, None)))
    return dual.select(slice(0, steps))


def _mean(sample: Snapshot, dual: DualSolution) -> MeanPrices:
    prices = (dual.prices.cpu, dual.prices.bandwidth, dual.prices.own)
    if sample.all_active:
        means = [x.mean(0, keepdim=True) for x in prices]
    else:  # weighted by the number of tasks: most tasks meet the prices of busy steps
        tasks = sample.active.sum((1, 2)).to(torch.float64)
        means = [(x * (tasks / tasks.sum())[:, None]).sum(0, keepdim=True) for x in prices]
    weight = float((sample.weight * sample.active).sum())
    return MeanPrices(Prices(*means), float(dual.bound.sum()) / max(weight, 1e-12))


@dataclass(frozen=True)
class EpisodePrices:
    """What a ward broadcasts once to all its users so that batteries last: from the dual of the sample as one episode."""

    prices: Prices  # a batch of one
    battery: Tensor  # (1, U) κ, 1/J
    energy: Tensor  # (1, U) J that a user spends in a step at these prices


@cached(LRUCache(64), key=lambda s: s, lock=Lock())
def episode_prices(s: Scenario) -> EpisodePrices:
    """The ward's prices over a whole episode: those of a sample of its steps, with that part of the batteries; cached.

    Where neither batteries nor deadlines bind, prices are `mean_prices` and κ is 0; where they do, the sample is larger.
    """
    for count in (SAMPLE_STEPS, LARGER_SAMPLE):
        known = solved_sample(s, count)
        sample = known.snapshot
        part = sample.battery[:1].to(torch.float64) * (len(sample.D) / s.T)
        dual = solve_episodes(sample, s, part, known.dual)
        if not bool((dual.battery > 0).any() or (dual.lateness > 0).any()):
            return EpisodePrices(mean_prices(s).prices, dual.battery[:1], dual.energy.mean(0, keepdim=True))
    return EpisodePrices(_mean(sample, dual).prices, dual.battery[:1], dual.energy.mean(0, keepdim=True))


def battery_price(snapshot: Snapshot, s: Scenario, known: EpisodePrices) -> Tensor:
    """κ that each user charges itself for a joule, (B, U): more than was broadcast if it is behind its plan, less if ahead."""
    each = snapshot.battery.to(torch.float64) / snapshot.steps_left[:, None]
    return corrected_price(known.battery, each / known.energy, s)


@cached(LRUCache(64), key=lambda s, steps_old=None: (s, steps_old), lock=Lock())
def price_rule(s: Scenario, steps_old: int | None = None) -> PriceRule:
    """How users of this ward get to the prices of a step; cached. steps_old: age of what servers broadcast, None if nothing."""
    sample = solved_sample(s)
    steps = SampleSteps(sample.snapshot, sample.dual.prices, worlds=1 if s.workload is not None else 0)
    if steps_old is None:
        return PriceRule(s, episode_prices(s).prices, steps)
    history = steps if s.workload is not None else _history(s)
    return PriceRule(s, episode_prices(s).prices, steps, history, steps_old)


def _history(s: Scenario) -> SampleSteps:
    """The first steps of some worlds, from seeds that no evaluation uses."""
    world = World(s, world_seeds(SAMPLE_SEED, 0, HISTORY_WORLDS))
    state, steps = world.initial_state(), []
    for step in range(min(s.T, HISTORY_STEPS)):
        state = world.advance(state, step) if step else state
        steps.append(world.snapshot(state, step))
    snapshot = concatenate(steps)
    return SampleSteps(snapshot, solve_dual(snapshot, s).prices, HISTORY_WORLDS)


@dataclass(frozen=True)
class Offers:
    """What devices offer all users' tasks at the prices that they expect, and what price response does then."""

    tasks: Tasks
    action: Action
    skipped: Tensor  # (B, U, J) bool, tasks that no device is worth
    first: Tensor  # (B, U, K) and room, (B, U, K): a user's n tasks on a server make it dearer by (n + first) / room
    room: Tensor
    # (B, U, J, K, 2): a task n on a server makes it dearer for the user's task j by the scalar product of x_j and x_n; then
    # `first` and `room` do not count
    own_load: Tensor | None = None

    @property
    def costs(self) -> Tensor:
        """What each task costs at these prices, (B, U, J)."""
        if self.own_load is None:
            return self.tasks.value.amin(-1)
        servers = torch.arange(1, self.own_load.shape[3] + 1, device=self.own_load.device)
        there = (self.action.choice[..., None] == servers)[..., None] * self.own_load
        dearer = (there * (there.sum(2, keepdim=True) - there)).sum((3, 4))
        chosen = self.tasks.value.gather(3, self.action.choice[..., None]).squeeze(3)
        return torch.where(self.skipped, self.tasks.value[..., -1], chosen + dearer)


@dataclass(frozen=True)
class _Response(Batch):
    """What the users want at given prices."""

    action: Action
    skipped: Tensor  # (B, U, J) bool
    need: Tensor  # (B, U) J that the step may take, estimated from above


@dataclass(frozen=True)
class _Users:
    """Some users of a ward and what they know."""

    snapshot: Snapshot
    prices: Prices
    kappa: Tensor  # (B, U) 1/J
    first: int  # number of the first one, from 0


@dataclass(frozen=True)
class _Wanted:
    """What some users do with their tasks, before they choose servers."""

    problem: EpisodeProblem
    prices: Prices
    tasks: Tasks
    own_tasks: OwnCpuTasks
    active: Tensor  # (B, U, J) bool, without tasks that are given up
    local: Tensor  # (B, U, J) bool
    skip: Tensor  # (B, U, J) bool

    @cached_property
    def own_choices(self) -> OwnChoices:
        """The same tasks for users that reckon with their own load."""
        return OwnChoices(self.problem, self.tasks, self.own_tasks, self.prices, self.active)


@dataclass(frozen=True)
class _Way:
    """How the users of a ward choose servers and how careful they are, found on sample steps."""

    rule: PriceRule | None  # None: at fixed prices
    staggered: bool  # whether larger servers get more tasks, and users start counting at different fractions of a task
    crowding: float = CROWDING
    temperature: float | None = None  # of the softmin by which tasks divide; None: tasks avoid crowded servers
    others: Tensor | None = None  # (U, 3, K) expected loads, see `OwnChoices`; None: users know prices only
    surcharge: float = 1.0  # on servers' prices
    caution: float = 1.0  # by which more energy may be spent than was reckoned with


@dataclass(frozen=True)
class _Tried:
    """What a price sample earns, and J that each user spends and that it expected to need at most, (B, U)."""

    earned: float
    late: bool  # whether a task that was sent is
    spent: Tensor
    need: Tensor


def _offsets(first: int, users: int, servers: int, device: torch.device) -> Tensor:
    """Numbers of the servers in the cyclic order of each user, (U, K): the one with which it begins is 0."""
    return (torch.arange(first, first + users, device=device)[:, None] + torch.arange(servers, device=device)) % servers


def _divide(values: Tensor, here: Tensor, temperature: float, first: int) -> Tensor:
    """Choices (B, U, J): 0 for tasks of `here`; each server gets as many other tasks of all users as its weights add up to.

    values: (B, U, J, K) costs on the servers; temperature: of their softmin, relative to the least. Each user's tasks, largest
    first, go to the server that is furthest behind the weights of the user's tasks so far. Users start at different fractions of
    a task, which are spread evenly over all users. first: number of the first user, from 0.
    """
    _, u, j, k = values.shape
    least = values.amin(-1, keepdim=True)
    weights = ((least - values) / (temperature * least)).exp_()
    weights = torch.where(weights > LEAST_WEIGHT, weights, 0.0)
    weights = (weights / weights.sum(-1, keepdim=True)).masked_fill_(here[..., None], 0.0)
    number = torch.arange(first, first + u, device=values.device, dtype=torch.float64)[:, None]
    server = torch.arange(k, device=values.device, dtype=torch.float64)
    behind = ((number * PHASES[0] + server * PHASES[1]) % 1.0).expand(len(values), -1, -1).clone()
    choice = torch.zeros_like(here, dtype=torch.int64)
    order = torch.where(here, -1.0, least[..., 0]).argsort(dim=-1, descending=True)
    for rank in range(j):
        task = order[..., rank : rank + 1]
        weight = weights.gather(2, task[..., None].expand(-1, -1, 1, k)).squeeze(2)
        behind += weight
        chosen = behind.masked_fill(weight == 0, -torch.inf).argmax(-1, keepdim=True)
        sent = ~here.gather(2, task)
        choice.scatter_(2, task, torch.where(sent, chosen + 1, 0))
        behind.scatter_add_(2, chosen, -sent.to(behind.dtype))
    return choice


def _joined(parts: list[Action]) -> Action:
    """The decisions of groups of users as one."""
    if len(parts) == 1:
        return parts[0]
    return Action(*(torch.cat([getattr(x, name) for x in parts], 1) for name in ("choice", "cpu", "bandwidth")))


def sent_energy(choice: Tensor, energy: Tensor, usual: Tensor | None = None) -> Tensor:
    """What sending each task takes, (B, U, J) in J, where users reckon with `energy`, (B, U, J, K + 2).

    usual: `PriceResponse.usual_energy`, if users reckon with a dearer joule than usual.
    """
    chosen = choice[..., None]
    sent = energy.gather(3, chosen)
    if usual is not None:
        sent = torch.maximum(sent, USUAL_CAUTION * usual.gather(3, chosen))
    return sent.squeeze(3) * (choice > 0)


def in_proportion(shares: Tensor, choice: Tensor, servers: int) -> Tensor:
    """Requested shares of the chosen servers, (…, J), scaled down so that a user's largest request to a server is at most 1.

    A single task would take all of a server anyway; of several, each gets its part.
    """
    if not bool((shares > 1).any()):
        return shares
    largest = torch.ones(*choice.shape[:-1], servers + 1, dtype=shares.dtype, device=shares.device)
    return shares / largest.scatter_reduce_(-1, choice, shares, "amax").gather(-1, choice)


class PriceResponse(BatteryAware):
    """Each user decides alone, from its own tasks, its battery and the prices that follow from what all users see.

    follows: whether prices follow what users see; otherwise they are fixed. steps_old: age in steps of the prices that servers
    broadcast, None if they broadcast nothing.
    """

    name = "price-response"
    label = "Price response"
    summary = (
        "Each user decides alone, at least cost, from its own tasks, its battery and the servers' shadow prices: their mean, "
        "changed as the capacities that all users see change. Few users also know what the others use of each server on average."
    )
    sharing = "requests"
    follows: ClassVar[bool] = True
    steps_old: ClassVar[int | None] = None

    def __init__(self, s: Scenario) -> None:
        super().__init__(s)
        self.known = episode_prices(s)
        self.way = _found_way(self)

    @torch.no_grad()
    def find_way(self) -> _Way:
        """Tries the ways of choosing servers on sample steps of the ward and returns the one that earns most.

        Where tasks are then late, dearer servers are tried as well: at the prices of the dual, servers are just full, and a few
        tasks more than usual make all late.
        """
        s = self.scenario
        sample = price_sample(s, LARGER_SAMPLE if bool((self.known.battery > 0).any()) else SAMPLE_STEPS)
        varies = s.background > 0 or s.workload is not None or self.steps_old is not None
        rule = price_rule(s, self.steps_old) if self.follows and varies else None
        crowdings = (CROWDING, *(x for x in CROWDINGS if x != CROWDING)) if self.follows else ()
        ways = [_Way(rule, True, x) for x in crowdings]
        if not self.follows or self.steps_old is None:
            ways.append(_Way(None, False))
        found: list[tuple[_Tried, _Way]] = []
        users: list[_Users] = []
        wanted: list[_Wanted] = []
        for way in ways:
            progress.report(len(found) / len(ways))
            self.way = way
            if not users or way.rule is not rule:
                users = self._parts(sample, self._usual_prices(sample))
                wanted = [self._wanted(part, crowding=max(CROWDINGS)) for part in users]
            responses = [self._respond_with(*part) for part in zip(users, wanted, strict=True)]
            found.append((self._tried(sample, responses), way))
        best, self.way = max(found, key=lambda tried: tried[0].earned)
        if self.follows and s.servers >= MANY_SERVERS:
            best = self._best_division(sample, best)
        if self.follows and s.users <= FEW_USERS:
            best = self._best_with_own_load(sample, best)
        if best.late:
            self._find_surcharge()
        return replace(self.way, caution=CAUTION * self._most_over_need(sample, best))

    def _most_over_need(self, sample: Snapshot, best: _Tried) -> float:
        """By what factor, at least 1, a step of the sample takes more than a user reckons with, also if all save energy.

        Then all request more bandwidth at the same time, and get no more than usual.
        """
        played = [best]
        if bool((sample.battery < AMPLE * self.scenario.T * best.spent.mean(0)).any()):
            joule = self.scenario.alpha_E / self.scenario.E_ref
            users = self._parts(sample, self._usual_prices(sample))
            usual = [self.usual_energy(part.snapshot, part.prices, part.first) for part in users]
            for factor in SAVING:
                saving = [
                    self._respond(replace(part, kappa=(part.kappa + joule) * factor - joule), usual=energy)
                    for part, energy in zip(users, usual, strict=True)
                ]
                played.append(self._tried(sample, saving))
        ratios = torch.cat([one.spent / one.need.clamp_min(1e-300) * (one.need > 0) for one in played])
        return max(1.0, float(ratios.max()))

    def _best_division(self, sample: Snapshot, best: _Tried) -> _Tried:
        """What the sample earns if users divide their tasks by softmin weights, where that is better than `best`."""
        users = self._parts(sample, self._usual_prices(sample))
        wanted = [self._wanted(part, crowding=max(CROWDINGS)) for part in users]
        most = float((sample.weight * sample.active).sum())  # if nothing cost anything
        avoiding = kept = self.way
        for temperature in TEMPERATURES:
            self.way = replace(avoiding, temperature=temperature)
            tried = self._tried(sample, [self._respond_with(*part) for part in zip(users, wanted, strict=True)])
            if tried.earned - best.earned > LEAST_GAIN * abs(most - best.earned):
                best, kept = tried, self.way
        self.way = kept
        return best

    def _best_with_own_load(self, sample: Snapshot, best: _Tried) -> _Tried:
        """What the sample earns if users reckon with their own load, where they earn more so in other steps; or else `best`.

        Where prices follow the step, mean prices are tried as well. What follows a step looks better in the steps that it was
        learned from than it is; where servers get few tasks, it leads them all to the same server.
        """
        s, way = self.scenario, self.way
        count = max(SAMPLE_STEPS, min(LARGER_SAMPLE, OWN_LOAD_TASKS // (s.users * s.tasks)))
        steps, check = price_sample(s, count), price_sample(s, count, CHECK_SEED)
        earned, chosen = self._own_load_where_it_pays(way, steps, check)
        if way.rule is not None and self.steps_old is None:
            at_mean, mean = self._own_load_where_it_pays(replace(way, rule=None), steps, check)
            most = float((check.weight * check.active).sum())  # if nothing cost anything
            if at_mean > earned + MEAN_GAIN * abs(most - earned):
                chosen = mean
        self.way = chosen
        if chosen is way:
            return best
        return self._tried(sample, [self._respond(part) for part in self._parts(sample, self._usual_prices(sample))])

    def _own_load_where_it_pays(self, way: _Way, steps: Snapshot, check: Snapshot) -> tuple[float, _Way]:
        """What the steps of `check` earn, and in which way: this one, or the same with users that reckon with their own load.

        The loads that those expect of others are learned in `steps`.
        """
        s, self.way = self.scenario, way
        users = _Users(steps, self._usual_prices(steps), battery_price(steps, s, self.known), 0)
        wanted = self._wanted(users)
        first = self._respond_with(users, wanted)
        loads = expected_loads(wanted.own_choices, first.action.choice.masked_fill(first.skipped, s.servers + 1))
        parts = [(part, self._wanted(part)) for part in self._parts(check, self._usual_prices(check))]
        found: list[tuple[float, _Way]] = []
        for one in (way, replace(way, others=loads.sum(0) - loads)):
            self.way = one
            found.append((self._tried(check, [self._respond_with(*part) for part in parts]).earned, one))
        return max(found, key=lambda tried: tried[0])

    def _find_surcharge(self) -> None:
        """Finds the factor on servers' prices with which users earn most, in other steps than those from which prices come."""
        sample, way, earned = price_sample(self.scenario, LARGER_SAMPLE, CHECK_SEED), self.way, {}
        for surcharge in (1.0, *SURCHARGES):
            self.way = replace(way, surcharge=surcharge)
            responses = [self._respond(part) for part in self._parts(sample, self._usual_prices(sample))]
            earned[surcharge] = self._tried(sample, responses).earned
        self.way = replace(way, surcharge=max(earned, key=earned.__getitem__))

    def _usual_prices(self, sample: Snapshot) -> Prices:
        """What users take for the prices in sample steps: of broadcasts they have those of the step itself, or none."""
        return self.prices(sample, self.broadcast(sample) if self.steps_old == 0 else None)

    def _tried(self, sample: Snapshot, responses: list[_Response]) -> _Tried:
        """What the sample earns if batteries do not run out, less the price of its energy."""
        action, need = _joined([one.action for one in responses]), torch.cat([one.need for one in responses], 1)
        result = outcome(sample, action, self.scenario)
        spent = result.energy.sum(-1).to(torch.float64)
        kappa = battery_price(sample, self.scenario, self.known)
        earned = (result.reward * sample.weight).to(torch.float64).sum() - (kappa * spent).sum()
        late = result.missed & (action.choice > 0) & sample.active
        return _Tried(float(earned), bool(late.any()), spent, need)

    def depends_on_charge(self, snapshot: Snapshot, spent: Tensor) -> Tensor:
        """Where a joule has a price, and where a step might take more than is left; see `BatteryAware`.

        A request takes at most `REQUEST_FACTOR` times less energy than was reckoned with, where a server grants all of it.
        """
        kappa = battery_price(snapshot, self.scenario, self.known)
        return ((kappa > 0) | (2 * REQUEST_FACTOR * self.way.caution * spent > snapshot.battery)).any(-1)

    @without_autograd
    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """Decides for every user from its own row of the snapshot, the servers' F_k and B_k, and the prices.

        If the step might take more than the battery holds, the user repeats it with dearer joules, and then skips the tasks
        that take most energy for their weight.
        """
        heard = self.broadcast(snapshot, dual) if self.steps_old == 0 else None
        return self._decide(snapshot, self.prices(snapshot, heard))

    def prices(self, snapshot: Snapshot, heard: Tensor | None = None) -> Prices:
        """What users take for the servers' prices in these steps: (1, K), (B, K), or (B, U, K) if each has its own.

        heard: what `broadcast` returned for the steps of which users know, (B, 2K).
        """
        found = self.known.prices if self.way.rule is None else self.way.rule.prices(snapshot, heard)
        if self.way.surcharge == 1:
            return found
        return Prices(found.cpu * self.way.surcharge, found.bandwidth * self.way.surcharge, found.own)

    def broadcast(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Tensor:
        """What servers broadcast after these steps, (B, 2K): from the shadow prices of the steps; see `PriceRule.pressure`.

        dual: the certificate of these steps, if the caller has it.
        """
        assert self.way.rule is not None
        if dual is None or (
            isinstance(dual, EpisodeDual) and bool((dual.battery > 0).any() or (dual.lateness > 0).any())
        ):
            dual = solve_dual(snapshot, self.scenario)  # an episode's own prices know the future
        return self.way.rule.pressure(snapshot, dual.prices)

    def _decide(self, snapshot: Snapshot, prices: Prices) -> Action:
        parts, found = self._parts(snapshot, prices), []
        for n, part in enumerate(parts):
            progress.report(n / len(parts))
            found.append(self._decide_part(part))
        return _joined(found)

    def _parts(self, snapshot: Snapshot, prices: Prices) -> list[_Users]:
        """The users in groups whose tensors stay in the processor's cache."""
        b, u, j, k = snapshot.shape
        kappa = battery_price(snapshot, self.scenario, self.known)
        step = max(1, CELLS // (b * j * k))
        if step >= u:
            return [_Users(snapshot, prices, kappa, 0)]
        users = torch.arange(u, device=snapshot.D.device).split(step)
        servers = torch.arange(k, device=snapshot.D.device)
        return [
            _Users(snapshot.keep(part, servers), prices.of_users(part), kappa[:, part], int(part[0])) for part in users
        ]

    def _decide_part(self, users: _Users) -> Action:
        s, snapshot = self.scenario, users.snapshot
        charge = snapshot.battery * RESERVED
        found = self._respond(users)
        if not bool((found.need > charge).any()):
            return found.action
        usual = self.usual_energy(snapshot, users.prices, users.first)
        found, kappa = within_charge(
            found,
            users.kappa,
            s.alpha_E / s.E_ref,
            lambda kappa: self._respond(replace(users, kappa=kappa), usual=usual),
            lambda response: response.need > charge,
            lambda rows, tried, kept: kept.replace_where(rows, tried),
        )
        users = replace(users, kappa=kappa)
        given_up = torch.zeros_like(found.skipped)
        for _ in range(s.tasks):
            over = found.need > charge
            if not bool(over.any()):
                break
            works = snapshot.active & ~found.skipped
            burden = (snapshot.D / snapshot.weight.clamp_min(1e-12)).masked_fill(~works, -1.0)
            most = torch.zeros_like(works).scatter_(2, burden.argmax(-1, keepdim=True), True)
            given_up = given_up | (most & over[..., None])
            found = self._respond(users, given_up, usual)
        return found.action

    def usual_energy(self, snapshot: Snapshot, prices: Prices, first: int = 0) -> Tensor:
        """J that sending each task takes, (B, U, J, K + 2), if a joule has the price that the ward broadcast.

        first: number of the first user, from 0.
        """
        kappa = self.known.battery[:, first : first + snapshot.shape[1]].to(snapshot.D.device)
        problem = EpisodeProblem(snapshot, self.scenario, early=True)
        return self._tasks(problem, prices, kappa.expand(len(snapshot.D), -1))[0].energy

    @property
    def caution(self) -> float:
        """By how much the energy for sending may exceed what users reckon with."""
        return self.way.caution

    @torch.no_grad()
    def offers(self, snapshot: Snapshot, prices: Prices, kappa: Tensor) -> Offers:
        """What devices offer at these prices of servers, and at the price κ (B, U) that each user expects of a joule."""
        users = _Users(snapshot, prices, kappa, 0)
        wanted = self._wanted(users)
        response = self._respond_with(users, wanted)
        shape = (snapshot.shape[0], *snapshot.shape[1::2])
        sizes = self._relative_sizes(snapshot, wanted.problem, wanted.tasks)
        offset = _offsets(0, *shape[1:], snapshot.D.device)
        if sizes is None:
            first, sizes = TIE / self.way.crowding * offset, offset.new_ones(1)
        else:
            first = offset / shape[2]
        room = sizes.to(torch.float64) / self.way.crowding
        crowding = first.expand(shape), room.expand(shape)
        if self.way.others is None:
            return Offers(wanted.tasks, response.action, response.skipped, *crowding)
        alone, own_load = wanted.own_choices.alone(self.way.others.to(kappa.device))
        value = torch.cat([wanted.tasks.value[..., :1], alone, wanted.tasks.value[..., -1:]], -1)
        return Offers(replace(wanted.tasks, value=value), response.action, response.skipped, *crowding, own_load)

    @without_autograd
    def request(self, snapshot: Snapshot, choice: Tensor) -> Action:
        """The shares that follow from the prices for given choices, (B, U, J); each user's depend only on its own tasks."""
        problem = EpisodeProblem(snapshot, self.scenario, early=True)
        kappa = battery_price(snapshot, self.scenario, self.known)
        chosen = torch.arange(1, snapshot.shape[3] + 1, device=choice.device) == choice[..., None]
        tasks, own_tasks = self._tasks(problem, self.prices(snapshot), kappa, lambda _: chosen)
        return self._request(snapshot, choice, problem, tasks, own_tasks)

    def _tasks(
        self, problem: EpisodeProblem, prices: Prices, kappa: Tensor, wanted: Callable[[Tasks], Tensor] | None = None
    ) -> tuple[Tasks, OwnCpuTasks]:
        """Costs and demands at the prices. θ follows for tasks that would be late on a server.

        wanted: from the tasks at θ = 0, for which tasks and servers θ may matter, (B, U, J, K) bool; all if not given.
        """
        prices = prices.to(kappa.device)
        tasks = problem.tasks(prices, kappa)
        late = problem.late(tasks)
        if bool((late & problem.step.active[..., None]).any()):
            late = late if wanted is None else late & wanted(tasks)
            if wanted is None or bool(late.any()):
                tasks = problem.in_time(tasks, prices, kappa, late, LATENESS_ITERATIONS)
        return tasks, problem.own_tasks(kappa)

    def _eligible(self, snapshot: Snapshot, problem: EpisodeProblem, tasks: Tasks, crowding: float) -> Tensor:
        """The servers that a task may be sent to, (B, U, J, K) bool, from its costs at θ = 0, below which none can fall.

        A task is sent only to a server that costs less than skipping it, or than another server that is crowded by all of the
        user's other tasks. Where servers are of different kinds, their relative sizes depend on all of them.
        """
        if self.scenario.has_own_servers:
            return torch.ones_like(tasks.delay, dtype=torch.bool)
        _, _, j, k = snapshot.shape
        values, skipped = tasks.value[..., 1:-1], tasks.value[..., -1]
        sizes = self._relative_sizes(snapshot, problem, tasks)
        smallest = 1.0 if sizes is None else sizes.amin(-1, keepdim=True).clamp_max(1.0)
        most = max(crowding, WIDEST / j) * j / smallest + (1 + TIE * k + ROUNDING)
        best = torch.minimum(values.masked_fill(problem.late(tasks), torch.inf).amin(-1), skipped)
        return ~(values > (best * most)[..., None])

    def _respond(self, users: _Users, given_up: Tensor | None = None, usual: Tensor | None = None) -> _Response:
        wanted = self._wanted(users, given_up, self.way.crowding if self.way.others is None else torch.inf)
        return self._respond_with(users, wanted, usual)

    def _wanted(self, users: _Users, given_up: Tensor | None = None, crowding: float = torch.inf) -> _Wanted:
        """What users do with their tasks.

        crowding: the largest at which they will choose servers; then what could not be chosen has a cost that is too low.
        """
        problem = EpisodeProblem(users.snapshot, self.scenario, early=True)
        step, active = problem.step, problem.step.active
        tasks, own_tasks = self._tasks(
            problem, users.prices, users.kappa, lambda x: self._eligible(users.snapshot, problem, x, crowding)
        )
        own, servers, skipped = tasks.value[..., 0], tasks.value[..., 1:-1], tasks.value[..., -1]
        given_up = torch.zeros_like(active) if given_up is None else given_up & active
        active = active & ~given_up
        cheapest = servers.amin(-1)
        elsewhere = torch.minimum(cheapest, skipped)
        local = self._choose_local(step, own_tasks, own, elsewhere, skipped, active) & active
        skip = given_up | (active & ~local & (skipped < cheapest))
        return _Wanted(problem, users.prices.to(active.device), tasks, own_tasks, active, local, skip)

    def _respond_with(self, users: _Users, wanted: _Wanted, usual: Tensor | None = None) -> _Response:
        """The decision. usual: see `sent_energy`."""
        snapshot, problem, tasks, skip = users.snapshot, wanted.problem, wanted.tasks, wanted.skip
        values, not_sent = tasks.value[..., 1:-1], wanted.local | skip
        if self.way.temperature is None:
            sizes = self._relative_sizes(snapshot, problem, tasks)
            choice = self._choose_servers(values, not_sent, sizes, users.first)
        else:
            choice = _divide(values, not_sent, self.way.temperature, users.first)
        if self.way.others is not None:
            others = self.way.others[users.first : users.first + snapshot.shape[1]].to(choice.device)
            choice = choice.masked_fill(skip, snapshot.shape[3] + 1)
            choice = wanted.own_choices.choose(others, choice)
            skip = choice > snapshot.shape[3]
            choice = choice.masked_fill(skip, 0)
        action = self._request(snapshot, choice, problem, tasks, wanted.own_tasks, skip)
        sent = self.way.caution * sent_energy(choice, tasks.energy, usual) * wanted.active
        f = action.cpu.to(torch.float64) * snapshot.F_i[:, :, None]
        here = problem.k0C * f * f * (choice == 0)
        return _Response(action, skip, here.sum(-1) + sent.sum(-1))

    def _request(
        self,
        snapshot: Snapshot,
        choice: Tensor,
        problem: EpisodeProblem,
        tasks: Tasks,
        own_tasks: OwnCpuTasks,
        skip: Tensor | None = None,
    ) -> Action:
        step = problem.step
        server = (choice - 1).clamp_min(0)[..., None]
        index = server.flatten(1)
        requested_f, requested_b = (
            (REQUEST_FACTOR * taken.gather(3, server).flatten(1) / capacity.gather(1, index)).view(choice.shape)
            for taken, capacity in ((tasks.f, step.F_k), (tasks.band, step.B_k))
        )
        requested_f, requested_b = (in_proportion(x, choice, step.shape[3]) for x in (requested_f, requested_b))
        local = choice.eq(0) & step.active
        if skip is not None:
            local = local & ~skip
        own = own_allocation(own_tasks, local, step.F_i) / step.F_i[:, :, None]
        cpu = torch.where(choice == 0, own, requested_f)
        dtype = snapshot.D.dtype
        return Action(choice, cpu.to(dtype), requested_b.to(dtype))

    def _choose_local(
        self, step: DualProblem, tasks: OwnCpuTasks, own: Tensor, elsewhere: Tensor, skipped: Tensor, active: Tensor
    ) -> Tensor:
        """Which tasks stay local, (B, U, J) bool, from their costs on the own CPU and `elsewhere`.

        Starts from the tasks that are cheaper on the own CPU, and moves one task in or out while that lowers the cost. Tasks
        that cannot all be in time on the own CPU cost more than skipping them.
        """
        j = own.shape[-1]
        flip = torch.eye(j, dtype=torch.bool, device=own.device)
        elsewhere = elsewhere * active
        local = active & (own < elsewhere)
        least = tasks.least
        assert least is not None
        wide = OwnCpuTasks(tasks.delay[:, :, None], tasks.energy[:, :, None], least[:, :, None])
        F = step.F_i[:, :, None]
        for _ in range(2 * j):
            sets = torch.cat([local[:, :, None], local[:, :, None] ^ flip], dim=2) & active[:, :, None]
            cost = own_cost(wide, sets, F)
            overloaded = (least[:, :, None] * sets).sum(-1) > F
            cost = torch.where(overloaded, cost + OVERLOAD * (skipped[:, :, None] * sets).sum(-1), cost)
            best = (cost + (elsewhere[:, :, None] * ~sets).sum(-1)).argmin(-1)
            if not bool(best.any()):
                break
            local = sets.gather(2, best[..., None, None].expand(-1, -1, 1, j)).squeeze(2)
        return local

    def _relative_sizes(self, snapshot: Snapshot, problem: EpisodeProblem, tasks: Tasks) -> Tensor | None:
        """How much each server has room for, relative to the mean, (B, 1 or U, K); None where all servers count as equal.

        Background load leaves every server another part. Servers of different kinds have room for so many of a user's own tasks
        as their scarcer resource allows at these prices.
        """
        if self.scenario.has_own_servers:
            active = problem.step.active[..., None]
            wanted_f, wanted_b = ((x * active).sum(2).clamp_min(1e-300) for x in (tasks.f, tasks.band))
            size = torch.minimum(problem.step.F_k[:, None] / wanted_f, problem.step.B_k[:, None] / wanted_b)
        elif self.way.staggered:
            size = (snapshot.F_k.to(torch.float64) * snapshot.B_k).sqrt()[:, None]
        else:
            return None
        return size / size.mean(-1, keepdim=True)

    def _choose_servers(self, values: Tensor, local: Tensor, sizes: Tensor | None, first: int) -> Tensor:
        """Choices (B, U, J): 0 for tasks of `local`; for each other task of a user, largest first, the cheapest server.

        The cost of a server rises with the tasks that the user already sends there. Ties are broken in cyclic order from a
        server that differs between users. values: (B, U, J, K) costs on the servers. sizes: relative sizes of the servers,
        (B, 1 or U, K), None if they do not count; first: number of the first user, from 0. A larger server then fills more
        slowly, and users start counting at different fractions of a task, so that a server which is a little too cheap does not
        get a task of every user.
        """
        b, u, j, k = values.shape
        offset = _offsets(first, u, k, values.device)
        tie = TIE * offset
        count = torch.zeros_like(values[:, :, 0])
        choice = torch.zeros(b, u, j, dtype=torch.int64, device=values.device)
        order = torch.where(local, -1.0, values.amin(-1)).argsort(dim=-1, descending=True)
        servers = torch.arange(k, device=values.device)
        for rank in range(j):
            task = order[..., rank : rank + 1]
            cost = values.gather(2, task[..., None].expand(-1, -1, 1, k)).squeeze(2)
            crowd = count if sizes is None else (count + offset / k) / sizes
            server = (cost * (1 + self.way.crowding * crowd + tie)).argmin(-1, keepdim=True)
            offloaded = ~local.gather(2, task)
            choice.scatter_(2, task, torch.where(offloaded, server + 1, 0))
            count += (servers == server) & offloaded
        return choice


@cached(LRUCache(64), key=lambda policy: (type(policy), policy.scenario), lock=Lock())
def _found_way(policy: PriceResponse) -> _Way:
    """How the users of the policy's ward choose; cached."""
    return policy.find_way()


class FixedPriceResponse(PriceResponse):
    """Price response at the ward's mean prices, whatever happens in a step."""

    name = "price-response-fixed"
    label = "Price response, fixed prices"
    summary = (
        "The same at prices that are broadcast once, the mean over typical steps, whatever the servers' load is now or what "
        "others do."
    )
    follows = False


class BroadcastPriceResponse(PriceResponse):
    """Price response whose users also know the prices that the servers found from the requests of an earlier step."""

    name = "price-response-broadcast"
    label = "Price response, prices of one step ago"
    summary = (
        "The same, but after each step the servers broadcast its shadow prices, which users know one step later; with the name "
        f"price-response-broadcast-D they know them D steps later, 0 to {OLDEST}."
    )
    uses_past = "memory"
    steps_old = 1

    def step(
        self, snapshot: Snapshot, memory: Memory | None, dual: DualSolution | None = None
    ) -> tuple[Action, Memory | None]:
        """Decides the next step; the memory is what was broadcast and is not known yet, (steps, B, 2K)."""
        if not self.steps_old:
            return self.decide(snapshot, dual), None
        b, _, _, k = snapshot.shape
        heard = torch.ones(self.steps_old, b, 2 * k, dtype=torch.float64, device=snapshot.D.device)
        if memory is not None:
            (heard,) = memory
        action = self._decide_knowing(snapshot, heard[0])
        return action, (torch.cat([heard[1:], self.broadcast(snapshot, dual)[None]]),)

    @without_autograd
    def _decide_knowing(self, snapshot: Snapshot, heard: Tensor) -> Action:
        return self._decide(snapshot, self.prices(snapshot, heard))


def broadcast_response(steps_old: int) -> type[PriceResponse]:
    """Price response with broadcast prices of this age in steps, 0 to `OLDEST`; 0 is the ideal: the prices of the step itself."""
    if steps_old == BroadcastPriceResponse.steps_old:
        return BroadcastPriceResponse
    past: UsesPast = "memory" if steps_old else "low batteries"
    age = f"{steps_old} steps ago" if steps_old else "the step itself"
    words = {
        "name": f"{BroadcastPriceResponse.name}-{steps_old}",
        "label": f"Price response, prices of {age}",
        "summary": f"The same, but users know the shadow prices of {age}"
        + ("." if steps_old else ", which nobody can know in time: the ideal."),
        "uses_past": past,
        "steps_old": steps_old,
    }
    return type(f"BroadcastPriceResponse{steps_old}", (BroadcastPriceResponse,), words)
