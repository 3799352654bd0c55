"""What another user's agent, management or an operator can reach of a user's tasks: every public function is tried.

All public functions, classes and methods of the modules that know the warehouse are found by walking the packages. Each is
called with everything that somebody without the user's key can have: the whole store, an own folder of keys, own tokens. What
comes back, is raised, logged or written must not contain the user's D, C or P. A parameter that is not known here makes a test
fail: add it to `ways_in`, if it opens something of the ward, or to `VALUES`, if whoever calls has the value already.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import os
import pkgutil
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import iomt_core.twin
from iomt_core.scenario import PRESETS, Scenario, scenario
from iomt_core.training.general_encoder import observation_encoder
from iomt_core.twin.access import AGGREGATES, OBSERVATIONS, AuditLog, Gate, Grant, Identity, warehouse_of
from iomt_core.twin.access.hooks import AUDIT_FOLDER
from iomt_core.twin.access.identity import KEY, issue_token
from iomt_core.twin.access.keys import signing_key
from iomt_core.twin.http.routes import router
from iomt_core.twin.warehouse.columns import TASKS
from iomt_core.twin.warehouse.database import connect
from iomt_core.twin.warehouse.errors import no_audit
from iomt_core.twin.warehouse.keys import Keyring
from iomt_core.twin.warehouse.limits import Limits
from iomt_core.twin.warehouse.reading import Warehouse
from iomt_core.twin.warehouse.recorder import record
from iomt_core.twin.warehouse.segments import select
from tests.own_loop import run_coroutine

WALKED = ("iomt_core.twin.warehouse", "iomt_core.twin.access", "iomt_core.twin.key_files")
D, C, P = 234567.0, 345678.0, 7  # of user 1, planted
SECRETS = np.array([D, C, D / 8, D / 8e3, C / 1e6])
PRIORITY = ("P", "priority", "weight")  # names of P
TRACES = tuple(f(x) for x in (D, C) for f in (lambda x: struct.pack("<d", x), lambda x: f"{x:.10g}".encode()))
STRANGERS = ("agent:2", "management", "operator:anna")
ALLOWED = {
    "agent:2": ("read", warehouse_of(2)),
    "management": ("read", OBSERVATIONS),
    "operator:anna": ("query", AGGREGATES),
}

# Parameters that are values which whoever calls has already; they open nothing of the ward.
VALUES = """
    action actions alias alive app args arguments attributes bandwidth_shares batch batches before blocks body
    budget_left checkpoint checkpoints choice clock column configuration connection content count cpu_shares
    denominator detail devices done dual ended episodes epsilon event events expires facts fewer fields file first
    first_step first_us follows forked found generator happened head heads held_out high identity job kind kwargs
    last_step last_us leaving lifetime limits lists log low margin mean_priority measurement memory metric middle
    model names number numerator object observation of_user one other others outcome overrides owner played policy
    previous problems query reason record records repeated report request requested revision reward row rows s scale
    scenario schema scope seed segments sequence sha256 shares size snapshot start starts state states status step
    steps stop stored subject sums synchronous table tasks text texts threads tier time time_ns time_us training twin
    twins unsigned used users value values versions waiting weights what who why words work writer
""".split()  # noqa: SIM905
# With the user's key these give D, C and P; nothing else does.
OWNERS = {
    "warehouse.export.export", "warehouse.reading.UserWarehouse.tasks", "warehouse.reading.UserWarehouse.configuration",
    "warehouse.reading.Warehouse.scenario", "warehouse.reading.Warehouse.scenario_of",
    "warehouse.reading.Warehouse.configurations", "warehouse.segments.SegmentReader.read", "recorded_fork.recorded_episode",
    "warehouse.reading.Warehouse.aggregates", "http.service.Service.tasks",
}  # fmt: skip


Files = dict[Path, tuple[int, int]]


@dataclass(frozen=True)
class Place:
    """Where somebody works: a copy of the store, and a folder of keys."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def keys(self) -> Path:
        return self.root / "keys"


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The owner's place, with a ward of three users in all tiers."""
    place = Place(tmp_path_factory.mktemp("ward"))
    own = [{"step": t, "user": u, "D": D + u - 1, "C": C + u - 1, "P": P} for t in range(1, 7) for u in (1, 2, 3)]
    s = scenario({"users": 3, "tasks": 1, "servers": 2, "T": 6, "kinds": [], "workload": own})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IOMT_KEYS", str(place.keys))
        patch.setattr(os, "fsync", lambda descriptor: None)  # no test here cuts the power
        limits = Limits(device_steps=6, edge_steps=12, reserve_bytes=0)
        for seed in range(4):
            record(s, "greedy", 1, seed, place.store, limits=limits)
        signing_key(KEY)
        AuditLog(place.store / AUDIT_FOLDER, Warehouse(place.store).identity).close()
        yield place


