"""A ward of which a user and a server are switched off: all that people see is that of the same ward without them.

The ward without them is made from own places and an own workload, with numbers that begin at 1 again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dashboard.session import Session
from iomt_core.charts import devices, formulas, tables, ward_map
from iomt_core.charts.batteries import battery_table
from iomt_core.environment.world import layout
from iomt_core.experiments.comparison.decisions import changed_decisions, flows, marks
from iomt_core.experiments.comparison.differences import pairing
from iomt_core.experiments.comparison.sides import Side, compare, episode
from iomt_core.record import Record
from iomt_core.scenario import PRESETS, Places, Scenario, ScenarioError, WorkloadTask
from iomt_core.twin import northbound_inspect as inspect
from iomt_core.twin.northbound import play, why

USERS, SERVERS = (1, 3, 4), (2, 3)  # in operation; user 2 and server 1 are switched off
WHOLE = PRESETS["paper"].changed(users=4, servers=3, tasks=3, T=3, P_tr=(0.3, 0.3), channel="log-distance")


def _workload(numbers: dict[int, int]) -> tuple[WorkloadTask, ...]:
    """The same tasks, of the users with these numbers, under their new numbers."""
    rng = np.random.default_rng(0)
    drawn = [
        (step, user, rng.uniform(2e5, 4e5), rng.uniform(1e5, 2e5))
        for step in range(1, 4)
        for user in range(1, 5)
        for _ in range(3)
    ]
    return tuple(WorkloadTask(step=t, user=numbers[u], D=D, C=C, P=2) for t, u, D, C in drawn if u in numbers)


def _places(users: tuple[int, ...], servers: tuple[int, ...]) -> Places:
    found = (
        xy[torch.tensor(n) - 1].tolist() for xy, n in zip(layout(WHOLE, torch.float64), (users, servers), strict=True)
    )
    at_users, at_servers = (tuple(map(tuple, xy)) for xy in found)
    return Places(users=at_users, servers=at_servers)


PART = WHOLE.changed(
    workload=_workload({n: n for n in range(1, 5)}), places=_places((1, 2, 3, 4), (1, 2, 3)), users_off=2, servers_off=1
)
PLAIN = WHOLE.changed(
    users=3, servers=2, workload=_workload({n: k for k, n in enumerate(USERS, 1)}), places=_places(USERS, SERVERS)
)
POLICIES = ("optimum", "price-response", "greedy", "all-local", "sae-mt-qmix@general")


def _renumbered(value: Any, name: str = "") -> Any:
    """Replace the numbers of users and devices in a table or text of `PLAIN` by those of `PART`."""
    users, servers = dict(enumerate(USERS, 1)), {0: 0, **dict(enumerate(SERVERS, 1))}
    if isinstance(value, pd.DataFrame):
        table = value.rename(columns=lambda column: _renumbered(column))
        return table.assign(**{str(column): [_renumbered(x, str(column)) for x in table[column]] for column in table})
    if name == "user":
        return users[value]
    if name in ("choice", "optimum", "best"):
        return servers[value]
    if isinstance(value, str):
        for word, numbers in (("server", servers), ("user", users), ("agent", users)):
            head, found, tail = value.partition(f"{word} ")
            value = f"{head}{found}{numbers[int(tail)]}" if tail.isdigit() else value
        for symbol in ("B", "F", "e"):
            value = (
                f"{symbol}_{servers[int(value[2:])]}" if value[:2] == f"{symbol}_" and value[2:].isdigit() else value
            )
    return value


SHOWN: dict[str, Callable[[Record, str, Scenario, int], pd.DataFrame]] = {
    "record": lambda r, policy, s, user: r.table(),
    "places": lambda r, policy, s, user: tables.ward_table(r, 1),
    "delays": lambda r, policy, s, user: tables.delay_table(r, 1).reset_index(drop=True),
    "devices": lambda r, policy, s, user: tables.utilisation_table(r, 1),
    "batteries": lambda r, policy, s, user: battery_table(r),
    "why": lambda r, policy, s, user: why(r, policy, "own", 2, user, 3).alternatives,
    "regret": lambda r, policy, s, user: inspect.regrets(s, policy, 0, "own", 2),
    "grants": lambda r, policy, s, user: inspect.grants(r, 1),
    "own tasks": lambda r, policy, s, user: inspect.observed_tasks(r, 1, user),
    "observation": lambda r, policy, s, user: inspect.observed_rest(r, 1, user),
    "hidden": lambda r, policy, s, user: inspect.hidden_tasks(r, 1, user),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_every_table_is_that_of_the_ward_without_them_under_the_whole_wards_numbers(policy: str) -> None:
    part, plain = play(PART, policy, 0), play(PLAIN, policy, 0)
    for name, show in SHOWN.items():
        shown, expected = show(part, policy, PART, 3), _renumbered(show(plain, policy, PLAIN, 2))
        pd.testing.assert_frame_equal(shown, expected, check_categorical=False, check_dtype=False, rtol=1e-4, obj=name)


def test_values_of_the_networks_are_named_by_the_whole_wards_numbers() -> None:
    policy = "sae-mt-qmix@general"
    part, plain = (inspect.inspect_step(s, policy, 0, "own", 2) for s in (PART, PLAIN))
    assert part is not None
    assert plain is not None
    weight = play(PART, policy, 0).snapshot.weight[1]
    turn, expected = part.task_turns(3, 1, weight)[-1], plain.task_turns(2, 1, weight)[-1]
    assert turn.devices == (0, 2, 3)
    assert turn.choice == expected.choice
    torch.testing.assert_close(turn.worth, expected.worth, rtol=1e-3, atol=1e-4)
    assert part.mixing is not None
    assert part.mixing.users == USERS
    assert formulas.look_formula(turn, 2).latex.startswith("s = 3:")


def test_charts_keep_numbers_and_colours() -> None:
    whole, part = (play(s, "greedy", 0) for s in (PART.whole_ward, PART))
    all_bars, bars = (devices.utilisation(record, 0) for record in (whole, part))
    assert list(bars[0].data[0].x) == ["S2", "S3"]
    assert list(bars[1].data[0].x) == ["1", "3", "4"]
    assert list(bars[0].data[0].marker.color) == list(all_bars[0].data[0].marker.color)[1:]


def test_on_the_map_all_others_stay_in_place() -> None:
    whole, part = (ward_map.ward_frames(play(s, "greedy", 0)) for s in (PART.whole_ward, PART))
    assert part["users"][0] == [whole["users"][0][n - 1] for n in USERS]
    assert part["servers"] == [whole["servers"][n - 1] for n in SERVERS]
    for name in ("numbers", "names", "colours", "dashes"):
        assert part[name] == [whole[name][n] for n in (0, *SERVERS)]
    assert part["users_numbers"] == list(USERS)
    assert part["off"] == [
        {"name": "user", "number": 2, "at": whole["users"][0][1]},
        {"name": "server", "number": 1, "at": whole["servers"][0]},
    ]
    assert "Switched off: server 1, user 2." in ward_map.ward_text(play(PART, "greedy", 0), 0)


def test_a_task_of_someone_switched_off_cannot_be_asked_for() -> None:
    with pytest.raises(ScenarioError, match="user = 2 is switched off"):
        why(play(PART, "greedy", 0), "greedy", "own", 1, 2, 1)


@pytest.mark.parametrize("base", [PRESETS["paper"], PRESETS["hospital"].changed(burst=0.5, speed=2, background=0.3)])
def test_a_ward_and_the_same_ward_without_some_are_compared_task_by_task(base: Scenario) -> None:
    whole = base.changed(users=4, tasks=3, T=3)
    part = whole.changed(users_off=2, servers_off=3)
    found = pairing(whole, part)
    assert found.comparable
    assert found.identical
    words = " ".join(found.notes)
    assert "User 2 exists in A only" in words
    assert "Server 3 exists in A only" in words
    assert "different places" not in words
    both = compare(Side(whole, "all-local"), Side(part, "all-local"), 0, 2)
    assert (both.compared, both.changed) == (2 * 3 * 3 * 3, 0)
    both = compare(Side(whole, "greedy"), Side(part, "greedy"), 0, 2)
    a, b = (episode(Side(s, "greedy"), 0, 1) for s in (whole, part))
    moved = changed_decisions(a, b)
    assert set(moved["user"]) <= {1, 3, 4}
    assert set(moved["choice_b"]) <= {0, 1, 2, 4}
    assert (moved["data_bits_a"] == moved["data_bits_b"]).all()
    counts = flows(a, b)
    assert list(counts.columns) == ["own device", "server 1", "server 2", "server 4"]
    assert int(counts.to_numpy().sum()) == 3 * 3 * 3
    on_map = np.array(marks(b, a))
    assert on_map.shape == (3, 3, 3)
    assert int((on_map >= 0).sum()) == len(moved) > 0


def test_a_session_switches_one_off_and_on_again() -> None:
    session = Session(PART.whole_ward, picked=(1, 3, 2))
    session.toggle("user", 2)
    session.toggle("server", 1)
    assert session.scenario == PART
    assert session.picked == (1, 3, 2)  # of another user
    session.toggle("user", 3)
    assert session.picked is None
    for number in (1, 4):
        session.toggle("user", number)
    assert session.scenario.user_numbers == (4,)  # the last one stays
    assert session.problems
    session.toggle("ward", 1)  # what only a tampered browser sends
    for number in (1, 2, 3):
        session.toggle("user", number)
    session.toggle("server", 1)
    assert session.scenario == PART.whole_ward
    assert not session.problems
