"""A moved task, computed on two devices, changes what computing the whole ward again says that it changes."""

from __future__ import annotations

import pytest
import torch

from iomt_core.experiments.comparison.decisions import busiest_flows, flows
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action
from iomt_core.policies.base import with_shares
from iomt_core.record import Record
from iomt_core.scenario import PRESETS
from iomt_core.twin.moves import SKIPPED, ShareRule, battery_prices
from iomt_core.twin.northbound import play, share_rule, why
from iomt_core.twin.regret import cost_changes, regrets

WARDS = {
    "hospital": PRESETS["hospital"].changed(T=3),
    "part of a ward": PRESETS["paper"].changed(T=3, servers_off=(2,), users_off=(3,), Cap=1e-4),
    "city": PRESETS["city"].changed(T=1, users_off=tuple(range(13, 101))),
}


def whole_ward(record: Record, row: int, rule: ShareRule, i: int, j: int, device: int) -> float:
    """Weighted cost of the step, with what its energy costs later, with one task on another device; no other is skipped."""
    snapshot, action = (one.select(slice(row, row + 1)) for one in (record.snapshot, record.action))
    choice = action.choice.clone()
    choice[0, i, j] = device
    moved = with_shares(Action(choice, action.cpu, action.bandwidth), snapshot, record.scenario, rule)
    result = outcome(snapshot, moved, record.scenario)
    later = result.energy.sum(-1)[0] @ battery_prices(record, row)
    return float((result.cost * snapshot.weight).sum() + later)


@pytest.mark.parametrize("policy", ["greedy", "random", "optimum-step"])
@pytest.mark.parametrize("name", WARDS)
def test_a_move_changes_what_the_whole_ward_says(name: str, policy: str) -> None:
    s = WARDS[name]
    record = play(s, policy, 1)
    row, rule = len(record) - 1, share_rule(policy, "own")
    assert rule != "planned"
    found = cost_changes(record, row, rule)
    for i, j in ((0, 0), (s.users - 1, s.tasks - 1)):
        now = int(record.action.choice[row, i, j])
        totals = [whole_ward(record, row, rule, i, j, device) for device in range(s.servers + 1)]
        expected = torch.tensor(totals, dtype=torch.float64) - totals[now]
        torch.testing.assert_close(found[i, j], expected, rtol=1e-10, atol=1e-11)
        alone = why(record, policy, "own", int(record.step[row]), s.user_numbers[i], j + 1).alternatives
        changes = torch.tensor((alone["ward_change"] + alone["later_change"]).tolist(), dtype=torch.float64)
        torch.testing.assert_close(changes, expected, rtol=1e-10, atol=1e-11)


def test_a_skipped_task_costs_1_until_it_is_done() -> None:
    record = play(PRESETS["drained"], "greedy-saving", 1)
    row, i, j = record.outcome.skipped.nonzero()[0].tolist()
    found = why(record, "greedy-saving", "own", row + 1, record.scenario.user_numbers[i], j + 1)
    assert found.chosen == SKIPPED
    frame = found.alternatives.set_index("choice")
    assert frame.loc[SKIPPED, "ward_change"] == 0
    alone = frame.drop(index=SKIPPED)
    own = alone["cost"] - 1
    others = alone["ward_change"] - float(record.snapshot.weight[row, i, j]) * own
    assert (others > -1e-9).all()  # the others on its new device only lose


def test_the_tasks_of_one_user_have_the_same_regret_alone() -> None:
    record = play(WARDS["hospital"], "greedy", 1)
    everything = regrets(record, 0, "equal", None)
    user = record.scenario.user_numbers[2]
    mine = everything[everything["user"] == user].reset_index(drop=True)
    alone = regrets(record, 0, "equal", None, user)
    assert alone["regret_best"].tolist() == pytest.approx(mine["regret_best"].tolist(), abs=1e-12)
    assert alone.drop(columns="regret_best").equals(mine.drop(columns="regret_best"))
    assert everything["regret_optimum"].isna().all()


def test_the_map_of_moves_keeps_the_devices_that_most_tasks_move_from_or_to() -> None:
    s = WARDS["hospital"]
    counts = flows(play(s, "nearest", 1), play(s, "greedy", 1))
    few = busiest_flows(counts, 3)
    assert few.shape == (3, 3)
    assert few.equals(counts.loc[few.index, few.columns])
    assert busiest_flows(counts, len(counts)).equals(counts)
