"""What docs/lecture.md tells an audience to observe is there to be observed."""

from __future__ import annotations

from dashboard.start.questions import Setup
from iomt_core.scenario import PRESETS
from iomt_core.twin.northbound import why

LECTURE, PAPER = PRESETS["lecture"], PRESETS["paper"]


def cost(setup: Setup) -> float:
    return float(setup.figures["cost"])


def test_the_first_task_stays_at_home_for_the_others_sake() -> None:
    found = why(Setup(LECTURE, "optimum").record, "optimum", "own", 1, 1, 1)
    here, servers = found.alternatives.iloc[0], found.alternatives.iloc[1:]
    assert found.chosen == 0
    assert (servers["cost"] < here["cost"]).all()
    assert (servers["ward_change"] > 0).all()


def test_computing_takes_nearly_all_the_time_on_the_papers_channel() -> None:
    out = Setup(LECTURE, "optimum").record.outcome
    assert float(out.delay_exe.sum()) > 0.9 * float(out.delay.sum())


def test_where_distance_decides_more_stays_and_the_nearest_keeps_the_fewest() -> None:
    physical = Setup(LECTURE.changed(channel="log-distance"), "optimum")
    local = (physical.record.action.choice == 0).double().mean((0, 2))
    assert float(local.mean()) > 1.5 * Setup(LECTURE, "optimum").figures["local_share"]
    assert int(local.argmin()) == int(physical.record.snapshot.distance[0].amin(-1).argmin())


def test_greedy_sends_everything_and_pays_about_as_much_as_staying() -> None:
    greedy, home = Setup(PAPER, "greedy"), Setup(PAPER, "all-local")
    assert greedy.figures["local_share"] == 0
    assert abs(cost(greedy) / cost(home) - 1) < 0.1
    assert cost(greedy) < cost(Setup(PAPER, "random"))
    assert Setup(PAPER, "optimum").figures["gap"] < 0.02


def test_with_prices_many_decisions_differ_and_the_cost_little() -> None:
    best, alone, blind = (Setup(PAPER, name) for name in ("optimum", "price-response", "nearest"))
    differ = (best.record.action.choice != alone.record.action.choice).double().mean()
    assert float(differ) > 0.3
    assert cost(alone) < 1.03 * cost(best)
    assert cost(blind) > 1.5 * cost(alone)
    assert bool(blind.record.ended.any())


def test_the_first_servers_help_most() -> None:
    one, two, three, four = (cost(Setup(LECTURE.changed(servers=k), "optimum")) for k in (1, 2, 3, 4))
    assert one - two > two - three > three - four > 0


def test_the_exercises_have_answers() -> None:
    assert (
        Setup(PAPER.changed(users=4), "optimum").figures["local_share"]
        < 0.5
        < Setup(PAPER, "optimum").figures["local_share"]
    )
    drained = {name: Setup(PRESETS["drained"], name) for name in ("optimum-step", "all-local", "optimum")}
    returns = {name: float(setup.figures["return"]) for name, setup in drained.items()}
    assert bool(drained["optimum-step"].record.ended.any())
    assert not any(bool(drained[name].record.ended.any()) for name in ("all-local", "optimum"))
    assert returns["optimum-step"] < returns["all-local"] < returns["optimum"]
    assert min(drained, key=lambda name: cost(drained[name])) == "optimum-step"
