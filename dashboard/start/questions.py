"""The questions of the guided tour: each changes a scenario or its policy; its answer is computed when it is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from iomt_core.experiments.evaluation import evaluate_episode
from iomt_core.metrics import METRICS, TASK
from iomt_core.model.snapshot import device_name
from iomt_core.policies.base import Shares
from iomt_core.record import Record
from iomt_core.scenario import PRESETS, Scenario
from iomt_core.twin.northbound import Why, play, why

SEED = 0
Point = tuple[int, int, int]  # step, user, task, from 1


@dataclass(frozen=True)
class Setup:
    """A scenario and the policy that decides. Both sides of a question have one seed, so that their tasks are the same."""

    scenario: Scenario
    policy: str = "optimum"
    shares: Shares = "own"
    seed: int = SEED

    @property
    def record(self) -> Record:
        """The episode."""
        return play(self.scenario, self.policy, self.seed, self.shares)

    @cached_property
    def figures(self) -> dict[str, Any]:
        """The episode's metrics by name, SI."""
        return evaluate_episode(self.scenario, self.policy, self.seed, self.shares)


@dataclass(frozen=True)
class Question:
    """One stop of the tour.

    answer: says in words what changed from `before` to `after`; pick: finds the task to look at, if there is one; page: the
    page that shows the answer best.
    """

    key: str
    title: str
    teaser: str
    look: str
    before: Setup
    after: Setup
    answer: Callable[[Setup, Setup], str]
    page: str = "explore"
    pick: Callable[[Setup], Point] | None = field(default=None)

    def words(self) -> str:
        """The answer, computed now."""
        return self.answer(self.before, self.after)


def _rise(old: float, new: float) -> str:
    """A change as text: `rises from 0.1514 to 0.1689 (+11.5 %)`."""
    if old <= 0 or abs(new / old - 1) < 5e-4:
        return f"stays at {new:.4f}"
    return f"{'rises' if new > old else 'falls'} from {old:.4f} to {new:.4f} ({100 * (new / old - 1):+.1f} %)"


def _delay(setup: Setup) -> str:
    return METRICS["mean_delay_s"].show(setup.figures["mean_delay_s"])


def _local(setup: Setup) -> str:
    return METRICS["local_share"].show(setup.figures["local_share"])


def _fewer_servers(a: Setup, b: Setup) -> str:
    to_server, to_wearable = _moved_tasks(a.record, b.record)
    return (
        f"The cost of the best decision {_rise(a.figures['cost'], b.figures['cost'])}. The mean delay goes from {_delay(a)} to "
        f"{_delay(b)}, and {_local(b)} of the tasks stay on the wearable instead of {_local(a)}: of the tasks on "
        f"the last server, {to_server} move to another server and {to_wearable} to the wearable."
    )


def _moved_tasks(a: Record, b: Record) -> tuple[int, int]:
    """Of the tasks on servers that `b` does not have: how many move to another server, and how many become local."""
    steps = min(len(a), len(b))
    gone = a.action.choice[:steps] > b.scenario.servers
    local = b.action.choice[:steps] == 0
    return int((gone & ~local).sum()), int((gone & local).sum())


def _more_tasks(a: Setup, b: Setup) -> str:
    late = METRICS["deadline_miss_share"].show(b.figures["deadline_miss_share"])
    shared = b.figures["mean_delay_s"] / a.figures["mean_delay_s"]
    return (
        f"The cost per task {_rise(a.figures['cost'], b.figures['cost'])}, and everyone pays it: with {b.scenario.tasks} tasks a "
        f"user instead of {a.scenario.tasks} the mean delay is {shared:.2f} times as long ({_delay(a)} → {_delay(b)}). "
        f"{_local(b)} of the tasks stay local ({_local(a)} before); {late} are later than the deadline."
    )


def _worse_channel(a: Setup, b: Setup) -> str:
    near_a, near_b = _nearest(a.record), _nearest(b.record)
    return (
        f"With a path loss exponent of {b.scenario.eta:g} instead of {a.scenario.eta:g} the cost "
        f"{_rise(a.figures['cost'], b.figures['cost'])} and {_local(b)} of the tasks stay local ({_local(a)} before). Of the "
        f"tasks sent, {100 * near_b:.0f} % go to the user's nearest server ({100 * near_a:.0f} % before)."
    )


def _nearest(record: Record) -> float:
    """Share of the tasks sent that go to the server nearest to their user."""
    nearest = record.snapshot.distance.argmin(-1, keepdim=True) + 1
    sent = (record.action.choice > 0) & record.snapshot.active
    return float((record.action.choice == nearest)[sent].double().mean()) if bool(sent.any()) else 0.0


