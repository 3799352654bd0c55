"""Which column of a table is which quantity, and in which unit: guessed from the header, or chosen by a person."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from iomt_core.scenario.errors import ScenarioError, check_known
from iomt_core.scenario.units import read_number

ROLES = ("tasks", "users", "servers", "places")  # of tables; `places` has users and servers in one table
SITES = ("users", "servers", "places")

# Units as headers write them, in lower case, with their factor to SI. What `read_number` knows ("GHz", "KB") is read first.
_SECONDS = {
    "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1, "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3,
    "milliseconds": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "microseconds": 1e-6, "ns": 1e-9, "min": 60, "minute": 60,
    "minutes": 60, "h": 3600, "hour": 3600, "hours": 3600, "d": 86_400, "day": 86_400, "days": 86_400,
}  # fmt: skip
UNITS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "bit": {
            "bit": 1, "bits": 1, "kbit": 1e3, "kbits": 1e3, "mbit": 1e6, "mbits": 1e6, "gbit": 1e9, "byte": 8, "bytes": 8,
            "kb": 8e3, "mb": 8e6, "gb": 8e9, "kbyte": 8e3, "kbytes": 8e3, "mbyte": 8e6, "mbytes": 8e6, "kib": 8192,
            "mib": 8 * 2**20, "gib": 8 * 2**30,
        },
        "cycle": {
            "cycle": 1, "cycles": 1, "kcycle": 1e3, "kcycles": 1e3, "mcycle": 1e6, "mcycles": 1e6, "megacycles": 1e6,
            "gcycle": 1e9, "gcycles": 1e9, "instructions": 1, "mi": 1e6,
        },
        "cycle/s": {"hz": 1, "khz": 1e3, "mhz": 1e6, "ghz": 1e9, "thz": 1e12, "mips": 1e6},
        "Hz": {"hz": 1, "khz": 1e3, "mhz": 1e6, "ghz": 1e9},
        "s": _SECONDS,
        "W": {"w": 1, "watt": 1, "watts": 1, "kw": 1e3, "mw": 1e-3, "uw": 1e-6, "µw": 1e-6, "dbm": 0},
        "J": {"j": 1, "joule": 1, "joules": 1, "kj": 1e3, "mj": 1e-3, "uj": 1e-6, "wh": 3600, "mwh": 3.6},
        "m": {
            "m": 1, "meter": 1, "meters": 1, "metre": 1, "metres": 1, "km": 1e3, "cm": 1e-2, "mm": 1e-3, "ft": 0.3048,
        },
        "°": {"°": 1, "deg": 1, "degree": 1, "degrees": 1},
    }
)  # fmt: skip
DECIBEL_MILLIWATT = "dbm"  # the only unit that is no factor
INSTRUCTIONS = ("mi", "mips", "instructions")  # counted as cycles
# Two meanings that differ by a factor: bit or byte, mega or milli.
AMBIGUOUS = {
    "bit": (re.compile(r"b|[KMG]b"), "bits or bytes"), "J": (re.compile(r"MJ|MWH|MWh"), "mega or milli"),
    "W": (re.compile(r"MW"), "mega or milli"),
}  # fmt: skip


@dataclass(frozen=True)
class Field:
    """A quantity that an import may take.

    kind: "number", "whole", "text", "id", "time" or "location". unit: SI, "" for none. parameters: whose range limits it, of
    users and of servers. native: the column's name in the lab's own tables. words: other names that columns may have, lower
    case, letters only. unnamed: the unit of a column that names none; None: it must name one.
    """

    name: str
    kind: str
    words: tuple[str, ...]
    native: tuple[str, ...] = ()
    unit: str = ""
    parameters: tuple[str, str] = ("", "")
    unnamed: str | None = ""
    meaning: str = ""


_PLACE = (
    Field("latitude", "number", ("lat", "latitude", "breitengrad", "gpslatitude", "gpslat"), (), "°", unnamed="°",
          meaning="degrees north"),
    Field("longitude", "number", ("lon", "lng", "long", "longitude", "lontitude", "längengrad", "laengengrad", "gpslongitude",
          "gpslon"), (), "°", unnamed="°", meaning="degrees east"),
    Field("location", "location", ("location", "latlon", "latlng", "coordinates", "coordinate", "gps", "position"),
          meaning="latitude and longitude in one cell"),
    Field("x", "number", ("x", "xpos", "xposition", "posx", "easting", "xcoordinate"), ("x_m",), "m", unnamed="m"),
    Field("y", "number", ("y", "ypos", "yposition", "posy", "northing", "ycoordinate"), ("y_m",), "m", unnamed="m"),
)  # fmt: skip
_USER = ("user", "userid", "uid", "device", "deviceid", "client", "clientid", "patient", "patientid", "subject", "subjectid",
         "ue", "ueid", "mobile", "mobiledevice", "nutzer", "benutzer", "imsi", "imei", "mac")  # fmt: skip
FIELDS: Mapping[str, tuple[Field, ...]] = MappingProxyType(
    {
        "tasks": (
            Field("user", "id", _USER, ("user",), meaning="whose task it is, in any form"),
            Field("step", "whole", ("step", "slot", "timeslot", "timestep", "round", "schritt"), ("step",),
                  parameters=("T", "T"), meaning="step, counted from 1"),
            Field("time", "time", ("time", "timestamp", "datetime", "date", "start", "starttime", "arrival", "arrivaltime", "ts",
                  "submittime", "submissiontime", "createdat", "zeit", "zeitstempel", "datum", "eventtime"), (), "s",
                  unnamed=None, meaning="when it arises: a date and time, or a number"),
            Field("data", "number", ("data", "datasize", "size", "tasksize", "inputsize", "input", "upload", "uploadsize",
                  "payload", "payloadsize", "volume", "filesize", "bytes", "traffic", "datenmenge", "größe", "groesse"),
                  ("data_kb", "data_bits"), "bit", ("D", "D"), None, "data size"),
            Field("cycles", "number", ("cycles", "cpucycles", "cpu", "computing", "computation", "compute", "computingsize",
                  "instructions", "length", "tasklength", "workload", "zyklen"), ("cycles",), "cycle", ("C", "C"), None,
                  "computing size"),
            Field("priority", "whole", ("priority", "prio", "urgency", "importance", "priorität", "prioritaet"), ("priority",),
                  parameters=("P", "P"), meaning="1 where it is missing"),
            Field("kind", "text", ("kind", "type", "tasktype", "application", "app", "class", "category", "signal", "service"),
                  ("kind",), meaning="kind of task"),
            Field("deadline", "number", ("deadline", "maxdelay", "delaylimit", "delaybound", "latencybound", "tmax",
                  "maximumdelay"), ("deadline_ms", "deadline_s"), "s", ("T_max", "T_max"), None, "the ward's where missing"),
            Field("episode", "whole", ("episode",), ("episode",), meaning="of exported decisions: one of them is taken"),
            *_PLACE,
        ),
        "users": (Field("id", "id", ("id", *_USER, "node", "nodeid"), ("user",), meaning="in any form"), *_PLACE),
        "servers": (
            Field("id", "id", ("id", "server", "serverid", "site", "siteid", "station", "stationid", "bs", "bsid", "basestation",
                  "basestationid", "node", "nodeid", "edge", "edgeid", "ap", "apid"), ("server",), meaning="in any form"),
            *_PLACE,
        ),
        "places": (
            Field("role", "text", ("kind", "role", "type"), ("kind",), meaning="user or server"),
            Field("id", "id", ("id", "node", "nodeid", "number"), meaning="in any form"),
            *_PLACE,
        ),
    }
)  # fmt: skip
_DEVICE = (
    Field("name", "text", ("name", "label", "sitename", "devicename", "bezeichnung"), ("name",)),
    Field("cpu", "number", ("cpu", "cpufrequency", "frequency", "clock", "cpuspeed", "mips", "computing", "f", "fi", "fk"),
          ("cpu_ghz",), "cycle/s", ("F_i", "F_k"), None),
    Field("bandwidth", "number", ("bandwidth", "bw", "bk", "bandbreite"), ("bandwidth_mhz",), "Hz", ("", "B_k"), None),
    Field("latency", "number", ("latency", "delay", "rtt", "ping", "networkdelay", "latenz"), ("latency_ms",), "s",
          ("", "latency"), None),
    Field("power", "number", ("power", "txpower", "transmissionpower", "transmitpower", "ptr", "sendeleistung"), ("power_w",),
          "W", ("P_tr", ""), None),
    Field("battery", "number", ("battery", "batteryenergy", "energy", "cap", "batterie", "akku"), ("battery_j",), "J",
          ("Cap", ""), None),
)  # fmt: skip
DEVICE_FIELDS = tuple(field.name for field in _DEVICE if field.kind == "number")


def fields_of(role: str) -> Mapping[str, Field]:
    """The fields that a table of this role may have, by name."""
    own = FIELDS[role]
    if role in SITES:
        side = {"users": 0, "servers": 1}.get(role)
        own += tuple(f for f in _DEVICE if f.kind == "text" or side is None or f.parameters[side])
    return {field.name: field for field in own}


@dataclass(frozen=True)
class Use:
    """A column that is taken as a field. unit: as the header or a person wrote it, "" for none; given: by a person."""

    field: Field
    column: int
    unit: str = ""
    given: bool = False
    assumed: bool = False  # the unit is the usual one, the header names none


def factor_of(unit: str, field: Field, where: str) -> float:
    """How many SI units one of `unit` is; 0 for dBm. Raises `ScenarioError` for one that is unknown or has two meanings."""
    known = UNITS[field.unit]
    pattern, meanings = AMBIGUOUS.get(field.unit, (None, ""))
    if pattern and pattern.fullmatch(unit):
        raise ScenarioError(f"{where}: the unit {unit!r} may mean {meanings}; allowed is {', '.join(known)}.")
    if unit.lower() in known:
        return known[unit.lower()]
    try:
        return float(read_number(f"1 {unit}", field.unit))
    except ValueError:
        raise ScenarioError(f"{where}: {unit!r} is no unit of {field.name}; allowed is {', '.join(known)}.") from None


def split_header(header: str, field: Field) -> tuple[str, str]:
    """Split a column's name into the name and the unit of a field: "cpu (GHz)", "size_kb", "data [MB]", "latencyMs"."""
    if bracketed := re.fullmatch(r"(.*?)[\s_,]*[(\[]\s*([^)\]]*)\s*[)\]]", header):
        return bracketed[1], bracketed[2]
    if field.unit:
        for pattern in (r"(.+?)[\s_,/\-.]+(?:in[\s_]+)?([^\s_,/\-.]+)", r"([a-z]{2,})([A-Z][A-Za-z]*)"):
            parts = re.fullmatch(pattern, header)
            if parts and parts[2].lower() in (*UNITS[field.unit], "b"):
                return parts[1], parts[2]
        if header.lower() in UNITS[field.unit] and len(header) > 3:  # a column "bytes" or "instructions"
            return header, header
    return header, ""


