"""The scenario: every parameter of the ward, once.

A `Scenario` is frozen and validated. Whatever shows a parameter (slider, help, file format, error message, reference
table) is generated from the metadata next to its default. Values are SI; `shown_unit` and `shown_factor` say in which
unit people see them.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from iomt_core.scenario.errors import MOST_PROBLEMS, ScenarioError
from iomt_core.scenario.units import read_number

SCHEMA_VERSION = 1
LATER = (
    "users_off",
    "servers_off",
    "latency",
    "user_devices",
    "server_devices",
)  # fields that earlier scenarios lacked
KILOBYTE = 8000.0  # bit
GROUPS = ("ward", "tasks", "computing", "channel", "objective", "advanced")
TABLE_II = "Table II"
PAPER = "paper, section VI"
ASSUMED = "assumption"
LONGEST_WHERE = 80  # characters of a field's name in a message
LONGEST_NAME = 40  # characters of the name of a kind or a device
MOST_USERS, MOST_SERVERS, MOST_STEPS = 2000, 256, 10_000
MOST_KINDS = 20
COUNTED = {
    "kinds": "kinds",
    "workload": "tasks",
    "user_devices": "users",
    "server_devices": "servers",
}  # lists in words
MOST_TASKS = 250_000  # of an own workload
# Each count may be as large as its range says, but not all of them together: a step's decision weighs every task on every
# device, and a record has a row for every task of an episode.
MOST_ALTERNATIVES = 8_000_000
MOST_EPISODE_TASKS = 20_000_000


Range = tuple[float, float]


@dataclass(frozen=True)
class Meta:
    """What is known about a parameter besides its default.

    symbol: the paper's; unit: SI; source: where the default comes from. `low` and `high` are inclusive and SI; for a
    range parameter they limit both ends. `shown_unit` and `shown_factor` (shown value = SI value x factor) are for
    people; `usual`, `step` and `log` describe the slider: it spans `usual`, in SI, or all that is allowed.
    """

    symbol: str
    unit: str
    meaning: str
    source: str
    group: str
    low: float | None = None
    high: float | None = None
    shown_unit: str | None = None
    shown_factor: float = 1.0
    step: float | None = None
    log: bool = False
    label: str | None = None
    usual: tuple[float, float] | None = None

    @property
    def span(self) -> Range:
        """What a slider, or a question that is about no value in particular, spans: the usual values, SI."""
        assert self.low is not None
        assert self.high is not None
        return self.usual or (self.low, self.high)

    def is_usual(self, value: Any) -> bool:
        """Whether a value, or both ends of a range, lie within `span`; automatic values do."""
        low, high = self.span
        ends = value if isinstance(value, tuple) else (value,)
        return all(end is None or low <= end <= high for end in ends)

    def show(self, value: float) -> str:
        """Format an SI value in the unit that people see, for example "20 ms"."""
        unit = self.unit if self.shown_unit is None else self.shown_unit
        try:
            number = value * self.shown_factor
        except OverflowError:  # a whole number may be larger than any float
            number = math.inf if value > 0 else -math.inf
        return f"{number:.6g} {unit}".strip()

    def allowed(self) -> str:
        """Format the allowed range in the unit that people see, and in SI if that differs; "" if there is none."""
        if self.low is None or self.high is None:
            return ""
        text = f"{self.show(self.low)} to {self.show(self.high)}"
        if self.shown_factor != 1.0:
            text += f" ({self.low:.6g} to {self.high:.6g} {self.unit})"
        return text


def _read_value(value: Any, unit: str) -> Any:
    """Turn text into a number of `unit`; anything but text is left to pydantic, except truth values."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", "a truth value (true, false) is not a number")
    if not isinstance(value, str):
        return value
    try:
        return read_number(value, unit)
    except ValueError as error:
        raise PydanticCustomError("number", "{reason}", {"reason": str(error)}) from None


def _read_field(value: Any, info: ValidationInfo) -> Any:
    meta = _METADATA.get(info.field_name or "")
    return _read_value(value, meta.unit if meta else "")


def _split_range(value: Any) -> Any:
    """Split the text of a range, "20 KB to 50 KB" or "20 KB..50 KB", into its two ends."""
    if isinstance(value, str):
        return next((value.split(mark) for mark in ("..", " to ") if mark in value), value)
    return value


def _split_numbers(value: Any) -> Any:
    """Turn one number, or the text of several ("2, 4"), into a list."""
    if isinstance(value, str):
        return [part for part in value.split(",") if value.strip()]
    return [value] if isinstance(value, int) else value


