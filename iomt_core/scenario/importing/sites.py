"""Users and servers: their places in metres, their devices, and the number that each id gets."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from iomt_core.scenario.dialect import Dialect
from iomt_core.scenario.errors import ScenarioError
from iomt_core.scenario.importing.columns import DEVICE_FIELDS, Field, fields_of
from iomt_core.scenario.importing.ground import centre_of, largest_error, project, unwrapped
from iomt_core.scenario.importing.options import Input
from iomt_core.scenario.importing.read import Table
from iomt_core.scenario.importing.task_table import TaskTable, keep_tasks
from iomt_core.scenario.importing.values import Findings, numbers, texts
from iomt_core.scenario.importing.work import Work, clean_name, identities_of, positions
from iomt_core.scenario.parameters import LONGEST_NAME, Places, ServerDevice, UserDevice, counted, metadata
from iomt_core.scenario.tables import Site


@dataclass
class SiteTable:
    """Users and servers of a table of places; x, y are degrees where `is_degrees`."""

    table: Table
    rows: np.ndarray  # of the table, (n,)
    is_server: np.ndarray  # (n,) bool
    ids: np.ndarray | None  # (n,) text
    x: np.ndarray
    y: np.ndarray
    is_degrees: bool
    names: np.ndarray | None
    devices: Mapping[str, np.ndarray]  # by field, SI, NaN where there is none


def read_sites(work: Work, one: Input) -> SiteTable:
    """Read a table of users, servers or both. Raises `ScenarioError`."""
    work.progress(0.1, f"reading {one.table.name}")
    work.need(one, ("latitude", "longitude"), ("x", "y"), ("location",))
    if one.role == "places":
        work.need(one, ("role",))
    dialect, findings = work.dialect(one), work.findings(one)
    work.describe(one, dialect)
    x, y, is_degrees = positions(work, one, dialect, findings)
    is_server = np.full(one.table.rows, one.role == "servers")
    if one.role == "places":
        words = np.array([text.lower() for text in texts(one.table, one.uses["role"])], dtype=object)
        is_server = np.isin(words, ("server", "servers", "site", "edge", "station"))
        findings.refuse(
            ~is_server & ~np.isin(words, ("user", "users")), one.uses["role"].column, "allowed is user or server"
        )
    devices: dict[str, np.ndarray] = {}
    for name in DEVICE_FIELDS:
        if name in one.uses:
            devices[name] = _device_column(work, one, name, dialect, findings, is_server)
    identities = identities_of(one, "id", findings) if "id" in one.uses else None
    keep = work.settle(one, findings)
    rows = np.flatnonzero(keep)
    names = texts(one.table, one.uses["name"])[rows] if "name" in one.uses else None
    if identities is not None:
        identities = identities[rows]
        for kind, mask in (("user", ~is_server[rows]), ("server", is_server[rows])):
            again = pd.Series(identities[mask]).duplicated().to_numpy()
            if again.any():
                row = int(rows[np.flatnonzero(mask)[again.argmax()]])
                raise ScenarioError(
                    f"{one.table.where(row, one.uses['id'].column)}: the {kind} "
                    f"{one.table.cell(row, one.uses['id'].column)[:40]!r} stands twice; allowed is each once."
                )
    return SiteTable(one.table, rows, is_server[rows], identities, x[rows], y[rows], is_degrees, names,
                  {name: values[rows] for name, values in devices.items()})  # fmt: skip


def _device_column(
    work: Work, one: Input, name: str, dialect: Dialect, findings: Findings, is_server: np.ndarray
) -> np.ndarray:
    """Values of a device, SI; a table of users and servers limits each row by its own parameter."""
    found = np.full(one.table.rows, np.nan)
    use = one.uses[name]
    for side, mask in ((0, ~is_server), (1, is_server)):
        if not mask.any():
            continue
        alone = Findings(one.table)
        if use.field.parameters[side]:
            values = work.column(one, name, dialect, alone, side, optional=True)
            found[mask] = values[mask]
            reason = f"allowed is {metadata()[use.field.parameters[side]].allowed()}"
        else:
            cells = numbers(one.table, use, dialect, alone, optional=True)
            alone.bad = ~np.isnan(cells)
            reason = f"a {'server' if side else 'user'} has no such value: leave it empty"
        findings.refuse(alone.bad & mask, use.column, reason)
    return found


def place(
    work: Work, sites: Mapping[str, SiteTable], tasks: TaskTable | None
) -> tuple[Site | None, Mapping[str, int] | None, pd.DataFrame]:
    """Places of users and servers in metres, the number of each user id, and the ids as a table."""
    users, servers = _people(work, sites, tasks), _servers(work, sites, tasks)
    counts = None if tasks is None else pd.Series(tasks.user).value_counts()
    wanted = work.options.busiest_users
    if wanted is not None and users.total > wanted:
        if counts is None:
            raise ScenarioError("busiest users: who is busy is known from a table of tasks only.")
        busy = np.array([counts.get(one, 0) for one in users.ids])
        best = np.sort(np.argsort(-busy, kind="stable")[:wanted])
        lost = int(busy.sum() - busy[best].sum())
        work.say("dropped", f"{users.total - wanted:,} of {users.total:,} users, with {lost:,} of {busy.sum():,} tasks: the "
                 f"{wanted} busiest are taken.")  # fmt: skip
        users = users.select(best)
    _check_count(users.total, "user", work.options.busiest_users, "busiest users = 2000 takes those with most tasks")
    site = None
    if servers is not None and users.x is not None:
        servers = _nearest(work, servers, users)
        site = _site(work, users, servers)
    elif servers is not None:
        users = _drawn(work, users, servers)
        servers = _nearest(work, servers, users)
        site = _site(work, users, servers)
    elif users.x is not None:
        if tasks is None or sites:
            raise ScenarioError("servers: places of users need places of servers too; give a table of servers.")
        work.say("ignored", "places of users: without places of servers they say nothing. Give a table of servers, or say that "
                 "they are those of sites: locations = sites.")  # fmt: skip
    numbered = (
        {str(one): n for n, one in enumerate(users.ids, 1)}
        if not users.kept
        else {str(n): n for n in range(1, users.total + 1)}
    )
    frames = [pd.DataFrame({"kind": "user", "number": list(numbered.values()), "id": list(numbered)})]
    if servers is not None and site is not None:
        frames.append(pd.DataFrame({"kind": "server", "number": range(1, servers.total + 1), "id": servers.ids}))
    return site, numbered, pd.concat(frames, ignore_index=True)


@dataclass(frozen=True)
class Group:
    """Users or servers before they have their numbers: ids, and places, names and values of devices if there are any."""

    ids: np.ndarray
    x: np.ndarray | None = None
    y: np.ndarray | None = None
    is_degrees: bool = False
    lines: np.ndarray | None = None
    file: str = ""
    names: np.ndarray | None = None
    devices: Mapping[str, np.ndarray] = field(default_factory=dict)
    kept: bool = False  # ids are the numbers 1 to n already
    count: int | None = None

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.ids) if self.count is None else self.count

    def select(self, rows: np.ndarray) -> Group:
        """The group of these rows, with new numbers."""

        def of(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[rows]

        return replace(self, ids=self.ids[rows], x=of(self.x), y=of(self.y), lines=of(self.lines), names=of(self.names),
                       devices={name: values[rows] for name, values in self.devices.items()}, kept=False, count=None)  # fmt: skip


def _people(work: Work, sites: Mapping[str, SiteTable], tasks: TaskTable | None) -> Group:
    table = next((found for found in sites.values() if not found.is_server.all()), None)
    if table is not None:
        group = _group_of(table, ~table.is_server)
        if tasks is not None:
            known = set(group.ids)
            unknown = ~pd.Series(tasks.user).isin(known).to_numpy()
            if unknown.any():
                findings = Findings(tasks.table)
                mask = np.zeros(tasks.table.rows, dtype=bool)
                mask[tasks.rows[unknown]] = True
                column = work.inputs["tasks"].uses["user"].column
                findings.refuse(mask, column, f"{table.table.name} has no such user")
                if work.options.bad_rows == "refuse":
                    raise ScenarioError(findings.problems())
                work.say("dropped", f"{int(unknown.sum()):,} tasks of users that {table.table.name} does not have.")
                keep_tasks(tasks, ~unknown)
        return group
    if tasks is None:
        return Group(np.array([str(n) for n in range(1, work.options.base.ward_users + 1)], dtype=object), kept=True)
    ids = _in_order(pd.unique(pd.Series(tasks.user)).tolist())
    if all(re.fullmatch("[1-9][0-9]{0,6}", one) for one in ids):
        highest = int(ids[-1])
        if highest <= max(2 * len(ids), 2) and work.options.busiest_users is None and tasks.x is None:
            return Group(np.array([str(n) for n in range(1, highest + 1)], dtype=object), kept=True)
    _doubles(work, ids)
    group = Group(np.array(ids, dtype=object))
    listed = ", ".join(f"{one[:20]} → {n}" for n, one in enumerate(ids[:3], 1))
    if work.options.busiest_users is None or work.options.busiest_users >= len(ids):
        work.say("changed", f"{counted(len(ids), 'user id')} became numbers: {listed}{', …' if len(ids) > 3 else ''}.")
    else:
        work.say("changed", f"{len(ids):,} user ids become numbers, in the order of the ids.")
    if tasks.x is not None and tasks.y is not None:
        x = unwrapped(tasks.x) if tasks.is_degrees else tasks.x
        if work.options.locations == "sites":  # where most of a user's tasks are
            frame = pd.DataFrame({"user": tasks.user, "x": tasks.x, "y": tasks.y}).value_counts().reset_index()
            frame = (
                frame.sort_values(["count", "x", "y"], ascending=[False, True, True])
                .drop_duplicates("user")
                .set_index("user")
            )
            where = "at the site of most of its tasks"
        else:
            frame = pd.DataFrame({"user": tasks.user, "x": x, "y": tasks.y}).groupby("user").median()
            where = "at the median of its places"
        frame = frame.loc[ids]
        work.say("changed", f"each user stays {where}: the tasks' own places move no one.")
        group = replace(group, x=frame["x"].to_numpy(), y=frame["y"].to_numpy(), is_degrees=tasks.is_degrees)
    return group


def _servers(work: Work, sites: Mapping[str, SiteTable], tasks: TaskTable | None) -> Group | None:
    table = next((found for found in sites.values() if found.is_server.any()), None)
    if table is not None:
        return _group_of(table, table.is_server)
    if work.options.locations == "sites":
        if tasks is None or tasks.x is None:
            raise ScenarioError(
                "locations = 'sites' needs a table of tasks with places: latitude and longitude, x and y, or location."
            )
        frame = pd.DataFrame({"x": tasks.x, "y": tasks.y}).drop_duplicates().sort_values(["y", "x"])
        ids = np.array([f"{y:.6g}/{x:.6g}" for x, y in frame.itertuples(index=False)], dtype=object)
        work.say("taken", f"{counted(len(frame), 'different place')} of tasks as servers.")
        return Group(ids, frame["x"].to_numpy(), frame["y"].to_numpy(), tasks.is_degrees)
    return None


def _group_of(table: SiteTable, mask: np.ndarray) -> Group:
    count = int(mask.sum())
    ids = table.ids[mask] if table.ids is not None else np.array([str(n) for n in range(1, count + 1)], dtype=object)
    lines = np.array([table.table.line(int(row)) for row in table.rows[mask]])
    return Group(
        ids, table.x[mask], table.y[mask], table.is_degrees, lines, table.table.name,
        None if table.names is None else table.names[mask], {n: v[mask] for n, v in table.devices.items()}, table.ids is None,
    )  # fmt: skip


def _check_count(count: int, noun: str, chosen_count: int | None, advice: str) -> None:
    high = int(metadata()[f"{noun}s"].high or 0)
    if count > high:
        raise ScenarioError(f"{counted(count, noun)}, allowed 1 to {high}: {advice}.")


def _nearest(work: Work, servers: Group, users: Group) -> Group:
    """The servers that are nearest to the users, if fewer are wanted than there are."""
    wanted = work.options.nearest_servers
    if wanted is not None and servers.total > wanted:
        sx, sy, ux, uy = _on_ground(servers, users)
        distance = np.zeros(servers.total)
        for start in range(0, len(ux), 1000):
            part = slice(start, start + 1000)
            distance += np.hypot(sx[:, None] - ux[None, part], sy[:, None] - uy[None, part]).sum(1)
        best = np.sort(np.argsort(distance, kind="stable")[:wanted])
        work.say("dropped", f"{servers.total - wanted:,} of {servers.total:,} servers: the {wanted} with the smallest mean "
                 "distance to the users are taken.")  # fmt: skip
        servers = servers.select(best)
    _check_count(servers.total, "server", wanted, "nearest servers = 256 takes those nearest to the users")
    return servers


_MIXED = "places: one table has degrees, another metres; give all of them in the same way."


def _on_ground(servers: Group, users: Group) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x and y of servers and of users in metres, from any origin. Raises `ScenarioError` where one has degrees, one metres."""
    if servers.is_degrees != users.is_degrees:
        raise ScenarioError(_MIXED)
    assert servers.x is not None
    assert servers.y is not None
    assert users.x is not None
    assert users.y is not None
    if not servers.is_degrees:
        return servers.x, servers.y, users.x, users.y
    centre = centre_of(np.concatenate([servers.y, users.y]), np.concatenate([servers.x, users.x]))
    return (*project(servers.y, servers.x, centre), *project(users.y, users.x, centre))