def guess(role: str, headers: Sequence[str]) -> tuple[dict[str, Use], list[str]]:
    """Guess the columns of a table with this role. Returns the uses by field, and what could not be decided, in words.

    A column with the name of the lab's own tables comes first. Where two columns may be the same field, none is taken.
    """
    found: dict[str, Use] = {}
    open_questions = []
    for field in fields_of(role).values():
        native = [n for n, header in enumerate(headers) if header.strip().lower() in field.native]
        fitting = native or [n for n, header in enumerate(headers) if _fits(header, field)]
        fitting = [n for n in fitting if n not in {use.column for use in found.values()}]
        if len(fitting) > 1:
            names = " or ".join(repr(headers[n][:40]) for n in fitting[:4])
            open_questions.append(f"{field.name} may be the column {names}: choose one, for example "
                                  f"{field.name}={headers[fitting[0]][:40]}")  # fmt: skip
        elif fitting:
            _, unit = split_header(headers[fitting[0]].strip(), field)
            use = Use(field, fitting[0], unit if field.unit else "")
            if field.unit and unit and not _is_unit(unit, field):
                open_questions.append(f"the column {headers[fitting[0]][:40]!r} is not taken as {field.name}: its unit "
                                      f"{unit[:20]!r} is unknown or has two meanings; write {field.name}=COLUMN[UNIT]"
                                      )  # fmt: skip
                continue
            found[field.name] = _with_usual_unit(use, headers)
    if role != "places" and "location" in found and {"latitude", "longitude"} & found.keys():
        del found["location"]
    return found, open_questions


