"""The scenario is the one truth, and refuses what it cannot mean."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from iomt_core.scenario import GROUPS, PRESETS, Scenario, ScenarioError, metadata, scenario

NUMERIC = {name: meta for name, meta in metadata().items() if meta.low is not None}


def test_every_parameter_says_what_it_is_and_where_it_comes_from() -> None:
    for name, meta in metadata().items():
        assert meta.meaning, name
        if meta.group in GROUPS:
            assert meta.source, name
            assert meta.label, name
            assert (meta.low is None) == (name == "channel"), name


def test_every_default_lies_in_its_own_range() -> None:
    for name, meta in NUMERIC.items():
        value = getattr(PRESETS["paper"], name)
        for part in value if isinstance(value, tuple) else [value]:
            assert part is None or meta.low <= part <= meta.high, name  # type: ignore[operator]


def test_table_ii_stands_as_printed() -> None:
    s = PRESETS["paper"]
    assert (s.users, s.tasks, s.servers) == (8, 8, 4)
    assert s.D == (20 * 8000, 50 * 8000)
    assert s.C == (1e5, 2e5)
    assert (s.F_i, s.F_k, s.B_k, s.P_tr, s.N0) == (1e8, 1e9, 1e9, (0.2, 0.4), 4e-21)
    assert s.speed == s.burst == s.background == 0


def test_ranges_reach_what_was_asked_for() -> None:
    for field, low, high in (
        ("users", 1, 2000), ("tasks", 1, 64), ("servers", 1, 256), ("T", 1, 10_000), ("area", 5, 50_000), ("D", 1, 8e10),
        ("C", 1, 1e13), ("T_max", 1e-4, 86_400), ("P_tr", 1e-6, 10), ("F_i", 0, 1e10),
    ):  # fmt: skip
        meta = metadata()[field]
        assert (meta.low, meta.high) == (low, high)
        assert low <= meta.span[0] < meta.span[1] <= high


def test_a_scenario_cannot_be_changed_but_copied() -> None:
    s = PRESETS["paper"]
    with pytest.raises(ValidationError, match="frozen"):
        s.users = 3  # type: ignore[misc]
    assert s.changed(users=3).users == 3
    assert s.users == 8


def test_switching_off_keeps_the_ward_and_another_number_makes_another_ward() -> None:
    s = PRESETS["paper"].changed(servers_off=(3,), users_off=[5, 2])
    assert (s.servers, s.users, s.users_off) == (3, 6, (2, 5))
    assert (s.ward_servers, s.ward_users) == (4, 8)
    assert (s.device_numbers, s.user_numbers) == ((0, 1, 2, 4), (1, 3, 4, 6, 7, 8))
    assert s.whole_ward == PRESETS["paper"]
    assert s.whole_ward.whole_ward == PRESETS["paper"].whole_ward  # equal wards, each its own whole one
    assert s.changed(servers_off=(1, 3)).server_numbers == (2, 4)
    assert s.changed(servers=5).server_numbers == (1, 2, 3, 4, 5)
    assert s.changed(servers=5).users_off == (2, 5)


def test_the_digest_follows_the_values_and_nothing_else() -> None:
    s = PRESETS["paper"]
    assert s.changed(name="other").digest == s.digest
    seen = {s.digest}
    for name, meta in NUMERIC.items():
        value = getattr(s, name)
        other = (meta.low, meta.high) if isinstance(value, tuple) else meta.high
        if other == value:
            other = meta.low
        seen.add(s.changed(**{name: other}).digest)
    seen.add(s.changed(servers_off=(1,)).digest)
    seen.add(s.changed(servers_off=(2,)).digest)
    assert len(seen) == len(NUMERIC) + 3


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(NUMERIC)), st.floats(1.001, 1e6), st.booleans())
def test_outside_its_range_a_value_is_refused_by_name_value_and_range(name: str, factor: float, above: bool) -> None:
    meta = NUMERIC[name]
    assert meta.low is not None
    assert meta.high is not None
    value = meta.high * factor if above else (meta.low / factor if meta.low > 0 else -factor)
    whole = isinstance(getattr(PRESETS["paper"], name), int) or name == "P"
    number = (int(value) + 1 if above else -int(factor)) if whole else value
    given_value = (number, number) if isinstance(getattr(PRESETS["paper"], name), tuple) else number
    with pytest.raises(ScenarioError) as refusal:
        scenario({name: given_value})
    text = str(refusal.value)
    assert name in text
    assert meta.allowed() in text
    assert meta.show(number) in text


def test_several_problems_are_told_together() -> None:
    with pytest.raises(ScenarioError) as refusal:
        scenario({"users": 9999, "T_max": 1e9})
    assert len(refusal.value.problems) == 2


def test_mean_priority_follows_the_source_of_tasks() -> None:
    assert PRESETS["paper"].mean_P == 2
    kinds = PRESETS["hospital"].kinds
    assert PRESETS["hospital"].mean_P == pytest.approx(
        sum(k.share * sum(k.P) / 2 for k in kinds) / sum(k.share for k in kinds)
    )
    task = {"step": 1, "user": 1, "D": 1e5, "C": 1e5}
    own = scenario({"workload": [{**task, "P": 1}, {**task, "P": 4}]})
    assert own.mean_P == 2.5


def test_metadata_is_for_reading() -> None:
    with pytest.raises(TypeError):
        metadata()["users"] = metadata()["tasks"]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        metadata()["users"].low = 0  # type: ignore[misc]
    assert set(metadata()) == set(Scenario.model_fields)


def test_what_is_too_many_is_counted() -> None:
    kind = PRESETS["hospital"].kinds[0].model_dump()
    with pytest.raises(ScenarioError, match=r"^kinds: 12 kinds, allowed 1 to 8\.$"):
        PRESETS["paper"].changed(kinds=[{**kind, "name": f"kind {n}"} for n in range(12)])
    with pytest.raises(ScenarioError, match="server_devices: 300 servers, allowed 1 to 256"):
        PRESETS["paper"].changed(server_devices=[{"number": n, "F_k": 2e9} for n in range(1, 301)])