def _drawn(work: Work, users: Group, servers: Group) -> Group:
    """Users without places: drawn uniformly in the box of the servers by the scenario's layout seed."""
    assert servers.x is not None
    assert servers.y is not None
    draw = np.random.default_rng(work.options.base.seed)
    x = unwrapped(servers.x) if servers.is_degrees else servers.x
    work.say("changed", f"{counted(users.total, 'user')} without places: drawn uniformly among the servers (layout seed "
             f"{work.options.base.seed}).")  # fmt: skip
    return replace(users, x=draw.uniform(x.min(), x.max(), users.total),
                   y=draw.uniform(servers.y.min(), servers.y.max(), users.total), is_degrees=servers.is_degrees)  # fmt: skip


def _site(work: Work, users: Group, servers: Group) -> Site:
    """Places in metres within the ward's square, and the devices that differ."""
    sx, sy, ux, uy = _on_ground(servers, users)
    x, y = np.concatenate([ux, sx]), np.concatenate([uy, sy])
    side = metadata()["area"].high or math.inf
    if max(np.ptp(x), np.ptp(y)) > side:
        away = np.hypot(x - np.median(x), y - np.median(y))
        n = int(away.argmax())
        group, row, noun = (users, n, "user") if n < len(ux) else (servers, n - len(ux), "server")
        where = f"{group.file}, line {group.lines[row]}: " if group.lines is not None else ""
        raise ScenarioError(
            f"{where}the {noun} {str(group.ids[row])[:40]!r} lies {away[n] / 1e3:,.1f} km from the middle of all places; allowed "
            f"is a square of {side / 1e3:g} km. Leave far places out, or take the nearest servers."
        )
    if servers.is_degrees:
        lat, lon = np.concatenate([users.y, servers.y]), np.concatenate([users.x, servers.x])
        error, share = largest_error(lat, lon, x, y)
        centre = centre_of(lat, lon)
        work.say("changed", f"degrees became metres around {centre[0]:.5f}, {centre[1]:.5f}; distances are off by at most "
                 f"{error:.2g} m ({share * 100:.2g} %).")  # fmt: skip
    if servers.is_degrees or x.min() < 0 or y.min() < 0 or max(x.max(), y.max()) > side:
        if not servers.is_degrees:
            work.say("changed", f"places moved by {-x.min():.6g} m and {-y.min():.6g} m, so that the ward begins at 0.")
        ux, uy, sx, sy = (np.round(values, 2) for values in (ux - x.min(), uy - y.min(), sx - x.min(), sy - y.min()))
    places = Places(
        users=tuple(zip(ux.tolist(), uy.tolist(), strict=True)),
        servers=tuple(zip(sx.tolist(), sy.tolist(), strict=True)),
    )
    return Site(places, tuple(_devices(work, users, 0)), tuple(_devices(work, servers, 1)))


