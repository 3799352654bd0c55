"""Who may do what: the table of permissions. What is not in it is forbidden."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from iomt_core.twin.access.errors import RefusedError
from iomt_core.twin.access.identity import Identity, Kind

WORD = re.compile(r"[a-z][a-z-]{0,39}")


@dataclass(frozen=True)
class Resource:
    """The object of an action: something of the whole ward, or of one user. As text: `state`, `warehouse/3`."""

    kind: str
    user: int | None = None

    def __post_init__(self) -> None:
        if not WORD.fullmatch(self.kind):
            raise ValueError("the kind of a resource is a word of small letters")

    def __str__(self) -> str:
        return self.kind if self.user is None else f"{self.kind}/{self.user}"


def warehouse_of(user: int) -> Resource:
    """DW_i, the data of one user: configuration, status, tasks, actions, outcomes."""
    return Resource("warehouse", user)


OBSERVATIONS = Resource("observations")  # ô: what agents send to the mixer; no D, C or P of a single task
STATE = Resource("state")  # ŝ: the limited global state; nothing of a single user
AGGREGATES = Resource("aggregates")  # means over all users, with differential privacy
TWINS = Resource("twins")  # simulated episodes of an operator, over HTTP; they contain nothing that was recorded
MODELS = Resource("models")  # policies by name
TRACES = Resource(
    "traces"
)  # how a step was coordinated: ô in, weights, decisions out, bytes; no D, C or P of a single task
AUDIT = Resource("audit")  # the proof that the audit log was not changed; it has no data of users


@dataclass(frozen=True)
class Permission:
    """A row of the table. own: for resources of the agent's own user; otherwise for those of the whole ward."""

    identity: Kind
    action: str
    resource: str
    own: bool = False


TABLE = frozenset(
    {
        Permission("agent", "read", "warehouse", own=True),
        Permission("agent", "append", "warehouse", own=True),  # a user's device records what it did
        Permission("management", "read", "observations"),
        Permission("management", "read", "state"),
        Permission("management", "read", "traces"),
        Permission("operator", "query", "aggregates"),
        Permission("operator", "open", "twins"),
        Permission("operator", "list", "twins"),
        Permission("operator", "step", "twins"),
        Permission("operator", "fork", "twins"),
        Permission("operator", "explain", "twins"),
        Permission("operator", "watch", "twins"),
        Permission("operator", "close", "twins"),
        Permission("operator", "list", "models"),
        Permission("operator", "verify", "audit"),
    }
)
# What whoever serves may permit in addition (`iomt serve --promotions`).
PROMOTIONS = frozenset({Permission("operator", "promote", "models"), Permission("operator", "rollback", "models")})


def is_owner(identity: Identity, resource: Resource) -> bool:
    """Whether the resource belongs to the agent's own user."""
    return identity.user is not None and identity.user == resource.user


def is_permitted(identity: Identity, action: str, resource: Resource, table: Collection[Permission] = TABLE) -> bool:
    """Whether the table permits the action. What belongs to one user is at most for this user's agent."""
    if resource.user is not None:
        return is_owner(identity, resource) and Permission(identity.kind, action, resource.kind, own=True) in table
    return Permission(identity.kind, action, resource.kind) in table


def refusal(identity: Identity, action: str, resource: Resource, table: Collection[Permission] = TABLE) -> RefusedError:
    """The error for an action that is not permitted.

    The owner of the resource gets the reason. To others it looks the same whether the resource exists or not.
    """
    if is_owner(identity, resource):
        allowed = sorted(p.action for p in table if p.identity == identity.kind and p.resource == resource.kind)
        return RefusedError(f"{identity} may not {action} {resource}: allowed is {' or '.join(allowed) or 'nothing'}.")
    return RefusedError(f"{resource} does not exist, or {identity} may not {action} it.")
