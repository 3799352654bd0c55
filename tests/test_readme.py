"""The README says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from iomt_core.experiments.results_table import results_table
from iomt_core.parameter_table import parameter_table

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_parameter_table_is_the_scenarios() -> None:
    found = re.search(r"<!-- parameters -->\n(.*)\n<!-- /parameters -->", README, re.DOTALL)
    assert found is not None
    assert found[1] == parameter_table(), "run `python -m iomt_core parameters` and paste it"


def test_the_results_are_the_manifests() -> None:
    found = re.search(r"<!-- results -->\n(.*)\n<!-- /results -->", README, re.DOTALL)
    assert found is not None
    assert found[1] == results_table(), "run `python -m iomt_core results` and paste it"


def test_the_python_in_the_readme_runs() -> None:
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), {})
