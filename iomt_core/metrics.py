"""The registry of metrics: name, label, unit, direction, meaning, aggregation and number format of each.

Values are in SI units inside the program. `Metric.show`, `Metric.axis_title` and `Metric.heading` make what people read, so
that command line, charts, tables, reports and pages agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from iomt_core.scenario import KILOBYTE
from iomt_core.scenario.reference import markdown

Direction = Literal["lower", "higher", "none"]
FOUR_DIGITS = "#.4g"  # four significant digits, zeros at the end included
LARGE = 1e5  # larger numbers are written with three significant digits
NOT_SHOWN = 5e-4  # a difference below this share of the value is not seen in the value's digits
ROUNDING = 1e-9  # a smaller difference, in the displayed unit, is a rounding error


def three_digits(value: float) -> str:
    """A number with three significant digits, and all of its whole ones: `4.16`, `0.157`, `1,280`, `0`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    if not 1e-6 <= abs(value) < LARGE:
        return f"{value:.3g}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


@dataclass(frozen=True)
class Metric:
    """A quantity that the lab reports.

    name: key in summaries, results, manifests and tables.
    label, symbol: name that people read, and the paper's symbol.
    help: meaning, with the number of the equation.
    unit, factor, si: displayed unit, its factor from the SI value, and the SI unit.
    better: which direction is better, "none" if neither is.
    number_format: format of the displayed number.
    numerator, denominator, offset: how it is aggregated, see `aggregate`; empty if it is not.
    """

    name: str
    label: str
    help: str
    unit: str = ""
    factor: float = 1.0
    si: str = ""
    symbol: str = ""
    better: Direction = "none"
    number_format: str = ".4g"
    numerator: str = ""
    denominator: str = ""
    offset: float = 0.0

    @property
    def axis_title(self) -> str:
        """Label and unit: `Mean delay (ms)`."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def heading(self) -> str:
        """Label and unit as the heading of a table's column: `mean delay (ms)`."""
        title = self.axis_title
        return title if title[1:2].isupper() else title[:1].lower() + title[1:]

    @property
    def symbol_heading(self) -> str:
        """The paper's symbol and the unit: `D (KB)`."""
        return f"{self.symbol} ({self.unit})" if self.unit else self.symbol

    @property
    def sentence(self) -> str:
        """The meaning as a sentence, for a tooltip."""
        return f"{self.help[:1].upper()}{self.help[1:]}."

    @property
    def difference_unit(self) -> str:
        """The unit of a difference: percentage points for percentages."""
        return "percentage points" if self.unit == "%" else self.unit

    def number(self, value: float, sign: Literal["", "+"] = "") -> str:
        """An SI value converted to `unit`, without the unit: `4.156`."""
        shown = value * self.factor
        return f"{shown:{sign}{self.number_format if abs(shown) < LARGE else '.3g'}}"

    def show(self, value: float) -> str:
        """An SI value as text with its unit: `4.156 ms`."""
        return "n/a" if math.isnan(value) else f"{self.number(value)} {self.unit}".strip()

    def brief(self, value: float) -> str:
        """An SI value with three significant digits and its unit, for figures to be read at a glance: `4.16 ms`."""
        return "n/a" if math.isnan(value) else f"{three_digits(value * self.factor)} {self.unit}".strip()

    def show_difference(self, difference: float, value: float = 0.0, brief: bool = False) -> str:
        """A difference of two SI values, of which `value` is one: `+1.118 ms`, `-1.30 percentage points`; `brief`: three digits.

        `±0` for rounding errors, `about 0` if all digits are 0 or four digits of `value` do not show it.
        """
        if math.isnan(difference):
            return "n/a"
        number = self.number(difference, "+")
        if abs(difference * self.factor) < ROUNDING:
            return "±0"
        if float(number.replace(",", "")) == 0 or abs(difference) < abs(value) * NOT_SHOWN:
            return "about 0"
        if brief:
            number = f"{'+' if difference > 0 else '-'}{three_digits(abs(difference) * self.factor)}"
        return f"{number} {self.difference_unit}".strip()

    def aggregate(self, sums: Mapping[str, float]) -> float:
        """The metric from sums by name over any number of tasks, steps and episodes: Σ numerator / Σ denominator + offset.

        Without a denominator it is Σ numerator. NaN if the denominator is 0.
        """
        total = sums[self.numerator]
        if self.denominator:
            total = total / sums[self.denominator] if sums[self.denominator] else math.nan
        return total + self.offset

    def per_episode(self, sums: Mapping[str, Sequence[float]]) -> list[float]:
        """`aggregate` for every episode separately; `sums` has one value for each episode."""
        names = [self.numerator, self.denominator] if self.denominator else [self.numerator]
        rows = zip(*(sums[name] for name in names), strict=True)
        return [self.aggregate(dict(zip(names, row, strict=True))) for row in rows]


