"""What strangers send: links, files, tables, checkpoints, names. All are refused; nothing is run, read or written."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pickle
import re
import zlib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from markdown_it import MarkdownIt
from safetensors.torch import save_file
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from dashboard.compare import state as compare_state
from dashboard.navigation import TITLES
from dashboard.session import Session, from_link, replaced_policy
from dashboard.text import plain
from dashboard.train import views as train_views
from iomt_core.cli.commands import application
from iomt_core.runs.curves import curves
from iomt_core.runs.process import niceness
from iomt_core.runs.training_run import TRAINING, TrainingRun, concurrent_runs
from iomt_core.scenario import PRESETS, ScenarioError
from iomt_core.scenario.files import parse_scenario
from iomt_core.scenario.tables import read_places_csv, read_workload_csv, with_workload
from iomt_core.training.catalogue import catalogue, entry, make_policy
from iomt_core.training.checkpoints import MARK, POLICY, CheckpointError, last_checkpoint, read_facts, read_tensors
from iomt_core.training.run_spec import RunSpec, default_settings
from iomt_core.training.trained_policy import TrainedPolicy

LONG = "x" * 100_000
NINES = "9" * 5_000  # more digits than Python reads
ROOT = Path(__file__).resolve().parents[1]
READABLE = 2_500  # characters of all that is said at once
SPEC = RunSpec("qmix", PRESETS["lecture"], default_settings("qmix", episodes=32), seed=0)


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty place for runs; everything around it must be unchanged at the end."""
    place = tmp_path / "runs"
    place.mkdir()
    (tmp_path / "beside").write_text("untouched")
    monkeypatch.setenv("IOMT_RUNS", str(place))
    yield place
    assert (tmp_path / "beside").read_text() == "untouched"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def packed(value: str) -> str:
    return base64.urlsafe_b64encode(zlib.compress(value.encode())).decode()


def finished(runs: Path, name: str, **status: object) -> Path:
    """A finished run of this name, as files alone."""
    place = runs / name
    place.mkdir()
    (place / "run.json").write_text(json.dumps(SPEC.as_json()))
    (place / "status.json").write_text(json.dumps({"state": "finished", "done": 32, **status}))
    return place


# -- links -------------------------------------------------------------------------------------------------------------

