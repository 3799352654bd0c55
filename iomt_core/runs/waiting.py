"""When a waiting run will start, estimated from runs whose time was measured."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iomt_core.runs.queue import RunRecord


def seconds_until_start(
    run: RunRecord, known: Sequence[RunRecord], limit: int, effort: Callable[[Any], Hashable]
) -> float | None:
    """Seconds until a waiting run starts; None where a run before it has not been measured.

    known: all runs; limit: how many run at once; effort: runs with an equal effort take the same time for each unit of work.
    """
    free = [_left(one) for one in known if one.active]
    free += [0.0] * (limit - len(free))
    speeds = {effort(one.spec): one.number("seconds") / one.done for one in reversed(known) if one.spec and one.done}
    before = sorted(
        (one for one in known if one.state == "queued" and one.ahead < run.ahead), key=lambda one: one.ahead
    )
    if None in free:
        return None
    times = [left for left in free if left is not None]
    heapq.heapify(times)
    for one in before:
        speed = speeds.get(effort(one.spec)) if one.spec else 0.0
        if speed is None:
            return None
        heapq.heappush(times, heapq.heappop(times) + speed * (one.total - one.done))
    return heapq.nsmallest(max(1, len(times) - limit + 1), times)[-1]


def _left(run: RunRecord) -> float | None:
    """Seconds that a running run still needs from now on; None before it was measured."""
    left = run.seconds_left
    return None if left is None else max(0.0, left - max(0.0, time.time() - run.number("updated_at")))
