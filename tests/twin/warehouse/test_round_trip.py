"""What is read is what was written, at every revision."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.warehouse_faults import rows
from iomt_core.scenario import ScenarioError
from iomt_core.twin.warehouse.aggregates import SUMS
from iomt_core.twin.warehouse.columns import ADDED, join, same
from iomt_core.twin.warehouse.limits import Limits
from iomt_core.twin.warehouse.reading import Warehouse
from iomt_core.twin.warehouse.writer import WarehouseWriter
from tests.twin.warehouse.helpers import NOTHING_MOVES, SMALL, filled

VALUES = {
    pa.float64(): st.floats(width=64),
    pa.float32(): st.floats(width=32),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int8(): st.integers(-128, 127),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=8),
    pa.list_(pa.float64()): st.lists(st.floats(), max_size=3),
}
PLAIN = st.floats(-1e6, 1e6)


@st.composite
def tables(draw: st.DrawFn, extra: dict[str, pa.DataType]) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Tasks in any order with some columns of any values, and a row of steps for every user."""
    users = draw(st.lists(st.integers(1, 3), max_size=8))
    count = len(users)

    def column(kind: pa.DataType, values: st.SearchStrategy[object]) -> pa.Array:
        return pa.array(draw(st.lists(values, min_size=count, max_size=count)), kind)

    columns = {"user": pa.array(users, pa.int64()), "observed_s": column(pa.float64(), PLAIN)}
    columns["delay_s"] = column(pa.float64(), st.one_of(PLAIN, st.just(math.nan)))
    columns |= {name: column(pa.float64(), PLAIN) for name in ("energy_j", "cost", "weight")}
    columns["choice"] = column(pa.int64(), st.integers(0, 4))
    columns["deadline_missed"] = column(pa.bool_(), st.booleans())
    columns |= {name: column(kind, VALUES[kind]) for name, kind in extra.items()}
    steps = {"user": pa.array([1, 2, 3]), "observed_s": pa.array([0.0, 1.0, 2.0])}
    return pa.RecordBatch.from_pydict(columns), pa.RecordBatch.from_pydict(steps)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_any_table_comes_back_as_it_was_through_all_tiers(data: st.DataObject) -> None:
    kinds = st.sampled_from(list(VALUES))
    extra = data.draw(
        st.dictionaries(st.text(min_size=1, max_size=4).filter(lambda x: x not in ADDED), kinds, max_size=4)
    )
    extra = {f"x {name}": kind for name, kind in extra.items()}
    commits = data.draw(st.lists(tables(extra), min_size=1, max_size=6))
    with tempfile.TemporaryDirectory() as place:
        with WarehouseWriter(Path(place) / "w", Limits(device_steps=1, edge_steps=3, reserve_bytes=0)) as writer:
            for tasks, steps in commits:
                writer.append(tasks, steps)
        for user in (1, 2, 3):
            expected = [tasks.filter(pc.equal(tasks["user"], user)) for tasks, _ in commits]
            found = Warehouse(Path(place) / "w").log(user).tasks()
            if sum(part.num_rows for part in expected):
                batch = found.drop_columns(list(ADDED)).combine_chunks().to_batches()[0]
                assert same(batch, join(expected))
            assert found["sequence"].to_pylist() == list(range(1, found.num_rows + 1))