def public() -> Iterator[tuple[str, type | None, Callable[..., Any]]]:
    """Name, class and function of everything public in the modules that know the warehouse or access to it."""
    for module in pkgutil.walk_packages(iomt_core.twin.__path__, "iomt_core.twin."):
        found = vars(importlib.import_module(module.name))
        origins = [str(getattr(thing, "__module__", "")) for thing in found.values()]
        if not module.name.startswith(WALKED) and not any(origin.startswith(WALKED) for origin in origins):
            continue
        for name, thing in found.items():
            if name.startswith("_") or getattr(thing, "__module__", "") != module.name or not callable(thing):
                continue
            path = f"{module.name.removeprefix('iomt_core.twin.')}.{name}"
            yield path, None, thing
            if inspect.isclass(thing):
                for attribute, function in vars(thing).items():
                    if attribute.startswith("_") or isinstance(function, (str, int, dict)):
                        continue
                    if isinstance(function, (classmethod, staticmethod)):
                        yield f"{path}.{attribute}", None, getattr(thing, attribute)
                    elif isinstance(function, (property, functools.cached_property)):
                        getter = function.fget if isinstance(function, property) else function.func
                        yield f"{path}.{attribute}", thing, getter
                    elif callable(function):
                        yield f"{path}.{attribute}", thing, function


def ways_in(place: Place) -> dict[str, Callable[[], Any]]:
    """What everybody who has the store and this folder of keys can pass, by the parameter's name, or by name and type."""
    store = place.store
    identity = Warehouse(store).identity
    ring = Keyring(place.keys / identity)

    def of_user(number: int = 0) -> Any:
        with contextlib.closing(connect(store)) as db:
            return list(select(db, identity, "user=1 AND log='tasks'"))[number]

    def stored(query: str) -> Any:
        with contextlib.closing(connect(store)) as db:
            return db.execute(query).fetchone()[0]

    own_key = lambda: AESGCM(bytes(32))  # noqa: E731
    archived = next((store / "archive").glob("user-1-tasks-*"))
    return {
        "folder": lambda: store, "folder:Path | None": lambda: place.keys, "path": lambda: archived,
        "out": lambda: place.root / "out.parquet", "warehouse:Warehouse": lambda: Warehouse(store, ring),
        "warehouse:Path": lambda: store, "warehouse:str": lambda: identity, "identity:str": lambda: identity,
        "identity:Identity": lambda: Identity("operator", name="anna"), "identifier": lambda: identity,
        "audience": lambda: identity, "keys:Keyring": lambda: ring, "keys:Path | None": lambda: place.keys,
        "keys:Keyring | None": lambda: ring, "user": lambda: 1, "at": lambda: None, "after": lambda: 0, "limit": lambda: 1000,
        "recording": lambda: 1, "version": lambda: 1, "db": lambda: connect(store), "segment": of_user,
        "header": lambda: of_user().header, "cipher": own_key, "user_cipher": own_key, "key:bytes": lambda: bytes(32),
        "key:Ed25519PrivateKey": lambda: signing_key(KEY), "key:Ed25519PublicKey": lambda: signing_key(KEY).public_key(),
        "associated": lambda: of_user().header.associated_data(), "packed": lambda: stored("SELECT data FROM blocks"),
        "sealed": lambda: stored("SELECT data FROM blocks"), "plain": lambda: stored("SELECT sums FROM appends"),
        "wrapped": lambda: stored("SELECT ledger_key FROM users WHERE user=1"), "size:int": lambda: of_user().header.size,
        "schema:pa.Schema": lambda: pa.schema([]), "read": lambda: lambda db: db.execute("SELECT * FROM blocks").fetchall(),
        "limits:Limits": lambda: Limits(reserve_bytes=0), "audit": lambda: no_audit, "free": lambda: 10**9,
        "name": lambda: "mean-delay", "replace": lambda: False, "wrapped_key": lambda: of_user().wrapped_key,
        "log:AuditLog": lambda: AuditLog(store / AUDIT_FOLDER, identity), "log:str": lambda: TASKS,
        "encoder": lambda: observation_encoder(PRESETS["lecture"], True), "capacity": lambda: 8, "facts:Mapping[str, Any]": dict,
        "tensors": lambda: {
            "recordings": torch.tensor([[1, 1]]), "revision": torch.tensor(Warehouse(store, ring).revision),
            "head": torch.tensor(list(bytes.fromhex(Warehouse(store, ring).head_hash(Warehouse(store, ring).revision)))),
        },
        "request:str": lambda: "", "epsilon": lambda: 0.5, 
        "resource": lambda: warehouse_of(1), "action:str": lambda: "read", "episode": lambda: 1,
        "token": lambda: issue_token(Identity("agent", 1), identity, 60, signing_key(KEY)),  # with the own key
        "gate": lambda: Gate(AuditLog(store / AUDIT_FOLDER, identity), signing_key(KEY).public_key()),
        "source": lambda: Warehouse(store, ring), "clamps": lambda: {"mean-delay": (0.0, 1.0)},
        "grant": lambda: Grant(Identity("agent", 1), "read", warehouse_of(1), 2e10),  # a made up one
    }  # fmt: skip


