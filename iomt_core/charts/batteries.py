"""The charge of each user's battery over an episode, beside the plan of the optimum, and how an episode ends in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from torch import Tensor

from iomt_core.charts.figure import figure, step_line
from iomt_core.charts.style import LOCAL_COLOUR, PINNED_COLOUR, SHOWN_COLOUR
from iomt_core.experiments.evaluation import battery_charges
from iomt_core.metrics import METRICS, TASK
from iomt_core.policies.episode_dual import EpisodeDual
from iomt_core.record import Record
from iomt_core.scenario import Scenario, counted

CHARGE, ENERGY = TASK["battery_j"], TASK["energy_j"]
PLAN = "plan of the optimum"
HEIGHT = 360  # px
FULL = 1.05  # end of the axis over a battery's capacity


def empty_users(record: Record) -> list[int]:
    """The users whose batteries could not pay for the last step, by their number in the whole ward."""
    if not bool(record.ended.any()):
        return []
    left = record.snapshot.battery[-1] - record.outcome.energy[-1].sum(-1)
    return [record.scenario.user_numbers[i] for i in (left < 0).nonzero().flatten().tolist()]


def scarcest(record: Record) -> int:
    """The user who ended the episode, or has least charge left, by its number in the whole ward."""
    left = record.snapshot.battery[-1] - record.outcome.energy[-1].sum(-1)
    return record.scenario.user_numbers[int(left.argmin())]


def end_words(record: Record) -> str:
    """How an episode ended: "stopped at step 15 of 20: battery of user 3 empty", or "all 20 steps are played"."""
    s, users = record.scenario, empty_users(record)
    if not users:
        return f"all {counted(s.T, 'step')} are played"
    batteries = f"battery of user {users[0]}" if len(users) == 1 else f"batteries of users {', '.join(map(str, users))}"
    return f"stopped at step {int(record.step[-1])} of {s.T}: {batteries} empty"


def battery_words(record: Record) -> str:
    """How the episode ended, and who ended it, or has least charge left, and why, in sentences."""
    ended = end_words(record)
    return f"{ended[:1].upper()}{ended[1:]}. {spending_words(record)}"


def spending_words(record: Record) -> str:
    """What the user who ended the episode, or has least charge left, spends, and what its battery allows."""
    s, user = record.scenario, scarcest(record)
    energy = record.outcome.energy[:, s.user_numbers.index(user)].sum(-1)
    charge = float(record.snapshot.battery[-1, s.user_numbers.index(user)])
    full = s.device_values["Cap"][s.user_numbers.index(user)]
    rate = (
        f"User {user} spends {CHARGE.brief(float(energy.mean()))} a step; a battery of {CHARGE.brief(full)} allows "
        f"{CHARGE.brief(full / s.T)} in each of {s.T} steps."
    )
    if not empty_users(record):
        left = charge - float(energy[-1])
        return f"{rate} It has least left at the end: {CHARGE.brief(left)}, {100 * left / full:.3g} %."
    return (
        f"{rate} In step {int(record.step[-1])} it has {CHARGE.brief(charge)} left and would need "
        f"{CHARGE.brief(float(energy[-1]))}. That step earns nothing for anybody, and no later one is played: "
        f"{counted(s.T - len(record) + 1, 'step')} of {s.T} without return."
    )


def plan_words(step: Mapping[str, Any], local: Mapping[str, Any], plan: Mapping[str, Any], s: Scenario) -> str:
    """What a plan for the whole episode is worth, in sentences: three policies, from the cheapest step to the best episode.

    step, local, plan: summaries of an episode, see `experiments.evaluation`, of the optimum step by step, of everything local,
    and of the optimum.
    """
    cost, earned = METRICS["cost"], METRICS["return"]

    def does(result: Mapping[str, Any]) -> str:
        ended = bool(result["episodes_ended_by_battery"])
        way = f"ends in step {result['steps']} of {s.T}, with an empty battery" if ended else f"plays all {s.T} steps"
        skipped = result["skipped_share"]
        way += f" and skips {100 * skipped:.2g} % of the tasks" * bool(skipped)
        return f"costs {cost.brief(result['cost'])} a task, {way}, and returns {earned.brief(result['return'])}"

    def against(result: Mapping[str, Any]) -> str:
        if not step["return"]:
            return ""
        change = result["return"] / step["return"] - 1
        return f", {100 * abs(change):.3g} % {'more' if change >= 0 else 'less'} than step by step"

    return (
        f"The *optimum, step by step* makes each step as cheap as possible: it {does(step)}. *Everything local* "
        f"{does(local)}{against(local)}. The *optimum* plans the episode: it {does(plan)}{against(plan)}. No policy "
        f"can return more than {METRICS['return_gap'].brief(plan['return_gap'])} above that."
    )


def battery_curves(
    record: Record, step: int, plan: Tensor | None = None, picked: int | None = None, subtitle: str = ""
) -> go.Figure:
    """Charge of every user's battery after each step, mJ; a click on a point makes the player jump to its step.

    The user with the least charge left is emphasised, and `picked`, a user's number, too. plan: `battery_charges` of the
    optimum; the emphasised users' are dashed, and those of all users a band.
    """
    s, charge = record.scenario, battery_charges(record)
    emphasised = {scarcest(record): SHOWN_COLOUR}
    if picked is not None and picked in s.user_numbers:
        emphasised.setdefault(picked, PINNED_COLOUR)
    data: list[dict[str, Any]] = []
    if plan is not None:
        data += _band(plan)
    for i, user in enumerate(s.user_numbers):
        if user not in emphasised:
            first = not any(trace.get("legendgroup") == "others" for trace in data)
            data.append(_curve(charge[:, i], f"user {user}", LOCAL_COLOUR, 1, "others" if first else "", first))
    for user, colour in emphasised.items():
        i = s.user_numbers.index(user)
        if plan is not None:
            data.append({**_curve(plan[:, i], f"plan: user {user}", colour, 2), "line": _line(colour, 2, "dash")})
        data.append(_curve(charge[:, i], f"user {user}", colour, 3))
        if user in empty_users(record):
            first = not any(trace.get("legendgroup") == "empty" for trace in data)
            data.append({**_empty(record, user, colour), "legendgroup": "empty", "showlegend": first})
    layout = {
        "height": HEIGHT,
        "showlegend": True,
        "hovermode": "closest",
        "xaxis": {"title": {"text": "step"}, "range": [-0.5, s.T + 0.5], "zeroline": False},
        "yaxis": {
            "title": {"text": CHARGE.axis_title},
            "range": [0, FULL * max(s.device_values["Cap"]) * CHARGE.factor],
        },
        "shapes": [step_line(step)],
    }
    title = "Charge of every battery over the episode"
    ends = [CHARGE.brief(float(x)) for x in charge[-1]]
    words = ", ".join(f"user {n} {end}" for n, end in zip(s.user_numbers, ends, strict=True))
    return figure(data, layout, title, f"{title}. {battery_words(record)} At the end: {words}.", subtitle, step=True)


def _line(colour: str, width: float, dash: str = "solid") -> dict[str, Any]:
    return {"color": colour, "width": width, "dash": dash}


def _millijoules(values: Sequence[float]) -> list[float]:
    return [float(f"{value * CHARGE.factor:.6g}") for value in values]


def _curve(
    charge: Tensor, name: str, colour: str, width: float, group: str = "", in_legend: bool = True
) -> dict[str, Any]:
    """One user's charge; curves of a group have one entry in the legend."""
    label = "other users" if group else name
    return {
        "type": "scatter", "mode": "lines+markers", "name": label, "legendgroup": group or name,
        "showlegend": in_legend, "x": list(range(len(charge))), "y": _millijoules(charge.tolist()),
        "line": _line(colour, width), "marker": {"size": 3 + width}, "opacity": 0.55 if width == 1 else 1,
        "hovertemplate": f"{name}<br>after step %{{x}}: %{{y:.3g}} {CHARGE.unit}<extra></extra>",
    }  # fmt: skip