# Numbers as files, links and command lines hold them: text may carry a unit, truth values are refused. A whole number
# may be written as 8.0, because programs that know only floats (JavaScript, spreadsheets) write it so.
Number = Annotated[float, BeforeValidator(_read_field)]
Whole = Annotated[int, BeforeValidator(_read_field)]
Metres = Annotated[float, BeforeValidator(lambda value: _read_value(value, "m"))]
NumberRange = Annotated[tuple[Number, Number], BeforeValidator(_split_range)]
WholeRange = Annotated[tuple[Whole, Whole], BeforeValidator(_split_range)]
Numbers = Annotated[
    tuple[Whole, ...], BeforeValidator(_split_numbers), AfterValidator(lambda value: tuple(sorted(value)))
]


class Frozen(BaseModel):
    """Base of immutable models that refuse unknown fields, infinity and NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Sparse(Frozen):
    """Base of models whose optional fields, where they are not given, take a value of the whole ward; they are not written."""

    @model_serializer(mode="wrap")
    def _without_missing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class TaskKind(Sparse):
    """A medical task kind with ranges of its own; `share` is its relative frequency in the mix."""

    name: str = Field(min_length=1, max_length=LONGEST_NAME)
    share: Number = Field(gt=0, le=1000)
    D: NumberRange
    C: NumberRange
    P: WholeRange
    T_max: Number | None = None


class WorkloadTask(Sparse):
    """One task of an own workload: data size D in bit, computing size C in cycles, priority P; step and user from 1.

    A task without a deadline T_max has that of the scenario's task kind of the same name, or else the ward's.
    """

    step: Whole = Field(ge=1, le=MOST_STEPS)
    user: Whole = Field(ge=1, le=MOST_USERS)
    D: Number
    C: Number
    P: Whole = 1
    kind: str | None = Field(None, min_length=1, max_length=LONGEST_NAME)
    T_max: Number | None = None


class UserDevice(Sparse):
    """The device of one user, by its number in the whole ward; what is not given is the ward's F_i, P_tr and Cap."""

    number: Whole = Field(ge=1)
    name: str | None = Field(None, min_length=1, max_length=LONGEST_NAME)
    F_i: Number | None = None
    P_tr: Number | None = None
    Cap: Number | None = None


class ServerDevice(Sparse):
    """One server, by its number in the whole ward; what is not given is the ward's F_k, B_k and latency."""

    number: Whole = Field(ge=1)
    name: str | None = Field(None, min_length=1, max_length=LONGEST_NAME)
    F_k: Number | None = None
    B_k: Number | None = None
    latency: Number | None = None


