"""Scenarios in files and in links: YAML and JSON, and the query string of a share link.

Everything read here comes from a person or a stranger: sizes are limited, nothing is unpickled, and what cannot be used
raises `ScenarioError` naming the file, the field, the value and what is allowed.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import tempfile
import time
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from iomt_core.scenario import PRESETS, SCHEMA_VERSION, Scenario, ScenarioError, metadata, scenario

LARGEST_FILE = 2_000_000  # bytes
LONGEST_LINK = 6_000  # characters
LARGEST_PACKED = 4_000_000  # bytes after unpacking
DEEPEST = 12  # lists and mappings in one another
LONGEST_NUMBER = 60  # characters
NESTED = ("kinds", "workload", "places")


def read_bytes(path: Path) -> bytes:
    """A file's content. Raises `ScenarioError` where it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ScenarioError(f"file {str(path)!r} cannot be read: {error.strerror or error}.") from None
    return checked_size(content, path.name)


def checked_size(content: bytes, name: str) -> bytes:
    """The content. Raises `ScenarioError` where it is larger than a scenario may be."""
    if len(content) > LARGEST_FILE:
        raise ScenarioError(f"file {name!r} is too large: allowed is {LARGEST_FILE / 1e6:g} MB.")
    return content


def as_text(content: bytes | str, name: str) -> str:
    """UTF-8 text, without a byte order mark. Raises `ScenarioError` for anything else."""
    if isinstance(content, str):
        return content
    try:
        text = checked_size(content, name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ScenarioError(f"file {name!r} is not UTF-8 text: byte {error.start + 1} cannot be read.") from None
    if "\x00" in text:
        raise ScenarioError(f"file {name!r} is not text: it holds a zero byte.")
    return text


def read_scenario(source: str | Path) -> Scenario:
    """A preset by name, or a YAML or JSON file. Raises `ScenarioError`."""
    if str(source) in PRESETS:
        return PRESETS[str(source)]
    path = Path(str(source).replace("\x00", ""))
    if path.suffix.lower() not in (".yaml", ".yml", ".json") and not os.path.exists(path):
        raise ScenarioError(
            f"scenario = {str(source)[:200]!r} is neither a preset ({', '.join(PRESETS)}) nor a .yaml, .yml or .json file."
        )
    return parse_scenario(read_bytes(path), path.name)


def parse_scenario(content: bytes | str, name: str = "scenario") -> Scenario:
    """A scenario from the text of a file; JSON is read as JSON, all else as YAML.

    Fields that are not there take the value of `preset` (a preset's name), or their default. Raises `ScenarioError`.
    """
    text = as_text(content, name)
    if len(text) > LARGEST_FILE:
        raise ScenarioError(f"file {name!r} is too large: allowed is {LARGEST_FILE / 1e6:g} MB.")
    values = _json(text, name) if text.lstrip()[:1] in ("{", "[") else _yaml(text, name)
    if not isinstance(values, dict):
        what = "empty" if values is None else f"a {type(values).__name__}"
        raise ScenarioError(f"file {name!r} is {what}: a scenario is a mapping of parameter names to values.")
    unnamed = [key for key in values if not isinstance(key, str)]
    if unnamed:
        raise ScenarioError(f"file {name!r}: the key {unnamed[0]!r} is not a parameter's name.")
    values.setdefault("schema_version", SCHEMA_VERSION)
    if "preset" not in values:
        return scenario(values)
    base = _preset(values.pop("preset"))
    return scenario({**_plain(base), **values})


def _preset(name: Any) -> Scenario:
    if not isinstance(name, str) or name not in PRESETS:
        raise ScenarioError(f"preset = {str(name)[:60]!r} is not known: allowed is {', '.join(PRESETS)}.")
    return PRESETS[name]


def _plain(s: Scenario) -> dict[str, Any]:
    return s.model_dump(mode="json")


def _json(text: str, name: str) -> Any:
    def refuse(word: str) -> Any:
        raise ScenarioError(f"file {name!r}: {word} is not a number that a scenario can have.")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ScenarioError(f"file {name!r}: {key[:60]!r} stands twice.")
            found[key] = value
        return found

    try:
        value = json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ScenarioError(
            f"file {name!r} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}."
        ) from None
    except RecursionError:
        raise ScenarioError(f"file {name!r} is nested too deeply.") from None
    except ValueError as error:  # a number of thousands of digits
        if isinstance(error, ScenarioError):
            raise
        raise ScenarioError(f"file {name!r}: a number is longer than a scenario's can be.") from None
    if _too_deep(value):
        raise ScenarioError(f"file {name!r} is nested too deeply: allowed are {DEEPEST} levels.")
    return value


def _too_deep(value: Any) -> bool:
    """Whether lists and mappings lie in one another further than in any scenario, so far that even `repr` might fail."""
    level = [value]
    for _ in range(DEEPEST):
        level = [x for v in level if isinstance(v, (list, dict)) for x in (v.values() if isinstance(v, dict) else v)]
    return bool(level)


class _Loader(yaml.SafeLoader):
    """Safe YAML without anchors (a few bytes of them can unfold to gigabytes), keys that stand twice, or endless numbers."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.events.AliasEvent):
            raise _refused("aliases (*name) are not allowed", mark)
        if self.depth > DEEPEST:
            raise _refused(f"nested too deeply: allowed are {DEEPEST} levels", mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            name = str(key.value)
            if name in seen:
                raise _refused(f"{name[:60]!r} stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> int:
        if len(str(node.value)) > LONGEST_NUMBER:
            raise _refused(f"a number of more than {LONGEST_NUMBER} characters", node.start_mark)
        return super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _refused(why: str, mark: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, why, mark)


def _yaml(text: str, name: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ScenarioError(f"file {name!r} is not YAML: {where}{error.problem}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ScenarioError(f"file {name!r} is not YAML: {str(error).partition(chr(10))[0]}.") from None
    except (LookupError, TypeError, AttributeError, OverflowError):
        # What PyYAML raises where a tag is put on a value that is none of its kind: `!!bool maybe`, `!!int ""`.
        raise ScenarioError(f"file {name!r} is not YAML: a value is not what its tag (!!…) says.") from None


def dump_scenario(s: Scenario, form: str = "yaml") -> str:
    """The whole scenario as text that `parse_scenario` reads back exactly; YAML has a comment a field."""
    values = _plain(s)
    if form == "json":
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    lines = ["# A scenario of the IoMT Twin Lab. SI units; ranges are [low, high]."]
    for name, value in values.items():
        meta = metadata()[name]
        unit = f" [{meta.unit}]" if meta.unit else ""
        allowed = f" Allowed: {meta.low:g} to {meta.high:g}." if meta.low is not None else ""
        lines.append(f"# {meta.meaning}{unit}.{allowed}".replace("..", "."))
        lines.append(f"{name}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def write_text_atomically(path: Path, text: str) -> None:
    """Writes the file whole or not at all. Raises `ScenarioError` where the place cannot be written."""
    try:
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise ScenarioError(f"file {str(path)!r} cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        replace_file(part, path)
    except OSError as error:
        raise ScenarioError(f"file {str(path)!r} cannot be written: {error.strerror}.") from None
    finally:
        Path(part).unlink(missing_ok=True)


def replace_file(part: str | Path, path: Path) -> None:
    """Moves a finished file to its place. Raises `OSError`."""
    for pause in (0.01, 0.05, 0.2, 0.5):
        try:
            os.replace(part, path)
            return
        except PermissionError:  # on Windows while another process reads the file
            time.sleep(pause)
    os.replace(part, path)


def whole_number(text: str, low: int, high: int) -> int | None:
    """The number that a stranger's text is, or nothing where it is not a plain whole number from `low` to `high`."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(high))):
        return None  # by length first: Python refuses to read very long numbers
    value = int(text)
    return value if low <= value <= high else None


def to_query(s: Scenario) -> dict[str, str]:
    """A scenario as the entries of a link: the closest preset, and what differs from it, in SI units.

    Raises `ScenarioError` where it does not fit into a link.
    """
    values = _plain(s)
    differing = {
        name: [key for key, value in values.items() if _plain(preset)[key] != value] for name, preset in PRESETS.items()
    }
    base = min(PRESETS, key=lambda name: len(differing[name]))
    query = {"preset": base}
    for key in differing[base]:
        value = values[key]
        if key in NESTED:
            query[key] = _pack(value)
        elif isinstance(value, list):
            query[key] = "..".join(repr(x) for x in value)
        else:
            query[key] = value if isinstance(value, str) else json.dumps(value)
    if sum(len(k) + len(v) + 2 for k, v in query.items()) > LONGEST_LINK:
        raise ScenarioError(
            f"this scenario does not fit into a link of {LONGEST_LINK} characters: download the scenario file instead."
        )
    return query


def from_query(query: Mapping[str, str], ignore: Collection[str] = ()) -> Scenario:
    """The scenario of a link. Raises `ScenarioError` for an entry that is not a parameter or has a bad value."""
    entries = {key: value for key, value in query.items() if key not in ignore}
    base = _preset(entries.pop("preset", "paper"))
    values: dict[str, Any] = {}
    for key, text in entries.items():
        if key not in metadata():
            scenario({key: text[:60]})  # raises, with a suggestion
        default = getattr(base, key)
        if key in NESTED:
            values[key] = _unpack(key, text)
        elif isinstance(default, tuple):
            values[key] = text.split("..")
        elif text == "null":
            values[key] = None
        else:
            values[key] = text
    return scenario({**_plain(base), **values})


def _pack(value: Any) -> str:
    raw = zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 9)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _unpack(key: str, text: str) -> Any:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(raw, LARGEST_PACKED)
        value = json.loads(content) if unpacker.eof else None
        if unpacker.eof and not _too_deep(value):
            return value
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        raise ScenarioError(f"{key} = {text[:40]!r} in the link cannot be read: the link is damaged.") from None
    raise ScenarioError(
        f"{key} in the link is cut off, larger than {LARGEST_PACKED / 1e6:g} MB or nested deeper than {DEEPEST} levels."
    )