def _devices(work: Work, group: Group, side: int) -> list[Any]:
    kind = (UserDevice, ServerDevice)[side]
    fields: Mapping[str, Field] = fields_of(("users", "servers")[side])
    found, cleaned = [], 0
    for row in range(group.total):
        values: dict[str, Any] = {}
        if group.names is not None and (name := str(group.names[row])):
            clean = clean_name(name)
            cleaned += clean != name
            if clean:
                values["name"] = clean
        for name, column in group.devices.items():
            if name in fields and not math.isnan(column[row]):
                values[fields[name].parameters[side]] = float(f"{column[row]:.12g}")
        if values:
            found.append(kind(number=row + 1, **values))
    if cleaned:
        work.say(
            "changed",
            f"{counted(cleaned, 'name')} shortened to {LONGEST_NAME} characters, or without characters that a name cannot have.",
        )
    return found


def _in_order(unique: Sequence[Any]) -> list[str]:
    """Ids in the order that people expect: by their numbers where they have some, "p2" before "p10"."""

    def key(text: str) -> tuple[Any, ...]:
        return tuple(
            (0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part)
            for part in re.split("([0-9]{1,18})", text)
            if part
        )

    return sorted(map(str, unique), key=lambda text: (key(text), text))


def _doubles(work: Work, ids: Sequence[str]) -> None:
    """Say which ids differ in case, spaces or leading zeros only."""
    seen: dict[str, str] = {}
    for one in ids:
        plain = re.sub(r"(?<![0-9])0+(?=[0-9])", "", " ".join(one.casefold().split()))
        if plain in seen:
            work.say("changed", f"the ids {seen[plain][:30]!r} and {one[:30]!r} count as two users.")
            return
        seen[plain] = one
