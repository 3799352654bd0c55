"""The network that decides is named wherever a trained policy is: the shipped ones have several."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from iomt_core.paths import ROOT

PAPER, GENERAL = "SAE-MT-QMIX, paper network", "SAE-MT-QMIX, general network"


def opened(page: str, **query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "pages" / page / f"{page}.py"), default_timeout=120)
    for name, value in {"page": page, "preset": "paper", "policy": "sae-mt-qmix", **query}.items():
        app.query_params[name] = value
    return app.run()


def words(app: AppTest) -> str:
    assert not app.exception
    blocks = (app.subheader, app.title, app.caption, app.markdown, app.warning, app.sidebar.caption)
    return "\n".join(element.value.replace("\\", "") for block in blocks for element in block)


@pytest.mark.parametrize("page", ["explore", "inspect"])
def test_a_slider_away_from_the_papers_ward_changes_the_name_of_the_network(page: str) -> None:
    app = opened(page)
    said = words(app)
    assert said.count(PAPER) >= 3  # title, sidebar and Share
    assert GENERAL not in said
    app.slider(key="p_servers").set_value(3).run()
    said = words(app)
    assert said.count(GENERAL) >= 3
    assert PAPER not in said
    assert app.subheader[0].value.replace("\\", "").startswith(f"{GENERAL} on 8 users")


def test_compare_says_that_two_networks_of_one_policy_decided() -> None:
    app = opened("compare", servers="3", v_a="ward=paper&policy=sae-mt-qmix&shares=own", v_episodes="2")
    assert f"Different networks decided: A: {PAPER}; B: {GENERAL}." in words(app)
    table = app.table[0].value
    assert table.loc[table["parameter"] == "Policy", ["A", "B"]].to_numpy().tolist() == [
        [name.replace("-", "\\-") for name in (PAPER, GENERAL)]
    ]
