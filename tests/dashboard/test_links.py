"""Links: what is written is read back, and an entry that cannot be used leaves the others as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.links import write_link
from dashboard.session import Pinned, Session, from_link
from iomt_core.policies.base import SHARES
from iomt_core.policies.registry import POLICIES
from iomt_core.scenario import PRESETS, WorkloadTask
from iomt_core.scenario.links import LONGEST_LINK
from iomt_core.scenario.tables import with_workload
from iomt_core.twin.northbound import LARGEST_SEED
from tests.scenario.test_files import any_scenario

SEEDS = st.integers(0, LARGEST_SEED)
LINKED = ("scenario", "policy", "shares", "seed", "step", "picked", "pinned", "problems", "hints", "view")


@pytest.fixture(autouse=True)
def own_data(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own-data")
    monkeypatch.setenv("IOMT_OWN_DATA", str(folder))
    return folder


@st.composite
def any_session(draw: st.DrawFn) -> Session:
    """A session in any state that a link holds."""
    s, policies, shares = draw(any_scenario()), st.sampled_from([*POLICIES]), st.sampled_from(SHARES)
    step, user, task = draw(st.integers(1, s.T)), draw(st.sampled_from(s.user_numbers)), draw(st.integers(1, s.tasks))
    return Session(
        s, draw(policies), draw(shares), draw(SEEDS), step,
        picked=draw(st.sampled_from([None, (step, user, task)])),
        pinned=draw(st.none() | st.builds(Pinned, any_scenario(), policies, shares, SEEDS)),
    )  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(any_session())
def test_a_link_gives_back_exactly_the_session(session: Session) -> None:
    query = write_link(session, "compare", {"episodes": "7"})
    assert sum(map(len, [*query, *query.values()])) <= 1.2 * LONGEST_LINK
    again = from_link(query)
    session.view = {"episodes": "7"}
    assert [getattr(again, name) for name in LINKED] == [getattr(session, name) for name in LINKED]
    assert again.wanted_page == "compare"


SPOILT = {
    "utm_source": "course", "users": "9999", "F_k": "fast", "D": "1e5", "kinds": "!!!", "workload": "kept:0", "policy": "magic",
    "shares": "fair", "episode_seed": "-1", "step": "500", "task": "1.1", "pin": "preset=lecture&users=0",
}  # fmt: skip


@pytest.mark.parametrize("key", SPOILT)
def test_an_entry_that_cannot_be_used_leaves_out_only_itself(key: str) -> None:
    session = Session(
        PRESETS["lecture"].changed(servers=3, F_k=2e9), "greedy", "equal", 5, 2, (2, 1, 3),
        Pinned(PRESETS["hospital"], "random", "own", 1),
    )  # fmt: skip
    link = write_link(session, "explore")
    without = from_link({name: value for name, value in link.items() if name != key})
    spoilt = from_link({**link, key: SPOILT[key]})
    for name in ("scenario", "policy", "shares", "seed", "step", "picked", "pinned"):
        assert getattr(spoilt, name) == getattr(without, name), name
    (said,) = spoilt.problems or spoilt.hints
    assert key in said or (key == "pin" and "the pinned scenario is left out" in said)
    assert bool(spoilt.hints) == (key == "utm_source")


def test_a_mistyped_name_is_a_note_with_the_name_that_was_meant() -> None:
    session = from_link({"preset": "lecture", "sevrers": "3"})
    assert session.scenario == PRESETS["lecture"]
    assert session.problems == []
    assert session.hints == ["Not known in the link, and ignored: 'sevrers' (did you mean 'servers'?)."]


def test_own_data_that_is_too_large_is_kept_once_and_read_again(own_data: Path) -> None:
    tasks = tuple(
        WorkloadTask(step=1 + n // 64, user=1 + n % 8, D=1e5 + 997 * n, C=1e5 + 13 * n, P=1) for n in range(1280)
    )
    large = with_workload(PRESETS["paper"], tasks)
    session = Session(large.changed(servers=3), pinned=Pinned(large, "greedy", "own", 0))
    link = write_link(session, "explore")
    (kept,) = own_data.iterdir()
    assert kept.name in link["workload"]
    assert kept.name in link["pin"]
    again = from_link(link)
    assert (again.scenario, again.pinned, again.problems) == (session.scenario, session.pinned, [])
    kept.unlink()
    lost = from_link(link)
    assert lost.scenario == PRESETS["paper"].changed(servers=3)
    assert lost.pinned is None
    assert ["is not on this server" in problem for problem in lost.problems] == [True, True]