LINKS = [
    ({"policy": "run:../../etc/passwd"}, "policy = 'run:../../etc/passwd' is not known: allowed is"),
    ({"policy": "sae-mt-qmix@../../x"}, "policy = 'sae-mt-qmix@../../x' is not known: allowed is"),
    ({"policy": "run:/etc"}, "policy = 'run:/etc' is not known"),
    ({"policy": "run:a\x00b"}, r"policy = 'run:a\x00b' is not known"),
    ({"policy": "javascript:alert(1)"}, "policy = 'javascript:alert(1)' is not known"),
    ({"policy": LONG}, "is not known: allowed is"),
    ({"shares": "<script>alert(1)</script>"}, "shares = '<script>alert(1)</script>' in the link is not known: allowed is"),
    ({"episode_seed": "NaN"}, "episode_seed = 'NaN' in the link is not a whole number"),
    ({"episode_seed": "²"}, "episode_seed = '²' in the link is not a whole number"),
    ({"episode_seed": "９"}, "episode_seed = '９' in the link is not a whole number"),
    ({"episode_seed": NINES}, "in the link is not a whole number"),
    ({"episode_seed": "-1"}, "episode_seed = '-1'"),
    ({"episode_seed": "2147483648"}, "seed = 2147483648 is out of range: allowed is 0 to 2147483647"),
    ({"step": "inf"}, "step = 'inf' in the link is not a whole number"),
    ({"step": "21"}, "step = 21 in the link is out of range: allowed is 1 to 20"),
    ({"task": "0000000019999.1.1"}, "is not step.user.task: allowed is 1.1.1 to 20.8.8"),
    ({"task": f"000000001{NINES}.1.1"}, "is not step.user.task: allowed is 1.1.1 to 20.8.8"),
    ({"task": "1.1.1.1"}, "task = '1.1.1.1' in the link is not step.user.task"),
    ({"task": "1..1"}, "task = '1..1' in the link is not step.user.task"),
    ({"task": LONG}, "is not step.user.task"),
    ({"users": NINES}, "allowed is 1 to 2000"),
    ({"users": "nan"}, "users = 'nan'"),
    ({"seed": "2147483648"}, "seed = 2.14748e+09 is out of range: allowed is 0 to"),
    ({"F_k": "inf"}, "F_k = 'inf'"),
    ({"F_k": "1e999"}, "F_k = inf"),
    ({"D": "..".join("1" * 30_000)}, "allowed is 0.000125 KB to 1e+07 KB"),
    ({"name": LONG}, "name = 'xxx"),
    ({"name": "a\u202eb"}, r"name = 'a\u202eb' holds a character that cannot be seen"),
    ({"name": "=HYPERLINK(1)"}, "begins like a spreadsheet's formula"),
    ({LONG: "1"}, "Not known in the link, and ignored: 'xxx"),
    ({"__class__": "1"}, "Not known in the link, and ignored: '__class__'"),
    ({"model_config": "1"}, "Not known in the link, and ignored: 'model_config'"),
    ({"workload": "kept:../../etc/passwd"}, "is not the digest of own data"),
    ({"workload": f"kept:{'a' * 64}"}, "own data aaaaaaaa… is not on this server"),
    ({"pin": "x"}, "pin = 'x' is not a list of name=value"),
    ({"pin": f"users={NINES}"}, "the pinned scenario is left out: users = '999"),
    ({"pin": "policy=run%3A..%2Fx"}, "the pinned scenario is left out: in the link: policy = 'run:../x' is not known"),
    ({"pin": "&".join(f"a{n}=1" for n in range(500))}, "is not a list of name=value"),
    ({"kinds": packed("[" * 400 + "]" * 400)}, "nested deeper than 12 levels"),
    ({"kinds": packed('[{"name": "a", "share": Infinity, "D": [1, 1], "C": [1, 1], "P": [1, 1]}]')}, "share"),
    ({"workload": packed(f'[{{"step": {"9" * 4000}, "user": 1, "D": 1, "C": 1, "P": 1}}]')}, "workload.0.step"),
    ({"places": packed("9" * 5_000)}, "places"),
    ({"v_a": LONG}, "v_a in the link is longer than 6000 characters; it is left out"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "said"), LINKS, ids=range(len(LINKS)))
def test_a_hostile_link_changes_nothing_and_says_what_is_allowed(query: dict[str, str], said: str) -> None:
    session, fresh = from_link(query), Session()
    message = "\n".join([*session.problems, *session.hints])
    assert said in message
    assert len(message) <= READABLE
    for name in ("scenario", "policy", "shares", "seed", "step", "picked", "pinned", "view"):
        assert getattr(session, name) == getattr(fresh, name), name


def test_one_bad_entry_does_not_take_the_good_ones_with_it() -> None:
    session = from_link(
        {"preset": "lecture", "policy": "run:../x", "episode_seed": "7", "step": "3", "page": "../../etc/passwd"}
    )
    assert (session.scenario, session.policy, session.seed, session.step) == (
        PRESETS["lecture"],
        Session().policy,
        7,
        3,
    )
    assert len(session.problems) == 1


A_PINNED = "ward=pinned&preset=paper&policy=optimum&shares=own"
COMPARE = [
    ({"episodes": "0000000019999999999"}, "v_episodes = '0000000019999999999' is not a whole number from 1 to"),
    ({"episodes": "000000001" + "0" * 5_900}, "is not a whole number from 1 to"),
    ({"episodes": "NaN"}, "v_episodes = 'NaN' is not a whole number from 1 to"),
    ({"shown": "-1"}, "v_shown = '-1' is not a whole number from 1 to 10"),
    ({"a": "x"}, "v_a = 'x' is not a list of name=value"),
    ({"a": "&".join(f"a{n}=1" for n in range(500))}, "is not a list of name=value"),
    ({"a": "ward=../../etc/passwd"}, "ward = '../../etc/passwd' is not known: allowed is same, pinned"),
    ({"a": "ward=same&policy=run%3A..%2F..%2Fx"}, "policy = 'run:../../x' is not known: allowed is"),
    ({"a": "ward=same&policy=optimum&shares=%3Cscript%3E"}, "shares = '<script>' is not known: allowed is"),
    ({"a": f"{A_PINNED}&users={NINES}"}, "users = '999"),
    ({"a": f"{A_PINNED}&name=%00"}, "holds a character that cannot be seen"),
    ({"a": f"{A_PINNED}&page=start"}, "page is not a parameter of a scenario"),
]  # fmt: skip


