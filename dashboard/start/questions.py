"""The questions of the guided tour: each changes a scenario; its answer is computed when it is shown.

The policy is the one that the person has chosen, the same in both scenarios of a question; where it cannot decide in both,
price response.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from dashboard.text import plain
from iomt_core.charts.batteries import end_words, scarcest, spending_words
from iomt_core.experiments.comparison.paired import percent
from iomt_core.experiments.comparison.sides import EPISODES, Comparison, Side, compare
from iomt_core.experiments.evaluation import evaluate_episode, is_partial
from iomt_core.metrics import METRICS, TASK
from iomt_core.model.snapshot import device_name
from iomt_core.policies.base import Shares
from iomt_core.record import Record
from iomt_core.scenario import PRESETS, Scenario
from iomt_core.training.catalogue import FALLBACK, default_policy, entry, why_not
from iomt_core.twin.northbound import Why, play, why

SEED = 0
Point = tuple[int, int, int]  # step, user, task, from 1


@dataclass(frozen=True)
class Setup:
    """A scenario and the policy that decides. Both sides of a question have one seed, so that their tasks are the same."""

    scenario: Scenario
    policy: str
    shares: Shares = "own"
    seed: int = SEED

    @property
    def side(self) -> Side:
        """Scenario and policy as a side of a comparison."""
        return Side(self.scenario, self.policy, self.shares)

    @property
    def record(self) -> Record:
        """The first episode, which the map shows."""
        return play(self.scenario, self.policy, self.seed, self.shares)

    @cached_property
    def figures(self) -> dict[str, Any]:
        """The first episode's metrics by name, SI."""
        return evaluate_episode(self.scenario, self.policy, self.seed, self.shares)


@dataclass(frozen=True)
class Question:
    """One stop of the tour.

    answer: says in words what changed from `before` to `after`; page: the page that shows the answer best; pick: finds the task
    to look at, if there is one; reference: the policy of `before`, if it is not the person's.
    """

    key: str
    title: str
    teaser: str
    look: str
    before: Scenario
    after: Scenario
    answer: Callable[[Setup, Setup], str]
    page: str = "explore"
    pick: Callable[[Setup], Point | None] | None = field(default=None)
    reference: str = ""

    def setups(self, policy: str) -> tuple[Setup, Setup]:
        """Both sides of the question, for a person who has chosen this policy."""
        if self.reference and not entry(policy).decentralised:
            policy = default_policy()
        if any(why_not(policy, s) for s in (self.before, self.after)):
            policy = FALLBACK
        return Setup(self.before, self.reference or policy), Setup(self.after, policy)

    def words(self, policy: str) -> str:
        """The answer for this policy, computed now."""
        return self.answer(*self.setups(policy))


def _compared(a: Setup, b: Setup) -> Comparison:
    """Both sides on the episodes that Compare plays, so that answer and page show the same numbers."""
    return compare(a.side, b.side, a.seed, EPISODES)


def _rise(found: Comparison, name: str = "cost") -> str:
    """The change of a metric: `rises from 0.1514 to 0.1689, +11.5 % (95 % interval +11.2 to +11.8 %, 10 episodes)`."""
    pair = found.pair(name)
    old, new = pair.metric.show(pair.mean_a), pair.metric.show(pair.mean_b)
    if pair.same or pair.relative is None:
        return f"stays at {new}"
    verb = "rises" if pair.relative > 0 else "falls"
    if not pair.excludes_zero:
        verb = "does not change distinguishably,"
    return f"{verb} from {old} to {new}, {percent(pair.relative)} ({pair.interval_words})"


def _who(setup: Setup) -> str:
    return plain(entry(setup.policy).label)


def _both(found: Comparison, name: str) -> tuple[str, str]:
    """A metric in A and in B, means over the episodes, as text."""
    pair = found.pair(name)
    return pair.metric.show(pair.mean_a), pair.metric.show(pair.mean_b)


def _fewer_servers(a: Setup, b: Setup) -> str:
    found, (to_server, to_wearable) = _compared(a, b), _moved_tasks(a.record, b.record)
    delay, local = _both(found, "mean_delay_s"), _both(found, "local_share")
    return (
        f"With {_who(b)}, the cost {_rise(found)}. The mean delay goes from {delay[0]} to {delay[1]}, and {local[1]} of the "
        f"tasks stay on the wearable instead of {local[0]}. In the episode on the map, {to_server} tasks of server "
        f"{b.scenario.servers_off[0]} move to another server and {to_wearable} to the wearable."
    )


