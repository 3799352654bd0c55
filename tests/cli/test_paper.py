"""`iomt paper` says what there is to do, and draws a figure from results without computing anything."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from iomt_core.cli.commands import application
from iomt_core.experiments.paper.figure_runs import Plan
from iomt_core.experiments.paper.figures import FIGURES
from iomt_core.scenario import ScenarioError
from tests.paper_results import result


def paper(*words: object) -> str:
    done = CliRunner().invoke(application(["paper"]), ["paper", *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0
    return done.output


def test_a_figure_is_drawn_from_the_files_of_its_runs(tmp_path: Path) -> None:
    for run in (runs := Plan(seeds=1).runs([FIGURES["figure-9"]])):
        (tmp_path / run.file).write_text(json.dumps(result(run)))
    paper("--out", tmp_path, "--figure", "9", "--figure", "figure-13", "--to", tmp_path / "drawn")
    page = (tmp_path / "drawn/figure-9.html").read_text(encoding="utf-8")
    assert "MPMT-DQN (VDN) has a lower mean energy than PA-DDPG (VDN)." in page
    table = pd.read_csv(tmp_path / "drawn/figure-9.csv")
    assert len(table) == 4 * 5 + 3 + 5 * 5
    assert len(pd.read_csv(tmp_path / "drawn/runs.csv")) == len(runs) - 5 + 25
    assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--only", "3"), "figure = '3' is not known: allowed is figure-4, "),
        (("--figure", "8"), "figure = 'figure-8' has no results in"),
        (("--seeds", "0"), "seeds = 0 is out of range: allowed is 1 to 20"),
        (("--episodes", "16"), "episodes = 16 is out of range: allowed is 32 to 10000"),
        (("--time-limit", "0"), "time-limit = 0 is out of range"),
        (("--workers", "65"), "workers = 65 is out of range: allowed is 1 to 64"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        paper("--out", tmp_path, *words)
    assert list(tmp_path.iterdir()) == []
