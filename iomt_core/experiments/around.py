"""What policies achieve, also at other values of one parameter, computed by a process of its own beside the dashboard."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import RLock
from typing import Any, TypeVar

import torch
from cachetools import LRUCache, TTLCache

from iomt_core.experiments.background import BackgroundProcess, Task
from iomt_core.experiments.evaluation import battery_charges, evaluate_episode
from iomt_core.experiments.sweeps.spec import Axis, spaced, switched_off, usual_ends
from iomt_core.model import progress
from iomt_core.policies.base import Shares
from iomt_core.policies.dual import DualSolution
from iomt_core.record import Record
from iomt_core.scenario import PRESETS, Scenario, ScenarioError, metadata
from iomt_core.training.catalogue import checkpoint_of, default_policy, entry, why_not
from iomt_core.twin.northbound import first_episode, play

COUNT = 9  # values with linear spacing, beside the present one
E6 = (1.0, 1.5, 2.2, 3.3, 4.7, 6.8)  # values with logarithmic spacing: preferred numbers (IEC 60063)
MOST_RESULTS = 4000  # that are kept
MOST_RECORDS = 16  # of large results, which take some 10 MB each in a city
FORGET_SECONDS = (
    5.0  # after its last request a client is taken to have left; a page that waits asks several times a second
)
PATIENCE = 3  # times as long, what has begun goes on

CHARGES = "charges"
W = TypeVar("W", bound=Hashable)
Result = Mapping[str, Any] | str  # the metrics of an episode by name, or why there are none


def axis_around(s: Scenario, parameter: str) -> Axis:
    """The usual range of a parameter around its value in `s`, and that value. Raises `ScenarioError`.

    While the present value moves, most of the other values stay, so that their results are known already.
    """
    low, high, spacing = usual_ends(s, parameter)
    axis = spaced(parameter, low, high, COUNT, spacing)
    values = set(axis.values)
    if spacing == "logarithmic":
        factor = axis.meta.shown_factor
        powers = range(math.floor(math.log10(low * factor)), math.ceil(math.log10(high * factor)))
        numbers = (float(f"{e}e{power}") for power in powers for e in E6)  # in the unit that people see
        values = {x for x in (float(f"{number / factor:.10g}") for number in numbers) if low <= x <= high}
    now = present_value(s, parameter)
    return axis.model_copy(update={"values": tuple(sorted(values if now is None else values | {now}))})


def present_value(s: Scenario, parameter: str) -> float | None:
    """The value in `s` as an axis has it, the middle if it is a range; None if it is automatic.

    None too for a number of users or servers of which some are switched off: no value of such an axis is this ward; and for 0 on
    a logarithmic axis.
    """
    value = getattr(s, parameter)
    if value is None or switched_off(s, parameter):
        return None
    now = float(sum(value) / 2 if isinstance(value, tuple) else value)
    return None if now == 0 and metadata()[parameter].log else now


@dataclass(frozen=True)
class Curves:
    """Metrics of policies over the values of a parameter, in the first episode of a seed; as far as they are known."""

    axis: Axis
    results: Mapping[tuple[float, str], Result]  # by value and policy
    total: int  # number of results when all are known

    @property
    def complete(self) -> bool:
        """Whether all results are known."""
        return len(self.results) == self.total

    def of(self, policy: str, metric: str) -> list[tuple[float, float]]:
        """The known points of a policy's curve, values ascending; both in SI units."""
        found = ((value, self.results.get((value, policy))) for value in self.axis.values)
        return [(value, result[metric]) for value, result in found if isinstance(result, Mapping)]

    def reasons(self, policy: str) -> dict[float, str]:
        """Why the policy has no result at a value, by value."""
        found = {value: self.results.get((value, policy)) for value in self.axis.values}
        return {value: result for value, result in found.items() if isinstance(result, str)}


@dataclass(frozen=True)
class Request:
    """Something that a process computes: a function of a module with its arguments.

    A quick one is computed beside what takes minutes, and does not wait for it.
    """

    compute: Callable[..., Any]
    arguments: tuple[Any, ...]
    known_as: Hashable  # equal requests are computed once
    quick: bool = False

    @staticmethod
    def of(compute: Callable[..., Any], s: Scenario, policy: str, *others: Any, quick: bool = False) -> Request:
        """A request about a ward and a policy; it is another one when the policy's checkpoint has changed."""
        known_as = (compute.__name__, s.digest, policy, checkpoint_of(policy), *others)
        return Request(compute, (s, policy, *others), known_as, quick)


