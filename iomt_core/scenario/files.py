"""Scenarios in YAML and JSON files.

A file may come from anybody: its size is limited, nothing is unpickled, and what cannot be used raises `ScenarioError`
naming the file, the field, the value and what is allowed.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml

from iomt_core.scenario.errors import ScenarioError, check_known, os_errors
from iomt_core.scenario.notes import note
from iomt_core.scenario.parameters import SCHEMA_VERSION, Scenario, counted, metadata
from iomt_core.scenario.presets import EARLIER_PRESETS, PRESETS
from iomt_core.scenario.units import NUMBER, read_number

LARGEST_FILE = 2_000_000  # bytes of YAML
LARGEST_JSON = 60_000_000  # bytes of JSON, which holds the largest workload and is read much faster
OF_SINGLE = {"kinds": "kind", "user_devices": "user", "server_devices": "server"}  # lists of mappings with parameters
SMALLEST = 1e-100  # smaller numbers are as good as 0
Content = TypeVar("Content", bytes, str)
DEEPEST = 12  # levels of lists and mappings


def read_bytes(path: Path, most: int = LARGEST_FILE) -> bytes:
    """Read a file of at most `most` bytes. Raises `ScenarioError` if it cannot be read or is too large."""
    with os_errors(f"file {str(path)!r} cannot be read"), path.open("rb") as file:
        content = file.read(most + 1)
    return checked_size(content, path.name, most)


def checked_size(content: Content, name: str, most: int = LARGEST_FILE) -> Content:
    """Return the content. Raises `ScenarioError` if it is larger than `most`."""
    if len(content) > most:
        raise ScenarioError(f"file {name!r} is too large: allowed is {most / 1e6:g} MB.")
    return content


def as_text(content: bytes | str, name: str, most: int = LARGEST_FILE) -> str:
    """Decode UTF-8 text, without a byte order mark. Raises `ScenarioError` for anything else."""
    if isinstance(content, str):
        return content
    try:
        text = checked_size(content, name, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ScenarioError(f"file {name!r} is not UTF-8 text: byte {error.start + 1} cannot be read.") from None
    if "\x00" in text:
        raise ScenarioError(f"file {name!r} is not text: it holds a zero byte.")
    return text


def read_scenario(source: str | Path) -> Scenario:
    """Return a preset by its name, or read a YAML or JSON file. Raises `ScenarioError`."""
    if str(source) in PRESETS or str(source) in EARLIER_PRESETS:
        return preset_named(str(source))
    path = Path(str(source).replace("\x00", ""))
    if path.suffix.lower() not in (".yaml", ".yml", ".json") and not os.path.exists(path):
        names = ", ".join((*PRESETS, *EARLIER_PRESETS))
        raise ScenarioError(
            f"scenario = {str(source)[:200]!r} is neither a preset ({names}) nor a .yaml, .yml or .json file."
        )
    return parse_scenario(read_bytes(path, LARGEST_JSON), path.name)


def parse_scenario(content: bytes | str, name: str = "scenario") -> Scenario:
    """Read a scenario from the text of a file; text that begins with a brace is JSON, all else YAML.

    Fields that are missing take the value of `preset` (a preset's name), or their default. A number may have a unit
    ("20 ms"); a bare one is SI, and one that looks as if another unit was meant gets a note (`collect_notes`, or a
    `ScenarioWarning`). Raises `ScenarioError`.
    """
    is_json = content[:100].lstrip()[:1] in ("{", "[", b"{", b"[")
    text = checked_size(as_text(content, name, LARGEST_JSON), name, LARGEST_JSON if is_json else LARGEST_FILE)
    values = _json(text, name) if text.lstrip()[:1] in ("{", "[") else _yaml(text, name)
    if not isinstance(values, dict):
        what = "empty" if values is None else f"a {type(values).__name__}"
        raise ScenarioError(f"file {name!r} is {what}: a scenario is a mapping of parameter names to values.")
    unnamed = [key for key in values if not isinstance(key, str)]
    if unnamed:
        raise ScenarioError(f"file {name!r}: the key {unnamed[0]!r} is not a parameter's name.")
    values.setdefault("schema_version", SCHEMA_VERSION)
    base = preset_named(values.pop("preset")) if "preset" in values else Scenario()
    s = base.changed(**values)
    for kind, numbers, total in (
        ("users", s.user_numbers, s.ward_users),
        ("servers", s.server_numbers, s.ward_servers),
    ):
        if len(numbers) < total:
            note(f"{name}: of {total} {kind}, {', '.join(map(str, numbers))} are in operation.", doubtful=False)
    for text in _doubtful_values(values):
        note(text)
    for kind, devices, total in (("user", s.user_devices, s.ward_users), ("server", s.server_devices, s.ward_servers)):
        for device in devices:
            if device.number > total:
                note(f"{name}: {kind}_devices names {kind} {device.number}, but the ward has {counted(total, kind)}.")
    return s


def misread(name: str, value: float, where: str = "") -> str | None:
    """Return a note if a bare number of a parameter, read as SI, was probably meant in the unit that people see.

    The rule: read in that unit, the number would be nearer to the default, as a ratio. `T_max: 20` is 20 s, 1000 times the
    usual 20 ms, but as 20 ms just the usual value. `where` names the place of the number if that is not the parameter.
    """
    meta, default = metadata()[name], getattr(PRESETS["paper"], name)
    if meta.shown_factor == 1 or value < SMALLEST:
        return None
    usual = (sum(default) / 2 if isinstance(default, tuple) else default) or meta.span[1] / 10
    ratio = value / usual
    as_shown = ratio / meta.shown_factor
    if min(ratio, as_shown) < 1e-300:  # its inverse would be no number
        return None
    if max(ratio, 1 / ratio) <= max(as_shown, 1 / as_shown):
        return None
    return (
        f"{where or name} = {value:g} was read as {value:g} {meta.unit} ({meta.show(value)}); a usual value is "
        f"{meta.show(usual)}. Write '{value:g} {meta.shown_unit}' if that is meant."
    )


def _doubtful_values(values: Mapping[str, Any], inside: str = "") -> Iterator[str]:
    """Yield a note for every parameter, also of a task kind, whose bare number was probably meant in another unit."""
    for name, value in values.items():
        if name in OF_SINGLE:
            for number, one in enumerate(value, 1):
                yield from _doubtful_values(one, f" of {OF_SINGLE[name]} {one.get('number', number)}")
        elif name in metadata():
            ends = [
                end for end in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(end, (int, float))
            ]
            yield from list(filter(None, (misread(name, end, name + inside) for end in ends)))[:1]


def preset_named(name: Any) -> Scenario:
    """Return the preset of this name. Raises `ScenarioError` for an unknown one."""
    if isinstance(name, str) and name in EARLIER_PRESETS:
        return EARLIER_PRESETS[name]
    check_known("preset", name, PRESETS)
    return PRESETS[name]


def plain_values(s: Scenario) -> dict[str, Any]:
    """Return all values as JSON has them, in SI units; an automatic value is None."""
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
    if is_too_deep(value):
        raise ScenarioError(f"file {name!r} is nested too deeply: allowed are {DEEPEST} levels.")
    return value


def is_too_deep(value: Any) -> bool:
    """Return whether lists and mappings are nested deeper than in any scenario, where even `repr` might fail."""
    level = [value]
    for _ in range(DEEPEST):
        level = [x for v in level if isinstance(v, (list, dict)) for x in (v.values() if isinstance(v, dict) else v)]
    return bool(level)


class _Loader(yaml.SafeLoader):
    """Safe YAML with the words of YAML 1.2's core schema: `yes` is a text, and `010` or `1:30` is no number.

    It refuses aliases (a few bytes of them can unfold to gigabytes), repeated keys and endless numbers.
    """

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

    def construct_number(self, node: Any) -> int | float:
        text = str(self.construct_scalar(node))
        if text.lstrip("+-").lower() in (".inf", ".nan"):
            return float(text.replace(".", "", 1))
        try:
            return read_number(text, "")
        except ValueError as error:
            raise _refused(str(error), node.start_mark) from None


_NUMBER_TAG = "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    (_NUMBER_TAG, rf"{NUMBER}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), _first)
for _tag in (_NUMBER_TAG, "tag:yaml.org,2002:int"):
    _Loader.add_constructor(_tag, _Loader.construct_number)


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
        # What PyYAML raises for a tag on a value of another kind: `!!bool maybe`.
        raise ScenarioError(f"file {name!r} is not YAML: a value is not what its tag (!!…) says.") from None


def dump_scenario(s: Scenario, form: str = "yaml") -> str:
    """Write the whole scenario as text that `parse_scenario` reads back as an equal scenario.

    form: "yaml", with a comment for every field, or "json". An automatic value (γ^t, γ^e) is null. Numbers are SI;
    in YAML, and in lists of kinds and devices, those that `misread` would doubt have their unit.
    """
    values = {
        name: _without_doubt(name, value) if form == "yaml" or name in OF_SINGLE else value
        for name, value in plain_values(s).items()
    }
    if form == "json":
        return "{\n" + ",\n".join(f'  "{name}": {_json_lines(value)}' for name, value in values.items()) + "\n}\n"
    lines = [
        "# A scenario of the IoMT Twin Lab. Numbers are SI, or text with a unit such as '20 ms'; ranges are [low, high]."
    ]
    for name, value in values.items():
        meta = metadata()[name]
        unit = f" [{meta.unit}]" if meta.unit else ""
        allowed = f" Allowed: {meta.low:g} to {meta.high:g}." if meta.low is not None else ""
        lines.append(f"# {meta.meaning}{unit}.{allowed}".replace("..", "."))
        lines.append(f"{name}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _json_lines(value: Any) -> str:
    """A value as JSON; each task, kind and device of a list has a line."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"    {json.dumps(one, ensure_ascii=False)}" for one in value) + "\n  ]"
    return json.dumps(value, ensure_ascii=False)