def _moved_tasks(a: Record, b: Record) -> tuple[int, int]:
    """Of the tasks on the server that is off in `b`: how many move to another server, and how many become local."""
    steps = min(len(a), len(b))
    gone = a.action.choice[:steps] == b.scenario.servers_off[0]
    local = b.action.choice[:steps] == 0
    return int((gone & ~local).sum()), int((gone & local).sum())


def _more_tasks(a: Setup, b: Setup) -> str:
    found = _compared(a, b)
    delay, local, late = (_both(found, name) for name in ("mean_delay_s", "local_share", "deadline_miss_share"))
    times = found.pair("mean_delay_s").mean_b / found.pair("mean_delay_s").mean_a
    return (
        f"With {_who(b)}, the cost per task {_rise(found)}, and everyone pays it: with {b.scenario.tasks} tasks a user instead "
        f"of {a.scenario.tasks} the mean delay is {times:.2f} times as long ({delay[0]} → {delay[1]}). {local[1]} of the tasks "
        f"stay local ({local[0]} before); {late[1]} are later than the deadline."
    )


def _worse_channel(a: Setup, b: Setup) -> str:
    found = _compared(a, b)
    local, near_a, near_b = _both(found, "local_share"), _nearest(a.record), _nearest(b.record)
    return (
        f"With {_who(b)}, and a path loss exponent of {b.scenario.eta:g} instead of {a.scenario.eta:g}, the cost {_rise(found)} "
        f"and {local[1]} of the tasks stay local ({local[0]} before). Of the tasks sent in the episode on the map, "
        f"{100 * near_b:.0f} % go to the user's nearest server ({100 * near_a:.0f} % before)."
    )


def _half_battery(a: Setup, b: Setup) -> str:
    """What the policy does with half the battery, who ends the episode, and how a plan spends the same charge."""
    who, plan, charge = _who(b), Setup(b.scenario, "optimum"), TASK["battery_j"].brief
    words = (
        f"With {who}, {_end(a.record)} before, and with half the battery {_end(b.record)}. The return "
        f"{_rise(_compared(a, b), 'return')}. On the map: {spending_words(b.record)}"
    )
    if b == plan:
        return words
    user, returned = scarcest(b.record), METRICS["return"].brief
    i = b.scenario.user_numbers.index(user)
    spent = charge(float(plan.record.outcome.energy[:, i].sum(-1).mean()))
    gain = plan.figures["return"] / b.figures["return"] - 1 if b.figures["return"] else math.nan
    more = f", {percent(gain)}" if math.isfinite(gain) else ""
    words += (
        f" The plan of the optimum spends {spent} of user {user}'s battery a step: {_end(plan.record)}, and the episode returns "
        f"{returned(plan.figures['return'])}{more} compared with {who}."
    )
    dearer = plan.figures["cost"] / b.figures["cost"] - 1
    if is_partial(b.figures) and dearer > 0:
        words += f" Its cost a task is {percent(dearer)} all the same: the cost of the steps that are played misleads."
    return words


def _end(record: Record) -> str:
    """How the episode ended, as a clause."""
    return f"it is {end_words(record)}" if bool(record.ended.any()) else end_words(record)


def _nearest(record: Record) -> float:
    """Share of the tasks sent that go to the server nearest to their user."""
    nearest = record.snapshot.distance.argmin(-1, keepdim=True) + 1
    sent = (record.action.choice > 0) & record.snapshot.active
    return float((record.action.choice == nearest)[sent].double().mean()) if bool(sent.any()) else 0.0


@lru_cache(maxsize=4)
def _local_task(setup: Setup) -> Why | None:
    """A local task of step 1 for which every server is worse, with the largest increase of the total cost if it moved.

    If servers are better for every local task, one of these; None if no task is local.
    """
    record = setup.record
    found = []
    for i, j in ((record.action.choice[0] == 0) & record.snapshot.active[0]).nonzero().tolist():
        answer = why(record, setup.policy, setup.shares, 1, record.scenario.user_numbers[i], j + 1)
        costs = answer.alternatives["cost"]
        change = float(answer.alternatives["ward_change"].iloc[1:].min())
        found.append((bool(costs.iloc[1:].min() > costs.iloc[0]), change, i, j, answer))
    return max(found, key=lambda entry: entry[:4])[-1] if found else None


def _local_point(setup: Setup) -> Point | None:
    found = _local_task(setup)
    return None if found is None else (found.step, found.user, found.task)


