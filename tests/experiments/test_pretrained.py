"""The shipped policies decide as they did when they were shipped."""

from __future__ import annotations

import json

import pytest

from iomt_core.experiments.paper.pretraining import check_figures
from iomt_core.paths import PRETRAINED
from iomt_core.training.checkpoints import MARK

SHIPPED = json.loads((PRETRAINED / "manifest.json").read_text(encoding="utf-8"))["policies"]


def test_the_manifest_names_all_that_is_shipped() -> None:
    assert sorted(SHIPPED) == sorted(mark.parent.name for mark in PRETRAINED.glob(f"*/{MARK}"))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_policy_decides_as_when_it_was_shipped(name: str) -> None:
    """If a change of its decisions is wanted, `python -m iomt_core pretrained --no-train` writes the figures anew."""
    found = check_figures(PRETRAINED / name, SHIPPED[name]["kind"])
    assert found == {ward: pytest.approx(figures, rel=1e-6) for ward, figures in SHIPPED[name]["check"].items()}