def _without_doubt(name: str, value: Any) -> Any:
    """Add the SI unit to numbers that `misread` would doubt, so that reading them back raises no note."""
    if name in OF_SINGLE:
        return [{key: _without_doubt(key, part) for key, part in kind.items()} for kind in value]
    if not any(_doubtful_values({name: value})):
        return value
    unit = metadata()[name].unit
    return [f"{end!r} {unit}" for end in value] if isinstance(value, list) else f"{value!r} {unit}"


def write_text_atomically(path: Path, text: str) -> None:
    """Write a file as a whole or not at all. Raises `ScenarioError` if it cannot be written."""
    write_atomically(path, text.encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all. Raises `ScenarioError` if it cannot be written."""
    with written_whole(path) as part, part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A new file to write in the block, which then takes the place of `path`; where the block fails, it disappears.

    Raises `ScenarioError` if it cannot be written.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with os_errors(f"file {str(path)!r} cannot be written"):
        try:
            yield part
            replace_file(part, path)
        finally:
            part.unlink(missing_ok=True)


def replace_file(part: Path, path: Path) -> None:
    """Moves a finished file to its place. Raises `OSError`."""
    for pause in (0.01, 0.05, 0.2, 0.5):
        try:
            os.replace(part, path)
            return
        except PermissionError:  # on Windows while another process reads the file
            time.sleep(pause)
    os.replace(part, path)
