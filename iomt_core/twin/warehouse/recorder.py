"""Records played episodes into a warehouse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from iomt_core.policies.base import Shares, checked_shares
from iomt_core.record import Record
from iomt_core.rollout import draw_episodes, play_episodes
from iomt_core.scenario import Scenario, check_range
from iomt_core.training.catalogue import make_policy
from iomt_core.training.run_spec import checked_seed
from iomt_core.twin.warehouse.database import Synchronous
from iomt_core.twin.warehouse.errors import Audit, no_audit
from iomt_core.twin.warehouse.limits import Limits
from iomt_core.twin.warehouse.rows import step_rows, task_rows
from iomt_core.twin.warehouse.writer import WarehouseWriter

MOST_EPISODES = 1_000_000
CHUNK = 1_500_000  # task values that are played at once, so that memory does not grow with the number of episodes
TASKS_OF_COMMIT = 8192


def record(
    s: Scenario,
    policy: str,
    episodes: int,
    seed: int,
    folder: Path,
    shares: Shares = "own",
    certify: bool = False,
    limits: Limits | None = None,
    synchronous: Synchronous = "NORMAL",
    audit: Audit = no_audit,
    on_commit: Callable[[int, int], None] = lambda episodes, revision: None,
    at_once: int = MOST_EPISODES,
) -> int:
    """Plays episodes of a scenario under a policy and records them in the warehouse in `folder`. Returns the last revision.

    certify: also record each step's certified bound, which takes most of the time; otherwise `bound` is NaN. on_commit: called
    with the number of episodes that are kept and their revision, after each commit; it may raise an exception to stop. at_once:
    how many episodes are played before a commit at most. A commit holds whole episodes. Raises `ScenarioError`.
    """
    check_range("episodes", episodes, 1, MOST_EPISODES)
    checked_shares(shares)
    decider = make_policy(policy, s)
    facts = {"policy": policy, "seed": checked_seed(seed), "shares": shares, "episodes": episodes}
    size = max(1, min(at_once, CHUNK // (s.T * s.users * s.tasks * (s.servers + 1))))
    in_commit = max(1, TASKS_OF_COMMIT // (s.T * s.users * s.tasks))
    with WarehouseWriter(folder, limits, synchronous, audit=audit) as writer:
        number = writer.begin_recording(configuration(s, facts))
        revision = writer.revision
        for first in range(0, episodes, size):
            count = min(size, episodes - first)
            played = play_episodes(decider, draw_episodes(s, seed, first, count, certify), shares)
            for start in range(first, first + count, in_commit):
                stop = min(start + in_commit, first + count)
                revision = append_record(
                    writer, played.select((played.episode > start) & (played.episode <= stop)), number
                )
                on_commit(stop, revision)
    return revision


def append_record(writer: WarehouseWriter, played: Record, recording: int) -> int:
    """Adds played steps to a warehouse, in one commit. Returns its revision."""
    return writer.append(task_rows(played), step_rows(played), recording)


def configuration(s: Scenario, facts: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """What `WarehouseWriter.begin_recording` keeps for each user: these facts and the scenario.

    Tasks of an own workload are personal: each user gets its own ones only.
    """
    values = s.model_dump(mode="json")
    own = values.pop("workload")
    result = {}
    for user in s.user_numbers:
        tasks = None if own is None else [task for task in own if task["user"] == user]
        result[user] = {**facts, "scenario": {**values, "workload": tasks}}
    return result
