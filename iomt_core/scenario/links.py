"""Scenarios in share links: the entries of a query string.

A link comes from anybody: its size is limited, packed values are limited after unpacking, and what cannot be used is
explained. Own data that is too large for a link may be kept on the server; the link then names its digest.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from pydantic_core import to_jsonable_python

from iomt_core.scenario.errors import ScenarioError
from iomt_core.scenario.files import DEEPEST, is_too_deep, preset_named
from iomt_core.scenario.own_data import OwnDataStore
from iomt_core.scenario.parameters import Scenario, metadata, scenario
from iomt_core.scenario.presets import PRESETS

LONGEST_LINK = 6_000  # characters
LARGEST_UNPACKED = 4_000_000  # bytes, of what a link holds itself
LARGEST_KEPT = 60_000_000  # bytes, of what this server keeps: the largest workload
MOST_PAIRS = 64  # in an entry that is a query string
NESTED = ("kinds", "workload", "places", "user_devices", "server_devices")  # packed: compressed JSON in base64
KEPT = "kept:"  # in place of a packed value: the digest of own data follows
SWITCHES = {"users_off": "users", "servers_off": "servers"}  # lists of numbers, and what counts the others
OPTIONAL = ("gamma_t", "gamma_e")  # null: automatic


def to_query(s: Scenario, own_data: OwnDataStore | None = None, longest: int = LONGEST_LINK) -> dict[str, str]:
    """Write a scenario as the entries of a link: the closest preset, and what differs from it, in SI units.

    own_data: keeps own data if the entries would have more than `longest` characters with it. Raises `ScenarioError` if
    they are too many all the same.
    """
    differing = {
        name: [key for key in Scenario.model_fields if getattr(s, key) != getattr(preset, key)]
        for name, preset in PRESETS.items()
    }
    base = min(PRESETS, key=lambda name: len(differing[name]))
    values = s.model_dump(mode="json", exclude=set(NESTED))
    query = {"preset": base}
    for key in differing[base]:
        if key in SWITCHES:
            query[key] = ",".join(map(str, values[key]))
        elif key in NESTED:
            query[key] = _as_text(_compress(getattr(s, key)))
        elif isinstance(values[key], list):
            query[key] = "..".join(repr(x) for x in values[key])
        else:
            query[key] = values[key] if isinstance(values[key], str) else json.dumps(values[key])
    for off, count in SWITCHES.items():
        if getattr(s, off):  # alone it means the preset's ward, see `Scenario.changed`
            query[count] = str(values[count])
            if getattr(s, f"ward_{count}") == getattr(PRESETS[base], f"ward_{count}"):
                del query[count]
    for key in sorted(NESTED, key=lambda key: -len(query.get(key, ""))):
        if own_data is not None and key in query and _length(query) > longest:
            query[key] = KEPT + own_data.keep(_compress(getattr(s, key)))
    if _length(query) > longest:
        raise ScenarioError(
            f"this scenario does not fit into a link of {longest} characters: download the scenario file instead."
        )
    return query


def kept_digests(query: Mapping[str, str]) -> list[str]:
    """The digests of own data that a link names."""
    return [query[key].removeprefix(KEPT) for key in NESTED if query.get(key, "").startswith(KEPT)]


def from_query(
    query: Mapping[str, str], ignore: Collection[str] = (), own_data: OwnDataStore | None = None
) -> Scenario:
    """Read the scenario of a link, without the entries named in `ignore`. Numbers may have units: T_max=20 ms.

    Raises `ScenarioError` for an entry that is not a parameter or has a bad value.
    """
    entries = {key: value for key, value in query.items() if key not in ignore}
    for key in entries:
        if key not in metadata() and key != "preset":
            scenario({key: entries[key][:60]})  # raises, with a suggestion
    s, problems = read_entries(entries, own_data)
    if problems:
        raise ScenarioError(problems)
    return s


def read_entries(entries: Mapping[str, str], own_data: OwnDataStore | None = None) -> tuple[Scenario, list[str]]:
    """Read the scenario of a link as far as possible: an entry that cannot be used leaves the others as they are.

    entries: `preset` and parameters. Returns the scenario, and what is wrong with the entries that were left out.
    """
    base, problems = PRESETS["paper"], []
    values: dict[str, Any] = {}
    for key, text in entries.items():
        try:
            if key == "preset":
                base = preset_named(text)
            elif key in NESTED:
                values[key] = _read_nested(key, text, own_data)
            else:
                values[key] = None if key in OPTIONAL and text == "null" else text
        except ScenarioError as error:
            problems += error.problems
    try:
        return base.changed(**values), problems
    except ScenarioError:
        s, refused = _as_many_as_possible(base, values)
        return s, problems + refused


def _as_many_as_possible(base: Scenario, values: Mapping[str, Any]) -> tuple[Scenario, list[str]]:
    """Change one value after the other, and return what is wrong with those that cannot be changed.

    Own data comes last: it is large, and needs the numbers of users and tasks that go with it. Which users are switched off
    goes with their number.
    """
    problems: list[str] = []
    with_count = {count: off for off, count in SWITCHES.items() if off in values and count in values}
    for key in sorted(values.keys() - with_count.values(), key=lambda key: (key in NESTED, list(values).index(key))):
        changes = [{name: values[name] for name in (key, with_count[key])}] if key in with_count else []
        for change in (*changes, {key: values[key]}):
            try:
                base = base.changed(**change)
                break
            except ScenarioError as error:
                problems += error.problems
    return base, list(dict.fromkeys(problems))


def read_pairs(name: str, text: str) -> dict[str, str]:
    """Read an entry that is itself a query string, such as a second scenario: name=value&name=value. Raises `ScenarioError`."""
    try:
        return dict(parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=MOST_PAIRS))
    except ValueError:
        raise ScenarioError(f"{name} = {text[:40]!r} is not a list of name=value.") from None


def whole_number(text: str, low: int, high: int) -> int | None:
    """Read the whole number of a link's entry; None unless it consists of digits only and lies from `low` to `high`."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(high))):
        return None  # by length first: Python refuses to read very long numbers
    value = int(text)
    return value if low <= value <= high else None


def _length(query: Mapping[str, str]) -> int:
    return sum(len(key) + len(value) + 2 for key, value in query.items())


@lru_cache(maxsize=16)
def _compress(value: Any) -> bytes:
    """Own data as compressed JSON. Cached: a large workload takes a second, and every slider writes the link again."""
    return zlib.compress(json.dumps(to_jsonable_python(value), separators=(",", ":")).encode(), 9)


def _as_text(compressed: bytes) -> str:
    return base64.urlsafe_b64encode(compressed).decode().rstrip("=")


def _read_nested(key: str, text: str, own_data: OwnDataStore | None) -> Any:
    try:
        if not text.startswith(KEPT):
            return _decompress(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        if own_data is None:
            raise ScenarioError("a server of the lab keeps this own data: open the link there.")
        return _decompress(own_data.read(text.removeprefix(KEPT)), LARGEST_KEPT)
    except ScenarioError as error:
        raise ScenarioError([f"{key} in the link: {problem}" for problem in error.problems]) from None
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        raise ScenarioError(f"{key} = {text[:40]!r} in the link cannot be read: the link is damaged.") from None


def _decompress(compressed: bytes, most: int = LARGEST_UNPACKED) -> Any:
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(compressed, most)
    value = json.loads(content) if unpacker.eof else None
    if unpacker.eof and not is_too_deep(value):
        return value
    raise ScenarioError(f"it is cut off, larger than {most / 1e6:g} MB or nested deeper than {DEEPEST} levels.")