def supplied(function: Callable[..., Any], ways: Mapping[str, Callable[[], Any]]) -> dict[str, Any] | None:
    """Arguments for the parameters without default; None if only whoever calls can have one of them."""
    arguments = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self" or parameter.default is not parameter.empty:
            continue
        way = ways.get(f"{name}:{parameter.annotation}", ways.get(name))
        if way is None:
            return None
        arguments[name] = way()
    return arguments


def seen(value: Any, depth: int = 6) -> Iterator[Any]:
    """All numbers, texts and bytes that somebody who has the value can read."""
    if depth < 0 or value is None:
        return
    if isinstance(value, (bool, int, float, str, bytes)):
        yield value
    elif isinstance(value, Scenario):  # its ranges are public, the workload is not
        yield from seen(value.workload, depth)
    elif isinstance(value, np.ndarray):
        yield from value.ravel().tolist()
    elif isinstance(value, torch.Tensor):
        yield from value.detach().flatten().tolist()
    elif isinstance(value, pd.DataFrame):
        yield from seen(value.to_dict("list"), depth)
    elif isinstance(value, (pa.Table, pa.RecordBatch)):
        yield from seen(value.to_pydict(), depth)
    elif isinstance(value, Mapping) and value.keys() >= Scenario.model_fields.keys():  # a scenario as JSON
        yield from seen([value["workload"], [value[name] for name in ("D", "C")]], depth)
    elif isinstance(value, Mapping):
        if any(value.get(name) for name in PRIORITY):  # a small number, which cannot be told from others
            yield D
        for pair in value.items():
            yield from seen(pair, depth)
    elif isinstance(value, (list, tuple, set, frozenset)) or inspect.isgenerator(value):
        for one in value:
            yield from seen(one, depth - 1)
    elif inspect.iscoroutine(value):
        yield from seen(run_coroutine(value), depth - 1)
    elif hasattr(value, "__enter__") and not isinstance(value, (Path,)):
        with value as inner:
            yield from seen(None if inner is value else inner, depth - 1)
    elif type(value).__module__.startswith("iomt_core") and hasattr(value, "__dict__"):
        yield from seen({name: x for name, x in vars(value).items() if name != "service"}, depth - 1)


def files(place: Place) -> Files:
    """All files of a place, with time and size, but those in which SQLite keeps that somebody reads."""
    found = (path for path in place.root.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal")))
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in found}


def leaks(values: Iterator[Any], place: Place, logged: str, before: Files) -> bool:
    """Whether D, C or P of user 1 is among the values, in the log's text, or in clear in a file of this place."""
    found = list(values)
    numbers = np.array([float(x) for x in found if isinstance(x, (int, float)) and abs(x) < 1e300])
    if len(numbers) and np.isclose(numbers[:, None], SECRETS, rtol=1e-9, atol=0).any():
        return True
    texts = [x.encode(errors="replace") if isinstance(x, str) else x for x in found if isinstance(x, (str, bytes))]
    written = [path.read_bytes() for path, facts in files(place).items() if before.get(path) != facts]
    return any(trace in text for text in (*texts, *written, logged.encode()) for trace in TRACES)


