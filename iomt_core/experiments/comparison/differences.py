"""The parameters in which two wards differ, and the random draws that their episodes have in common.

Random numbers are a function of (episode seed, stream, step, index). Two wards with the same episode seeds therefore share
every draw of the same stream and index: the same task with the same sizes, or the same draw scaled to another range.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from iomt_core.scenario import Meta, Scenario, ServerDevice, UserDevice, metadata

# Parameters that set the sizes and priorities of tasks.
SIZES = ("D", "C", "P", "kinds")
# With these the cost itself is measured differently; what they do to it is no effect of the ward.
YARDSTICK = frozenset({"T_max", "E_ref", "alpha_T", "alpha_E"})
NESTED = {"kinds": "Task kinds", "workload": "Own workload", "places": "Own places"}


@dataclass(frozen=True)
class Difference:
    """A parameter that differs between two scenarios; values are texts with units."""

    name: str
    label: str
    symbol: str
    a: str
    b: str
    assumption: bool


def differences(a: Scenario, b: Scenario) -> list[Difference]:
    """The parameters in which the two scenarios differ, in the order of `Scenario`; the name does not count."""
    return [
        Difference(
            name,
            meta.label or NESTED.get(name, name),
            meta.symbol,
            shown(getattr(a, name), meta),
            shown(getattr(b, name), meta),
            meta.source == "assumption",
        )
        for name, meta in metadata().items()
        if name != "name" and getattr(a, name) != getattr(b, name)
    ]


def shown(value: Any, meta: Meta) -> str:
    """A parameter's value as people read it, with its unit; a nested value in a few words."""
    if value is None or value == ():
        return "none" if meta.group == "file" else "automatic"
    if isinstance(value, str):
        return value
    if hasattr(value, "users"):
        return f"own places of {len(value.users)} users and {len(value.servers)} servers"
    if isinstance(value, tuple) and hasattr(value[0], "step"):
        return f"own workload of {len(value)} tasks"
    if isinstance(value, tuple) and hasattr(value[0], "share"):
        total = sum(kind.share for kind in value)
        return ", ".join(f"{kind.name} {kind.share / total:.0%}" for kind in value)
    if isinstance(value, tuple) and hasattr(value[0], "number"):
        return "; ".join(_device_words(device) for device in value)
    if isinstance(value, tuple) and meta.group == "file":
        return f"no. {', '.join(map(str, value))}"
    return " to ".join(meta.show(x) for x in value) if isinstance(value, tuple) else meta.show(value)


def _device_words(device: UserDevice | ServerDevice) -> str:
    """What differs about a device: "4 (cloud): F_k 100 GHz, latency 50 ms"."""
    values = device.model_dump(exclude={"number", "name"})
    parts = ", ".join(f"{name} {metadata()[name].show(value)}" for name, value in values.items())
    return f"{device.number}{f' ({device.name})' if device.name else ''}" + (f": {parts}" if parts else "")


@dataclass(frozen=True)
class Pairing:
    """What episodes of the same seeds have in common in two wards.

    comparable: task j of user i in step t is the same draw in both, so that decisions can be compared one by one.
    identical: it also has the same size and priority.
    notes: both as sentences, and what the wards do not share.
    ungraded: why no change is better or worse; empty if changes are.
    """

    comparable: bool
    identical: bool
    notes: tuple[str, ...]
    ungraded: str = ""


def pairing(a: Scenario, b: Scenario) -> Pairing:
    """What the two wards' episodes of the same seeds have in common."""
    if a.workload is not None or b.workload is not None:
        comparable = identical = a.workload == b.workload
        first = "Tasks are those of the same workload." if comparable else "A and B have workloads of their own."
    elif a.tasks != b.tasks:
        comparable = identical = False
        first = f"A user has {a.tasks} tasks in A and {b.tasks} in B, and with the number all tasks are drawn anew."
    elif (a.burst > 0) != (b.burst > 0):
        comparable = identical = False
        first = "Sizes of bursty tasks come from draws of their own, and only one of the two wards has bursts."
    else:
        comparable = True
        identical = a.burst == b.burst and all(getattr(a, name) == getattr(b, name) for name in SIZES)
        first = "Every task is the same in A and B: same data, same cycles, same priority."
        if not identical:
            first = "Tasks come from the same draws, with other sizes or priorities: task j of user i is the same draw in both."
    if not comparable:
        first += (
            " Only the episode seeds are paired: the intervals stay valid, but tasks have no counterpart, and decisions cannot "
            "be compared one to one."
        )
    ungraded = not_comparable(a, b)
    if ungraded:
        ungraded += ": they are not comparable. The changes say how the wards differ; none is better or worse."
    return Pairing(comparable, identical, (first, *_notes(a, b, comparable)), ungraded)


def not_comparable(a: Scenario, b: Scenario, name_a: str = "A", name_b: str = "B") -> str:
    """Why no difference between the two wards is better or worse, in a sentence without its full stop; empty if it can be."""
    if (a.users, a.tasks) != (b.users, b.tasks):
        return f"{name_a} has {a.users} × {a.tasks} tasks in a step, {name_b} {b.users} × {b.tasks}"
    names = [d.label for d in differences(a, b) if d.name in YARDSTICK]
    return f"{name_a} and {name_b} measure costs differently ({', '.join(names)})" if names else ""


def _notes(a: Scenario, b: Scenario, comparable: bool) -> list[str]:
    notes: list[str] = []
    users, servers = _same_places(a, b, "users"), _same_places(a, b, "servers")
    if comparable:
        what = "has no counterpart; its tasks count on one side only"
        notes += _only("User", a.user_numbers, b.user_numbers, what)
    notes += _only("Step", range(1, a.T + 1), range(1, b.T + 1), "has no counterpart; it counts on one side only")
    if servers and (a.servers_off or b.servers_off):
        notes += _only("Server", a.server_numbers, b.server_numbers, "takes no tasks on the other side")
    if (a.P_tr, *(d.P_tr for d in a.user_devices)) != (b.P_tr, *(d.P_tr for d in b.user_devices)):
        notes.append("Transmission powers are the same draws in another range.")
    if not users or not servers:
        who = "Users" if servers else "Servers" if users else "Users and servers"
        notes.append(f"{who} of the same number stand in different places in A and B.")
    return notes


def _only(one: str, a: Sequence[int], b: Sequence[int], what: str) -> Iterator[str]:
    """Yield a note for each side that has numbers which the other side lacks; `what` says in the singular what follows."""
    for side, numbers, others in (("A", a, b), ("B", b, a)):
        found = [n for n in numbers if n not in others]
        if len(found) == 1:
            yield f"{one} {found[0]} exists in {side} only and {what}."
        elif found:
            adjacent = len(found) == found[-1] - found[0] + 1
            which = f"{found[0]} to {found[-1]}" if adjacent else ", ".join(map(str, found))
            plural = what.replace("has", "have").replace("its", "their").replace("it counts", "they count")
            yield f"{one}s {which} exist in {side} only and {plural.replace('takes', 'take')}."


def _same_places(a: Scenario, b: Scenario, who: str) -> bool:
    if a.places is not None and b.places is not None:
        return bool(getattr(a.places, who) == getattr(b.places, who))
    # Servers are on a grid that depends on their number; a user's position does not depend on the number of users.
    number = (a.ward_servers == b.ward_servers) or who == "users"
    return number and (a.places, a.seed, a.area) == (b.places, b.seed, b.area)