def chosen(role: str, headers: Sequence[str], mapping: Mapping[str, str], found: Mapping[str, Use]) -> dict[str, Use]:
    """Apply a person's choice to guessed columns: field → column's name or number, with a unit in brackets; "" for none.

    Raises `ScenarioError` for a field or column that does not exist, or a unit that does not fit.
    """
    uses = dict(found)
    fields = fields_of(role)
    for name, text in mapping.items():
        check_known("map", name, fields)
        if not text:
            uses.pop(name, None)
            continue
        column, unit = _column_named(text, headers, name)
        use = Use(fields[name], column, unit, given=True)
        if fields[name].unit and not unit:
            _, unit = split_header(headers[column].strip(), fields[name])
            use = replace(use, unit=unit) if unit and _is_unit(unit, fields[name]) else _with_usual_unit(use, headers)
        elif unit:
            if not fields[name].unit:
                raise ScenarioError(f"map: {name} has no unit: write {name}={headers[column][:40]}.")
            factor_of(unit, fields[name], f"map {name}")
        uses = {other: one for other, one in uses.items() if one.column != column}
        uses[name] = use
    return uses


def _column_named(text: str, headers: Sequence[str], field: str) -> tuple[int, str]:
    """The number of a column from 0, and the unit in brackets behind its name. Raises `ScenarioError`."""
    options: list[tuple[str, str]] = [(text, "")]
    if bracketed := re.fullmatch(r"(.*?)\s*\[([^\[\]]+)\]", text):
        options.append((bracketed[1], bracketed[2].strip()))
    for name, unit in options:
        same = [n for n, header in enumerate(headers) if header.strip() == name.strip()]
        if len(same) > 1:
            raise ScenarioError(f"map {field}: the column {name[:40]!r} stands twice; write its number, {same[0] + 1}.")
        if same:
            return same[0], unit
    for name, unit in options:
        if name.isdigit() and len(name) < 6 and 1 <= int(name) <= len(headers):
            return int(name) - 1, unit
    check_known(f"map {field}", options[-1][0], [header for header in headers if header][:40])
    raise AssertionError


