"""What policies achieve at other values of one parameter, computed by a process of its own beside the dashboard.

A thread would not do: an episode takes thousands of small operations, and threads that compute such take turns, so that the
dashboard would need twice as long for every answer.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass
from functools import lru_cache
from threading import RLock, Thread
from typing import Any, TypeVar, cast

import psutil
import torch
from cachetools import LRUCache, TTLCache

from iomt_core.experiments.evaluation import battery_charges, evaluate_episode
from iomt_core.experiments.sweeps.spec import Axis, spaced, switched_off, usual_ends
from iomt_core.policies.base import Shares
from iomt_core.scenario import PRESETS, Scenario, ScenarioError, metadata
from iomt_core.training.catalogue import checkpoint_of, default_policy, why_not
from iomt_core.twin.northbound import play

COUNT = 9  # values with linear spacing, beside the present one
E6 = (1.0, 1.5, 2.2, 3.3, 4.7, 6.8)  # values with logarithmic spacing: preferred numbers (IEC 60063)
MOST_RESULTS = 4000  # that are kept
NICE = 5
FORGET_SECONDS = (
    5.0  # after its last request a client is taken to have left; a page that waits asks several times a second
)
IDLE_SECONDS = 3600  # after which the process ends; the next request starts another

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


class CurveComputer:
    """Computes curves in one process for all sessions and keeps the results.

    The value nearest to the present one is computed first. A client's new request takes the place of its last one: what
    nobody asks for any more and has not begun is not computed, nor what was wanted by a client that has left.
    """

    def __init__(self, forget_seconds: float = FORGET_SECONDS) -> None:
        self._results: LRUCache[Hashable, Future[Result]] = LRUCache(MOST_RESULTS)
        self._wanted: TTLCache[str, frozenset[Hashable]] = TTLCache(256, forget_seconds)  # by client
        self._executor: Any = None
        self._lock = RLock()  # not a plain lock: a callback may run in the thread that holds it

    def start(self) -> None:
        """Starts the process, which takes some seconds, so that the first request does not wait for it."""
        self._submit(PRESETS["paper"], default_policy(), "own", 0)

    def close(self) -> None:
        """Ends the process at once. Without this, the end of the program waits for all results that were asked for."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(kill_workers=True)

    def curves(self, client: str, s: Scenario, axis: Axis, policies: Mapping[str, Shares], seed: int) -> Curves:
        """What is known by now; ask again until it is complete. Returns at once.

        client: who asks, for instance a session; policies: the share rule of each policy, by name.
        """
        wards = dict(_wards(s, axis))
        wanted = {(value, policy): (ward, policy) for value, ward in wards.items() for policy in policies}
        return Curves(axis, self._known(client, wanted, policies, seed), len(wanted))

    def episodes(self, client: str, s: Scenario, policies: Mapping[str, Shares], seed: int) -> dict[str, Result]:
        """What is known by now of these policies in one ward, by name; ask again until all are there. Returns at once.

        Besides the metrics a result has `CHARGES`, see `evaluate`. Arguments as for `curves`; one client asks for one of both.
        """
        return self._known(client, {policy: (s, policy) for policy in policies}, policies, seed)

    def _known(
        self, client: str, wanted: Mapping[W, tuple[Scenario | str, str]], shares: Mapping[str, Shares], seed: int
    ) -> dict[W, Result]:
        """Begins all that is wanted, a ward and a policy each, and returns the results that are there."""
        keys = {
            name: (
                ward if isinstance(ward, str) else ward.digest,
                policy,
                shares[policy],
                seed,
                checkpoint_of(policy),
            )
            for name, (ward, policy) in wanted.items()
        }
        with self._lock:
            self._wanted[client] = frozenset(keys.values())
            self._cancel_unwanted()
            found = {}
            for name, key in keys.items():
                ward, policy = wanted[name]
                if key not in self._results:
                    self._results[key] = self._begin(ward, policy, shares[policy], seed)
                if self._results[key].done():
                    found[name] = self._result(key)
        return found

    def _begin(self, ward: Scenario | str, policy: str, shares: Shares, seed: int) -> Future[Result]:
        if isinstance(ward, Scenario):
            future = self._submit(ward, policy, shares, seed)
            future.add_done_callback(self._on_done)
            return future
        impossible: Future[Result] = Future()
        impossible.set_result(ward)
        return impossible

    def _submit(self, *arguments: Any) -> Future[Result]:
        with self._lock:
            if self._executor is not None:
                with contextlib.suppress(BrokenExecutor):  # its process was killed
                    return cast(Future[Result], self._executor.submit(evaluate, *arguments))
            self._executor = _new_executor()
            return cast(Future[Result], self._executor.submit(evaluate, *arguments))

    def _result(self, key: Hashable) -> Result:
        error = self._results[key].exception()
        if error is None:
            return self._results[key].result()
        del self._results[key]  # tried again at the next request
        return f"It could not be computed: {error}"

    def _on_done(self, future: Future[Result]) -> None:
        if not future.cancelled():
            with self._lock:
                self._cancel_unwanted()

    def _cancel_unwanted(self) -> None:
        wanted = frozenset().union(*self._wanted.values())
        for key, future in list(self._results.items()):
            if not future.done() and key not in wanted and future.cancel():
                del self._results[key]


@lru_cache(maxsize=1)
def curve_computer() -> CurveComputer:
    """The one of this process."""
    return CurveComputer()


def evaluate(s: Scenario, policy: str, shares: Shares, seed: int) -> Result:
    """Metrics of the episode that the pages show, with `battery_charges` as `CHARGES`; or why the policy cannot decide here."""
    if reason := why_not(policy, s):
        return reason
    charges = battery_charges(play(s, policy, seed, shares)).to(torch.float32).numpy()
    return {**evaluate_episode(s, policy, seed, shares), CHARGES: charges}


def _wards(s: Scenario, axis: Axis) -> Iterator[tuple[float, Scenario | str]]:
    """The ward at each value, the nearest to the present one first; or why there is none."""
    now = present_value(s, axis.parameter)
    place: Callable[[float], float] = math.log if axis.spacing == "logarithmic" else float
    for value in sorted(axis.values, key=lambda x: 0.0 if now is None else abs(place(x) - place(now))):
        try:
            yield value, s if value == now else s.changed(**axis.change(s, value))
        except ScenarioError as error:
            yield value, " ".join(error.problems)


def _new_executor() -> Any:
    # Not that of `concurrent.futures`: its new process would run the dashboard's page, which is the main module there. Nor
    # loky's reusable one: each thread has its own, and the dashboard has a new thread for each run of a page.
    # loky takes growth for a leak and would start the process anew; here it is the caches, which are limited.
    os.environ.setdefault("LOKY_MAX_MEMORY_LEAK_SIZE", "4e9")
    from loky import ProcessPoolExecutor  # it ends its process at exit; only who asks for curves needs it

    return ProcessPoolExecutor(max_workers=1, timeout=IDLE_SECONDS, initializer=_prepare)


def _prepare() -> None:
    """Runs in the new process: lowers its priority, and ends it when the dashboard is gone."""
    with contextlib.suppress(psutil.Error, OSError):
        psutil.Process().nice(getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", NICE))
    Thread(target=_end_with, args=(psutil.Process().parent(),), daemon=True).start()


def _end_with(parent: psutil.Process | None) -> None:
    while parent is not None and parent.is_running():
        time.sleep(1.0)
    os._exit(1)