@pytest.mark.parametrize(("view", "said"), COMPARE, ids=range(len(COMPARE)))
def test_side_a_of_a_hostile_link_is_the_usual_one(view: dict[str, str], said: str) -> None:
    session = from_link({f"v_{name}": value for name, value in view.items()})
    found = compare_state.from_view(session, session.view)
    assert said in "\n".join(session.problems)
    assert len("\n".join(session.problems)) <= READABLE
    assert (found, session.pinned) == (compare_state.Compare(), None)


@pytest.mark.parametrize("text", ["../../etc/passwd", "<script>,a", ",".join("xyz" * 900), "a\x00", "‮gpj.exe"])
def test_runs_of_a_hostile_link_are_not_looked_for_on_disk(text: str) -> None:
    view = train_views.from_view({"runs": text})
    assert view.selected == []
    assert "in the link is not a run of this lab" in view.problems[0]
    assert len("\n".join(view.problems)) <= READABLE


# -- scenario files ----------------------------------------------------------------------------------------------------

FILES = [
    ("a: !!python/object/apply:os.system ['touch {marker}']", "could not determine a constructor"),
    ("name: !!python/object/new:subprocess.Popen [['touch', '{marker}']]", "could not determine a constructor"),
    ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "aliases (*name) are not allowed"),
    ("kinds: " + "[" * 100_000, "nested too deeply: allowed are 12 levels"),
    ("kinds: " + "{a: " * 5_000, "nested too deeply: allowed are 12 levels"),
    ('{"kinds": ' + "[" * 900 + "]" * 900 + "}", "nested too deeply: allowed are 12 levels"),
    (f'{{"users": {NINES}}}', "a number is longer than a scenario's can be"),
    (f'{{"users": {NINES[:400]}}}', "users = inf is out of range: allowed is 1 to 2000"),
    ('{"F_k": 1e999}', "F_k = inf"),
    (f"users: {NINES}", "a number of more than 60 characters"),
    ("users: 0x" + "f" * 50_000, "a number of more than 60 characters"),
    ("users: " + "0" * 50_000, "a number of more than 60 characters"),
    ("F_k: 1.0e+999", "F_k = inf"),
    ("users: !!bool maybe", "a value is not what its tag (!!…) says"),
    ('users: !!int ""', "line 1, column"),
    ('F_k: !!float ""', "line 1, column"),
    ("name: !!timestamp now", "a value is not what its tag (!!…) says"),
    ("!!map [1, 2]", "expected a mapping node"),
    ("users: 3\nusers: 4", "'users' stands twice"),
    ("{" + ",".join(f'"k{n}": 1' for n in range(3_000)) + "}", "and 2989 more"),
    ("{" + ",".join('"users": 1' for _ in range(50_000)) + "}", "'users' stands twice"),
    (f"{LONG}: 3", "mapping values are not allowed here"),
    ('"users\\0": 3', r"'users\x00' is not a parameter of a scenario"),
    ("--- {users: 3}\n--- {users: 4}", "found another document"),
    ('name: "\\ud800"', "name"),
    (b"users: 3\x00", "it holds a zero byte"),
    ("users: 3".encode("utf-16"), "is not UTF-8 text: byte 1 cannot be read"),
    ("users: 3".encode("utf-32"), "is not UTF-8 text: byte 1 cannot be read"),
    ("name: Hämatologie".encode("latin-1"), "is not UTF-8 text: byte 8 cannot be read"),
    (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "is not UTF-8 text: byte 1 cannot be read"),
    (pickle.dumps({"users": 3}), "is not UTF-8 text"),
    (b"PK\x03\x04" + bytes(100), "it holds a zero byte"),
    (b" " * 2_000_001, "is too large: allowed is 2 MB"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "said"), FILES, ids=range(len(FILES)))
