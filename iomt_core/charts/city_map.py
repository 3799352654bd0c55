"""The map of a ward with too many users to draw every task: servers by their load, and users as a density.

A chosen site is shown with the users that send it tasks. Many points are drawn by WebGL; without a graphics card that takes a
second to begin, so a few are not.
"""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch

from iomt_core.charts.devices import own_values, used_shares
from iomt_core.charts.figure import figure
from iomt_core.charts.style import SHOWN_COLOUR
from iomt_core.environment.world import layout
from iomt_core.record import Record
from iomt_core.scenario import Scenario, counted

MOST_USERS, MOST_SERVERS, MOST_TASKS = 60, 24, 600  # that the map of single tasks has room for
MOST_PLAIN = 400  # points of a trace that are drawn without WebGL
MOST_NAMED = 60  # sites with their number beside them
CELLS = 24  # of the density in each direction
HEIGHT = 560  # px
SMALLEST, LARGEST, ROOM = (
    6.0,
    30.0,
    150.0,
)  # px, diameter of a site; with many sites at most ROOM over the root of their number
LOADS = ((0.0, "#fee8c8"), (0.5, "#fdbb84"), (1.0, "#b30000"))
DENSITY = ((0.0, "rgba(33,113,181,0.06)"), (1.0, "rgba(33,113,181,0.75)"))
MARGIN = 0.06  # of what is shown, around it


def is_crowded(s: Scenario) -> bool:
    """Whether a ward has too many users, servers or tasks for the map of single tasks."""
    return s.users > MOST_USERS or s.servers > MOST_SERVERS or s.users * s.tasks > MOST_TASKS


def city_map(
    s: Scenario, record: Record | None, row: int = 0, site: int | None = None, subtitle: str = ""
) -> go.Figure:
    """Sites by load and users as a density in one step; a click sends ("site", number) or ("user", number).

    record: None while nothing is decided yet; then only places are shown. row: of the step. site: number of the chosen server,
    on which the map zooms and whose users it shows one by one.
    """
    users, servers = (xy.numpy() for xy in layout(s, torch.float64))
    users, servers = users[[n - 1 for n in s.user_numbers]], servers[[n - 1 for n in s.server_numbers]]
    step = None
    if record is not None:
        users, step = record.snapshot.users_xy[row].to(torch.float64).numpy(), int(record.step[row])
    chosen = s.server_numbers.index(site) if site in s.server_numbers else None
    data: list[dict[str, Any]] = [_density(users, s.area)]
    shown = np.array([[0.0, 0.0], [s.area, s.area]])
    if record is not None and chosen is not None and site is not None:
        senders = _senders(record, row, chosen)
        data += _links(users, servers[chosen], senders, s)
        shown = np.concatenate([users[senders], servers[chosen][None]])
    data.append(_sites(servers, s, record, row, site))
    centre, half = (shown.min(0) + shown.max(0)) / 2, max(float(np.ptp(shown, axis=0).max()) / 2, 0.02 * s.area)
    ranges = [[float(c - half * (1 + MARGIN)), float(c + half * (1 + MARGIN))] for c in centre]
    axis = {"showgrid": False, "zeroline": False, "ticksuffix": " m", "nticks": 5}
    layout_ = {
        "height": HEIGHT,
        "margin": {"l": 60, "r": 12, "t": 12, "b": 90},
        "showlegend": False,
        "hovermode": "closest",
        "uirevision": f"{s.area:g} {site}",
        "xaxis": {**axis, "range": ranges[0], "constrain": "domain"},
        "yaxis": {**axis, "range": ranges[1], "constrain": "domain", "scaleanchor": "x"},
        "meta": {"alt": _words(s, record, row, site), "step": False, "now": step},
    }
    title = "Sites by load, and how many users are where" if record else "Sites, and how many users are where"
    if site is not None and chosen is not None:
        title = f"{s.device_label(site).capitalize()} and the users that send it tasks"
    return figure(data, layout_, title, "", subtitle)


def site_loads(record: Record, row: int) -> dict[str, list[float]]:
    """Of each server in one step: tasks and users that it has, seconds of work for its CPU, and CPU and bandwidth in use, %."""
    choice, active = record.action.choice[row], record.snapshot.active[row] & ~record.outcome.skipped[row]
    tasks = [float(((choice == k) & active).sum()) for k in range(1, record.scenario.servers + 1)]
    users = [float(len(_senders(record, row, k))) for k in range(record.scenario.servers)]
    cpu, band, _ = (x[0] * 100 for x in used_shares(record.select(slice(row, row + 1))))
    cycles = record.snapshot.C[row] * active
    work = [float((cycles * (choice == k)).sum() / record.snapshot.F_k[row, k - 1]) for k in range(1, len(tasks) + 1)]
    return {"tasks": tasks, "users": users, "work": work, "cpu": cpu.tolist(), "bandwidth": band.tolist()}


def _senders(record: Record, row: int, server: int) -> list[int]:
    """Rows of the users that send a task to a server, from 0."""
    sent = (record.action.choice[row] == server + 1) & record.snapshot.active[row] & ~record.outcome.skipped[row]
    return list(sent.any(-1).nonzero().flatten().tolist())