@lru_cache(maxsize=4)
def _local_task(setup: Setup) -> Why:
    """A local task of step 1 for which every server is worse, with the largest increase of the total cost if it moved."""
    record = setup.record
    found = []
    for i, j in ((record.action.choice[0] == 0) & record.snapshot.active[0]).nonzero().tolist():
        answer = why(record, setup.policy, setup.shares, 1, i + 1, j + 1)
        costs = answer.alternatives["cost"]
        change = float(answer.alternatives["ward_change"].iloc[1:].min())
        found.append((bool(costs.iloc[1:].min() > costs.iloc[0]), change, i, j, answer))
    if not found:
        raise LookupError("no task is local in step 1")
    return max(found, key=lambda entry: entry[:4])[-1]


def _local_point(setup: Setup) -> Point:
    found = _local_task(setup)
    return found.step, found.user, found.task


def _why_local(a: Setup, b: Setup) -> str:
    del a
    found = _local_task(b)
    frame = found.alternatives
    local, servers = frame.iloc[0], frame.iloc[1:]
    best = servers.iloc[int(servers["cost"].to_numpy().argmin())]
    least = servers.iloc[int(servers["ward_change"].to_numpy().argmin())]
    total = float(b.record.totals[0])
    delay, energy = TASK["delay_s"].show, TASK["energy_j"].show
    return (
        f"Task {found.task} of user {found.user} costs {local['cost']:.3f} on the wearable, in {delay(local['delay_s'])} and "
        f"with {energy(local['energy_j'])}. On {device_name(int(best['choice']))}, the cheapest server for it, it would cost "
        f"{best['cost']:.3f}: {delay(best['delay_s'])}, but {energy(best['energy_j'])}, because sending costs energy. And "
        f"all other tasks would get less: even on {device_name(int(least['choice']))}, where this matters least, the "
        f"ward's total would rise by {least['ward_change']:.3f}, {100 * least['ward_change'] / total:.1f} % of the step's."
    )


def _alone(a: Setup, b: Setup) -> str:
    greedy = Setup(b.scenario, "greedy")
    differ = a.record.action.choice != b.record.action.choice
    active = a.record.snapshot.active
    share = float(differ[active].double().mean())
    gap = METRICS["gap"].show
    return (
        f"When each user decides alone, from the servers' mean prices, the cost {_rise(a.figures['cost'], b.figures['cost'])}, "
        "although "
        f"{100 * share:.0f} % of the decisions differ: many decisions are about equally good. The certified gap grows from "
        f"{gap(a.figures['gap'])} to {gap(b.figures['gap'])}. Without prices the result is worse: greedy, where "
        f"each task takes what is cheapest for itself, costs {greedy.figures['cost'] / a.figures['cost']:.2f} times as much as "
        "the optimum."
    )


_PAPER = PRESETS["paper"]
_DISTANCE = _PAPER.changed(channel="log-distance", name="paper, log-distance")
QUESTIONS: tuple[Question, ...] = (
    Question(
        "server", "One server less?", "The ward loses one of its four servers. Which tasks pay for it?",
        "The tasks of the lost server on the map, and how far every policy's bar has moved from its pinned mark. (The "
        "ward lays out three servers anew, so one of those that stay moves too.)",
        Setup(_PAPER), Setup(_PAPER.changed(servers=_PAPER.servers - 1)), _fewer_servers,
    ),
    Question(
        "tasks", "Twice the tasks?", "Every user has twice as many tasks with the same four servers.",
        "The mean delay, and “Where time goes” below: which part of the delay grows?",
        Setup(_PAPER), Setup(_PAPER.changed(tasks=2 * _PAPER.tasks)), _more_tasks,
    ),
    Question(
        "channel", "A worse channel?",
        "The physical channel, where distance decides, with a path loss exponent of 4 instead of 3.",
        "The lines on the map: who still sends, and to which server? In the paper's own formula (5) distance hardly matters, so "
        "both sides here use the log-distance channel.",
        Setup(_DISTANCE), Setup(_DISTANCE.changed(eta=4.0)), _worse_channel,
    ),
    Question(
        "local", "Why is this task local?", "Four servers, each ten times as fast as the wearable, and yet the task stays local.",
        "The selected task's alternatives: each row is a full computation of the step with only this task moved.",
        Setup(_PAPER), Setup(_PAPER), _why_local, pick=_local_point,
    ),
    Question(
        "alone", "What does deciding alone cost?",
        "No user knows the tasks of others; users know only the servers' mean prices.",
        "The difference of the costs, and the bound: how much could a better decentralised policy still gain?",
        Setup(_PAPER), Setup(_PAPER, "price-response"), _alone, page="compare",
    ),
)  # fmt: skip