def _by_name(*metrics: Metric) -> Mapping[str, Metric]:
    return MappingProxyType({metric.name: metric for metric in metrics})


# The metrics that policies are compared by. The numerators and denominators are the sums of `experiments.evaluation.Summary`.
METRICS = _by_name(
    Metric(
        "cost", "Cost", "priority-weighted mean task cost, α_T T/T_max + α_E E/E_ref",
        better="lower", number_format=".4f", numerator="cost", denominator="weight",
    ),
    Metric(
        "gap", "Gap to the bound", "how far at most the cost is above the lowest possible: cost over the certified bound, less 1",
        "%", 100.0, better="lower", number_format=".2f", numerator="cost", denominator="bound", offset=-1.0,
    ),
    Metric(
        "mean_delay_s", "Mean delay", "mean task delay, eq. (9)",
        "ms", 1e3, "s", better="lower", number_format=FOUR_DIGITS, numerator="delay", denominator="done",
    ),
    Metric(
        "mean_energy_j", "Mean energy", "mean energy a task costs its user, eq. (10)",
        "µJ", 1e6, "J", better="lower", number_format=FOUR_DIGITS, numerator="energy", denominator="done",
    ),
    Metric(
        "return", "Return",
        "sum of p max(0, 1 - cost) over an episode; 0 for a late or skipped task, and from the step on that a battery cannot pay",
        better="higher", number_format=",.5g", numerator="return", denominator="episodes",
    ),
    Metric(
        "return_gap", "Gap to the return bound",
        "how far at most the best possible return is above this one: certified bound over return, less 1",
        "%", 100.0, better="lower", number_format=".2f", numerator="return_bound", denominator="return", offset=-1.0,
    ),
    Metric(
        "deadline_miss_share", "Deadline misses", "share of tasks later than their deadline (C6), or skipped",
        "%", 100.0, better="lower", number_format=".2f", numerator="missed", denominator="tasks",
    ),
    Metric(
        "delay_utility_12", "Delay utility (12)", "T_all of eq. (12), mean over steps",
        better="higher", numerator="T_all", denominator="steps",
    ),
    Metric(
        "energy_utility_13", "Energy utility (13)", "E_all of eq. (13), mean over steps",
        better="higher", numerator="E_all", denominator="steps",
    ),
    Metric(
        "local_share", "Local tasks", "share of tasks computed on their user's own device",
        "%", 100.0, number_format=".1f", numerator="local", denominator="tasks",
    ),
)  # fmt: skip

