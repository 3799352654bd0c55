"""The command line as a person uses it: files that can be checked, and clear messages for errors."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from iomt_core.cli.commands import application
from iomt_core.experiments.evaluation import evaluate
from iomt_core.scenario import EARLIER_PRESETS, PRESETS, ScenarioError
from iomt_core.scenario.files import parse_scenario, read_scenario

ROOT = Path(__file__).resolve().parents[2]


def command(*words: object) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "iomt_core", *(str(w) for w in words)]
    return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_evaluate_writes_a_summary_that_follows_from_its_decisions(tmp_path: Path) -> None:
    words = ["evaluate", "--scenario", "drained", "--policy", "price-response", "--episodes", "3", "--seed", "5"]
    done = CliRunner().invoke(application(), [*words, "--out", f"{tmp_path}"])
    assert done.exit_code == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    t = pd.read_parquet(tmp_path / "decisions.parquet")
    s = PRESETS["drained"]
    assert summary["mean_delay_s"] == pytest.approx(t["delay_s"].mean())
    assert summary["mean_energy_j"] == pytest.approx(t["energy_j"].mean())
    assert summary["cost"] == pytest.approx(np.average(t["cost"], weights=t["priority"]))
    assert summary["deadline_miss_share"] == pytest.approx(t["deadline_missed"].mean())
    per_step = t.groupby(["episode", "step"])
    utility = np.exp(s.alpha * (t["priority"] - s.mu)) * (1 - t["delay_s"] / s.T_max)
    assert summary["delay_utility_12"] == pytest.approx(utility.sum() / per_step.ngroups)
    bounds = per_step["bound"].first().sum()
    assert summary["gap"] == pytest.approx((t["cost"] * t["weight"]).sum() / bounds - 1)
    assert summary["lower_bound"] == pytest.approx(bounds / t["weight"].sum())
    assert summary["steps"] == per_step.ngroups
    assert not [f for f in tmp_path.iterdir() if f.name.endswith(".tmp")]


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = evaluate(PRESETS["lecture"], "greedy", 7, 1, tmp_path / "a")
    monkeypatch.setattr("iomt_core.experiments.evaluation.CHUNK", 1)
    pieces = evaluate(PRESETS["lecture"], "greedy", 7, 1, tmp_path / "b", csv=True)
    assert whole["cost"] == pytest.approx(pieces["cost"], rel=1e-12)
    left, right = pd.read_parquet(tmp_path / "a" / "decisions.parquet"), pd.read_csv(tmp_path / "b" / "decisions.csv")
    np.testing.assert_allclose(left["delay_s"], right["delay_s"])
    assert list(left.columns) == list(right.columns)


def test_a_printed_scenario_reads_back_as_the_same_scenario(tmp_path: Path) -> None:
    printed = CliRunner().invoke(application(), ["scenario", "paper"]).stdout
    assert json.loads(printed)["D"] == [160000, 400000]
    assert parse_scenario(printed).digest == PRESETS["paper"].digest
    own_data(tmp_path)
    own = CliRunner().invoke(
        application(),
        [
            "scenario",
            "paper",
            "--format",
            "yaml",
            "--workload",
            f"{tmp_path / 'w.csv'}",
            "--places",
            f"{tmp_path / 'p.csv'}",
        ],
    )
    s = parse_scenario(own.stdout)
    assert (len(s.workload or ()), s.users, s.servers) == (3, 2, 1)
    assert "w.csv: columns separated by commas; numbers read with a decimal point" in own.stderr


def own_data(place: Path) -> None:
    (place / "w.csv").write_text(
        "step,user,data_kb,cycles,priority\n1,1,30,150000,2\n1,2,40,120000,3\n2,1,20,110000,1\n"
    )
    (place / "p.csv").write_text("kind,x_m,y_m\nuser,1,1\nuser,50,60\nserver,40,40\n")


def test_training_and_sweeps_take_own_data(tmp_path: Path) -> None:
    own_data(tmp_path)
    # A parameter that the places decide cannot be swept: the places were read.
    words = ["sweep", "--places", f"{tmp_path / 'p.csv'}", "--over", "servers=1,2", "--out", f"{tmp_path / 'sweep'}"]
    assert "set by your own places" in str(CliRunner().invoke(application(), words).exception)
    words = ["train", "--algorithm", "qmix", "--workload", f"{tmp_path / 'w.csv'}", "--out", f"{tmp_path / 'run'}"]
    done = CliRunner().invoke(application(), [*words, "--set", "episodes=1"])
    assert done.exit_code == 0, done.stderr
    assert len(json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["scenario"]["workload"]) == 3


def test_units_are_read_and_doubtful_numbers_are_named(tmp_path: Path) -> None:
    ward = tmp_path / "ward.yaml"
    ward.write_text("preset: paper\nT_max: 20\n")
    done = CliRunner().invoke(application(), ["scenario", str(ward)])
    assert "T_max = 20 was read as 20 s (20000 ms)" in done.stderr
    assert json.loads(done.stdout)["T_max"] == 20
    ward.write_text("preset: paper\nT_max: 20 ms\n")
    done = CliRunner().invoke(application(), ["scenario", str(ward)])
    assert done.stderr == ""
    assert json.loads(done.stdout)["T_max"] == 0.02


def test_own_workload_and_places_are_used(tmp_path: Path) -> None:
    own_data(tmp_path)
    words = [
        "evaluate",
        "--scenario",
        "paper",
        "--policy",
        "nearest",
        "--episodes",
        "2",
        "--out",
        f"{tmp_path / 'out'}",
    ]
    words += ["--workload", f"{tmp_path / 'w.csv'}", "--places", f"{tmp_path / 'p.csv'}"]
    done = CliRunner().invoke(application(), words)
    assert done.exit_code == 0, done.stderr
    t = pd.read_parquet(tmp_path / "out" / "decisions.parquet")
    assert len(t) == 6
    assert t["data_bits"].tolist() == [240000, 320000, 160000] * 2
    assert t.loc[1, "distance_m"] == pytest.approx(np.hypot(10, 20))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--scenario", "nowhere", "--policy", "optimum"), "scenario = 'nowhere'"),
        (("--scenario", "missing.yaml", "--policy", "optimum"), "missing.yaml"),
        (("--scenario", "paper", "--policy", "best"), "policy = 'best'"),
        (("--scenario", "paper", "--policy", "optimum", "--episodes", "0"), "episodes = 0"),
        (("--scenario", "paper", "--policy", "optimum", "--seed", "-3"), "seed = -3"),
        (("--scenario", "paper", "--policy", "optimum", "--shares", "most"), "shares = 'most'"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    words: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(application(), ["evaluate", *words, "--out", f"{tmp_path / 'out'}"])
    assert isinstance(done.exception, ScenarioError)
    assert expected in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_an_error_is_a_message_and_no_traceback(tmp_path: Path) -> None:
    done = command("evaluate", "--scenario", "nowhere", "--policy", "optimum", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "error: scenario = 'nowhere'" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_directory_holds_one_evaluation(tmp_path: Path) -> None:
    out = tmp_path / "out"
    evaluate(PRESETS["lecture"], "greedy", 1, 0, out)
    with pytest.raises(ScenarioError, match=r"another evaluation \(summary.json, decisions.parquet\).*--overwrite"):
        evaluate(PRESETS["lecture"], "all-local", 1, 0, out, csv=True)
    assert json.loads((out / "summary.json").read_text())["policy"] == "greedy"
    evaluate(PRESETS["lecture"], "all-local", 1, 0, out, csv=True, overwrite=True)
    assert json.loads((out / "summary.json").read_text())["policy"] == "all-local"
    assert {file.name for file in out.iterdir()} == {"summary.json", "decisions.csv"}


OLD_CODE_PAGE = """
import sys
from iomt_core.cli.app import main
for words in (["parameters"], ["train", "--help"]):
    sys.argv = ["iomt", *words]
    try:
        main()
    except SystemExit as exit:
        assert not exit.code
