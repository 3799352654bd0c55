"""The table of permissions: every pair of identity and object, and what a refusal tells whom."""

from __future__ import annotations

from itertools import product

import pytest

from iomt_core.twin.access import (
    AGGREGATES,
    AUDIT,
    MODELS,
    OBSERVATIONS,
    STATE,
    TWINS,
    AuditLog,
    Identity,
    RefusedError,
    Resource,
    warehouse_of,
)
from iomt_core.twin.access.table import TABLE, Permission, is_permitted
from tests.twin.access.wards import gate, token

IDENTITIES = ("agent:1", "agent:2", "agent:99", "management", "operator", "operator:anna")
ACTIONS = ("read", "append", "query", "delete", "export", "verify", "grant", "list", "open", "step", "fork", "explain",
           "watch", "close")  # fmt: skip
RESOURCES = (
    warehouse_of(1), warehouse_of(2), warehouse_of(77), Resource("warehouse"), OBSERVATIONS, STATE, AGGREGATES,
    Resource("aggregates", 1), Resource("keys"), AUDIT, Resource("observations", 1), TWINS, MODELS,
    Resource("twins", 1), Resource("no-such-thing"),
)  # fmt: skip
# Everything that is allowed, written out; all else is forbidden.
ALLOWED = {
    ("agent:1", "read", "warehouse/1"), ("agent:1", "append", "warehouse/1"),
    ("agent:2", "read", "warehouse/2"), ("agent:2", "append", "warehouse/2"),
    ("management", "read", "observations"), ("management", "read", "state"),
    ("operator", "query", "aggregates"), ("operator:anna", "query", "aggregates"),
    *product(("operator", "operator:anna"), ("open", "list", "step", "fork", "explain", "watch", "close"), ("twins",)),
    *product(("operator", "operator:anna"), ("list",), ("models",)),
    *product(("operator", "operator:anna"), ("verify",), ("audit",)),
}  # fmt: skip


def test_every_pair_of_identity_and_object(log: AuditLog) -> None:
    opened = gate(log)
    tokens = {identity: token(identity) for identity in IDENTITIES}
    decided = 0
    for identity, action, resource in product(IDENTITIES, ACTIONS, RESOURCES):
        case = (identity, action, str(resource))
        if case in ALLOWED:
            grant = opened.authorise(tokens[identity], action, resource)
            opened.require(grant, action, resource)
            assert (str(grant.identity), grant.action, grant.resource) == (identity, action, resource)
        else:
            with pytest.raises(RefusedError):
                opened.authorise(tokens[identity], action, resource)
        decided += 1
    records = log.latest(10_000)
    assert len(records) == decided  # granted or refused, each has one record
    granted = records[records["outcome"] == "granted"]
    assert set(granted[["subject", "action", "object"]].itertuples(index=False, name=None)) == ALLOWED
    assert set(records["outcome"]) == {"granted", "refused: not permitted"}


@pytest.mark.parametrize("identity", ["agent:2", "management", "operator"])
def test_to_strangers_absent_and_forbidden_look_alike(identity: str, log: AuditLog) -> None:
    opened = gate(log)
    messages = []
    for user in (1, 77):  # user 77 does not exist
        with pytest.raises(RefusedError) as error:
            opened.authorise(token(identity), "read", warehouse_of(user))
        messages.append(str(error.value).replace(f"warehouse/{user}", "…"))
    assert messages[0] == messages[1]
    assert len(set(log.latest(2)["outcome"])) == 1


def test_the_owner_gets_the_reason(log: AuditLog) -> None:
    opened = gate(log)
    with pytest.raises(RefusedError, match="agent:1 may not delete warehouse/1: allowed is append or read"):
        opened.authorise(token("agent:1"), "delete", warehouse_of(1))
    grant = opened.authorise(token("agent:1"), "read", warehouse_of(1))
    error = opened.absent(grant, "the key of user 1 was destroyed.")
    assert "the key of user 1 was destroyed" in str(error)
    assert log.latest(1).iloc[0]["outcome"] == "absent"


def test_a_grant_is_for_one_action_on_one_object(log: AuditLog) -> None:
    opened = gate(log)
    grant = opened.authorise(token("agent:1"), "read", warehouse_of(1))
    for action, resource in (("append", warehouse_of(1)), ("read", warehouse_of(2)), ("read", STATE)):
        with pytest.raises(RefusedError):
            opened.require(grant, action, resource)
        record = log.latest(1).iloc[0]
        assert (record["subject"], record["action"], record["object"]) == ("agent:1", action, str(resource))


def test_what_belongs_to_a_user_is_never_the_wards() -> None:
    """Even with a row that forgets `own`."""
    careless = {*TABLE, Permission("management", "read", "warehouse"), Permission("agent", "read", "warehouse")}
    for kind, user in product(("agent:2", "management", "operator"), (1, 3)):
        assert not is_permitted(Identity.parse(kind), "read", warehouse_of(user), careless)


def test_a_record_cannot_be_forged_by_a_name(log: AuditLog) -> None:
    with pytest.raises(RefusedError):
        gate(log).authorise(token("operator"), "read\nagent:1", STATE)
    assert log.latest(1).iloc[0]["action"] == "unknown"
    for kind in ("warehouse/1", "State", "", "a\x1fb", "a b"):
        with pytest.raises(ValueError, match="small letters"):
            Resource(kind)