# Further figures of a summary.
CONTEXT = _by_name(
    Metric(
        "lower_bound", "Certified lower bound", "no policy's cost can be lower in these steps",
        number_format=".4f", numerator="bound", denominator="weight",
    ),
    Metric(
        "return_bound", "Certified return bound", "no policy's return can be higher in these episodes",
        number_format=",.5g", numerator="return_bound", denominator="episodes",
    ),
    Metric(
        "skipped_share", "Tasks skipped", "share of tasks that nobody computes", "%", 100.0, number_format=".2f",
        numerator="skipped", denominator="tasks",
    ),
    Metric("tasks", "Tasks decided", "number of tasks in all steps played", number_format=",.0f", numerator="tasks"),
    Metric("steps", "Steps played", "number of steps in all episodes", number_format=",.0f", numerator="steps"),
    Metric(
        "episodes_ended_by_battery", "Episodes ended by a battery", "episodes that an empty battery ended early (C5)",
        number_format=".0f", numerator="ended",
    ),
    Metric("mean_steps", "Mean episode length", "mean steps an episode", numerator="steps", denominator="episodes"),
)  # fmt: skip

# Further metrics of the Answers page: targets, and the two means that the certified bound of the cost is about.
ANSWERS = _by_name(
    Metric(
        "delay_p95_s", "95th percentile of delay", "delay that 95 % of an episode's tasks stay below, mean over episodes",
        "ms", 1e3, "s", better="lower", number_format=FOUR_DIGITS, numerator="delay_p95", denominator="episodes",
    ),
    Metric(
        "ended_share", "Episodes ended by a battery", "share of episodes that an empty battery ended early (C5)",
        "%", 100.0, better="lower", number_format=".1f", numerator="ended", denominator="episodes",
    ),
    Metric(
        "weighted_delay_s", "Priority-weighted mean delay",
        "mean task delay, eq. (9), weighted by p = P / mean P and by T_max over the task's own deadline, as in the cost",
        "ms", 1e3, "s", better="lower", number_format=FOUR_DIGITS, numerator="weighted_delay", denominator="done_weight",
    ),
    Metric(
        "weighted_energy_j", "Priority-weighted mean energy",
        "mean energy a task costs its user, eq. (10), weighted by p = P / mean P as in the cost",
        "µJ", 1e6, "J", better="lower", number_format=FOUR_DIGITS, numerator="weighted_energy", denominator="done_weight",
    ),
)  # fmt: skip

# How old and how wrong the twin of the environment is; means over steps, see `twin.mapping.synchronisation`.
STALENESS = _by_name(
    Metric("age_steps", "Age", "steps since what the twin believes was measured", "steps", better="lower", number_format=".3g"),
    Metric("age_s", "Age", "time since what the twin believes was measured", "s", si="s", better="lower", number_format=".3g"),
    Metric(
        "capacity_error", "Capacity error", "mean relative error of the servers' free CPU and bandwidth",
        "%", 100.0, better="lower", number_format=".3g",
    ),
    Metric(
        "position_error_m", "Position error", "mean distance between where users are and where the twin believes them to be",
        "m", si="m", better="lower", number_format=".3g",
    ),
    Metric(
        "rate_error", "Rate error", "mean relative error of the links' rates, at an equal share of the bandwidth",
        "%", 100.0, better="lower", number_format=".3g",
    ),
    Metric(
        "battery_error", "Battery error", "mean error of the charge, relative to the capacity Cap",
        "%", 100.0, better="lower", number_format=".3g",
    ),
    Metric(
        "task_error", "Task error", "mean relative error of D and C; 100 % for one that the twin does not know or that is gone",
        "%", 100.0, better="lower", number_format=".3g",
    ),
)  # fmt: skip

# Figures of a training run for each batch of episodes, in addition to cost, delay and energy.
TRAINING = _by_name(
    Metric("return", "Return", "sum of the team's reward over an episode", better="higher"),
    Metric("temperature", "Temperature", "temperature of the Boltzmann choice over strategies"),
    Metric("loss_19", "Critic loss, each task", "mean squared error of each task's Q-values, (19)", better="lower"),
    Metric(
        "loss_26", "Critic loss, team", "mean squared error of the mixed value, times team_weight, (26)", better="lower"
    ),
    Metric("loss_21", "Actor loss, each task", "minus the Q-values of the Actors' shares, (21)", better="lower"),
    Metric(
        "loss_27",
        "Actor loss, team",
        "minus the mixed value of the Actors' shares, times team_weight, (27)",
        better="lower",
    ),
)

