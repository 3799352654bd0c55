"""The map of the ward: the data of the player as JSON-ready values.

Plotly takes a tenth of a second to build an episode's frames and as long to draw them. A small player in the browser
(dashboard/ward_player.js) draws the map from these values instead, so that sliders stay fast.
"""

from __future__ import annotations

from typing import Any

import torch

from iomt_core.charts.devices import used_shares
from iomt_core.charts.style import DASHES, KIND_COLOURS, device_colour
from iomt_core.metrics import TASK
from iomt_core.model.snapshot import device_name
from iomt_core.record import Record

DASH_ARRAYS = {"solid": "", "dash": "9 6", "dot": "2 5", "dashdot": "10 4 2 4"}


def ward_frames(record: Record) -> dict[str, Any]:
    """All steps of one episode: positions in metres, the choice for each task (-1: no task), delay in ms, cost, server load.

    `users_xy` has one entry for each step if users move, else a single entry.
    """
    s, snap, out = record.scenario, record.snapshot, record.outcome
    active = snap.active
    choice = torch.where(active, record.action.choice, -1)
    moving = snap.users_xy if s.speed > 0 else snap.users_xy[:1]
    cpu, band, own = used_shares(record)
    return {
        "area": s.area,
        "steps": record.step.tolist(),
        "users_xy": _rounded(moving, 2),
        "servers_xy": _rounded(snap.servers_xy[0], 2),
        "choice": choice.tolist(),
        "priority": snap.P.to(torch.int64).tolist(),
        "kind": snap.kind.tolist() if len(s.kind_names) > 1 else None,
        "kinds": list(s.kind_names),
        "kind_colours": list(KIND_COLOURS),
        "delay_ms": _rounded(out.delay * TASK["delay_s"].factor, 3),
        "cost": _rounded(out.cost, 3),
        "cpu": _rounded(cpu, 3),
        "bandwidth": _rounded(band, 3),
        "own": _rounded(own, 3),
        "colours": [device_colour(k) for k in range(s.servers + 1)],
        "dashes": [DASH_ARRAYS[DASHES[(k - 1) % len(DASHES)]] for k in range(s.servers + 1)],
        "names": [device_name(k) for k in range(s.servers + 1)],
    }


def ward_text(record: Record, row: int) -> str:
    """Alternative text of the map of one step."""
    counts = torch.bincount(
        record.action.choice[row][record.snapshot.active[row]], minlength=record.scenario.servers + 1
    )
    parts = [f"{int(n)} on {device_name(k)}" for k, n in enumerate(counts)]
    return f"Map of the ward in step {int(record.step[row])}: tasks " + ", ".join(parts) + "."


def _rounded(x: torch.Tensor, digits: int) -> Any:
    return torch.nan_to_num(x.to(torch.float64), nan=0.0, posinf=1e30).mul(10**digits).round().div(10**digits).tolist()