def _with_usual_unit(use: Use, headers: Sequence[str]) -> Use:
    """Add the unit of a column that names none, where there is a usual one; a column of cycles is in cycles."""
    if use.unit or not use.field.unit:
        return use
    usual = use.field.unnamed
    if use.field.name == "cycles" and re.search("cycle|zyklen", headers[use.column].lower()):
        usual = "cycle"
    return replace(use, unit=usual or "", assumed=bool(usual))


def _is_unit(unit: str, field: Field) -> bool:
    try:
        factor_of(unit, field, "")
    except ScenarioError:
        return False
    return True


def _fits(header: str, field: Field) -> bool:
    def letters(text: str) -> str:
        return "".join(c for c in text.lower() if c.isalpha())

    return letters(split_header(header.strip(), field)[0]) in field.words or letters(header) in field.words


def best_role(headers: Sequence[str], file: str, known: Collection[str] = ROLES) -> str | None:
    """Guess what a table is about, from its columns and the file's name; None where both leave it open."""
    tasks, places = guess("tasks", headers)[0], guess("places", headers)[0]
    if "user" in tasks and ({"step", "time"} & tasks.keys()) and "tasks" in known:
        return "tasks"
    has_place = {"x", "y"} <= places.keys() or {"latitude", "longitude"} <= places.keys() or "location" in places
    if has_place:
        words = re.sub("edge|site|station", "server", file.lower())
        if "role" in places and not re.search("server|user", words):
            return "places"
        for role in ("servers", "users"):
            if role[:-1] in words:
                return role
        if "id" in guess("servers", headers)[0] and "id" not in guess("users", headers)[0]:
            return "servers"
        if "id" in guess("users", headers)[0] and "id" not in guess("servers", headers)[0]:
            return "users"
        return "places" if "role" in places else None
    return None
