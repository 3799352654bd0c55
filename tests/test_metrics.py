"""The registry: complete, consistent with what is computed, and the only place where labels and units are written."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from iomt_core.experiments.evaluation import evaluate
from iomt_core.experiments.training_check import CHECKED
from iomt_core.metrics import CONTEXT, METRICS, TASK, TRAINING, Metric, three_digits
from iomt_core.scenario import PRESETS

ROOT = Path(__file__).resolve().parents[1]
EVERY = [*METRICS.values(), *CONTEXT.values(), *TRAINING.values(), *TASK.values()]


def test_a_summary_holds_every_metric_and_an_interval_of_each() -> None:
    values = evaluate(PRESETS["lecture"].changed(T=3), "greedy", 2, 0)
    assert values.keys() >= METRICS.keys() | CONTEXT.keys()
    assert values["ci95"].keys() == METRICS.keys()
    assert values["gap"] == pytest.approx(values["cost"] / values["lower_bound"] - 1)
    assert set(CHECKED) <= METRICS.keys()


@pytest.mark.parametrize("metric", EVERY, ids=lambda m: m.name)
def test_a_factor_comes_with_a_unit(metric: Metric) -> None:
    assert metric.label
    assert metric.help
    assert metric.factor == 1.0 or metric.unit


@given(some.sampled_from(EVERY), some.floats(1e-3, 1e9))
def test_what_is_shown_reads_back_as_the_value(metric: Metric, value: float) -> None:
    si = value / metric.factor
    number, _, unit = metric.show(si).partition(" ")
    assert unit == metric.unit
    assert float(number.replace(",", "")) == pytest.approx(value, rel=6e-3, abs=0.51)


@pytest.mark.parametrize(
    ("name", "value", "shown", "difference"),
    [
        ("mean_delay_s", 4.1563e-3, "4.156 ms", "+4.156 ms"),
        ("mean_energy_j", 12.6e-6, "12.60 µJ", "+12.60 µJ"),
        ("gap", 0.0406, "4.06 %", "+4.06 percentage points"),
        ("gap", 1e6, "1e+08 %", "+1e+08 percentage points"),
        ("cost", 0.155, "0.1550", "+0.1550"),
        ("cost", 1e-12, "0.0000", "±0"),
        ("cost", -1e-5, "-0.0000", "about 0"),
        ("gap", math.nan, "n/a", "n/a"),
    ],
)
def test_values_and_differences_as_people_read_them(name: str, value: float, shown: str, difference: str) -> None:
    assert METRICS[name].show(value) == shown
    assert METRICS[name].show_difference(value) == difference


def test_a_difference_that_the_values_do_not_show_is_about_zero() -> None:
    assert METRICS["delay_utility_12"].show_difference(4.64e-5, 58.2) == "about 0"
    assert METRICS["delay_utility_12"].show_difference(4.64e-2, 58.2) == "+0.0464"


def test_no_other_file_of_the_core_or_the_pages_turns_seconds_and_joules_into_what_people_read() -> None:
    own = {
        ROOT / "iomt_core/metrics.py",
        *(ROOT / "iomt_core/scenario").glob("*.py"),
    }  # parameters have units of their own
    for folder in ("iomt_core", "dashboard", "pages"):
        for file in (ROOT / folder).rglob("*.py"):
            if file not in own:
                text = file.read_text(encoding="utf-8")
                assert "µJ" not in text, file
                assert not re.search(r"(delay|energy)\w*(\"\]|'\])? \* 1e[36]", text), file


@given(some.floats(1e-6, 99_999))
def test_three_digits_are_three_digits(value: float) -> None:
    assert float(three_digits(value).replace(",", "")) == pytest.approx(value, rel=5.1e-3)
