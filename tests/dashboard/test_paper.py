"""The Paper page: what is not yet run, a figure beside its claims, and the way to a ward of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.paper import views
from dashboard.paper.state import View, from_view, link_view
from iomt_core.experiments.paper.figure_runs import Plan, write_table_iii
from iomt_core.experiments.paper.figures import FIGURES
from tests.paper_results import noise, result

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(views, "PAPER_FIGURES", tmp_path)
    return tmp_path


def opened(**entries: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "pages/paper/paper.py"), default_timeout=60)
    for name, value in {"page": "paper", **{f"v_{n}": v for n, v in entries.items()}}.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.info, app.error)
    return " ".join(str(element.value) for kind in kinds for element in kind).replace("\\", "")


def test_what_is_not_yet_run_is_said_with_its_command() -> None:
    app = opened(figure="figure-8")
    assert "Nothing of this figure has been run yet" in words(app)
    assert [code.value for code in app.code if code.value.startswith("iomt")] == ["iomt paper --only figure-8"]
    assert "not yet run" in words(app)


def test_a_figure_has_its_claims_and_opens_its_ward(folder: Path) -> None:
    Plan(seeds=2).save(folder)
    write_table_iii(folder)
    for run in Plan(seeds=2).runs([FIGURES["figure-12"]]):
        better = 0.5 if run.arm == "sae-mt-qmix" else 1.0
        (folder / run.file).write_text(json.dumps(result(run, lambda run, name, b=better: b * noise(run))))  # type: ignore[misc]
    app = opened(figure="12", metric="cost", at="6")
    text = words(app)
    assert "46 of 46 runs are done" in text
    table = app.table[0].value
    assert table["verdict"].tolist()[:3] == ["holds"] * 3
    app.button(key="paper_explore").click().run()
    session = app.session_state["session"]
    assert (session.scenario.users, session.scenario.tasks, session.scenario.servers) == (8, 8, 6)
    assert session.wanted_page == "explore"
    app.selectbox(key="paper_figure").select("table-3").run()
    assert not app.exception
    assert "holds" in app.table[0].value["verdict"].tolist()


def test_a_link_holds_what_is_shown_and_a_bad_entry_leaves_out_only_itself() -> None:
    view = View("figure-7", "gap", 10)
    assert from_view(link_view(view)) == view
    bad = from_view({"figure": "figure-7", "metric": "beauty", "at": "5"})
    assert (bad.name, bad.metric, bad.at) == ("figure-7", "", None)
    assert len(bad.problems) == 2
    assert "allowed is 4, 6, 8, 10, 12" in bad.problems[1]
    assert "allowed is figure-4" in from_view({"figure": "3"}).problems[0]
