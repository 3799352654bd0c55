"""The map of the ward: the data of the player (dashboard/ward_map.js) as JSON-ready values, for all steps of an episode.

Everything that depends on numbers is decided here: places in the drawing, text of tooltips, the figures of a step.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from iomt_core.charts.devices import own_values, used_shares
from iomt_core.charts.live import per_step
from iomt_core.charts.style import DASHES, KIND_COLOURS, device_colour, ink
from iomt_core.environment.world import layout
from iomt_core.metrics import METRICS, TASK
from iomt_core.record import Record

DASH_ARRAYS = {"solid": "", "dash": "7 5", "dot": "2 4", "dashdot": "8 3 2 3"}
SIZE, MARGIN = 640.0, 52.0  # of the drawing, which is square; about one pixel each on a laptop's screen
TASK_RADIUS = 6.5
SERVER_RADIUS = 30.0
STEP_FIGURES = ("mean_delay_s", "mean_energy_j", "cost", "gap", "local_share")
SKIPPED, SKIPPED_COLOUR = "skipped", "#ffffff"
ROUNDS = 120  # at most, of pushing marks apart
MOST_SPREAD = 300  # marks that are pushed apart; more have no room, and would take the square of their number


def ward_frames(record: Record, policy: str = "") -> dict[str, Any]:
    """All steps of one episode: places in the drawing, the choice for each task (-1: no task), delay, cost, load, figures.

    A skipped task has the choice K + 1.

    `users` has one entry for each step if users move, else a single entry; `exact` has the users' true places, `off` what is
    switched off. With the label of a `policy` the figures of each step are included.
    """
    s, snap, out = record.scenario, record.snapshot, record.outcome
    active = snap.active
    skips = bool(out.skipped.any())
    choice = torch.where(out.skipped, s.servers + 1, torch.where(active, record.action.choice, -1))
    moving = snap.users_xy if s.speed > 0 else snap.users_xy[:1]
    ring = _ring(s.tasks)
    # The whole ward, so that switching one off moves no other mark.
    everyone, servers = (_in_drawing(xy, s.area) for xy in layout(s, torch.float64))
    here, there = (torch.tensor(numbers) - 1 for numbers in (s.user_numbers, s.server_numbers))
    exact = everyone.repeat(len(moving), 1, 1)
    exact[:, here] = _in_drawing(moving, s.area)
    users, servers = spread(exact, servers[None], ring + TASK_RADIUS + 2, SERVER_RADIUS)
    cpu, band, own = (x * 100 for x in used_shares(record))
    kinds = own_values(s)
    loads = [
        [f"CPU {c:.0f} % and bandwidth {b:.0f} % in use{own}" for c, b, own in zip(*step, kinds, strict=True)]
        for step in zip(cpu.tolist(), band.tolist(), strict=True)
    ]
    return {
        "size": SIZE,
        "area": f"{s.area:g} m × {s.area:g} m",
        "ring": ring,
        "task_radius": TASK_RADIUS,
        "steps": record.step.tolist(),
        "users": _rounded(users[:, here], 1),
        "exact": _rounded(exact[:, here], 1),
        "servers": _rounded(servers[0, there], 1),
        "off": [
            {"name": name, "number": n, "at": _rounded(places[0, n - 1], 1)}
            for name, numbers, places in (("user", s.users_off, users), ("server", s.servers_off, servers))
            for n in numbers
        ],
        "users_numbers": list(s.user_numbers),
        "users_names": [s.user_label(n) for n in s.user_numbers],
        "numbers": [*s.device_numbers, *[0] * skips],
        "names": [s.device_label(n) for n in s.device_numbers] + [SKIPPED] * skips,
        "colours": [device_colour(n) for n in s.device_numbers] + [SKIPPED_COLOUR] * skips,
        "inks": [ink(device_colour(n)) for n in s.device_numbers],
        "dashes": [DASH_ARRAYS[DASHES[(n - 1) % len(DASHES)]] for n in s.device_numbers],
        "choice": choice.tolist(),
        "priority": snap.P.to(torch.int64).tolist(),
        "kind": snap.kind.tolist() if len(s.kind_names) > 1 else None,
        "kinds": list(s.kind_names),
        "kind_colours": list(KIND_COLOURS),
        "delay": _delays(out.delay, out.skipped),
        "cost": _rounded(out.cost, 3),
        "load": loads,
        "own": _rounded(own, 0),
        "who": policy,
        "figures": step_figures(record) if policy else None,
    }


def _delays(delay: Tensor, skipped: Tensor) -> list[list[list[str]]]:
    """Delay of each task as text, with its unit."""
    values = _rounded(delay * TASK["delay_s"].factor, 3)
    return [
        [
            ["no delay" if off else f"{ms:g} ms" for ms, off in zip(*user, strict=True)]
            for user in zip(*step, strict=True)
        ]
        for step in zip(values, skipped.tolist(), strict=True)
    ]


def step_figures(record: Record) -> list[dict[str, Any]]:
    """Label and value of a few metrics, as text, for every step; without a gap where there are no certificates."""
    metrics = [METRICS[name] for name in STEP_FIGURES]
    values = per_step(record, metrics)
    return [
        {"label": m.label, "values": ["n/a" if v is None else m.brief(v) for v in values[m.name]]}
        for m in metrics
        if m.name in values
    ]


def spread(users: Tensor, servers: Tensor, user_radius: float, server_radius: float) -> tuple[Tensor, Tensor]:
    """Places (T, U, 2) and (1, K, 2) pushed apart until no two circles overlap, as far as the drawing has room for them.

    Marks that touch cannot be distinguished; what does not overlap stays where it is.
    """
    steps, count = users.shape[:2]
    places = torch.cat([users, servers.expand(steps, -1, -1)], dim=1).to(torch.float64)
    radius = torch.full((places.shape[1],), user_radius, dtype=torch.float64)
    radius[count:] = server_radius
    need = radius[:, None] + radius
    angle = torch.arange(len(radius), dtype=torch.float64) * 2.4  # a direction of its own for marks at the same place
    places = places + 0.01 * torch.stack([angle.cos(), angle.sin()], dim=-1)
    for _ in range(ROUNDS if len(radius) <= MOST_SPREAD else 0):
        apart = places[:, :, None] - places[:, None]
        distance = apart.norm(dim=-1)
        overlap = (need - distance).clamp_min(0).masked_fill(torch.eye(len(radius), dtype=torch.bool), 0)
        if float(overlap.max()) < 1:
            break
        push = (apart / distance.clamp_min(1e-6)[..., None] * overlap[..., None]).sum(2) * 0.5
        if steps > 1:
            push[:, count:] = push[:, count:].mean(0)  # servers stand still
        places = (places + push).clamp(user_radius + 2, SIZE - user_radius - 2)
    return places[:, :count], places[:1, count:]


def ward_text(record: Record, row: int) -> str:
    """Alternative text of the map of one step."""
    s, skipped = record.scenario, record.outcome.skipped[row]
    done = record.snapshot.active[row] & ~skipped
    counts = torch.bincount(record.action.choice[row][done], minlength=s.servers + 1)
    parts = [f"{int(count)} on {s.device_label(n)}" for n, count in zip(s.device_numbers, counts, strict=True)]
    parts += [f"{int(skipped.sum())} skipped"] * bool(skipped.any())
    off = [f"server {n}" for n in s.servers_off] + [f"user {n}" for n in s.users_off]
    words = f" Switched off: {', '.join(off)}." if off else ""
    return f"Map of the ward in step {int(record.step[row])}: tasks {', '.join(parts)}.{words}"


def _ring(tasks: int) -> float:
    """Radius of the ring of task marks around a user: they do not overlap."""
    return max(24.0, tasks * (2.2 * TASK_RADIUS) / (2 * math.pi))


def _in_drawing(xy: Tensor, area: float) -> Tensor:
    """Places in metres as places in the drawing, whose y axis points down."""
    at = MARGIN + xy.to(torch.float64) * ((SIZE - 2 * MARGIN) / area)
    return torch.stack([at[..., 0], SIZE - at[..., 1]], dim=-1)


def _rounded(x: Tensor, digits: int) -> Any:
    return torch.nan_to_num(x.to(torch.float64), nan=0.0, posinf=1e30).mul(10**digits).round().div(10**digits).tolist()