# The columns of the table of decisions, which has a row for each task.
TASK = _by_name(
    Metric("episode", "Episode", "episode, from 1"),
    Metric("step", "Step", "step, from 1"),
    Metric("user", "User", "user, by its number in the ward"),
    Metric("task", "Task", "task of the user, from 1"),
    Metric("priority", "Priority", "P", symbol="P"),
    Metric("data_bits", "Data", "D", "KB", 1 / KILOBYTE, "bit", "D"),
    Metric("cycles", "Cycles", "C", "kcycles", 1e-3, "cycle", "C"),
    Metric("choice", "Device", "0 local, k server k"),
    Metric("cpu_hz", "CPU granted", "f granted", "MHz", 1e-6, "cycle/s", "f"),
    Metric("bandwidth_hz", "Bandwidth granted", "b granted, 0 for a local task", "MHz", 1e-6, "Hz", "b"),
    Metric("distance_m", "Distance", "to the chosen server, empty for a local task", "m", 1.0, "m", "d"),
    Metric("power_w", "Transmission power", "P_tr of the user", "W", 1.0, "W", "P_tr"),
    Metric("rate_bps", "Rate", "mean transmission rate (6), empty for a local task", "Gbit/s", 1e-9, "bit/s"),
    Metric("delay_tx_s", "Transmission", "transmission delay (7)", "ms", 1e3, "s", better="lower"),
    Metric("delay_exe_s", "Execution", "execution delay (1)", "ms", 1e3, "s", better="lower"),
    Metric("delay_s", "Delay", "delay (9)", "ms", 1e3, "s", "T", "lower", FOUR_DIGITS),
    Metric("energy_j", "Energy", "energy (10), paid by the user", "µJ", 1e6, "J", "E", "lower", FOUR_DIGITS),
    Metric("cost", "Cost", "α_T T/T_max + α_E E/E_ref", better="lower", number_format=".4f"),
    Metric("deadline_missed", "Late", "later than its deadline (C6), or skipped"),
    Metric("bound", "Bound of the step", "certified lower bound of the step's total weighted cost", number_format=".4f"),
    Metric("deadline_s", "Deadline", "T_max of the task", "ms", 1e3, "s", "T_max", number_format=".4g"),
    Metric("skipped", "Skipped", "computed by nobody; costs 1"),
    Metric("battery_j", "Battery", "charge of the user's battery before the step", "mJ", 1e3, "J", number_format=FOUR_DIGITS),
    Metric(
        "weight", "Weight", "p = P / mean P of the ward; a step's total is the sum of weight x cost",
        symbol="p", number_format=".3g",
    ),
    Metric("cpu_share_requested", "CPU requested", "share of the device's CPU requested", "%", 100.0),
    Metric("bandwidth_share_requested", "Bandwidth requested", "share of the server's bandwidth requested", "%", 100.0),
    Metric("kind", "Kind", "task kind"),
)  # fmt: skip


def metric_table() -> str:
    """`METRICS` as a Markdown table: name, label, unit, which direction is better, meaning, aggregation."""
    rows = []
    for m in METRICS.values():
        sums = f"Σ {m.numerator} / Σ {m.denominator}" + f" - {-m.offset:g}" * bool(m.offset)
        rows.append((f"`{m.name}`", m.label, m.unit, m.better, m.help, sums))
    return markdown(("name", "label", "unit", "better", "meaning", "over all episodes"), rows)


def column_table() -> str:
    """`TASK` as a Markdown table: the columns of the table of decisions, their SI units and their meaning."""
    return markdown(("column", "unit", "meaning"), ((f"`{m.name}`", m.si, m.help) for m in TASK.values()))
