"""The interface of every policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Literal

from torch import Tensor

from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.demand import UnitCosts
from iomt_core.policies.dual import DualSolution
from iomt_core.policies.shares import equal_shares, optimal_shares
from iomt_core.scenario import Scenario, check_known

Shares = Literal["own", "equal", "optimal"]
SHARES: tuple[Shares, ...] = ("own", "equal", "optimal")
Memory = tuple[
    Tensor, ...
]  # what recurrent networks carry from step to step; the second axis of each tensor is the batch
Sharing = Literal["requests", "equal", "optimal"]
UsesPast = Literal["nothing", "low batteries", "batteries", "memory"]


class Policy(ABC):
    """Decides for every task of a batch of worlds on which device it runs and which shares of that device it requests.

    A policy belongs to one scenario. Its decision in one world never depends on the other worlds of the batch. Class
    attributes:

    name, label, summary: the name in commands and files, the name people see, and a sentence that explains the policy.
    decentralised: whether a user decides from its own observation and from data that is broadcast to all users.
    uses_past: what a decision depends on apart from the current step. "nothing": all steps of an episode can be decided in
        one batch. "batteries": also on the charge that earlier steps left. "low batteries": the same, but only in steps that
        `depends_on_charge` names. "memory": on more, carried by `step`.
    sharing: how the shares of a device are made: as requested, equal, or optimal for the choices.
    joins_rollouts: whether worlds of different rollouts may be one batch, see `rollout.step_together`. Then the memory is None or
        a tuple of tensors whose second axis is the batch.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    summary: ClassVar[str]
    decentralised: ClassVar[bool] = True
    uses_past: ClassVar[UsesPast] = "nothing"
    sharing: ClassVar[Sharing] = "equal"
    joins_rollouts: ClassVar[bool] = True

    def __init__(self, s: Scenario) -> None:
        self.scenario = s

    @abstractmethod
    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """Decides one step in every world of the batch. A policy with memory decides as in the first step of an episode.

        dual: the certificate of these steps, if the caller has it already; policies that need it then need not solve for it.
        """

    def step(self, snapshot: Snapshot, memory: Any, dual: DualSolution | None = None) -> tuple[Action, Any]:
        """Decides the next step of an episode. Returns the action and the memory to pass in at the step after it.

        memory: what the previous step returned, None at the first; only the policy knows what it is, and it never changes.
        dual: see `decide`.
        """
        return self.decide(snapshot, dual), None


class BatteryAware(Policy):
    """A policy that saves energy where a battery may run short, and decides as with full batteries elsewhere."""

    uses_past: ClassVar[UsesPast] = "low batteries"

    @abstractmethod
    def depends_on_charge(self, snapshot: Snapshot, spent: Tensor) -> Tensor:
        """In which worlds the decision may differ from that with full batteries, (B,) bool.

        spent: (B, U) J that the decision with full batteries takes.
        """


class Planner(Policy):
    """A policy that knows all tasks of an episode in advance and decides the whole episode at its beginning."""

    decentralised = False

    @abstractmethod
    def plan(self, snapshot: Snapshot, steps: int, dual: DualSolution | None = None) -> Action:
        """Decides all remaining steps of some episodes.

        snapshot: rows sorted by step, then episode; the batteries of the first step hold. steps: number of steps. dual: the
        certificates of these steps, if the caller has them.
        """


def checked_shares(shares: Shares) -> Shares:
    """Returns the share rule, see `with_shares`. Raises `ScenarioError` for an unknown one."""
    check_known("shares", shares, SHARES)
    return shares


def with_shares(action: Action, snapshot: Snapshot, s: Scenario, shares: Shares | Sharing) -> Action:
    """The action's choices with other shares.

    shares: "equal" divides each device evenly, "optimal" as costs least; "own" and "requests" keep the action as it is. A task
    that the action skips stays skipped.
    """
    if shares not in ("equal", "optimal"):
        return action
    skipped = (action.choice == 0) & (action.cpu == 0) & snapshot.active
    if bool(skipped.any()):
        snapshot = replace(snapshot, active=snapshot.active & ~skipped, all_active=False)
    costs = UnitCosts.of(snapshot, s).only(snapshot.active)
    shared = (
        equal_shares(snapshot, action.choice)
        if shares == "equal"
        else optimal_shares(snapshot, action.choice, s, costs)
    )
    return replace(shared, cpu=shared.cpu.masked_fill(skipped, 0.0))