def _by_number(devices: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(sorted(devices, key=lambda device: device.number))


class Places(Frozen):
    """Positions (x, y) of users and servers, in metres."""

    users: tuple[tuple[Metres, Metres], ...]
    servers: tuple[tuple[Metres, Metres], ...]


KB = {"shown_unit": "KB", "shown_factor": 1 / KILOBYTE}
GHZ = {"shown_unit": "GHz", "shown_factor": 1e-9}
KCYCLES = {"shown_unit": "kcycles", "shown_factor": 1e-3}


class Scenario(Frozen):
    """A ward: its users, their tasks, devices and channel, and the objective. Symbols are the paper's, values SI.

    Text may be given for a number, with or without a unit: "20 ms" or "0.02". `scenario`, `changed` and the readers in
    `iomt_core.scenario.files` raise `ScenarioError` if a value is out of range.
    """

    # fmt: off
    schema_version: Annotated[Whole, Meta("", "", "version of the file format", "", "file")] = SCHEMA_VERSION
    name: Annotated[str, Meta("", "", "a name for the ward", "", "file")] = Field("my ward", max_length=80)

    users: Annotated[Whole, Meta(
        "N^u", "", "users, each with a wearable: the agents", PAPER, "ward", 1, MOST_USERS, step=1, label="Users",
        usual=(1, 16))] = 8
    tasks: Annotated[Whole, Meta(
        "N_i^t", "", "tasks of a user in a step", PAPER, "ward", 1, 64, step=1, label="Tasks a user", usual=(1, 16))] = 8
    servers: Annotated[Whole, Meta(
        "N^m", "", "edge servers", PAPER, "ward", 1, MOST_SERVERS, step=1, label="Edge servers", usual=(1, 8))] = 4
    users_off: Annotated[Numbers, Meta(
        "", "", "numbers of the users that are switched off; all others keep their places, numbers and tasks, and `users` "
        "counts only them", "", "file", label="Users switched off")] = ()
    servers_off: Annotated[Numbers, Meta(
        "", "", "numbers of the servers that are switched off; all others keep their places, numbers and background load, "
        "and `servers` counts only them", "", "file", label="Servers switched off")] = ()
    T: Annotated[Whole, Meta(
        "T", "", "steps of an episode", ASSUMED, "ward", 1, MOST_STEPS, step=1, label="Steps of an episode",
        usual=(1, 100))] = 20
    area: Annotated[Number, Meta(
        "", "m", "side of the square ward", ASSUMED, "ward", 5, 50_000, step=5,
        label="Side of the ward", usual=(5, 2000))] = 100.0
    seed: Annotated[Whole, Meta(
        "", "", "draws the places: users uniform, servers on a jittered grid", ASSUMED, "ward", 0, 2**31 - 1, step=1,
        label="Layout seed")] = 0
    speed: Annotated[Number, Meta(
        "", "m/s", "mobility: speed of a user's random waypoint walk; 0 keeps everyone in place", ASSUMED, "ward", 0,
        20, step=0.1, label="User speed")] = 0.0
    step_time: Annotated[Number, Meta(
        "", "s", "time between two steps; matters only where users move", ASSUMED, "ward", 0.1, 60, step=0.1,
        label="Time between steps")] = 1.0

    D: Annotated[NumberRange, Meta(
        "D", "bit", "data size of a task, uniform", TABLE_II, "tasks", 1, 8e10, log=True, label="Data size",
        usual=(800, 8e7), **KB)] = (20 * KILOBYTE, 50 * KILOBYTE)
    C: Annotated[NumberRange, Meta(
        "C", "cycle", "computing size of a task, uniform", TABLE_II, "tasks", 1, 1e13, log=True,
        label="Computing size", usual=(1e3, 1e9), **KCYCLES)] = (1e5, 2e5)
    P: Annotated[WholeRange, Meta(
        "P", "", "priority of a task: whole numbers of this range, equally likely", ASSUMED, "tasks", 1, 10, step=1,
        label="Priority")] = (1, 3)
    burst: Annotated[Number, Meta(
        "", "", "bursty workloads: correlation of a task's size with the size before (AR(1) in the quantile) and "
        "between the tasks of one user; 0 draws every task afresh", ASSUMED, "tasks", 0, 0.99, step=0.01,
        label="Burst correlation")] = 0.0
    kinds: Annotated[tuple[TaskKind, ...], Meta(
        "", "", "a mix of medical task kinds, each with its own D, C and P, and T_max if it has one; empty: all tasks alike",
        ASSUMED, "file",
    )] = Field((), max_length=8)
    workload: Annotated[tuple[WorkloadTask, ...] | None, Meta(
        "", "", "tasks of one's own in place of the random draw, each with a kind and a deadline T_max of its own where it has "
        "them", "", "file")] = Field(None, max_length=MOST_TASKS)

    F_i: Annotated[Number, Meta(
        "F_i", "cycle/s", "CPU of a user's own device; 0 for a sensor, whose tasks are skipped unless they are offloaded",
        TABLE_II, "computing", 0, 1e10, log=True, label="Own CPU", usual=(1e6, 1e10), **GHZ)] = 1e8
    F_k: Annotated[Number, Meta(
        "F_k", "cycle/s", "CPU of a server", TABLE_II, "computing", 1e7, 1e12, log=True, label="Server CPU", **GHZ,
    )] = 1e9
    k0: Annotated[Number, Meta(
        "k_0", "J·s²/cycle³", "energy constant of a user's CPU: 1e-25 makes 0.1 GHz draw 100 mW", ASSUMED, "computing",
        1e-30, 1e-22, log=True, label="CPU energy constant")] = 1e-25
    latency: Annotated[Number, Meta(
        "", "s", "fixed delay of every task that a server does, there and back: large for a cloud far away; it costs no "
        "energy", ASSUMED, "computing", 0, 60, step=1e-3, shown_unit="ms", shown_factor=1e3, label="Server latency",
        usual=(0, 0.2))] = 0.0
    background: Annotated[Number, Meta(
        "", "", "background load: mean share of each server's CPU and bandwidth that others take", ASSUMED, "computing",
        0, 0.9, step=0.01, label="Background load")] = 0.0
    background_correlation: Annotated[Number, Meta(
        "", "", "correlation of the background load from step to step (AR(1) in the quantile)", ASSUMED, "computing", 0,
        0.99, step=0.01, label="Background correlation")] = 0.8

    channel: Annotated[Literal["paper", "log-distance"], Meta(
        "", "", "'paper' divides by the path loss in dB, eqs. (4) (5) as printed; 'log-distance' is the physical one, "
        "power gain |h|² 10^(-PL/10)", "eqs. (4) (5)", "channel", label="Channel model")] = "paper"
    B_k: Annotated[Number, Meta(
        "B_k", "Hz", "bandwidth of a server", TABLE_II, "channel", 1e5, 1e11, log=True, label="Server bandwidth", **GHZ,
    )] = 1e9
    P_tr: Annotated[NumberRange, Meta(
        "P^{tr}", "W", "transmission power, one uniform draw a user and episode", TABLE_II, "channel", 1e-6, 10,
        log=True, label="Transmission power", usual=(1e-3, 10))] = (0.2, 0.4)
    N0: Annotated[Number, Meta(
        "N_0", "W/Hz", "noise spectral density; Table II prints 4^-21 W, thermal noise is meant", "Table II, corrected",
        "channel", 1e-22, 1e-12, log=True, label="Noise density")] = 4e-21
    PL0: Annotated[Number, Meta(
        "PL_0", "dB", "path loss at d_0", ASSUMED, "channel", 1, 120, step=1, label="Path loss at d0")] = 40.0
    d0: Annotated[Number, Meta(
        "d_0", "m", "reference distance; smaller distances count as d_0", ASSUMED, "advanced", 0.1, 100, step=0.1,
        label="Reference distance")] = 1.0
    eta: Annotated[Number, Meta(
        "η", "", "path loss exponent", ASSUMED, "channel", 1, 6, step=0.1, label="Path loss exponent")] = 3.0
    sigma2: Annotated[Number, Meta(
        "σ²", "", "mean of the Rayleigh fading power |h|²", ASSUMED, "channel", 0.01, 10, log=True,
        label="Fading power")] = 1.0
    places: Annotated[Places | None, Meta(
        "", "", "places of one's own instead of the random layout", "", "file")] = None
    user_devices: Annotated[tuple[UserDevice, ...], AfterValidator(_by_number), Meta(
        "", "", "users whose device differs: number, and name, F_i, P_tr or Cap of their own; all other values are the ward's",
        "", "file", label="Users' devices")] = Field((), max_length=MOST_USERS)
    server_devices: Annotated[tuple[ServerDevice, ...], AfterValidator(_by_number), Meta(
        "", "", "servers that differ: number, and name, F_k, B_k or latency of their own; all other values are the ward's",
        "", "file", label="Servers' devices")] = Field((), max_length=MOST_SERVERS)

    T_max: Annotated[Number, Meta(
        "T^{max}", "s", "a task later than this is a deadline miss; also the scale of delay in the cost", ASSUMED,
        "objective", 1e-4, 86_400, log=True, shown_unit="ms", shown_factor=1e3, label="Deadline", usual=(1e-4, 60))] = 20e-3
    E_ref: Annotated[Number, Meta(
        "E_ref", "J", "scale of energy in the cost", ASSUMED, "objective", 1e-7, 10, log=True, shown_unit="µJ",
        shown_factor=1e6, label="Energy scale")] = 100e-6
    alpha_T: Annotated[Number, Meta(
        "α^T", "", "weight of delay in the cost; not 0, or the best would be to never finish", ASSUMED, "objective",
        0.01, 1, step=0.01, label="Delay weight")] = 0.5
    alpha_E: Annotated[Number, Meta(
        "α^E", "", "weight of energy in the cost", ASSUMED, "objective", 0, 1, step=0.01, label="Energy weight")] = 0.5
    Cap: Annotated[Number, Meta(
        "Cap", "J", "battery: energy a user may spend in an episode (C5)", ASSUMED, "objective", 1e-6, 1e6, log=True,
        shown_unit="mJ", shown_factor=1e3, label="Battery", usual=(1e-6, 1000))] = 10e-3

    c: Annotated[Number, Meta(
        "c", "", "scale of the utilities (12) (13)", ASSUMED, "advanced", 0.01, 100, log=True, label="Utility scale c",
    )] = 1.0
    alpha: Annotated[Number, Meta(
        "α", "", "how steeply priority counts in (12) (13)", ASSUMED, "advanced", 0, 3, step=0.1,
        label="Utility slope α")] = 0.5
    mu: Annotated[Number, Meta(
        "μ", "", "priority that counts once in (12) (13)", ASSUMED, "advanced", 0, 10, step=0.5,
        label="Utility baseline μ")] = 2.0
    gamma_t: Annotated[Number | None, Meta(
        "γ^t", "1/s", "decay of (12) with delay; empty: 1/T_max", ASSUMED, "advanced", 1e-3, 1e5, log=True,
        label="Delay decay γ^t")] = None
    gamma_e: Annotated[Number | None, Meta(
        "γ^e", "1/J", "decay of (13) with energy; empty: 1/E_ref", ASSUMED, "advanced", 1e-3, 1e8, log=True,
        label="Energy decay γ^e")] = None
    gamma: Annotated[Number, Meta(
        "γ", "", "discount of training; only the battery and the dynamics couple steps", ASSUMED, "advanced", 0, 0.999,
        step=0.01, label="Discount")] = 0.95
    # fmt: on

    @model_validator(mode="after")
    def _within_ranges(self) -> Scenario:
        problems = list(_problems(self))
        if problems:
            raise ScenarioError(problems)
        return self

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all values but the name: equal scenarios have equal digests, on every machine.

        What came later counts only where a scenario has it: its digest is what it was before scenarios could have that.
        """
        unused = {name for name in LATER if not getattr(self, name)}
        text = json.dumps(self.model_dump(mode="json", exclude={"name"} | unused), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def ward_users(self) -> int:
        """Number of users of the whole ward, in operation or switched off."""
        return self.users + len(self.users_off)

    @property
    def ward_servers(self) -> int:
        """Number of servers of the whole ward, in operation or switched off."""
        return self.servers + len(self.servers_off)

    @property  # not cached: a scenario that holds itself could not be compared with an equal one
    def whole_ward(self) -> Scenario:
        """This ward with all its users and servers in operation."""
        return self.changed(users_off=(), servers_off=()) if self.users_off or self.servers_off else self

    @cached_property
    def user_numbers(self) -> tuple[int, ...]:
        """The numbers in the whole ward of the users in operation, in the order of every tensor's user axis."""
        return tuple(n for n in range(1, self.ward_users + 1) if n not in self.users_off)

    @cached_property
    def server_numbers(self) -> tuple[int, ...]:
        """The numbers in the whole ward of the servers in operation, in the order of every tensor's server axis."""
        return tuple(n for n in range(1, self.ward_servers + 1) if n not in self.servers_off)

    @cached_property
    def device_numbers(self) -> tuple[int, ...]:
        """The device that each choice stands for: 0, the own device, then `server_numbers`.

        Tensors hold choices (0 to K); tables, links and all that people see hold device numbers.
        """
        return (0, *self.server_numbers)

    @cached_property
    def device_values(self) -> Mapping[str, tuple[float, ...]]:
        """F_i, Cap, and the ends P_low, P_high of P_tr of every user in operation; F_k, B_k and latency of every server.

        In the order of the tensors' user and server axes, SI.
        """
        users, servers = ({d.number: d for d in devices} for devices in (self.user_devices, self.server_devices))

        def values(
            field: str, devices: Mapping[int, Any], numbers: tuple[int, ...], default: float, of: str = ""
        ) -> Any:
            if not devices:
                return (default,) * len(numbers)
            own = (getattr(devices.get(n), of or field, None) for n in numbers)
            return tuple(default if value is None else value for value in own)

        found = {name: values(name, users, self.user_numbers, getattr(self, name)) for name in ("F_i", "Cap")}
        for name, end in zip(("P_low", "P_high"), self.P_tr, strict=True):
            found[name] = values(name, users, self.user_numbers, end, "P_tr")
        for name in ("F_k", "B_k", "latency"):
            found[name] = values(name, servers, self.server_numbers, getattr(self, name))
        return found

    @cached_property
    def largest(self) -> Mapping[str, float]:
        """The largest F_i, Cap, P_tr, F_k, B_k and latency in the whole ward, SI; 1 for next to nothing. Observations' scales."""
        values = {**self.whole_ward.device_values}
        values["P_tr"] = values.pop("P_high")
        most = {name: max(numbers) for name, numbers in values.items() if name != "P_low"}
        return {name: 1.0 if value < 1e-30 else value for name, value in most.items()}  # in single precision 1e-46 is 0

    @cached_property
    def has_latency(self) -> bool:
        """Whether any server of the whole ward has a latency."""
        return bool(self.latency or any(device.latency for device in self.server_devices))

    @cached_property
    def has_own_servers(self) -> bool:
        """Whether any server of the whole ward has a CPU, bandwidth or latency of its own; a name alone changes nothing."""
        return any(one is not None for d in self.server_devices for one in (d.F_k, d.B_k, d.latency))

    def device_label(self, number: int) -> str:
        """A device for people, with its name if it has one: "own device" for 0, "server 4" or "server 4, cloud"."""
        if number == 0:
            return "own device"
        name = next((device.name for device in self.server_devices if device.number == number), None)
        return f"server {number}" + (f", {name}" if name else "")

    def user_label(self, number: int) -> str:
        """A user for people, with the name of its device if it has one: "user 2" or "user 2, ECG patch"."""
        name = next((device.name for device in self.user_devices if device.number == number), None)
        return f"user {number}" + (f", {name}" if name else "")

    @cached_property
    def mean_P(self) -> float:
        """Mean priority of a task; p = P / mean_P weighs a task in every sum over tasks."""
        if self.workload is not None:
            return sum(task.P for task in self.workload) / len(self.workload)
        if self.kinds:
            return sum(k.share * sum(k.P) / 2 for k in self.kinds) / sum(k.share for k in self.kinds)
        return sum(self.P) / 2

    @property
    def delay_decay(self) -> float:
        """γ^t of (12), 1/s."""
        return 1 / self.T_max if self.gamma_t is None else self.gamma_t

    @property
    def energy_decay(self) -> float:
        """γ^e of (13), 1/J."""
        return 1 / self.E_ref if self.gamma_e is None else self.gamma_e

    @property
    def size_words(self) -> str:
        """The ward's size in words: "8 users × 8 tasks, 4 servers", or "3 of 4 servers" if one is switched off."""
        users, servers = counted(self.ward_users, "user"), counted(self.ward_servers, "server")
        users = f"{self.users} of {users}" if self.users_off else users
        servers = f"{self.servers} of {servers}" if self.servers_off else servers
        return f"{users} × {counted(self.tasks, 'task')}, {servers}"

    @cached_property
    def kind_names(self) -> tuple[str, ...]:
        """Names of the task kinds; where tasks have none there is one kind, "task"."""
        if self.workload is not None:
            return tuple(dict.fromkeys(task.kind or "task" for task in self.workload))
        return tuple(k.name for k in self.kinds) or ("task",)

    @cached_property
    def has_own_deadlines(self) -> bool:
        """Whether a task's deadline may differ from `T_max`."""
        if self.workload is not None:
            return any(self.task_deadline(task) != self.T_max for task in self.workload)
        return any(kind.T_max is not None for kind in self.kinds)

    @cached_property
    def kind_deadlines(self) -> tuple[float, ...]:
        """Deadline of each of `kind_names`, s; of tasks of a workload the shortest."""
        if self.workload is not None:
            found = dict.fromkeys(self.kind_names, math.inf)
            for task in self.workload:
                found[task.kind or "task"] = min(found[task.kind or "task"], self.task_deadline(task))
            return tuple(found.values())
        return tuple(self.T_max if kind.T_max is None else kind.T_max for kind in self.kinds) or (self.T_max,)

    @cached_property
    def deadline_span(self) -> Range:
        """Shortest and longest deadline that a task can have, s."""
        if self.workload is not None:
            found = {self.task_deadline(task) for task in self.workload} or {self.T_max}
            return min(found), max(found)
        return min(self.kind_deadlines), max(self.kind_deadlines)

    @cached_property
    def deadlines_differ(self) -> bool:
        """Whether two tasks of the ward may have different deadlines, so that an agent observes them."""
        low, high = self.deadline_span
        return low < high

    @cached_property
    def _deadlines_by_kind(self) -> Mapping[str, float]:
        return {kind.name: kind.T_max for kind in self.kinds if kind.T_max is not None}

    def task_deadline(self, task: WorkloadTask) -> float:
        """Deadline of a task of the workload, s: its own, that of its kind, or the ward's."""
        if task.T_max is not None:
            return task.T_max
        return self._deadlines_by_kind.get(task.kind or "", self.T_max)

    @cached_property
    def data_span(self) -> Range:
        """Smallest and largest data size that can occur, bit."""
        return self._span("D")

    @cached_property
    def cycle_span(self) -> Range:
        """Smallest and largest computing size that can occur, cycle."""
        return self._span("C")

    @cached_property
    def priority_span(self) -> Range:
        """Smallest and largest priority that can occur."""
        return self._span("P")

    def _span(self, field: str) -> Range:
        if self.workload is not None:
            values = [getattr(task, field) for task in self.workload]
            return min(values), max(values)
        ranges = [getattr(k, field) for k in self.kinds] or [getattr(self, field)]
        return min(r[0] for r in ranges), max(r[1] for r in ranges)

    def changed(self, /, **values: Any) -> Scenario:
        """Return a validated copy with these values. Raises `ScenarioError`.

        `users` or `servers` alone makes a ward of that many, none of them switched off. `users_off` or `servers_off` alone
        keeps the ward: all others are in operation.
        """
        for count, off in (("users", "users_off"), ("servers", "servers_off")):
            numbers = _split_numbers(values.get(off))
            if count not in values and isinstance(numbers, (list, tuple)):
                values[count] = getattr(self, count) + len(getattr(self, off)) - len(numbers)
            elif count in values and off not in values:
                values[off] = ()
        return scenario({**{name: getattr(self, name) for name in type(self).model_fields}, **values})


def counted(count: int, noun: str) -> str:
    """A number with its noun: "1 user", "8 users"."""
    return f"{count} {noun}{'s' * (count != 1)}"


def metadata() -> Mapping[str, Meta]:
    """Return every parameter's `Meta` by field name, in the order of the class."""
    return _METADATA


_METADATA: Mapping[str, Meta] = MappingProxyType(
    {name: next(m for m in field.metadata if isinstance(m, Meta)) for name, field in Scenario.model_fields.items()}
)


def set_elsewhere(s: Scenario) -> Mapping[str, str]:
    """Return the parameters that an own workload, places or task kinds decide in this scenario, each with the reason."""
    found: dict[str, str] = {}
    if s.kinds:
        found |= dict.fromkeys(("D", "C", "P"), "set by the task kinds of this scenario")
    if s.workload is not None:
        found |= dict.fromkeys(("users", "tasks", "T", "D", "C", "P", "burst"), "set by your own workload")
    if s.places is not None:
        found |= dict.fromkeys(("users", "servers", "seed"), "set by your own places")
    return found


def scenario(values: Mapping[str, Any]) -> Scenario:
    """Make a scenario from plain values. Raises `ScenarioError` naming field, value and allowed range."""
    try:
        return Scenario.model_validate(dict(values))
    except ScenarioError:
        raise
    except ValidationError as error:
        raise ScenarioError(list(_explain(error))) from None


def beyond_bounds(name: str, value: float, meta: Meta) -> Iterator[str]:
    """Yield what is wrong if an SI value is out of range; pass a whole number as an int, it is compared exactly."""
    if meta.low is None or meta.high is None:
        return
    # Converting units back and forth may cost the last digits; whole numbers have no such units.
    rounding = 0.0 if isinstance(value, int) else 1e-9
    if not meta.low * (1 - rounding) <= value <= meta.high * (1 + rounding):
        yield f"{name} = {meta.show(value)} is out of range: allowed is {meta.allowed()}."


def _range_problems(name: str, value: tuple[float, float], meta: Meta) -> Iterator[str]:
    for end, part in zip(("low end", "high end"), value, strict=True):
        yield from beyond_bounds(f"{name} ({end})", part, meta)
    if value[0] > value[1]:
        yield (
            f"{name} = {meta.show(value[0])} to {meta.show(value[1])} runs backwards: the low end may not lie above "
            "the high end."
        )


def _problems(s: Scenario) -> Iterator[str]:
    if s.schema_version != SCHEMA_VERSION:
        yield f"schema_version = {s.schema_version} cannot be read: this program reads version {SCHEMA_VERSION}."
    for name, meta in _METADATA.items():
        value = getattr(s, name)
        if meta.group == "file" or value is None or meta.low is None:
            continue
        if isinstance(value, tuple):
            yield from _range_problems(name, value, meta)
        else:
            yield from beyond_bounds(name, value, meta)
    names = [k.name for k in s.kinds]
    for name in sorted({n for n in names if names.count(n) > 1}):
        yield f"kinds: the name {name!r} stands twice; each kind needs a name of its own."
    for kind in s.kinds:
        for field in ("D", "C", "P"):
            yield from _range_problems(f"kinds[{kind.name}].{field}", getattr(kind, field), _METADATA[field])
        if kind.T_max is not None:
            yield from beyond_bounds(f"kinds[{kind.name}].T_max", kind.T_max, _METADATA["T_max"])
    yield from _size_problems(s)
    yield from _off_problems(s)
    yield from _device_problems(s)
    yield from _name_problems(s)
    yield from _workload_problems(s)
    yield from _places_problems(s)


def _size_problems(s: Scenario) -> Iterator[str]:
    """Sizes that are allowed each, but not together."""
    sizes = {"users": s.ward_users, "servers": s.ward_servers, "tasks": s.tasks, "T": s.T}
    if any(True for name, size in sizes.items() for _ in beyond_bounds(name, size, _METADATA[name])):
        return
    for what, size, most in (
        ("users x tasks x (servers + 1)", s.ward_users * s.tasks * (s.ward_servers + 1), MOST_ALTERNATIVES),
        ("T x users x tasks", s.T * s.ward_users * s.tasks, MOST_EPISODE_TASKS),
    ):
        if size > most:
            yield f"{what} = {size:,} needs too much memory: allowed is at most {most:,}."


def _device_problems(s: Scenario) -> Iterator[str]:
    for field, count, names in (
        ("user_devices", "users", ("F_i", "P_tr", "Cap")), ("server_devices", "servers", ("F_k", "B_k", "latency")),
    ):  # fmt: skip
        devices: tuple[Any, ...] = getattr(s, field)
        numbers = Counter(device.number for device in devices)
        for device in devices:
            where = f"{field}[{device.number}]"
            yield from beyond_bounds(f"{where}.number", device.number, _METADATA[count])
            if numbers.pop(device.number, 1) > 1:
                yield f"{where} stands twice: each number at most once."
            for name in names:
                if getattr(device, name) is not None:
                    yield from beyond_bounds(f"{where}.{name}", getattr(device, name), _METADATA[name])


def _off_problems(s: Scenario) -> Iterator[str]:
    for kind, total in (("users", s.ward_users), ("servers", s.ward_servers)):
        off: tuple[int, ...] = getattr(s, f"{kind}_off")
        meta, shown = _METADATA[kind], f"{kind}_off = {', '.join(map(str, off[:20]))}"
        assert meta.high is not None
        if len(set(off)) < len(off):
            yield f"{shown} names a number twice: allowed is each once."
        elif off and total > meta.high:
            yield (
                f"{shown} makes a ward of {total} {kind}, {getattr(s, kind)} of them in operation: allowed is a ward of "
                f"{meta.low:g} to {meta.high:g}."
            )
        elif off and not 1 <= off[0] <= off[-1] <= total:
            yield f"{shown} is out of range: the {kind} of this ward are 1 to {total}."


def _name_problems(s: Scenario) -> Iterator[str]:
    """Problems of a name. Spreadsheets and screens show names; they must not interpret them as anything but text."""
    kinds = dict.fromkeys(task.kind for task in s.workload or () if task.kind)
    named = [("name", s.name), *((f"kinds[{n}].name", kind.name) for n, kind in enumerate(s.kinds, 1))]
    named += [("kind of the workload", kind) for kind in kinds if kind]
    for field, devices in (("user_devices", s.user_devices), ("server_devices", s.server_devices)):
        named += [(f"{field}[{device.number}].name", device.name) for device in devices if device.name]
    for where, name in named:
        if not name.isprintable():
            yield f"{where} = {name!r} holds a character that cannot be seen: allowed are letters, digits and signs."
        if unicodedata.normalize("NFKC", name).lstrip()[:1] in tuple("=+-@"):
            yield f"{where} = {name!r} begins like a spreadsheet's formula: a name begins with no =, +, - or @."


def _workload_problems(s: Scenario) -> Iterator[str]:
    if s.workload is None:
        return
    if not s.workload:
        yield "workload = [] is empty: at least one task is needed."
        return
    for field in ("D", "C", "P", "T_max"):
        values = [value for task in s.workload if (value := getattr(task, field)) is not None]
        extremes = (min(values), max(values)) if values else ()
        if any(problem for value in extremes for problem in beyond_bounds(field, value, _METADATA[field])):
            for number, task in enumerate(s.workload, 1):
                if getattr(task, field) is not None:
                    yield from beyond_bounds(f"workload[{number}].{field}", getattr(task, field), _METADATA[field])
    counts: dict[tuple[int, int], int] = {}
    for task in s.workload:
        counts[task.step, task.user] = counts.get((task.step, task.user), 0) + 1
    if len(s.kind_names) > MOST_KINDS:
        yield f"workload: {len(s.kind_names)} kinds, allowed 1 to {MOST_KINDS}."
    if all(t.user in s.users_off for t in s.workload):
        yield "users_off: no user in operation has a task in the workload; at least one is needed."
    largest_step, largest_user = max(t.step for t in s.workload), max(t.user for t in s.workload)
    if largest_step > s.T:
        allowed = f"allowed is {largest_step} to {_METADATA['T'].high}"
        yield f"T = {s.T} is too small for the workload, whose last step is {largest_step}: {allowed}."
    if largest_user > s.ward_users:
        allowed = f"allowed is {largest_user} to {_METADATA['users'].high}"
        yield f"users = {s.ward_users} is too small for the workload, whose last user is {largest_user}: {allowed}."
    if max(counts.values()) > s.tasks:
        (step, user), most = max(counts.items(), key=lambda item: item[1])
        where = f"user {user} has {most} tasks in step {step}"
        yield f"tasks = {s.tasks} is too small for the workload: {where}; allowed is {most} to {_METADATA['tasks'].high}."


def _places_problems(s: Scenario) -> Iterator[str]:
    if s.places is None:
        return
    for kind, wanted, field in (("users", s.ward_users, "users"), ("servers", s.ward_servers, "servers")):
        found = getattr(s.places, kind)
        if len(found) != wanted:
            names = f"the places, which name {len(found)} {kind}"
            yield f"{field} = {wanted} does not fit {names}: allowed is {len(found)}."
        for number, (x, y) in enumerate(found, 1):
            for axis, value in (("x", x), ("y", y)):
                if not 0 <= value <= s.area:
                    name = f"places.{kind}[{number}].{axis}"
                    yield f"{name} = {value:g} m lies outside the ward: allowed is 0 to {s.area:g} m."


def _explain(error: ValidationError) -> Iterator[str]:
    """Translate pydantic's findings into messages with field, value and what is allowed."""
    for number, finding in enumerate(error.errors()):
        cause = finding.get("ctx", {}).get("error")
        if isinstance(cause, ScenarioError):
            yield from cause.problems
            continue
        where = ".".join(str(part) for part in finding["loc"]) or "scenario"
        where = (where if where.isprintable() else repr(where))[:LONGEST_WHERE]
        field = str(finding["loc"][0]) if finding["loc"] else ""
        if finding["type"] == "extra_forbidden":
            searched = number < MOST_PROBLEMS and len(field) <= LONGEST_WHERE  # a search takes a millisecond
            near = difflib.get_close_matches(field, _METADATA, n=1, cutoff=0.5) if searched else []
            hint = f" Did you mean {near[0]!r}?" if near and len(finding["loc"]) == 1 else ""
            yield f"{where} is not a parameter of a scenario.{hint}"
            continue
        given = finding.get("input")
        if finding["type"] == "too_long" and where in COUNTED and isinstance(given, Sized):
            yield f"{where}: {len(given):,} {COUNTED[where]}, allowed 1 to {finding['ctx']['max_length']:,}."
            continue
        value = repr(given)
        value = value if len(value) <= 60 else value[:57] + "..."
        meta = _METADATA.get(field)
        allowed = f"; allowed is {meta.allowed()}" if meta and meta.allowed() else ""
        reason = finding["msg"] if finding["type"] == "number" else finding["msg"].lower()
        yield f"{where} = {value}: {reason}{allowed}."
