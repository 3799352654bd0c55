"""How well an agent's twin decides for its user, beside the policy that was recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from iomt_core.experiments.comparison.paired import Paired
from iomt_core.metrics import METRICS
from iomt_core.record import Record
from iomt_core.rollout import draw_episodes, play_episodes
from iomt_core.scenario import check_range
from iomt_core.training.catalogue import make_policy
from iomt_core.twin.mapping.agent_twin import AgentTwin, TwinAmongOthers
from iomt_core.twin.warehouse.reading import Warehouse

EPISODES, MOST_EPISODES = 40, 2000


@dataclass(frozen=True)
class TwinCheck:
    """Costs in episodes that were not recorded: A with the recorded policy for all users, B with the twin for its user.

    own: of the twin's user; ward: of all users. devices: share of the user's tasks on each device, a row for each device.
    """

    user: int
    policy: str
    own: Paired
    ward: Paired
    devices: pd.DataFrame


def check_twin(
    folder: Path, twin: AgentTwin, episodes: int = EPISODES, on_step: Callable[[], None] = lambda: None
) -> TwinCheck:
    """Plays episodes after the recorded ones twice: as recorded, and with the twin for its user.

    The tasks are the same in both. on_step: called after each step; it may raise an exception to stop. Raises `ScenarioError`.
    """
    check_range("episodes", episodes, 1, MOST_EPISODES)
    number = twin.facts["recording"]
    warehouse = Warehouse(folder)
    s, facts = warehouse.scenario_of(number), warehouse.configurations(number)[1][twin.user]
    others = make_policy(facts["policy"], s)
    drawn = draw_episodes(s, facts["seed"], facts["episodes"], episodes, certify=False)
    before, after = (
        play_episodes(policy, drawn, facts["shares"], on_step=on_step)
        for policy in (others, TwinAmongOthers(others, twin))
    )
    place = s.user_numbers.index(twin.user)
    own, ward = (
        Paired(METRICS["cost"], _costs(before, users), _costs(after, users))
        for users in (slice(place, place + 1), slice(None))
    )
    devices = pd.DataFrame(
        {
            "device": list(s.device_numbers),
            "recorded": _device_shares(before, place),
            "twin": _device_shares(after, place),
        }
    )
    return TwinCheck(twin.user, facts["policy"], own, ward, devices)


def _costs(record: Record, users: slice) -> tuple[float, ...]:
    """Priority-weighted mean cost of some users' tasks in each episode."""
    weight = record.snapshot.weight[:, users].sum((1, 2))
    cost = (record.outcome.cost * record.snapshot.weight)[:, users].sum((1, 2))
    frame = pd.DataFrame({"episode": record.episode.numpy(), "cost": cost.numpy(), "weight": weight.numpy()})
    sums = frame.groupby("episode").sum()
    return tuple((sums["cost"] / sums["weight"]).tolist())


def _device_shares(record: Record, place: int) -> list[float]:
    choice = record.action.choice[:, place][record.snapshot.active[:, place]]
    return [float((choice == k).double().mean()) for k in range(record.scenario.servers + 1)]
