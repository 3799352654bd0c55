"""The command line as a person uses it: files that can be checked, and clear words for what cannot be done."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from iomt_core.experiments.evaluation import evaluate
from iomt_core.scenario import PRESETS

ROOT = Path(__file__).resolve().parents[2]


def command(*words: object) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "iomt_core", *(str(w) for w in words)]
    return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_evaluate_writes_a_summary_that_follows_from_its_decisions(tmp_path: Path) -> None:
    done = command(
        "evaluate",
        "--scenario",
        "drained",
        "--policy",
        "price-response",
        "--episodes",
        3,
        "--seed",
        5,
        "--out",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
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


def test_scenario_prints_every_parameter_in_si_units() -> None:
    values = json.loads(command("scenario", "paper").stdout)
    assert values["users"] == 8
    assert values["D"] == [160000, 400000]
    assert values["F_k"] == 1e9
    assert values["T_max"] == 0.02
    assert values["gamma_t"] == pytest.approx(50)


def test_own_workload_and_places_are_used(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text(
        "step,user,data_kb,cycles,priority\n1,1,30,150000,2\n1,2,40,120000,3\n2,1,20,110000,1\n"
    )
    (tmp_path / "p.csv").write_text("kind,x_m,y_m\nuser,1,1\nuser,50,60\nserver,40,40\n")
    done = command(
        "evaluate", "--scenario", "paper", "--policy", "nearest", "--episodes", 2, "--out", tmp_path / "out",
        "--workload", tmp_path / "w.csv", "--places", tmp_path / "p.csv",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
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
    out = tmp_path / "out"
    done = command("evaluate", *words, "--out", out)
    assert done.returncode == 2
    assert expected in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not out.exists() or not list(out.iterdir())
