"""The paper's figures show the results: every number of the table is drawn, in the units of the axis."""

from __future__ import annotations

import math

import pytest

from iomt_core.charts.paper import metrics_of, paper_figure, paper_report, shown_table
from iomt_core.experiments.paper.claims import figure_table, verdicts
from iomt_core.experiments.paper.figure_runs import read_table_iii
from iomt_core.experiments.paper.figures import FIGURES, REFERENCES, TABLE_III
from iomt_core.metrics import METRICS
from iomt_core.paths import PAPER_FIGURES
from tests.paper_results import all_runs, results

RESULTS, SIZES = results(all_runs()), read_table_iii(PAPER_FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_draws_its_table_with_units_and_words(name: str) -> None:
    figure = FIGURES[name]
    for metric in metrics_of(figure)[:3] or ("",):
        chart = paper_figure(figure, RESULTS, SIZES, metric)
        table = shown_table(figure, RESULTS, SIZES, metric)
        assert len(table) > 0
        assert len(chart.layout.meta["alt"]) > 40
        if figure.parameter:
            shown = METRICS[metric]
            assert chart.layout.yaxis.title.text == shown.axis_title
            drawn = [y for trace in chart.data if "markers" in (trace.mode or "") for y in trace.y]
            arms = figure_table(figure, RESULTS).query("policy in @figure.arms")
            assert drawn == pytest.approx((arms[metric] * shown.factor).tolist())
            looks = {
                (trace.line.color, trace.line.dash, trace.marker.symbol)
                for trace in chart.data
                if "markers" in (trace.mode or "")
            }
            assert len(looks) == len(figure.arms)
            assert len({look[1:] for look in looks}) == len(figure.arms)
            grey = [trace.line.dash for trace in chart.data if trace.line.color == "#8a8f98"]
            assert len(set(grey)) == len(REFERENCES)


def test_the_band_is_the_interval_over_seeds() -> None:
    table = figure_table(FIGURES["figure-10"], RESULTS)
    arms = table[table["policy"] == "qmix"]
    assert arms["seeds"].tolist() == [3] * 5
    assert (arms["cost_low"] < arms["cost"]).all()
    assert (arms["cost"] < arms["cost_high"]).all()
    one = figure_table(FIGURES["figure-10"], results(all_runs(1)))
    assert one["cost_low"].isna().all()


def test_an_unfinished_figure_shows_what_is_there() -> None:
    figure = FIGURES["figure-8"]
    known = results([run for run in all_runs(1) if run.ward.servers < 4])
    table = shown_table(figure, known, SIZES)
    assert set(table[figure.axis.title]) == {2, 3}
    assert all(math.isfinite(y) for trace in paper_figure(figure, known, SIZES).data for y in trace.y if y is not None)


def test_a_report_stands_alone() -> None:
    figure = FIGURES[TABLE_III]
    page = paper_report(figure, RESULTS, SIZES, verdicts(RESULTS, SIZES, 3, TABLE_III), "a recipe")
    assert "src=" not in page.split("<script", 1)[0]
    assert "a recipe" in page
    assert "within 10" in page