def test_a_hostile_scenario_file_is_refused_in_words(content: str | bytes, said: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    if isinstance(content, str):
        content = content.replace("{marker}", str(marker))
    session = Session(step=3, picked=(3, 1, 1))
    session.try_change(lambda: parse_scenario(content, "ward.yaml"))
    message = "\n".join([*session.problems, *session.hints])
    assert said in message
    assert len(message) <= READABLE
    assert (session.scenario, session.step, session.picked) == (Session().scenario, 3, (3, 1, 1))
    assert not marker.exists()


HEAD = "step,user,data_kb,cycles,priority\n"
TABLES = [
    (HEAD + "=1+1,1,30,1e5,1\n", "line 2, column step: '=1+1' cannot be used; allowed is whole numbers 1 to 10000"),
    (HEAD + '"=cmd|\' /C calc\'!A0",1,30,1e5,1\n', "line 2, column step: \"=cmd|' /C calc'!A0\" cannot be used"),
    (HEAD + "1,1,3_0,1e5,1\n", "line 2, column data_kb: '3_0' cannot be used"),
    (HEAD + "１,1,30,1e5,1\n", "line 2, column step: '１' cannot be used"),
    (HEAD + f"1,1,30,{NINES},1\n", "line 2, column cycles: '999"),
    (HEAD + "1,1,1,1,1\n" * 250_001, "line 250002: more rows than a scenario can have; allowed are 250000"),
    (HEAD + "1,1,30,1e5,1\n" * 65, "tasks = 65 is out of range: allowed is 1 to 64"),
    (HEAD + "x\n" * 100_000, "and 99990 more"),
    ("a," * 500_000 + "\n1", "lacks the column step"),
    (HEAD.strip() + "," + ",".join(f"c{n}" for n in range(50_000)) + "\n1", "unknown column c0, c1, c2, c3, c4, …"),
    ('"' + "a" * 200_000 + '"\n1', "line 1: field larger than field limit"),
    (HEAD + '1,1,"' + "a" * 200_000 + '",1,1\n', "line 2: field larger than field limit"),
    (HEAD.encode("utf-16"), "is not UTF-8 text"),
    (HEAD.encode() + b"1,1,\xe9,1,1\n", "is not UTF-8 text: byte 39 cannot be read"),
    (HEAD.encode() + b"1,1,\x00,1,1\n", "it holds a zero byte"),
    (b" " * 30_000_001, "is too large: allowed is 30 MB"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "said"), TABLES, ids=range(len(TABLES)))
def test_a_hostile_table_is_refused_in_words(content: str | bytes, said: str) -> None:
    raw = content.encode() if isinstance(content, str) else content
    session = Session()
    session.try_change(lambda: with_workload(session.scenario, read_workload_csv(raw, "tasks.csv")))
    message = "\n".join([*session.problems, *session.hints])
    assert said in message
    assert len(message) <= READABLE
    assert session.scenario == Session().scenario


def test_hostile_places_are_refused_in_words() -> None:
    for cell in ("=1", "nan", "1e999", "-0.1", "1_0", "<b>"):
        with pytest.raises(ScenarioError, match=r"line 2, column x_m: .* cannot be used; allowed is 0 to 50000"):
            read_places_csv(f"kind,x_m,y_m\nuser,{cell},1\nserver,1,1\n".encode(), "places.csv")


# -- checkpoints -------------------------------------------------------------------------------------------------------


def checkpoint(place: Path, content: bytes, **facts: object) -> Path:
    """A checkpoint whose mark vouches for these bytes."""
    place.mkdir()
    (place / POLICY).write_bytes(content)
    own = {"sha256": {POLICY: sha256(place / POLICY)}, **SPEC.as_json()}
    (place / MARK).write_text(json.dumps({**own, **facts}))
    return place


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.marker),)


def test_a_pickle_under_another_name_is_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    torch.save({"x": Evil(marker)}, tmp_path / "weights")
    for n, content in enumerate((pickle.dumps(Evil(marker)), (tmp_path / "weights").read_bytes())):
        with pytest.raises(CheckpointError, match="not a safetensors file"):
            TrainedPolicy.load(checkpoint(tmp_path / f"c{n}", content))
        assert not marker.exists()
    pickle.loads(pickle.dumps(Evil(marker)))
    assert marker.exists(), "the pickle works where it is run"


HEADER = b'{"x":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}'
BINARIES = [
    b"",
    b"\xff" * 8,
    (2**63).to_bytes(8, "little") + b"{}",
    (10**9).to_bytes(8, "little") + b"{",
    len(HEADER).to_bytes(8, "little") + HEADER + bytes(4),
    (4).to_bytes(8, "little") + b"nope",
]