def _points(count: int) -> str:
    """The type of a trace with so many points."""
    return "scatter" if count <= MOST_PLAIN else "scattergl"


def _density(users: np.ndarray, area: float) -> dict[str, Any]:
    edges = np.linspace(0.0, area, CELLS + 1)
    counts = np.histogram2d(users[:, 1], users[:, 0], bins=(edges, edges))[0]
    middle = ((edges[:-1] + edges[1:]) / 2).round(2).tolist()
    return {
        "type": "heatmap", "name": "users", "x": middle, "y": middle, "colorscale": DENSITY, "showscale": False,
        "z": [[int(n) if n else None for n in line] for line in counts],
        "hovertemplate": "%{z} users within " + f"{area / CELLS:.3g} m" + "<extra></extra>",
    }  # fmt: skip


def _sites(servers: np.ndarray, s: Scenario, record: Record | None, row: int, site: int | None) -> dict[str, Any]:
    numbers = s.server_numbers
    loads = site_loads(record, row) if record is not None else None
    names = [f"S{n}" if len(numbers) <= MOST_NAMED or n == site else "" for n in numbers]
    marker: dict[str, Any] = {"size": SMALLEST, "color": SHOWN_COLOUR, "line": {"width": 1, "color": "#222"}}
    own = own_values(s)
    labels = [html.escape(s.device_label(n), quote=False) for n in numbers]
    words = [f"{label}{has}" for label, has in zip(labels, own, strict=True)]
    if loads is not None:
        most, largest = max(1.0, *loads["tasks"]), max(SMALLEST + 4, min(LARGEST, ROOM / len(numbers) ** 0.5))
        marker |= {
            "size": [round(SMALLEST + (largest - SMALLEST) * (n / most) ** 0.5, 1) for n in loads["tasks"]],
            "color": [float(f"{1000 * x:.3g}") for x in loads["work"]], "colorscale": LOADS, "cmin": 0, "showscale": True,
            "colorbar": {
                "title": {"text": "work for the site's CPU in this step (ms)", "side": "top", "font": {"size": 12}},
                "thickness": 10, "orientation": "h", "y": -0.09, "yanchor": "top", "len": 0.7,
            },
        }  # fmt: skip
        marker["line"] = {"color": "#222", "width": [3 if n == site else 1 for n in numbers]}
        words = [
            f"{label}: {counted(int(tasks), 'task')} of {counted(int(users), 'user')}<br>"
            f"{1000 * work:.3g} ms of work for its CPU; CPU {cpu:.0f} % and bandwidth {band:.0f} % in use{has}"
            for label, has, tasks, users, work, cpu, band in zip(labels, own, *loads.values(), strict=True)
        ]  # fmt: skip
    return {
        "type": _points(len(numbers)), "mode": "markers+text", "name": "sites", "x": servers[:, 0].round(2).tolist(),
        "y": servers[:, 1].round(2).tolist(), "text": names, "textposition": "top center", "marker": marker,
        "customdata": [["site", n] for n in numbers], "hovertext": words, "hovertemplate": "%{hovertext}<extra></extra>",
    }  # fmt: skip


def _links(users: np.ndarray, server: np.ndarray, senders: list[int], s: Scenario) -> list[dict[str, Any]]:
    """The users that send tasks to a server, and a line from each."""
    at, numbers = users[senders].round(2), [s.user_numbers[i] for i in senders]
    x, y = ([v for end in at[:, axis] for v in (float(end), float(server[axis]), None)] for axis in (0, 1))
    line = {
        "type": _points(len(senders)), "mode": "lines", "name": "links", "x": x, "y": y, "hoverinfo": "skip",
        "line": {"color": SHOWN_COLOUR, "width": 1}, "opacity": 0.5,
    }  # fmt: skip
    points = {
        "type": _points(len(senders)), "mode": "markers", "name": "users", "x": at[:, 0].tolist(), "y": at[:, 1].tolist(),
        "marker": {"size": 9, "color": "#3b4252", "line": {"width": 1, "color": "#fff"}},
        "customdata": [["user", n] for n in numbers], "hovertext": [html.escape(s.user_label(n), quote=False) for n in numbers],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }  # fmt: skip
    return [line, points]


def _words(s: Scenario, record: Record | None, row: int, site: int | None) -> str:
    """Alternative text."""
    if record is None:
        return f"Map of {counted(s.users, 'user')} and {counted(s.servers, 'server')}; nothing is decided yet."
    loads = site_loads(record, row)
    active = record.snapshot.active[row]
    local = int(((record.action.choice[row] == 0) & active & ~record.outcome.skipped[row]).sum())
    busiest = sorted(zip(loads["tasks"], s.server_numbers, strict=True), key=lambda pair: (-pair[0], pair[1]))[:5]
    words = ", ".join(f"{counted(int(n), 'task')} on server {k}" for n, k in busiest)
    zoom = f" Zoomed to server {site}." if site in s.server_numbers else ""
    return (
        f"Map of {counted(s.users, 'user')} and {counted(s.servers, 'server')} in step {int(record.step[row])}: {local} of "
        f"{int(active.sum())} tasks stay local; busiest sites: {words}.{zoom}"
    )