class CurveComputer:
    """Computes curves and whatever else pages wait for in one process for all sessions, and keeps the results.

    Another one computes what is quick; it starts when it is first needed, in a large ward.

    The value nearest to the present one is computed first. A client's new request takes the place of its last one: what
    nobody asks for any more is given up, also if it has begun, and so is what was wanted by a client that has left.
    """

    def __init__(
        self,
        forget_seconds: float = FORGET_SECONDS,
        process: BackgroundProcess | None = None,
        quick: BackgroundProcess | None = None,
    ) -> None:
        self._results: LRUCache[Hashable, Task] = LRUCache(MOST_RESULTS)
        self._large: LRUCache[Hashable, Task] = LRUCache(MOST_RECORDS)
        self._wanted: TTLCache[str, frozenset[Hashable]] = TTLCache(256, forget_seconds)  # by client
        self._forget_seconds = forget_seconds
        self._process, self._quick = process or BackgroundProcess(), quick or BackgroundProcess()
        self._lock = RLock()  # not a plain lock: a callback may run in the thread that holds it

    def start(self) -> None:
        """Starts the process, which takes some seconds, so that the first request does not wait for it."""
        self._process.submit(evaluate, PRESETS["paper"], default_policy(), "own", 0)

    def close(self) -> None:
        """Ends the processes at once. Without this, the end of the program waits for all results that were asked for."""
        self._process.close()
        self._quick.close()

    def curves(self, client: str, s: Scenario, axis: Axis, policies: Mapping[str, Shares], seed: int) -> Curves:
        """What is known by now; ask again until it is complete. Returns at once.

        client: who asks, for instance a session; policies: the share rule of each policy, by name.
        """
        wards = dict(_wards(s, axis))
        wanted = {
            (value, policy): ward
            if isinstance(ward, str)
            else Request.of(evaluate, ward, policy, policies[policy], seed)
            for value, ward in wards.items()
            for policy in policies
        }
        return Curves(axis, self._known(client, wanted), len(wanted))

    def episodes(self, client: str, s: Scenario, policies: Mapping[str, Shares], seed: int) -> dict[str, Result]:
        """What is known by now of these policies in one ward, by name; ask again until all are there. Returns at once.

        Besides the metrics a result has `CHARGES`, see `evaluate`. Arguments as for `curves`; one client asks for one of both.
        """
        return self._known(client, {one: Request.of(evaluate, s, one, policies[one], seed) for one in policies})

    def large(self, client: str, wanted: Mapping[W, Request]) -> tuple[dict[W, Any], dict[W, float]]:
        """What is known by now of the requests, whose results may be large, and the share that is done of each. Returns at once.

        A request that has failed has a text as result. Of all clients together only the last `MOST_RECORDS` results are kept.
        """
        with self._lock:
            found = self._known(client, wanted, self._large)
            tasks = {name: self._large.get(request.known_as) for name, request in wanted.items()}
            return found, {name: task.process.share(task) if task else 0.0 for name, task in tasks.items()}

    def _known(
        self, client: str, wanted: Mapping[W, Request | str], results: LRUCache[Hashable, Task] | None = None
    ) -> dict[W, Any]:
        """Begins all that is wanted and returns the results that are there; a text instead of a request is its own result."""
        results = self._results if results is None else results
        requests = {name: one for name, one in wanted.items() if isinstance(one, Request)}
        found: dict[W, Any] = {name: one for name, one in wanted.items() if isinstance(one, str)}
        with self._lock:
            self._wanted[client] = frozenset(one.known_as for one in requests.values())
            self._stop_unwanted()
            for name, one in requests.items():
                task = results.get(one.known_as)
                if task is None or task.stopped:
                    seconds = PATIENCE * self._forget_seconds
                    process = self._quick if one.quick else self._process
                    task = results[one.known_as] = process.submit(one.compute, *one.arguments, seconds=seconds)
                    task.future.add_done_callback(lambda _: self._stop_unwanted())
                if not task.future.done():
                    task.process.wait_for(task, PATIENCE * self._forget_seconds)
                elif (error := task.future.exception()) is None:
                    found[name] = task.future.result()
                else:
                    del results[one.known_as]  # tried again at the next request
                    found[name] = f"It could not be computed: {error}"
        return found

    def _stop_unwanted(self) -> None:
        with self._lock:
            wanted = frozenset[Hashable]().union(*self._wanted.values())
            for results in (self._results, self._large):
                for known_as, task in list(results.items()):
                    if not task.future.done() and known_as not in wanted:
                        results.pop(known_as, None)
                        task.process.stop(task)


@lru_cache(maxsize=1)
def curve_computer() -> CurveComputer:
    """The one of this process."""
    return CurveComputer()


def evaluate(s: Scenario, policy: str, shares: Shares, seed: int) -> Result:
    """Metrics of the episode that the pages show, with `battery_charges` as `CHARGES`; or why the policy cannot decide here."""
    if reason := why_not(policy, s):
        return reason
    with progress.part(0.0, 0.9):
        first_episode(s, seed)
    charges = battery_charges(play(s, policy, seed, shares)).to(torch.float32).numpy()
    return {**evaluate_episode(s, policy, seed, shares), CHARGES: charges}


def played(s: Scenario, policy: str, shares: Shares, seed: int) -> Record | str:
    """The record of the episode that the pages show, without certificates; or why the policy cannot decide here."""
    if reason := why_not(policy, s):
        return reason
    return replace(play(s, policy, seed, shares, certify=needs_certificate(policy)), dual=None)


def certificate(s: Scenario, _policy: str, seed: int) -> DualSolution:
    """The certificates of the steps of the same episode, without the tensors of all tasks."""
    dual = first_episode(s, seed).dual
    assert dual is not None
    return dual.without_tasks()


def needs_certificate(policy: str) -> bool:
    """Whether a policy begins with the certificate of the steps that it decides: those that share out optimally."""
    return entry(policy).sharing == "optimal"


def _wards(s: Scenario, axis: Axis) -> Iterator[tuple[float, Scenario | str]]:
    """The ward at each value, the nearest to the present one first; or why there is none."""
    now = present_value(s, axis.parameter)
    place: Callable[[float], float] = math.log if axis.spacing == "logarithmic" else float
    for value in sorted(axis.values, key=lambda x: 0.0 if now is None else abs(place(x) - place(now))):
        try:
            yield value, s if value == now else s.changed(**axis.change(s, value))
        except ScenarioError as error:
            yield value, " ".join(error.problems)