@pytest.mark.parametrize("content", BINARIES, ids=range(len(BINARIES)))
def test_absurd_lengths_in_a_checkpoint_are_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"policy.safetensors' is not a safetensors file"):
        TrainedPolicy.load(checkpoint(tmp_path / "c", content))


FACTS = [
    ({"format": [1] * 10_000}, "format = .* is not known: allowed is 1 or 2"),
    ({"sha256": {POLICY: LONG}}, r"SHA-256 is [0-9a-f]{64}, allowed is the one in"),
    ({"sha256": {"../beside": "0", "/etc/passwd": "0"}}, "damaged or was exchanged"),
    ({"sha256": "x"}, "'sha256' is missing"),
    ({"algorithm": "../../x"}, r"algorithm = '\.\./\.\./x'"),
    ({"algorithm": None}, "algorithm = None cannot be used: allowed is a str"),
    ({"scenario": ["users"]}, r"scenario = \['users'\] cannot be used: allowed is a dict"),
    ({"scenario": {"users": 10**400}}, "users = inf is out of range: allowed is 1 to 2000"),
    ({"settings": LONG}, "settings = 'xxx.* cannot be used: allowed is a dict"),
    ({"settings": {"rounds": 10**400}}, "rounds = 1000.* cannot be used: allowed is 0 to 8"),
    ({"settings": {LONG: 1}}, "xxx = 1 cannot be used"),
    ({"seed": 10**400}, "seed = 1000.* is out of range: allowed is 0 to"),
    ({"seed": -1}, "seed = -1 is out of range: allowed is 0 to"),
    ({"seed": "0"}, "seed = '0' cannot be used: allowed is a int"),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "said"), FACTS, ids=range(len(FACTS)))
def test_hostile_facts_of_a_checkpoint_are_named(facts: dict[str, object], said: str, tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "weights")
    with pytest.raises(ScenarioError, match=said) as refusal:
        TrainedPolicy.load(checkpoint(tmp_path / "c", (tmp_path / "weights").read_bytes(), **facts))
    assert len(str(refusal.value)) <= READABLE


def test_a_checkpoint_reads_no_file_but_its_own(tmp_path: Path) -> None:
    save_file({"secret": torch.zeros(1)}, tmp_path / "outside.safetensors")
    digest = sha256(tmp_path / "outside.safetensors")
    place = checkpoint(tmp_path / "c", b"", sha256={"../outside.safetensors": digest, POLICY: digest})
    with pytest.raises(CheckpointError, match="damaged or was exchanged"):
        read_tensors(place, POLICY, read_facts(place))
    for mark, said in (("[" * 100_000, "is not JSON"), (" " * 4_000_001, "is too large: allowed is 4 MB")):
        (place / MARK).write_text(mark)
        with pytest.raises(CheckpointError, match=said):
            read_facts(place)


# -- runs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a" * 500, ".hidden", "~", "$HOME", "a;b", "a%2fb", "ａ", "a\u200b", "con.", "\udcff"]
)
def test_more_hostile_names_are_refused(name: str, runs: Path) -> None:
    with pytest.raises(ScenarioError, match=r"name = .* cannot be used: allowed are 1 to 40 of a-z") as refusal:
        TRAINING.create(name, SPEC)
    assert len(str(refusal.value)) < 400
    assert list(runs.iterdir()) == []
    with pytest.raises(ScenarioError, match="is not there"):
        TRAINING.delete(name)


def test_a_run_of_any_name_is_shown_as_it_is_called_or_not_at_all(runs: Path) -> None:
    strange = ["[x](javascript:alert(1))", "<script>alert(1)<", "**b** :red[r] $x$", "[red]", "A B", "ä"]
    for name in [*strange, "a\nb", "a\u202eb", ".hidden", os.fsdecode(b"\xff\xfe"), "x" * 150]:
        finished(runs, name)
    assert {name for name in catalogue() if name.startswith("run:")} == {f"run:{name}" for name in strange}
    assert {run.name for run in TRAINING.runs()} == set(strange)
    for name in strange:
        reason = plain(replaced_policy(f"run:{name}", PRESETS["lecture"]))
        assert "has no checkpoint any more" in reason
        assert shown(reason) == reason.replace("\\", "")
        assert shown(plain(entry(f"run:{name}").label)).startswith(name)
        with pytest.raises(ScenarioError, match="has no checkpoint any more"):
            make_policy(f"run:{name}", PRESETS["lecture"])