def _band(plan: Tensor) -> list[dict[str, Any]]:
    """The range of the plan over all users, after each step."""
    x = list(range(len(plan)))
    low, high = (_millijoules(values.tolist()) for values in (plan.amin(1), plan.amax(1)))
    return [
        {
            "type": "scatter", "mode": "lines", "name": "plan: all users", "x": x + x[::-1], "y": high + low[::-1],
            "fill": "toself", "fillcolor": "rgba(128,134,146,0.18)", "line": {"width": 0}, "hoverinfo": "skip",
        }
    ]  # fmt: skip


def _empty(record: Record, user: int, colour: str) -> dict[str, Any]:
    """The mark at the step that a battery could not pay."""
    i, step = record.scenario.user_numbers.index(user), int(record.step[-1])
    lacking = float(record.outcome.energy[-1, i].sum() - record.snapshot.battery[-1, i])
    return {
        "type": "scatter", "mode": "markers", "name": "empty: the end", "x": [step], "y": [0.0],
        "marker": {"symbol": "x", "size": 13, "color": colour}, "cliponaxis": False,
        "hovertemplate": f"user {user}: step {step} needs {CHARGE.brief(lacking)} more than is left<extra></extra>",
    }  # fmt: skip


def battery_table(record: Record, plan: Tensor | None = None) -> pd.DataFrame:
    """The table of `battery_curves`: a row for each user and step, with the charge after it."""
    s, charge = record.scenario, battery_charges(record)
    rows = []
    for i, user in enumerate(s.user_numbers):
        for t in range(len(charge)):
            row = {"user": user, "step": t, f"charge after it ({CHARGE.unit})": _rounded(float(charge[t, i]))}
            if plan is not None and t < len(plan):
                row[f"{PLAN} ({CHARGE.unit})"] = _rounded(float(plan[t, i]))
            rows.append(row)
    return pd.DataFrame(rows)


def user_table(record: Record, plan: Tensor | None = None) -> pd.DataFrame:
    """What each user's battery did: spent a step, left at the end, left by the plan, and the return that 1 mJ more is worth."""
    s, charge, unit = record.scenario, battery_charges(record), CHARGE.unit
    spent = record.outcome.energy.sum(-1).mean(0)
    columns: dict[str, Any] = {
        "user": s.user_numbers,
        f"spent a step ({unit})": [_rounded(float(x)) for x in spent],
        f"left ({unit})": [_rounded(float(x)) for x in charge[-1]],
    }
    if plan is not None:
        columns[f"left by plan ({unit})"] = [_rounded(float(x)) for x in plan[-1]]
    if isinstance(record.dual, EpisodeDual):
        columns[f"return per {unit}"] = [float(f"{x / CHARGE.factor:.3g}") for x in record.dual.battery[0].tolist()]
    return pd.DataFrame(columns)


def _rounded(joules: float) -> float:
    return float(f"{joules * CHARGE.factor:.3g}")
