"""Scenarios in share links: the entries of a query string.

A link comes from anybody: its size is limited, packed values are limited after unpacking, and what cannot be used raises
`ScenarioError`.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Collection, Mapping
from typing import Any

from iomt_core.scenario.errors import ScenarioError
from iomt_core.scenario.files import DEEPEST, is_too_deep, plain_values, preset_named
from iomt_core.scenario.parameters import Scenario, metadata, scenario
from iomt_core.scenario.presets import PRESETS

LONGEST_LINK = 6_000  # characters
LARGEST_UNPACKED = 4_000_000  # bytes
NESTED = ("kinds", "workload", "places")  # packed: compressed JSON in base64
SWITCHES = {"users_off": "users", "servers_off": "servers"}  # lists of numbers, and what counts the others
OPTIONAL = ("gamma_t", "gamma_e")  # null: automatic


def to_query(s: Scenario) -> dict[str, str]:
    """Write a scenario as the entries of a link: the closest preset, and what differs from it, in SI units.

    Raises `ScenarioError` if it does not fit into a link.
    """
    values = plain_values(s)
    differing = {
        name: [key for key, value in values.items() if plain_values(preset)[key] != value]
        for name, preset in PRESETS.items()
    }
    base = min(PRESETS, key=lambda name: len(differing[name]))
    query = {"preset": base}
    for key in differing[base]:
        value = values[key]
        if key in SWITCHES:
            query[key] = ",".join(map(str, value))
        elif key in NESTED:
            query[key] = _pack(value)
        elif isinstance(value, list):
            query[key] = "..".join(repr(x) for x in value)
        else:
            query[key] = value if isinstance(value, str) else json.dumps(value)
    for off, count in SWITCHES.items():
        if getattr(s, off):  # alone it means the preset's ward, see `Scenario.changed`
            query[count] = str(values[count])
            if getattr(s, f"ward_{count}") == getattr(PRESETS[base], f"ward_{count}"):
                del query[count]
    if sum(len(k) + len(v) + 2 for k, v in query.items()) > LONGEST_LINK:
        raise ScenarioError(
            f"this scenario does not fit into a link of {LONGEST_LINK} characters: download the scenario file instead."
        )
    return query


def from_query(query: Mapping[str, str], ignore: Collection[str] = ()) -> Scenario:
    """Read the scenario of a link, without the entries named in `ignore`. Numbers may have units: T_max=20 ms.

    Raises `ScenarioError` for an entry that is not a parameter or has a bad value.
    """
    entries = {key: value for key, value in query.items() if key not in ignore}
    base = preset_named(entries.pop("preset", "paper"))
    values: dict[str, Any] = {}
    for key, text in entries.items():
        if key not in metadata():
            scenario({key: text[:60]})  # raises, with a suggestion
        if key in NESTED:
            values[key] = _unpack(key, text)
        else:
            values[key] = None if key in OPTIONAL and text == "null" else text
    return base.changed(**values)


def whole_number(text: str, low: int, high: int) -> int | None:
    """Read the whole number of a link's entry; None unless it consists of digits only and lies from `low` to `high`."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(high))):
        return None  # by length first: Python refuses to read very long numbers
    value = int(text)
    return value if low <= value <= high else None


def _pack(value: Any) -> str:
    raw = zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 9)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _unpack(key: str, text: str) -> Any:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(raw, LARGEST_UNPACKED)
        value = json.loads(content) if unpacker.eof else None
        if unpacker.eof and not is_too_deep(value):
            return value
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        raise ScenarioError(f"{key} = {text[:40]!r} in the link cannot be read: the link is damaged.") from None
    raise ScenarioError(
        f"{key} in the link is cut off, larger than {LARGEST_UNPACKED / 1e6:g} MB or nested deeper than {DEEPEST} levels."
    )
