"""Versions never change, aliases follow from their log, and whatever was changed on disk is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from iomt_core.cli.commands import application
from iomt_core.metrics import METRICS
from iomt_core.paths import PRETRAINED
from iomt_core.scenario import PRESETS, ScenarioError
from iomt_core.training.catalogue import catalogue, make_policy, why_not
from iomt_core.training.checkpoints import write_checkpoint
from iomt_core.twin.management import aliases, registry
from iomt_core.twin.northbound import Twin

PAPER, LECTURE = PRESETS["paper"], PRESETS["lecture"]
ROOT = Path(__file__).resolve().parents[3]


def version(name: str) -> str:
    return registry.find(name).version


def own_run(tmp_path: Path, name: str, shipped: str, played: int = 8, gap: float | None = 0.125) -> Path:
    """A finished run whose checkpoint is a shipped one."""
    folder = tmp_path / "iomt_runs" / name
    checkpoint = folder / "checkpoints" / f"{played:08d}"
    checkpoint.parent.mkdir(parents=True)
    shutil.copytree(PRETRAINED / shipped, checkpoint)
    mark = checkpoint / "checkpoint.json"
    facts = json.loads(mark.read_text()) | {"seed": 77, "played": played}
    mark.write_text(json.dumps(facts))
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "status.json").write_text('{"state": "finished"}')
    lines = [{"episodes": 0, "gap": 9.0}, {"episodes": played} | ({} if gap is None else {"gap": gap})]
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return checkpoint


def test_every_trained_policy_has_a_version_of_its_weights_and_settings(tmp_path: Path) -> None:
    own_run(tmp_path, "mine", "general-qmix")
    own_run(tmp_path, "silent", "paper-qmix", gap=None)
    found = registry.models()
    trained = {name for name, one in catalogue().items() if one.trained}
    assert {name for one in found for name in one.names} == trained
    assert len({one.version for one in found}) == len(trained)
    assert version("run:mine") != version("qmix")  # the same weights, trained with another seed
    by_name = {one.names[0]: one for one in found}
    assert by_name["run:mine"].how_good.startswith("12.50 %")
    assert by_name["run:silent"].how_good == "unknown"
    shipped = json.loads((PRETRAINED / "manifest.json").read_text())["policies"]["general-sae-mt-qmix"]
    gap = METRICS["gap"].show(shipped["mean"]["gap"]["mean"])
    assert by_name["sae-mt-qmix"].how_good == f"{gap} (paper, 400 held-out steps)"
    assert by_name["sae-mt-qmix@paper"].covers.startswith("8 users, 8 tasks, 4 servers")
    assert not any(one.problem for one in found)


def test_an_alias_means_what_its_log_says_and_a_rollback_is_appended() -> None:
    names = ("sae-mt-qmix", "qmix", "sae-mt-qmix@paper")
    first, second, paper = map(version, names)
    registry.promote("champion", "sae-mt-qmix", "anna", "lowest gap")
    registry.promote("champion", "qmix", "ben", "shorter training")
    registry.promote("champion", "sae-mt-qmix@paper", "anna", "for this ward", PAPER)
    assert aliases.current("champion", LECTURE) == second
    assert aliases.current("champion", PAPER) == paper
    assert aliases.current("champion", PAPER.changed(name="renamed")) == paper
    assert aliases.current("champion", PAPER.changed(T=7)) == second
    registry.roll_back("champion", "anna", "worse after all")
    assert aliases.current("champion", LECTURE) == first
    with pytest.raises(ScenarioError, match="no earlier version everywhere"):
        registry.roll_back("champion", "anna", "once more")
    log = aliases.changes()
    assert [one.sequence for one in log] == [1, 2, 3, 4]
    assert [one.before for one in log] == ["", first[:12], "", second[:12]]
    assert [one.after for one in log] == [first, second, paper, first]
    assert [(one.who, one.why) for one in log][-1] == ("anna", "worse after all")
    check = aliases.verification()
    assert check is not None
    assert check.valid


def test_a_policy_can_be_chosen_by_alias_and_the_version_decides() -> None:
    registry.promote("champion", "qmix", "anna", "why not")
    name = registry.resolve("champion", LECTURE)
    assert name == f"model:{version('qmix')[:12]}"
    by_alias, by_name = (Twin(LECTURE, policy, 3) for policy in (name, "qmix"))
    assert by_alias.step().equals(by_name.step())
    assert by_alias.policy == name
    for unchanged in ("greedy", "qmix", "sae-mt-qmix@lab", "unknown", "run:mine", "../x"):
        assert registry.resolve(unchanged, LECTURE) == unchanged


def test_a_version_outlives_its_run(tmp_path: Path) -> None:
    checkpoint = own_run(tmp_path, "mine", "general-qmix")
    registry.promote("mine", "run:mine", "anna", "my own")
    name = registry.resolve("mine", LECTURE)
    shutil.rmtree(checkpoint.parents[1])
    assert make_policy(name, LECTURE).name == name
    kept = registry.find(name)
    assert (kept.kept, kept.how_good) == (True, "12.50 % (held-out episodes of its own ward)")
    assert kept.origin.startswith("run mine")


def test_the_twin_of_an_agent_is_kept_but_decides_for_no_ward(tmp_path: Path) -> None:
    tensors = {"agents/x": torch.ones(3)}
    facts = {"kind": "agent twin", "algorithm": "mpmt-dqn", "user": 2, "scenario": LECTURE.model_dump(mode="json")}
    write_checkpoint(tmp_path / "twin", {"policy.safetensors": tensors}, facts)
    write_checkpoint(tmp_path / "other", {"policy.safetensors": tensors}, facts | {"user": 3})
    added = registry.add(tmp_path / "twin")
    assert (added.names, added.kept, added.how_good) == ((), True, "unknown")
    assert added.covers.startswith("user 2 of 'lecture'")
    assert registry.add(tmp_path / "other").version != added.version
    registry.promote("nurse", added.short, "anna", "for user 2", LECTURE)
    assert aliases.current("nurse", LECTURE) == added.version
    with pytest.raises(ScenarioError, match="cannot decide for a ward: it covers user 2"):
        registry.resolve("nurse", LECTURE)
    assert not [name for name in catalogue() if name.startswith("model:")]
    with pytest.raises(ScenarioError, match="not complete"):
        registry.add(tmp_path)


@pytest.mark.parametrize("file", ["policy.safetensors", "checkpoint.json"])
def test_a_version_whose_file_changed_is_refused(own_folders: Path, file: str) -> None:
    short = registry.promote("champion", "qmix", "anna", "fine").after[:12]
    (folder,) = (own_folders / "versions").iterdir()
    path = folder / file
    if file == "checkpoint.json":
        path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        os.utime(folder / "checkpoint.json", (1, 1))  # not one that was loaded before
    name = f"model:{short}"
    with pytest.raises(ScenarioError, match=r"damaged or was exchanged|was changed"):
        make_policy(name, LECTURE)
    assert why_not(name, LECTURE)
    listed = {one.version[:12]: one for one in registry.models() if one.problem}
    assert short in listed
    with pytest.raises(ScenarioError, match=r"changed|exchanged"):
        registry.promote("champion", name, "anna", "again")


def test_what_cannot_be_promoted_is_refused() -> None:
    registry.promote("champion", "qmix", "anna", "fine")
    for alias, name, who, why, s, words in (
        ("Champion", "qmix", "anna", "x", None, "alias = 'Champion' cannot be used"),
        ("greedy", "qmix", "anna", "x", None, "is the name of a policy"),
        ("best", "greedy", "anna", "x", None, "model = 'greedy' is not known"),
        ("best", "qmix", "anna", " \n", None, "reason = '' cannot be used"),
        ("best", "qmix", "", "x", None, "who = '' cannot be used"),
        ("best", "qmix", "anna", "x" * 121, None, "1 to 120 characters"),
        ("best", "qmix@paper", "anna", "x", LECTURE, "cannot be promoted for 'lecture'"),
        ("champion", "qmix", "anna", "x", None, "already"),
    ):
        with pytest.raises(ScenarioError, match=words):
            registry.promote(alias, name, who, why, s)
    assert len(aliases.changes()) == 1


@pytest.mark.parametrize("change", ["rewritten", "shortened", "removed"])
def test_a_changed_log_is_refused(own_folders: Path, change: str) -> None:
    registry.promote("champion", "qmix", "anna", "fine")
    registry.promote("champion", "sae-mt-qmix", "anna", "better")
    file = own_folders / "aliases" / "audit.sqlite"
    if change == "removed":
        shutil.rmtree(file.parent)
    else:
        with sqlite3.connect(file) as log:
            log.execute(
                "UPDATE record SET subject = 'ben' WHERE sequence = 1"
                if change == "rewritten"
                else "DELETE FROM record WHERE sequence = 2"
            )
        log.close()
    with pytest.raises(ScenarioError):
        registry.resolve("champion", LECTURE)
    with pytest.raises(ScenarioError):
        registry.models()


def test_a_kill_while_promoting_loses_no_acknowledged_change(tmp_path: Path) -> None:
    code = (
        "from iomt_core.twin.management import aliases\nfrom itertools import count\n"
        "for n in count():\n    aliases.point('champion', f'{n:064x}', 'anna', 'next')\n    print(n, flush=True)\n"
    )
    seen = 0
    for words in (3, 5):
        process = subprocess.Popen(
            [sys.executable, "-c", code.replace("count()", f"count({seen})")],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        assert process.stdout is not None
        acknowledged = [int(next(process.stdout)) for _ in range(words)]
        process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
        process.wait()
        found = [int(one.after, 16) for one in aliases.changes()]
        assert found[: acknowledged[-1] + 1] == list(range(acknowledged[-1] + 1))
        assert len(found) <= acknowledged[-1] + 2
        seen = len(found)


def test_the_commands(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def run(*words: str) -> str:
        application(words)(list(words), standalone_mode=False)
        return capsys.readouterr().out

    assert run("models", "promote", "champion", "qmix", "--reason", "fine").startswith("champion (everywhere): none → ")
    changed = json.loads(
        run("models", "promote", "champion", "sae-mt-qmix", "--reason", "x", "--scenario", "lecture", "--json")
    )
    assert changed["scope"].startswith("lecture:")
    own = ("--scenario", "lecture", "--places", f"{tmp_path / 'places.csv'}")
    (tmp_path / "places.csv").write_text("kind,x_m,y_m\nuser,1,2\nuser,3,4\nuser,5,6\nserver,5,6\nserver,7,8\n")
    scope = json.loads(run("models", "promote", "here", "qmix", "--reason", "x", *own, "--json"))["scope"]
    assert scope != changed["scope"]
    run("models", "promote", "here", "sae-mt-qmix", "--reason", "x", *own)
    assert json.loads(run("models", "rollback", "here", "--reason", "x", *own, "--json"))["scope"] == scope
    with pytest.raises(ScenarioError, match="scenario is missing"):
        run("models", "promote", "here", "qmix", "--reason", "x", *own[2:])
    listed = json.loads(run("models", "list", "--json"))
    assert {one["names"][0] for one in listed if one["aliases"]} == {"qmix", "sae-mt-qmix"}
    assert json.loads(run("models", "show", "champion", "--json"))["version"] == version("qmix")
    actions = [one["action"] for one in json.loads(run("models", "log", "--json"))]
    assert actions == [*["promote"] * 4, "rollback"]
    traced = json.loads(run("twin", "trace", "--scenario", "lecture", "--policy", "champion", "--step", "2", "--json"))
    assert traced["policy"] == f"model:{version('sae-mt-qmix')[:12]}"