def _why_local(a: Setup, b: Setup) -> str:
    del a
    found = _local_task(b)
    if found is None:
        return f"{_who(b)} keeps no task local in step 1: choose another policy."
    frame = found.alternatives
    local, servers = frame.iloc[0], frame.iloc[1:]
    best = servers.iloc[int(servers["cost"].to_numpy().argmin())]
    least = servers.iloc[int(servers["ward_change"].to_numpy().argmin())]
    change, total = float(least["ward_change"]), float(b.record.totals[0])
    delay, energy = TASK["delay_s"].show, TASK["energy_j"].show
    words = (
        f"{_who(b)} keeps task {found.task} of user {found.user} local. There it costs {local['cost']:.3f}, in "
        f"{delay(local['delay_s'])} and with {energy(local['energy_j'])}. On {device_name(int(best['choice']))}, the cheapest "
        f"server for it, it would cost {best['cost']:.3f}, in {delay(best['delay_s'])} and with {energy(best['energy_j'])}, "
        "because sending costs energy. All other tasks there would get less: "
    )
    moved = f"on {device_name(int(least['choice']))}, where this matters least, the ward's total would"
    by = f"by {abs(change):.3f}, {100 * abs(change) / total:.1f} % of the step's"
    if change > 0:
        return f"{words}even {moved} rise {by}."
    return f"{words}yet {moved} fall {by}. Here the policy could do better."


def _alone(a: Setup, b: Setup) -> str:
    prices, greedy = Setup(b.scenario, "price-response"), Setup(b.scenario, "greedy")
    found, without = _compared(a, b), _compared(a, greedy).pair("cost")
    gap = _both(found, "gap")
    untrained = ""
    if b != prices:
        untrained = f"{_who(prices)}, which needs no training, costs {_both(_compared(a, prices), 'cost')[1]}. "
    return (
        f"When each user decides alone with {_who(b)}, and nobody sees everything as the optimum does, the cost {_rise(found)}. "
        f"{found.changed / found.compared:.0%} of the decisions differ, but many decisions are about equally good. The certified "
        f"gap is {gap[1]} instead of {gap[0]}. {untrained}Without prices the result is worse: greedy, where each task takes what "
        f"is cheapest for itself, costs {without.mean_b / without.mean_a:.2f} times as much as the optimum."
    )


_PAPER = PRESETS["paper"]
_DISTANCE = _PAPER.changed(channel="log-distance", name="paper, log-distance")
QUESTIONS: tuple[Question, ...] = (
    Question(
        "server", "One server less?", "The ward loses one of its four servers. Which tasks pay for it?",
        "The tasks of the lost server on the map, and how far every policy's bar has moved from its pinned mark. In the sidebar "
        "you can switch another server off instead.",
        _PAPER, _PAPER.changed(servers_off=4), _fewer_servers,
    ),
    Question(
        "tasks", "Twice the tasks?", "Every user has twelve tasks instead of six, with the same four servers.",
        "The mean delay, and “Where time goes” below: which part of the delay grows?",
        _PAPER.changed(tasks=6), _PAPER.changed(tasks=12), _more_tasks,
    ),
    Question(
        "channel", "A worse channel?",
        "The physical channel, where distance decides, with a path loss exponent of 4 instead of 3.",
        "The lines on the map: who still sends, and to which server? In the paper's own formula (5) distance hardly matters, so "
        "both sides here use the log-distance channel.",
        _DISTANCE, _DISTANCE.changed(eta=4.0), _worse_channel,
    ),
    Question(
        "battery", "Half the battery?", "Every user has 1.25 mJ for an episode instead of 2.5 mJ.",
        "The curves of the batteries: which user is empty first, and how the plan spends the same charge. The bars show the "
        "return, because a cost of the steps that are played leaves out those that are not.",
        _PAPER.changed(Cap=2.5e-3), _PAPER.changed(Cap=1.25e-3), _half_battery,
    ),
    Question(
        "local", "Why is this task local?", "Four servers, each ten times as fast as the wearable, and yet the task stays local.",
        "The selected task's alternatives: each row is a full computation of the step with only this task moved.",
        _PAPER, _PAPER, _why_local, pick=_local_point,
    ),
    Question(
        "alone", "What does deciding alone cost?",
        "No user knows the tasks of others. The optimum sees them all.",
        "The difference of the costs, and the bound: how much could a better decentralised policy still gain?",
        _PAPER, _PAPER, _alone, page="compare", reference="optimum",
    ),
)  # fmt: skip
