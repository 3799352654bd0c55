"""One name is one network, and the one that decides is named wherever a policy is."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from iomt_core.experiments.evaluation import evaluate
from iomt_core.paths import ROOT
from iomt_core.runs.training_run import TrainingRun
from iomt_core.scenario import PRESETS
from iomt_core.training.catalogue import catalogue, entry, make_policy, warning, why_not
from iomt_core.training.run_spec import RunSpec
from iomt_core.training.settings import Settings

PAPER, GENERAL = "SAE-MT-QMIX, paper network", "SAE-MT-QMIX, general network"
OUTSIDE = (
    "The general network was trained on T_max = 5 ms to 80 ms; this ward has T_max = 500 ms. It may decide worse here."
)


def opened(page: str, **query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "pages" / page / f"{page}.py"), default_timeout=120)
    for name, value in {"page": page, "preset": "paper", **query}.items():
        app.query_params[name] = value
    return app.run()


def words(app: AppTest) -> str:
    assert not app.exception
    blocks = (app.subheader, app.title, app.caption, app.markdown, app.warning, app.sidebar.caption)
    return "\n".join(element.value.replace("\\", "") for block in blocks for element in block)


def test_a_name_means_the_same_network_on_every_ward() -> None:
    for name, network in (("sae-mt-qmix", "general network"), ("sae-mt-qmix@paper", "paper network")):
        found = evaluate(PRESETS["paper"], name, 1, 0)
        assert (found["policy"], found["network"]) == (name, network)
    assert evaluate(PRESETS["lecture"], "sae-mt-qmix", 1, 0)["network"] == "general network"
    assert evaluate(PRESETS["lecture"], "greedy", 1, 0)["network"] == ""
    assert why_not("sae-mt-qmix@paper", PRESETS["lecture"]) == (
        "The paper network fits 8 users, 8 tasks, 4 servers only; this ward has 3 users, 4 tasks, 2 servers."
    )
    wide = PRESETS["paper"].changed(T_max=0.5)
    assert (why_not("sae-mt-qmix", wide), warning("sae-mt-qmix", wide)) == ("", OUTSIDE)
    assert warning("sae-mt-qmix", PRESETS["paper"]) == ""
    names = list(catalogue())
    assert names[0] == "sae-mt-qmix"
    assert names.index("price-response") < names.index("optimum") < names.index("greedy")


@pytest.mark.parametrize(
    ("old", "now"),
    [("sae-mt-qmix@general", "sae-mt-qmix"), ("sae-mt-qmix@lab", "sae-mt-qmix"), ("mpmt-dqn", "mpmt-dqn@paper")],
)
def test_old_names_are_still_read(old: str, now: str) -> None:
    assert entry(old).name == now
    assert make_policy(old, PRESETS["paper"]).label == entry(now).label
    assert f"Policy: {entry(now).label} · Ward: " in words(opened("explore", policy=old))


@pytest.mark.parametrize("page", ["explore", "inspect"])
def test_a_slider_never_changes_the_network(page: str) -> None:
    app = opened(page)
    assert app.subheader[0].value.replace("\\", "") == f"Policy: {GENERAL} · Ward: 8 users × 8 tasks, 4 servers"
    app.slider(key="p_servers").set_value(3).run()
    said = words(app)
    assert f"Policy: {GENERAL} · Ward: 8 users × 8 tasks, 3 servers" in said
    assert PAPER not in said


@pytest.mark.parametrize("page", ["start", "explore", "inspect"])
def test_beyond_its_training_the_general_network_decides_and_it_is_said(page: str) -> None:
    said = words(opened(page, T_max="0.5"))
    assert OUTSIDE in said
    assert f"Policy: {GENERAL} · Ward: 8 users" in said or page == "start"


def test_a_run_that_does_not_fit_says_so_and_offers_the_default_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IOMT_RUNS", str(tmp_path))
    settings = Settings(num_envs=2, episodes=2, warm_up=0, updates=1, batch=2, replay=4)
    TrainingRun.create(tmp_path / "mine", RunSpec("qmix", PRESETS["lecture"], settings, 0)).train()
    app = opened("explore", policy="run:mine", tasks="4", servers="2")
    assert "Your run mine fits 3 users only; this ward has 8 users. Shown instead: price response." in words(app)
    assert app.sidebar.selectbox(key="policy").value == "price-response"
    app.button(key="show_default").click().run()
    assert f"Policy: {GENERAL} · Ward: 8 users × 4 tasks, 2 servers" in words(app)
    assert app.sidebar.selectbox(key="policy").value == "sae-mt-qmix"


def test_compare_takes_the_same_network_for_two_scenarios_unless_a_person_chooses_another() -> None:
    app = opened("compare", servers="3", v_episodes="2")
    app.selectbox(key="compare_ward").set_value("paper").run()
    said = words(app)
    for side, servers in (("A", 4), ("B", 3)):
        assert f"{side}: Policy: {GENERAL} · Ward: 8 users × 8 tasks, {servers} servers" in said
    app.selectbox(key="compare_a_policy").set_value("sae-mt-qmix@paper").run()
    table = app.table[0].value
    assert table.loc[table["parameter"] == "Policy", ["A", "B"]].to_numpy().tolist() == [
        [name.replace("-", "\\-") for name in (PAPER, GENERAL)]
    ]


def test_the_prices_of_price_response_are_a_control_beside_the_policy() -> None:
    app = opened("explore", preset="lecture", policy="price-response", background="0.4")
    prices = app.sidebar.select_slider(key="prices")
    assert prices.value == "price-response"
    prices.set_value("price-response-broadcast-3").run()
    assert "Policy: Price response, prices of 3 steps ago · Ward: 3 users" in words(app)
    assert app.sidebar.selectbox(key="policy").value == "price-response"
    app.sidebar.selectbox(key="policy").set_value("greedy").run()
    assert not [slider for slider in app.sidebar.select_slider if slider.key == "prices"]
    assert (
        opened("explore", preset="lecture", policy="price-response-broadcast-7")
        .sidebar.select_slider(key="prices")
        .value
    )
