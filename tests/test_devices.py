"""Devices that differ: what single servers and users have of their own counts everywhere, and all others stay as they are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dashboard.devices import device_table, devices_from_table
from iomt_core.charts.tables import delay_table, ward_table
from iomt_core.charts.ward_map import ward_frames
from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.environment.observation import names, observe
from iomt_core.environment.world import World, layout
from iomt_core.experiments.comparison.differences import differences
from iomt_core.model.memory import check_memory
from iomt_core.model.outcome import outcome
from iomt_core.policies.dual import solve_dual
from iomt_core.policies.episode_dual import EpisodeDual
from iomt_core.policies.optimum import StepOptimum
from iomt_core.policies.registry import POLICIES
from iomt_core.rollout import draw_episodes, play_episodes
from iomt_core.scenario import PRESETS, Scenario, ScenarioError, TaskKind, collect_notes
from iomt_core.scenario.files import parse_scenario
from iomt_core.scenario.tables import read_places_csv, read_workload_csv, with_places, with_workload
from iomt_core.twin.northbound import play, why
from tests.wards import steps, totals

PAPER = PRESETS["paper"]
CLOUD = PAPER.changed(server_devices=[{"number": 4, "name": "cloud", "F_k": 1e11, "latency": 4e-3}])
FAR = PAPER.changed(server_devices=[{"number": 4, "F_k": 1e12, "latency": 0.05}])  # later than every deadline
SENSORS = PAPER.changed(user_devices=[{"number": n, "name": "sensor", "F_i": 0} for n in (1, 2)])


def return_gap(s: Scenario, policy: str) -> float:
    """How far at most the best possible return is above that of the first episode."""
    record = play(s, policy, 0)
    assert isinstance(record.dual, EpisodeDual)
    return float(record.return_bound[0] / record.returns.sum()) - 1  # type: ignore[index]


def test_devices_that_repeat_the_wards_values_change_nothing() -> None:
    repeated = PAPER.changed(
        server_devices=[{"number": n, "F_k": PAPER.F_k, "B_k": PAPER.B_k, "latency": 0} for n in (1, 3)],
        user_devices=[{"number": n, "F_i": PAPER.F_i, "Cap": PAPER.Cap, "name": "watch"} for n in (2, 8)],
    )
    assert repeated.digest != PAPER.digest
    one, other = (draw_episodes(s, 3).dual for s in (PAPER, repeated))
    assert one is not None
    assert other is not None
    assert torch.equal(one.bound, other.bound)
    for policy in ("greedy", "optimum"):
        a, b = (play(s, policy, 3) for s in (PAPER, repeated))
        assert torch.equal(a.outcome.cost, b.outcome.cost)


def test_values_of_all_servers_are_a_shorthand_for_those_of_each() -> None:
    values = {"F_k": 3e9, "B_k": 5e8, "latency": 1e-3}
    each = PAPER.changed(server_devices=[{"number": n, **values} for n in range(1, 5)])
    alike = PAPER.changed(**values)
    for policy in ("greedy", "optimum-step"):
        a, b = (play(s, policy, 0) for s in (each, alike))
        assert torch.equal(a.outcome.cost, b.outcome.cost)
        assert torch.equal(a.bound, b.bound)


def test_a_device_belongs_to_a_number_and_keeps_it_when_others_are_switched_off() -> None:
    record = play(CLOUD.changed(servers_off=(2,), users_off=(1,)), "greedy", 0)
    assert record.snapshot.F_k[0].tolist() == [1e9, 1e9, 1e11]
    assert record.snapshot.latency[0].tolist() == [0, 0, 4e-3]
    assert CLOUD.changed(servers=3).device_values["F_k"] == (1e9,) * 3  # the cloud waits for a fourth server
    with collect_notes() as notes:
        parse_scenario("preset: paper\nservers: 3\nserver_devices: [{number: 4, F_k: 100 GHz}]")
    assert notes == ["scenario: server_devices names server 4, but the ward has 3 servers."]


@pytest.mark.parametrize(
    ("s", "most"), [(CLOUD, 0.003), (FAR, 0.003), (SENSORS, 0.003)], ids=["cloud", "far", "sensors"]
)
def test_who_knows_the_devices_comes_close_to_the_bound(s: Scenario, most: float) -> None:
    assert 0 <= return_gap(s, "optimum") <= most
    assert 0 <= return_gap(s, "optimum-causal") <= 2 * most
    assert 0 <= return_gap(s, "price-response") <= 0.01


def test_no_policy_returns_more_than_the_bound() -> None:
    s = PRESETS["drained"].changed(
        T=6, server_devices=[{"number": 4, "F_k": 1e11, "latency": 5e-3}, {"number": 1, "B_k": 1e8, "latency": 0.03}],
        user_devices=[{"number": 1, "Cap": 2e-4}, {"number": 2, "F_i": 0}, {"number": 3, "P_tr": 0.01, "F_i": 2e8}],
    )  # fmt: skip
    episodes = draw_episodes(s, 5, 0, 2)
    assert isinstance(episodes.dual, EpisodeDual)
    for name, kind in POLICIES.items():
        record = play_episodes(kind(s), episodes)
        for n in (1, 2):
            earned = float(record.returns[record.episode == n].sum())
            assert earned <= float(episodes.dual.return_bound[n - 1]), name


def test_the_best_of_all_choices_is_found_where_servers_are_far_away() -> None:
    """With so few choices the optimum tries them all: no choice of shares and devices may cost less than the bound."""
    s = PRESETS["lecture"].changed(users=2, tasks=2, T=4, latency=2e-3, server_devices=[{"number": 2, "latency": 0.0}])
    snapshot = steps(s, 4)
    dual, best = solve_dual(snapshot, s), totals(snapshot, StepOptimum(s).decide(snapshot), s)
    assert bool((dual.bound <= best).all())
    assert float((best / dual.bound - 1).mean()) < 0.1


def test_a_server_beyond_the_deadline_is_left_alone_and_a_fast_near_one_is_not() -> None:
    for policy in ("optimum", "price-response"):
        assert not bool((play(FAR, policy, 0).action.choice == 4).any())
        assert float((play(CLOUD, policy, 0).action.choice == 4).double().mean()) > 0.03


def test_a_sensor_skips_what_it_does_not_offload() -> None:
    local = play(SENSORS, "all-local", 0)
    assert bool(local.outcome.skipped[:, :2].all())
    assert not bool(local.outcome.skipped[:, 2:].any())
    assert float(local.outcome.energy[:, :2].sum()) == 0
    planned = play(SENSORS, "optimum", 0)
    assert bool(((planned.action.choice[:, :2] > 0) | planned.outcome.skipped[:, :2]).all())
    answer = why(planned, "optimum", "own", 1, 1, 1).alternatives
    assert answer.loc[answer["choice"] == 0, "cost"].tolist() == [1.0]


def test_each_user_has_its_own_battery_and_power() -> None:
    s = PAPER.changed(user_devices=[{"number": 3, "Cap": 1e-4, "P_tr": 0.05}])
    record = play(s, "offload-evenly", 0)
    assert set(record.snapshot.P_tr[:, 2].tolist()) == {0.05}
    assert bool((record.snapshot.P_tr[:, [0, 1]] >= 0.2).all())
    assert record.snapshot.battery[0].tolist() == [0.01, 0.01, 1e-4, *[0.01] * 5]
    assert bool(record.ended[-1])
    environment = Environment(s, world_seeds(0, 0, 1))
    assert float(environment.observation[0, 2, names(s).index("Cap")]) == pytest.approx(0.01)


def test_agents_observe_what_servers_have_relative_to_the_largest() -> None:
    snapshot = steps(CLOUD, 1)
    seen = dict(zip(names(CLOUD), observe(snapshot, CLOUD)[0, 0].tolist(), strict=True))
    assert (seen["F_k[1]"], seen["F_k[4]"]) == pytest.approx((0.01, 1))
    assert (seen["latency[1]"], seen["latency[4]"]) == pytest.approx((0, 1))
    assert "latency[1]" not in names(PAPER)


def test_latency_is_part_of_the_delay_and_costs_no_energy() -> None:
    snapshot = steps(PAPER, 3)
    action = POLICIES["offload-evenly"](PAPER).decide(snapshot)
    s = PAPER.changed(latency=3e-3)
    later = outcome(replace(snapshot, latency=snapshot.latency + 3e-3), action, s)
    now = outcome(snapshot, action, PAPER)
    torch.testing.assert_close(later.delay, now.delay + 3e-3)
    assert torch.equal(later.energy, now.energy)


def test_tables_and_map_show_what_devices_have() -> None:
    record = play(CLOUD, "greedy", 0)
    table = ward_table(record, 0).set_index("device")
    assert table.loc["server 4, cloud", ["CPU (GHz)", "latency (ms)"]].tolist() == [100, 4]
    assert "CPU (GHz)" not in ward_table(play(PAPER, "greedy", 0), 0)
    assert (delay_table(record, 0).query("device == 'server 4'")["latency (ms)"] == 4).all()
    frames = ward_frames(record)
    assert frames["names"][-1] == "server 4, cloud"
    assert "100 GHz CPU" in frames["load"][0][3]
    (change,) = differences(PAPER, CLOUD)
    assert (change.a, change.b) == ("none", "4 (cloud): F_k 100 GHz, latency 4 ms")


def test_the_table_of_the_page_gives_back_the_devices() -> None:
    s = SENSORS.changed(server_devices=CLOUD.server_devices)
    for kind in ("server", "user"):
        devices = devices_from_table(device_table(s, kind), kind)
        assert s.changed(**{f"{kind}_devices": devices}) == s
    assert devices_from_table(device_table(PAPER, "user"), "user") == []


PLACES = """kind,x_m,y_m,name,cpu_ghz,bandwidth_mhz,latency_ms,power_w,battery_j
user,1,1,,,,,,
user,2,2,ECG patch,0,,,0.05,2
server,3,3,,,20,,,
server,9,9,cloud,100,,40,,
"""


def test_a_table_of_places_may_say_what_devices_have() -> None:
    s = with_places(PAPER, read_places_csv(PLACES.encode()))
    assert s.device_values["F_i"] == (1e8, 0)
    assert s.device_values["Cap"] == (0.01, 2)
    assert s.device_values["P_high"] == (0.4, 0.05)
    assert s.device_values["B_k"] == (2e7, 1e9)
    assert s.device_values["F_k"] == (1e9, 1e11)
    assert s.device_values["latency"] == (0, 0.04)
    assert (s.user_label(2), s.device_label(2)) == ("user 2, ECG patch", "server 2, cloud")


def test_a_workload_has_kinds_deadlines_and_priorities_or_none() -> None:
    text = "step,user,data_kb,cycles,kind,deadline_ms\n1,1,30,1e5,ECG,300\n1,2,30,1e5,ECG,\n2,1,30,1e5,,\n"
    kind = TaskKind(name="ECG", share=1, D=(1e5, 1e5), C=(1e5, 1e5), P=(1, 1), T_max=0.1)
    s = with_workload(PAPER.changed(kinds=(kind,)), read_workload_csv(text.encode()))
    assert s.kind_names == ("ECG", "task")
    assert s.has_own_deadlines
    table = play(s, "all-local", 0).table().sort_values(["step", "user"])
    assert table["deadline_s"].tolist() == [0.3, 0.1, 0.02]
    assert table["kind"].tolist() == ["ECG", "ECG", "task"]
    assert set(table["priority"]) == {1}


def test_more_users_and_servers_leave_the_places_of_the_first_ones() -> None:
    small, large = (layout(PAPER.changed(users=n, servers=4), torch.float64)[0] for n in (16, 300))
    assert torch.equal(large[:16], small)
    assert len({tuple(at) for at in large.tolist()}) == 300
    assert len(layout(PAPER.changed(servers=100), torch.float64)[1].unique(dim=0)) == 100


def test_what_would_not_fit_into_memory_is_refused_before_it_is_tried() -> None:
    with pytest.raises(ScenarioError, match=r"would need about 1e\+03 TB|GB of memory"):
        check_memory("certificates", 1e15)
    huge = PAPER.changed(users=2000, tasks=10, T=1000, servers=3)
    with pytest.raises(
        ScenarioError, match="episodes of 1000 steps of 2000 users × 10 tasks, 3 servers would need about"
    ):
        World(huge, world_seeds(0, 0, 1000)).episode()