def test_pandas_tables_with_texts_and_categories_are_stored(tmp_path: Path) -> None:
    tasks, steps = rows(1, 2)
    frame = tasks.to_pandas()
    frame["kind"] = pd.Categorical(["ecg", "ppg"] * (len(frame) // 2))
    frame["note"] = "a"
    with WarehouseWriter(tmp_path / "w", NOTHING_MOVES) as writer:
        writer.append(frame.sample(frac=1, random_state=0).sort_values("step", kind="stable"), steps.to_pandas())
    found = Warehouse(tmp_path / "w").log(2).tasks()
    assert set(found["kind"].to_pylist()) == {"ecg", "ppg"}
    assert found["step"].to_pylist() == [1] * 4 + [2] * 4


def test_sequence_numbers_have_no_gap_and_times_are_apart(tmp_path: Path) -> None:
    found = Warehouse(filled(tmp_path / "w")).log(1)
    tasks, steps = found.tasks().to_pandas(), found.steps().to_pandas()
    assert (tasks["sequence"] == np.arange(1, 241)).all()
    assert (steps["sequence"] == np.arange(1, 61)).all()
    assert (steps["observed_s"] == steps["step"]).all()
    assert steps["synchronised_s"].is_monotonic_increasing
    assert steps["synchronised_s"].nunique() == 10  # commits


def test_a_revision_reads_the_same_for_ever(tmp_path: Path) -> None:
    folder, seen = tmp_path / "w", {}
    warehouse = None
    with WarehouseWriter(folder, SMALL) as writer:
        for start in range(1, 73, 6):
            writer.append(*rows(start, 6))
            warehouse = warehouse or Warehouse(folder)
            seen[warehouse.revision] = warehouse.log(3).tasks(), warehouse.aggregates()
            for revision, (tasks, sums) in list(seen.items())[:3]:
                assert warehouse.log(3).tasks(at=revision).equals(tasks)
                pd.testing.assert_frame_equal(warehouse.aggregates(revision), sums)
    assert warehouse is not None
    for revision, (tasks, _) in seen.items():
        assert warehouse.log(3).tasks(at=revision).equals(tasks)
    assert len({table.num_rows for table, _ in seen.values()}) == 12
    with pytest.raises(ScenarioError, match="at = 999 is out of range"):
        warehouse.log(3).tasks(at=999)


def test_reading_some_columns_from_a_number_on(tmp_path: Path) -> None:
    log = Warehouse(filled(tmp_path / "w")).log(2)
    whole, part = log.tasks(), log.tasks(columns=["cost", "sequence"], after=101)
    assert part.column_names == ["cost", "sequence"]
    assert part.equals(whole.select(["cost", "sequence"]).slice(101))
    assert log.tasks(after=10**6).num_rows == 0
    with pytest.raises(ScenarioError, match="column 'costs' is not stored"):
        log.tasks(columns=["costs"])


def test_columns_may_change_from_commit_to_commit(tmp_path: Path) -> None:
    with WarehouseWriter(tmp_path / "w", SMALL) as writer:
        for start in range(1, 61, 6):
            tasks, steps = rows(start, 6)
            if start > 30:
                tasks = tasks.append_column("new", pa.array([float(start)] * tasks.num_rows))
            writer.append(tasks, steps)
    found = Warehouse(tmp_path / "w").log(1).tasks()["new"].to_pylist()
    assert found[:120] == [None] * 120
    assert found[-1] == 55.0


def test_aggregates_are_the_sums_of_the_tasks_and_outlive_them(tmp_path: Path) -> None:
    limits = Limits(device_steps=6, edge_steps=12, archive_bytes=20_000, reserve_bytes=0)
    folder, expected = tmp_path / "w", []
    with WarehouseWriter(folder, limits) as writer:
        for start in range(1, 61, 6):
            tasks, steps = rows(start, 6)
            expected.append(tasks.to_pandas())
            writer.append(tasks, steps)
    warehouse = Warehouse(folder)
    assert warehouse.log(1).tasks()["sequence"][0].as_py() > 1  # the first were dropped
    every = pd.concat(expected).groupby("user")
    sums = warehouse.aggregates().set_index("user")
    assert list(sums.columns) == list(SUMS)
    assert (sums["tasks"] == 240).all()
    np.testing.assert_allclose(sums["delay_s"], every["delay_s"].sum())
    np.testing.assert_allclose(sums["energy_j"], every["energy_j"].sum())
    np.testing.assert_allclose(sums["misses"], every["deadline_missed"].sum())
    np.testing.assert_allclose(sums["weighted_cost"], every.apply(lambda part: (part["cost"] * part["weight"]).sum()))
    np.testing.assert_allclose(sums["local"], every["choice"].agg(lambda choice: (choice == 0).sum()))
    by_day = warehouse.aggregates(by_day=True)
    assert by_day["tasks"].sum() == 720


def test_what_cannot_be_stored_is_refused_by_name(tmp_path: Path) -> None:
    tasks, steps = rows(1, 1)
    cases = {
        "column 'cost' is missing": (tasks.drop_columns(["cost"]), steps),
        "column 'step' has empty values": (tasks.set_column(1, "step", pa.array([None] * 12, pa.int64())), steps),
        "column 'x' of type": (tasks.append_column("x", pa.array([b"a"] * 12)), steps),
        "column 'sequence' is added": (tasks.append_column("sequence", pa.array([1] * 12)), steps),
        "user 2 has tasks but no row": (tasks, steps.slice(0, 1)),
    }
    with WarehouseWriter(tmp_path / "w", NOTHING_MOVES) as writer:
        for message, given_tables in cases.items():
            with pytest.raises(ScenarioError, match=message):
                writer.append(*given_tables)
        writer.append(tasks, steps)
    assert Warehouse(tmp_path / "w").log(2).tasks().num_rows == 4


def test_hooks_get_numbers_only(tmp_path: Path) -> None:
    events: list[str] = []

    def audit(event: str, facts: object) -> None:
        events.append(event)
        assert isinstance(facts, dict)
        assert all(isinstance(value, (str, int)) for value in facts.values())

    with WarehouseWriter(tmp_path / "w", SMALL, audit=audit) as writer:
        for start in range(1, 61, 6):
            writer.append(*rows(start, 6))
        writer.rotate()
    Warehouse(tmp_path / "w", audit=audit).log(1).tasks()
    assert {"append", "move", "rotate", "read"} == set(events)