def test_files_of_a_run_that_are_not_what_they_should_be_hide_no_other_run(runs: Path) -> None:
    broken = {
        "run.json": ["[]", "{", "[" * 100_000, '{"seed": 1e999}', "\udcff", "null"],
        "status.json": ["[]", '{"state": ["finished"]}', "[" * 100_000, '{"state": "finished", "done": NaN, "updated_at": 1e999}',
                        f'{{"state": "running", "pid": {NINES[:30]}, "started": {NINES[:400]}, "done": {NINES[:400]}}}'],
        "worker.json": ['{"pid": -1, "started": 0}', '{"pid": 1e999, "started": "x"}', "[" * 100_000],
        "metrics.jsonl": ["[1]\n", f'{{"episodes": {NINES[:400]}, "cost": 1}}\n', "[" * 100_000 + "\n", '{"episodes": NaN}\n'],
        "references.json": ['{"optimum": {"cost": "x", "gap": 1e999}}', f'{{"optimum": {{"cost": {NINES[:400]}}}}}'],
    }  # fmt: skip
    finished(runs, "good")
    for file, contents in broken.items():
        for n, content in enumerate(contents):
            place = finished(runs, f"{file.partition('.')[0]}-{n}")
            (place / file).write_bytes(content.encode("utf-8", "surrogateescape"))
            curves(place)
    assert "run:good" in catalogue()
    assert {run.name for run in TRAINING.runs()} == {place.name for place in runs.iterdir()}
    for content in ("[1]", "[" * 100_000, '{"waiting": [1]}', '{"waiting": {"good": 1, "../x": {}}}'):
        (runs / ".queue.json").write_text(content)
        assert TRAINING.start_waiting() == []
    for content in broken["run.json"]:
        (runs / "good" / "run.json").write_bytes(content.encode("utf-8", "surrogateescape"))
        with pytest.raises(ScenarioError, match=r"run\.json"):
            TrainingRun.resume(runs / "good")


def test_a_copied_checkpoint_is_not_a_checkpoint(runs: Path) -> None:
    place = finished(runs, "good")
    for name in ("00000032", "00000032 (copy)", "9x", "³", "00000016"):
        (place / "checkpoints" / name).mkdir(parents=True)
        (place / "checkpoints" / name / MARK).write_text("{}")
    last = last_checkpoint(place)
    assert last is not None
    assert last.name == "00000032"


def test_workers_and_their_priority_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("00011999", NINES, "²", "1e3", "-1", "65", ""):
        monkeypatch.setenv("IOMT_WORKERS", text)
        with pytest.raises(ScenarioError, match=r"IOMT_WORKERS = .* cannot be used: allowed is 1 to 64"):
            concurrent_runs()
    for text in ("20", "-1", NINES, ""):
        monkeypatch.setenv("IOMT_NICE", text)
        with pytest.raises(ScenarioError, match=r"IOMT_NICE = .* cannot be used: allowed is 0 to 19"):
            niceness()


# -- the command line --------------------------------------------------------------------------------------------------

ARGUMENTS = [
    ["scenario", LONG],
    ["scenario", "../../etc/passwd"],
    ["scenario", "\x1b[31mred"],
    ["evaluate", "--scenario", "paper", "--policy", "run:../../x", "--out", "{out}"],
    ["evaluate", "--scenario", "paper", "--policy", "optimum", "--seed", NINES[:40], "--out", "{out}"],
    ["evaluate", "--scenario", "paper", "--policy", "optimum", "--episodes", NINES[:40], "--out", "{out}"],
    ["evaluate", "--scenario", "paper", "--policy", "optimum", "--workload", "/dev/zero", "--out", "{out}"],
    ["evaluate", "--scenario", "paper", "--policy", "optimum", "--places", "/", "--out", "{out}"],
    ["train", "--algorithm", "../../x", "--out", "{out}"],
    ["train", "--algorithm", "qmix", "--set", "episodes=" + "[" * 100_000, "--out", "{out}"],
    ["train", "--algorithm", "qmix", "--set", "__class__=1", "--out", "{out}"],
    ["train", "--algorithm", "qmix", "--set", LONG, "--out", "{out}"],
    ["train", "--resume", "/dev/null"],
]  # fmt: skip


