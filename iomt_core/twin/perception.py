"""What an agent observes in a step, eq. (14), what it does not observe, and the requested and granted shares."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from iomt_core.environment.observation import EFFICIENCY_SCALE, observe, task_names
from iomt_core.metrics import TASK
from iomt_core.model.allocation import device_index, per_device
from iomt_core.model.outcome import SMALLEST_GRANT
from iomt_core.record import Record
from iomt_core.scenario import metadata
from iomt_core.twin.moves import SKIPPED

DATA, CYCLES, DEADLINE = TASK["data_bits"], TASK["cycles"], TASK["deadline_s"]


def observed_tasks(record: Record, row: int, user: int) -> pd.DataFrame:
    """The agent's own tasks, one row for each: values with units, and values as scaled in its observation (14).

    row: index of the step, from 0; user: number in the whole ward.
    """
    s, snap, i = record.scenario, record.snapshot, record.scenario.user_numbers.index(user)
    active = snap.active[row, i]
    names = task_names(s)
    numbers = observe(snap.select(slice(row, row + 1)), s)[0, i, : len(names) * s.tasks].view(len(names), s.tasks)
    columns = {
        "task": torch.arange(1, s.tasks + 1),
        DATA.symbol_heading: snap.D[row, i] * DATA.factor,
        CYCLES.symbol_heading: snap.C[row, i] * CYCLES.factor,
        "P": snap.P[row, i].long(),
    }
    if s.deadlines_differ:
        columns[DEADLINE.symbol_heading] = snap.deadline[row, i] * DEADLINE.factor
    columns |= {f"{name} observed": x for name, x in zip(names, numbers, strict=True)}
    return pd.DataFrame({name: x[active].numpy() for name, x in columns.items()})


def observed_rest(record: Record, row: int, user: int) -> pd.DataFrame:
    """The rest of the observation (14): the user's device and all servers. row and user as in `observed_tasks`."""
    s, snap, i = record.scenario, record.snapshot, record.scenario.user_numbers.index(user)
    numbers = observe(snap.select(slice(row, row + 1)), s)[0, i, len(task_names(s)) * s.tasks :].tolist()
    meta = metadata()

    def row_of(name: str, quantity: str, symbol: str, value: Tensor) -> tuple[str, str, float, str]:
        known = meta[name]
        return quantity, symbol, float(value) * known.shown_factor, known.shown_unit or known.unit

    rows = [
        row_of("P_tr", "transmission power", "P^tr", snap.P_tr[row, i]),
        row_of("Cap", "battery left", "Cap", snap.battery[row, i]),
        row_of("F_i", "own CPU", "F_i", snap.F_i[row, i]),
    ]
    for name, quantity, values in (("B_k", "bandwidth", snap.B_k[row]), ("F_k", "CPU", snap.F_k[row])):
        named = zip(s.server_numbers, values, strict=True)
        rows += [row_of(name, f"{quantity} of server {k}", f"{name[0]}_{k}", x) for k, x in named]
    if s.channel == "log-distance":  # elsewhere distance does not matter
        links = zip(s.server_numbers, numbers[len(rows) : len(rows) + s.servers], strict=True)
        rows += [(f"spectral efficiency to server {k}", f"e_{k}", x * EFFICIENCY_SCALE, "bit/s/Hz") for k, x in links]
    if s.has_latency:
        named = zip(s.server_numbers, snap.latency[row], strict=True)
        rows += [row_of("latency", f"latency of server {k}", f"L_{k}", x) for k, x in named]
    frame = pd.DataFrame(rows, columns=["quantity", "symbol", "value", "unit"])
    return frame.assign(**{"observed": numbers})


def hidden_tasks(record: Record, row: int, user: int) -> pd.DataFrame:
    """Tasks, choices and requests of the other users, which are not in the observation (14). Arguments as in `observed_tasks`."""
    table = record.select(slice(row, row + 1)).table()
    other = table[table["user"] != user]
    deadline = (
        {DEADLINE.symbol_heading: other["deadline_s"] * DEADLINE.factor} if record.scenario.deadlines_differ else {}
    )
    return pd.DataFrame(
        {
            "user": other["user"],
            "task": other["task"],
            DATA.symbol_heading: other["data_bits"] * DATA.factor,
            CYCLES.symbol_heading: other["cycles"] * CYCLES.factor,
            "P": other["priority"],
            **deadline,
            "choice": other["choice"].mask(other["skipped"], SKIPPED),
            "CPU requested (%)": other["cpu_share_requested"] * 100,
            "bandwidth requested (%)": other["bandwidth_share_requested"] * 100,
        }
    ).reset_index(drop=True)


def grants(record: Record, row: int) -> pd.DataFrame:
    """One row for each task of the step: its requests, the sum of all requests on its device, and what was granted (C2-C4).

    The device of a skipped task is `SKIPPED`. row: index of the step, from 0. Shares are between 0 and 1; bandwidth is NaN for a
    local task.
    """
    s, snap, act, out = record.scenario, record.snapshot, record.action, record.outcome
    k, one = s.servers, slice(row, row + 1)
    active, choice = snap.active[one], act.choice[one]
    device = device_index(choice, k)
    cpu, band = act.cpu[one] * active, act.bandwidth[one] * active
    all_cpu, all_band = (per_device(x, device, k).gather(1, device).view_as(x) for x in (cpu, band))
    capacity = torch.cat([snap.F_k[one], snap.F_i[one]], 1).gather(1, device).view_as(cpu)
    server = (choice - 1).clamp_min(0).flatten(1)
    bandwidth = snap.B_k[one].gather(1, server).view_as(cpu)
    local = choice == 0
    j = s.tasks
    columns = {
        "user": torch.tensor(s.user_numbers)[None, :, None].expand_as(cpu),
        "task": torch.arange(1, j + 1).expand_as(cpu),
        "choice": torch.tensor(s.device_numbers)[choice].masked_fill(out.skipped[one], SKIPPED),
        "cpu_requested": cpu,
        "cpu_requested_by_all": all_cpu,
        "cpu_granted": out.f[one] / capacity.clamp_min(SMALLEST_GRANT),
        "cpu_hz": out.f[one],
        "cpu_capacity_hz": capacity,
        "bandwidth_requested": band.masked_fill(local, torch.nan),
        "bandwidth_requested_by_all": all_band.masked_fill(local, torch.nan),
        "bandwidth_granted": (out.b[one] / bandwidth).masked_fill(local, torch.nan),
        "bandwidth_hz": out.b[one].masked_fill(local, torch.nan),
        "bandwidth_capacity_hz": bandwidth.masked_fill(local, torch.nan),
    }
    return pd.DataFrame({name: x[active].numpy() for name, x in columns.items()})