def attempt(owner: type | None, function: Callable[..., Any], ways: Mapping[str, Callable[[], Any]]) -> Iterator[Any]:
    """Calls a function, or a method of a new object, and yields everything that is returned or raised."""
    instance: list[Any] = []
    try:
        if owner is not None:
            made = supplied(owner, ways)
            instance.append(owner(**(made or {})))
        yield from seen(function(*instance, **(supplied(function, ways) or {})))
        yield from seen(instance)
    except Exception as error:
        while error is not None:
            yield str(error)
            error = error.__cause__ or error.__context__  # type: ignore[assignment]
    finally:
        if instance and hasattr(instance[0], "close"):
            with contextlib.suppress(Exception):
                instance[0].close()


def reachable(ways: Mapping[str, Any]) -> list[tuple[str, type | None, Callable[..., Any]]]:
    """Everything public for which all arguments can be had."""
    endpoints: set[Any] = {route.endpoint for route in router.routes}  # type: ignore[attr-defined]
    found, unsorted = [], {}
    for path, owner, function in public():
        if any(p.annotation == "Request" for p in inspect.signature(function).parameters.values()):
            assert function in endpoints or path in ("http.app.description", "http.permissions.service_of"), path
            continue  # over HTTP: tests/twin/http/test_permissions.py tries every path for every identity
        parameters = [*inspect.signature(function).parameters.values()]
        if owner is not None:
            parameters += inspect.signature(owner).parameters.values()
        needed = [p for p in parameters if p.name != "self" and p.default is p.empty]
        known = [f"{p.name}:{p.annotation}" in ways or p.name in ways for p in needed]
        unknown = [p.name for p, way in zip(needed, known, strict=True) if not way and p.name not in VALUES]
        if unknown:
            unsorted[path] = unknown
        if all(known):
            found.append((path, owner, function))
    assert not unsorted, f"ways into the ward? Add each to `ways_in` or to `VALUES`: {unsorted}"
    return found


def leaking(
    at: Place,
    room: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Place], Mapping[str, Any]],
    only: str = "",
) -> tuple[set[str], int]:
    """Which public functions give D, C or P, each in a new copy of a place; and how many were called."""
    found, called, place, clean = set(), 0, Place(room / "copy"), {room: (0, 0)}
    for path, owner, function in reachable({**ways_in(at), **change(at)}):
        names = inspect.signature(function).parameters
        if only and not set(only.split()) & set(names):
            continue
        if files(place) != clean:  # the one before has written
            shutil.rmtree(place.root, ignore_errors=True)
            shutil.copytree(at.root, place.root)
            clean = files(place)
        caplog.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("IOMT_KEYS", str(place.keys))
            values = attempt(owner, function, {**ways_in(place), **change(place)})
            if leaks(values, place, caplog.text, clean):
                found.add(path)
        called += 1
    return found, called


def nothing(place: Place) -> Mapping[str, Any]:
    return {}


def test_with_the_keys_these_functions_give_the_tasks_of_a_user(
    ward: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """So the search finds what there is to find; and whatever gives raw data is on a list."""
    found, called = leaking(ward, tmp_path, caplog, nothing)
    assert found == OWNERS
    assert called > 100


@pytest.mark.parametrize("stranger", ["agent:2", "management or operator"])  # neither of these has any key of a user
def test_without_the_key_no_public_function_gives_them(
    ward: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture, stranger: str
) -> None:
    place = Place(tmp_path / "stranger")
    shutil.copytree(ward.store, place.store)
    if stranger.startswith("agent"):
        name = f"{Warehouse(ward.store).identity}/user-2.json"
        (place.keys / name).parent.mkdir(parents=True)
        shutil.copy(ward.keys / name, place.keys / name)
    found, called = leaking(place, tmp_path, caplog, nothing)
    assert found == set()
    assert called > 100


@pytest.mark.parametrize("stranger", STRANGERS)
def test_inside_the_owners_process_no_grant_of_another_gives_them(
    ward: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture, stranger: str
) -> None:
    """As in a server, which has all keys and acts for whoever shows a token."""

    def shown(place: Place) -> Mapping[str, Any]:
        audience, identity = Warehouse(place.store).identity, Identity.parse(stranger)
        token = issue_token(identity, audience, 60, signing_key(KEY, place.keys))
        return {"token": lambda: token, "grant": lambda: Grant(identity, *ALLOWED[stranger], 2e10)}

    found, called = leaking(ward, tmp_path, caplog, shown, only="token grant")
    assert found == set()
    assert called >= 6