@pytest.mark.parametrize("words", ARGUMENTS, ids=range(len(ARGUMENTS)))
def test_hostile_arguments_are_refused_before_anything_is_written(words: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    called = CliRunner().invoke(application(), [word.replace("{out}", str(out)) for word in words])
    assert isinstance(called.exception, ScenarioError)  # which `main` prints, problem by problem
    message = str(called.exception)
    reasons = "cannot be used|is not known|out of range|neither a preset|cannot be read|too large|is not a run"
    assert re.search(f"{reasons}|a scenario is a mapping", message)
    assert len(message) <= READABLE
    assert "\x1b" not in message
    assert not out.exists()


def test_names_and_paths_are_no_markup_on_the_command_line(runs: Path, tmp_path: Path) -> None:
    finished(runs, "[red]a[bold]")
    (tmp_path / "w.json").write_text(json.dumps({"preset": "lecture", "name": "[/b] [red]", "T": 1}))
    listed = CliRunner().invoke(application(), ["policies"])
    assert listed.exit_code == 0, listed.exception
    assert "[red]a[bold]" in "".join(listed.stdout.split())
    out = tmp_path / "[link=x]" / "[/u]"
    played = CliRunner().invoke(
        application(),
        [
            "evaluate",
            "--scenario",
            str(tmp_path / "w.json"),
            "--policy",
            "greedy",
            "--episodes",
            "1",
            "--out",
            str(out),
        ],
    )
    assert played.exit_code == 0, played.exception
    assert (out / "summary.json").exists()


# -- text --------------------------------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """The text and the elements of rendered Markdown."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.tags = "", []

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def shown(markdown: str) -> str:
    """What is to be read of Markdown that may be one paragraph and nothing else."""
    reader = Reader()
    reader.feed(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))
    assert reader.tags == (["p"] if markdown else [])
    return reader.text.strip().replace("\u2060", "")


TEXTS = [
    "**bold** _it_ ~~s~~ `code`", "# head", "> quote", "- item", "+ item", "1. item", "1) item", "    code", "---", "a\n===",
    "~~~\nx\n~~~",
    "| a | b |\n|---|---|\n| 1 | 2 |", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!-- -->", "&lt;b&gt; &#60;",
    "[x](javascript:alert(1))", "![x](https://example.org/x.png)", "<https://example.org>", "[x]: https://example.org\n\n[x]",
    "https://example.org www.example.org me@example.org", ":red[x] :red-background[x] :small[x] :material/home: :smile:",
    "$x^2$ $$x$$ \\(x\\)", "a -> b <- c <= d >= e ~= f -- g", "[^1] [^1]: note", "- [ ] task",
    r"\*not\*", "\\", "a\\\nb", "ä 中 ᴬ",
]  # fmt: skip


@pytest.mark.parametrize("text", [*TEXTS, " ".join(TEXTS), ""])
def test_plain_text_is_shown_as_it_stands_and_does_nothing(text: str) -> None:
    found = plain(text)
    assert shown(found) == " ".join(text.split())
    # What Streamlit adds to CommonMark: directives and formulas need a bare sign, the rest is looked for in parsed text.
    assert not re.search(r"(?<!\\)(?:\\\\)*[:$\[\]]", found)
    parsed = re.sub(r"\\(.)", r"\1", found)
    assert not re.search(r":[\w+/-]+:|<-|->|--|<=|>=|~=|://\w|\bwww\.\w|@\w", parsed)


@pytest.mark.parametrize("page", TITLES)
def test_a_page_shows_what_is_wrong_with_a_link_literally(page: str, runs: Path) -> None:
    text = "[x](javascript:alert(1)) <img src=x> :red[y]"
    opened = AppTest.from_file(str(ROOT / f"pages/{page}/{page}.py"), default_timeout=60)
    for name, value in {
        "page": page,
        "preset": "lecture",
        "T": "1",
        "seed": text,
        "v_tab": text,
        "v_episodes": text,
    }.items():
        opened.query_params[name] = value
    opened.run()
    assert not opened.exception
    messages = [shown(error.value) for error in opened.error]
    assert any(text in words for words in messages)
