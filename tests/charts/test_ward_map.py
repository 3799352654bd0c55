"""The map's places: nothing that can be told apart overlaps, and what does not overlap stays where it is."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iomt_core.charts.ward_map import SERVER_RADIUS, SIZE, TASK_RADIUS, spread, step_figures, ward_frames
from iomt_core.metrics import METRICS
from iomt_core.scenario import PRESETS
from iomt_core.twin.northbound import play


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 16), st.integers(1, 8), st.sampled_from([4, 8, 16]))
def test_marks_do_not_overlap_in_any_ward(seed: int, users: int, servers: int, tasks: int) -> None:
    s = PRESETS["paper"].changed(users=users, servers=servers, tasks=tasks, seed=seed, T=1)
    frames = ward_frames(play(s, "greedy", 0))
    own = frames["ring"] + TASK_RADIUS
    circles = [(x, y, own) for x, y in frames["users"][0]] + [(x, y, SERVER_RADIUS) for x, y in frames["servers"]]
    for n, (x, y, r) in enumerate(circles):
        assert r <= x <= SIZE - r
        assert r <= y <= SIZE - r
        assert all(math.hypot(x - a, y - b) > r + q - 3 for a, b, q in circles[:n])


def test_what_does_not_overlap_stays_in_place() -> None:
    users, servers = torch.tensor([[[100.0, 100.0], [500.0, 100.0]]]), torch.tensor([[[300.0, 400.0]]])
    found = spread(users, servers, 40.0, 30.0)
    assert torch.cat(found, dim=1)[0].tolist() == [
        pytest.approx(at, abs=0.1) for at in ([100.0, 100.0], [500.0, 100.0], [300.0, 400.0])
    ]


def test_the_figures_of_a_step_are_those_of_its_tasks() -> None:
    record = play(PRESETS["lecture"], "price-response", 0)
    table = record.table()
    shown = {figure["label"]: figure["values"] for figure in step_figures(record)}
    for step in range(len(record)):
        rows = table[table["step"] == step + 1]
        weighted = (rows["cost"] * rows["weight"]).sum() / rows["weight"].sum()
        for name, value in (
            ("mean_delay_s", rows["delay_s"].mean()), ("mean_energy_j", rows["energy_j"].mean()), ("cost", weighted),
        ):  # fmt: skip
            assert shown[METRICS[name].label][step] == METRICS[name].brief(value)
