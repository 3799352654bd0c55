"""The charts of the Twin page say in words and table what they draw."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from iomt_core.charts.forks import CURVES, fork_curves, fork_table
from iomt_core.charts.warehouse import PANELS, tier_bars, tier_table
from iomt_core.metrics import METRICS
from iomt_core.scenario import PRESETS
from iomt_core.twin.recorded_fork import recorded_episode
from iomt_core.twin.warehouse.checks import status
from iomt_core.twin.warehouse.limits import Limits
from iomt_core.twin.warehouse.recorder import record

WARD = PRESETS["lecture"].changed(T=6)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IOMT_KEYS", str(tmp_path / "keys"))
    record(WARD, "greedy", 3, 0, tmp_path / "w", limits=Limits(device_steps=6, reserve_bytes=0))
    return tmp_path / "w"


def test_tiers_are_drawn_with_their_limits(folder: Path) -> None:
    state = status(folder)
    drawn, table = tier_bars(state), tier_table(state)
    bars = [trace for trace in drawn.data if trace.type == "bar"]
    assert len(bars) == len(PANELS)
    for bar, (key, _, _, factor) in zip(bars, PANELS, strict=True):
        for name, y, text in zip(bar.x, bar.y, bar.text, strict=True):
            value = state["tiers"][name][key] * factor
            assert y == pytest.approx(value) if value else text == "0"
            assert y > 0  # the axis is logarithmic
    assert table["records"].sum() == state["rows"]
    assert f"device: {state['tiers']['device']['rows']:,} records" in drawn.layout.meta["alt"]


def test_both_futures_are_drawn_from_their_steps(folder: Path) -> None:
    recorded = recorded_episode(folder, 2)
    fork = recorded.fork(3, {"servers_off": "1"})
    drawn, table = fork_curves(recorded, fork), fork_table(recorded, fork)
    assert len(drawn.data) == 2 * len(CURVES)
    assert {tuple(trace.x) for trace in drawn.data} == {(1, 2, 3, 4, 5, 6), (3, 4, 5, 6)}
    returned = f"{METRICS['return'].axis_title}, fork"
    assert table[returned].sum() == pytest.approx(float(fork.forked.returns.sum()))
    assert math.isnan(table[returned][0])
