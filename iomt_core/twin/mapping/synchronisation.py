"""The twin of the environment, synchronised from the ward at an interval, with a delay and with noise.

The ward is measured at steps 0, n, 2n, … of an interval n; a measurement reaches the twin d steps later. Between two
synchronisations the twin believes the last measurement that has arrived. At first it believes that of step 0, which it was made
from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import torch
from torch import Tensor

from iomt_core.environment import counter
from iomt_core.environment.counter import Stream
from iomt_core.environment.observation import equal_share
from iomt_core.model.channel import mean_rate, unit_snr_bandwidth
from iomt_core.model.snapshot import Snapshot
from iomt_core.record import Record
from iomt_core.scenario import Scenario, ScenarioError, check_known, check_range

LONGEST = 1000  # steps, of an interval or a delay
MOST_NOISE = 1.0


@dataclass(frozen=True)
class FieldGroup:
    """Fields of a snapshot that are synchronised together, and the names in `metrics.STALENESS` of their errors."""

    label: str
    fields: tuple[str, ...]
    errors: tuple[str, ...]


FIELD_GROUPS: Mapping[str, FieldGroup] = MappingProxyType(
    {
        "servers": FieldGroup("Free CPU and bandwidth of servers", ("F_k", "B_k"), ("capacity_error",)),
        "links": FieldGroup(
            "Positions and links", ("users_xy", "distance", "beta"), ("position_error_m", "rate_error")
        ),
        "batteries": FieldGroup("Batteries", ("battery",), ("battery_error",)),
        "tasks": FieldGroup(
            "Tasks", ("D", "C", "P", "weight", "active", "kind", "deadline"), ("task_error",)
        ),
    }
)  # fmt: skip
LATE_GROUPS = ("servers", "links", "batteries")  # an agent knows its own new tasks, so these are not late by default


@dataclass(frozen=True)
class Synchronisation:
    """How a twin is synchronised from the ward. Raises `ScenarioError` for a value out of range.

    interval: steps between two measurements. delay: steps until a measurement arrives. noise: relative standard deviation of a
    measured value; of a position, in units of the ward's side. groups: the names in `FIELD_GROUPS` of what is synchronised this
    way; the twin always knows all else.
    """

    interval: int = 1
    delay: int = 0
    noise: float = 0.0
    groups: tuple[str, ...] = LATE_GROUPS

    def __post_init__(self) -> None:
        for name, low in (("interval", 1), ("delay", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ScenarioError(f"{name} = {value!r} is not a whole number: allowed is {low} to {LONGEST}.")
            check_range(name, value, low, LONGEST)
        if isinstance(self.noise, bool) or not isinstance(self.noise, int | float) or not 0 <= self.noise <= MOST_NOISE:
            raise ScenarioError(f"noise = {self.noise!r} is out of range: allowed is 0 to {MOST_NOISE:g}.")
        if not self.groups:
            raise ScenarioError(f"groups is empty: allowed is one or more of {', '.join(FIELD_GROUPS)}.")
        for name in self.groups:
            check_known("groups", name, FIELD_GROUPS)
        # In one order and each once, so that equal settings are equal.
        object.__setattr__(self, "groups", tuple(name for name in FIELD_GROUPS if name in self.groups))

    @property
    def is_exact(self) -> bool:
        """Whether the twin is the ward at every step."""
        return self.interval == 1 and self.delay == 0 and self.noise == 0

    @property
    def words(self) -> str:
        """The settings in words: "every 4 steps, 2 steps late, noise 5 %"."""
        every = "every step" if self.interval == 1 else f"every {self.interval} steps"
        late = f", {self.delay} step{'s' * (self.delay != 1)} late" if self.delay else ""
        return every + late + (f", noise {100 * self.noise:.3g} %" if self.noise else "")

    def measured_at(self, step: int) -> int:
        """The step whose measurement the twin has at a step; both from 0, counted from when the twin was made."""
        return max(0, (step - self.delay) // self.interval * self.interval)

    def ages(self, steps: Tensor) -> Tensor:
        """Age in steps of what the twin has at `steps`, (R,) int64, which count from 0."""
        return steps - ((steps - self.delay) // self.interval * self.interval).clamp_min(0)


FRESH = Synchronisation()


@dataclass(frozen=True)
class SynchronisedTwin:
    """The twin of B worlds at a step. It does not change: `synchronised` returns the twin at the next step."""

    scenario: Scenario
    settings: Synchronisation
    step: int = -1  # from 0, counted from when the twin was made
    now: Snapshot | None = field(default=None, repr=False)
    measurements: tuple[tuple[int, Snapshot], ...] = field(
        default=(), repr=False
    )  # that were not replaced yet, by step

    def synchronised(self, now: Snapshot) -> SynchronisedTwin:
        """The twin at the next step, at which the ward is `now`, of the same worlds in the same order."""
        step = self.step + 1
        taken = (*self.measurements, (step, now)) if step % self.settings.interval == 0 else self.measurements
        arrived = self.settings.measured_at(step)
        kept = tuple(one for one in taken if one[0] >= arrived)
        return replace(self, step=step, now=now, measurements=kept)

    @property
    def age(self) -> int:
        """Steps since what the twin has was measured."""
        return self.step - self.settings.measured_at(self.step)

    @property
    def is_exact(self) -> bool:
        """Whether the twin is the ward at this step."""
        return self.age == 0 and self.settings.noise == 0

    @cached_property
    def snapshot(self) -> Snapshot:
        """The ward at this step as the twin believes it to be. Raises `RuntimeError` before the first synchronisation."""
        if self.now is None:
            raise RuntimeError("the twin was not synchronised yet: call synchronised first")
        return self.now if self.is_exact else believed(self.now, self.measurements[0][1], self.scenario, self.settings)


def believed(now: Snapshot, measured: Snapshot, s: Scenario, settings: Synchronisation) -> Snapshot:
    """The ward as the twin believes it to be.

    now: the ward. measured: the same worlds in the step in which the twin's measurement was taken. Noise depends only on the
    world and that step, and grows in proportion to `settings.noise`. Capacities, D and C are multiplied by a log-normal factor
    of mean 1; a battery is never believed to hold more than Cap. Rates follow from the positions that were measured.
    """
    late = {name: getattr(measured, name) for group in settings.groups for name in FIELD_GROUPS[group].fields}
    if settings.noise:
        late |= _noisy(measured, s, settings)
        return replace(now, **late, max_ratio=math.inf)
    return replace(now, **late)


def _noisy(measured: Snapshot, s: Scenario, settings: Synchronisation) -> dict[str, Tensor]:
    """The measured values of the groups with noise. Users and servers in operation have the same noise if others are off."""
    noise, found = float(settings.noise), dict[str, Tensor]()
    users, servers = (torch.tensor(n, device=measured.D.device) - 1 for n in (s.user_numbers, s.server_numbers))

    def score(number: int, count: int, places: Tensor, width: int) -> Tensor:
        """Standard normal numbers, (B, n, width), of the places (n,) among `count`."""
        drawn = counter.normal(measured.key, Stream.MEASUREMENT, number, count * width, measured.D.dtype)
        return drawn.view(-1, count, width)[:, places]

    def factor(z: Tensor) -> Tensor:
        return torch.exp(noise * z - noise**2 / 2)

    if "servers" in settings.groups:
        cpu, bandwidth = score(0, s.ward_servers, servers, 2).unbind(-1)
        found |= {"F_k": measured.F_k * factor(cpu), "B_k": measured.B_k * factor(bandwidth)}
    if "links" in settings.groups:
        users_xy = measured.users_xy + noise * s.area * score(1, s.ward_users, users, 2)
        distance = (users_xy[:, :, None] - measured.servers_xy[:, None]).norm(dim=-1)
        beta = unit_snr_bandwidth(distance, measured.P_tr[:, :, None], s)
        found |= {"users_xy": users_xy, "distance": distance, "beta": beta}
    if "batteries" in settings.groups:
        charge = measured.battery * factor(score(2, s.ward_users, users, 1)[..., 0])
        found["battery"] = torch.minimum(charge, charge.new_tensor(s.device_values["Cap"]))
    if "tasks" in settings.groups:
        data, cycles = score(3, s.ward_users, users, 2 * s.tasks).view(*measured.D.shape, 2).unbind(-1)
        found |= {"D": measured.D * factor(data), "C": measured.C * factor(cycles)}
    return found


def errors(now: Snapshot, twin: Snapshot, s: Scenario) -> dict[str, Tensor]:
    """How wrong the twin is in each world, (B,) each, by name in `metrics.STALENESS`; SI units."""
    share = equal_share(now, s)
    rate = mean_rate(share, now.beta)
    both = now.active & twin.active
    task = (_relative(twin.D, now.D) + _relative(twin.C, now.C)) / 2
    task = torch.where(both, task, (now.active | twin.active).to(task.dtype))  # a task that is not known, or not there
    count = (now.active | twin.active).sum((1, 2)).clamp_min(1)
    return {
        "capacity_error": (_relative(twin.F_k, now.F_k) + _relative(twin.B_k, now.B_k)).mean(1) / 2,
        "position_error_m": (twin.users_xy - now.users_xy).norm(dim=-1).mean(1),
        "rate_error": _relative(mean_rate(share, twin.beta), rate).mean((1, 2)),
        "battery_error": ((twin.battery - now.battery).abs() / now.battery.new_tensor(s.device_values["Cap"])).mean(1),
        "task_error": task.sum((1, 2)) / count,
    }


def _relative(value: Tensor, true: Tensor) -> Tensor:
    return (value - true).abs() / true.clamp_min(1e-300)


def staleness(record: Record, settings: Synchronisation) -> dict[str, Tensor]:
    """Age and errors of a twin of the played steps, (R,) each, by name in `metrics.STALENESS`; SI units.

    The record has every step of its episodes from the first on, sorted by episode and step. `age_steps` and `age_s` are those of
    the groups that are synchronised late; the other groups have age 0 and no error.
    """
    age = settings.ages(record.step - 1)
    rows = torch.arange(len(record))
    twin = believed(record.snapshot, record.snapshot.select(rows - age), record.scenario, settings)
    ages = {"age_steps": age, "age_s": age * record.scenario.step_time}
    return {**ages, **errors(record.snapshot, twin, record.scenario)}