"""


def test_an_old_code_page_shows_what_it_can() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OLD_CODE_PAGE], cwd=ROOT, capture_output=True, timeout=120, check=False,
        env={**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode("cp1252")
    shown = done.stdout.decode("cp1252")
    assert "| `eta` | ? | 3 |" in shown
    assert "100 µJ" in shown
    assert "--algorithm" in shown


INTERRUPTED_IMPORT = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv = ["iomt", "presets"]
from iomt_core.cli.app import main
main()
"""


def test_ctrl_c_while_importing_leaves_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted: nothing was begun.\n")


def test_ctrl_c_in_an_evaluation_says_what_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    words = ["evaluate", "--scenario", "paper", "--policy", "optimum", "--episodes", "100000", "--out", str(out)]
    begun = subprocess.Popen(
        [sys.executable, "-m", "iomt_core", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while not out.exists() and time.monotonic() < until and begun.poll() is None:
        time.sleep(0.02)
    begun.send_signal(signal.SIGINT)
    _, said = begun.communicate(timeout=60)
    assert begun.returncode == 130, said
    assert re.search(r"Interrupted after \d+ of 100000 episodes. Nothing was written", said)
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_every_command_that_takes_a_scenario_takes_own_data() -> None:
    def commands(one: Any, name: str) -> Iterator[tuple[str, set[str]]]:
        for word, sub in getattr(one, "commands", {}).items():
            yield from commands(sub, f"{name} {word}".strip())
        if not hasattr(one, "commands"):
            yield name, {parameter.name for parameter in one.params}

    # An import makes own data.
    found = {
        name: names for name, names in commands(typer.main.get_command(application()), "")
        if "scenario" in names and name != "import"
    }  # fmt: skip
    assert {
        "evaluate",
        "train",
        "sweep",
        "models promote",
        "models rollback",
        "warehouse record",
        "twin trace",
        "twin staleness",
    } <= found.keys()
    assert [name for name, names in found.items() if not {"workload", "places"} <= names] == []


def test_what_a_preset_was_before_is_named_where_presets_are() -> None:
    shown = {
        words: CliRunner().invoke(application(), list(words)).output for words in (("presets",), ("bound", "--help"))
    }
    for name in EARLIER_PRESETS:
        assert all(name in text for text in shown.values())
        with pytest.raises(ScenarioError, match=name):
            read_scenario("hospitals")


def test_import_shows_columns_and_writes_a_ward_that_other_commands_read(tmp_path: Path) -> None:
    table = tmp_path / "trace.csv"
    table.write_text(
        "start;patient;size (KB);cycles\n31.05.2024 10:00;P-2;20,5;1.200.000\n31.05.2024 10:05;P-10;1.000,25;90.000\n"
    )
    words = ["import", f"{table}", "--step", "5 min", "--scenario", "lecture"]
    shown = CliRunner().invoke(application(), [*words, "--preview"])
    assert shown.exit_code == 0
    assert "guessed" in shown.stderr
    assert "out is missing" in str(CliRunner().invoke(application(), words).exception)
    done = CliRunner().invoke(application(), [*words, "--out", f"{tmp_path / 'ward'}"])
    assert done.exit_code == 0, done.stderr
    assert "P-2 → 1, P-10 → 2" in done.stderr
    ward = json.loads(CliRunner().invoke(application(), ["scenario", f"{tmp_path / 'ward' / 'scenario.json'}"]).stdout)
    assert [(task["step"], task["user"], task["D"], task["C"]) for task in ward["workload"]] == [
        (1, 1, 164_000.0, 1_200_000.0), (2, 2, 8_002_000.0, 90_000.0),
    ]  # fmt: skip
    refused = (
        CliRunner().invoke(application(), [*words, "--map", "data=weight", "--out", f"{tmp_path / 'other'}"]).exception
    )
    assert "map data = 'weight' is not known" in str(refused)
    assert not (tmp_path / "other").exists()
