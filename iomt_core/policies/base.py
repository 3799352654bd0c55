"""The interface of every policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor

from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.dual import DualSolution
from iomt_core.policies.shares import equal_shares, optimal_shares
from iomt_core.scenario import Scenario

Shares = Literal["own", "equal", "optimal"]
SHARES: tuple[Shares, ...] = ("own", "equal", "optimal")
Memory = tuple[Tensor, ...]  # second axis of each: worlds
Sharing = Literal["requests", "equal", "optimal"]
UsesPast = Literal["nothing", "batteries", "memory"]


class Policy(ABC):
    """Decides for every task of a batch of worlds: on which device it runs, and which shares of it the task requests.

    A policy belongs to one scenario. Its decision in a world never depends on the other worlds of the batch. Class
    attributes say what whoever plays it must know:

    `decentralised`: a user's decision uses only its own observation and what is broadcast to all.
    `uses_past`: what a decision depends on besides the step itself. "nothing": all steps of an episode can be decided in
    one batch; "batteries": what earlier steps left in them; "memory": more, carried from step to step by `step`.
    `sharing`: the rule by which shares are made.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    summary: ClassVar[str]
    decentralised: ClassVar[bool] = True
    uses_past: ClassVar[UsesPast] = "nothing"
    sharing: ClassVar[Sharing] = "equal"

    def __init__(self, s: Scenario) -> None:
        self.scenario = s

    @abstractmethod
    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """Choices and requested shares, (B, U, J) each; a policy with memory decides as in a first step.

        `dual` is the certificate of these steps where the caller has it, so that no policy needs to solve for it again.
        """

    def step(
        self, snapshot: Snapshot, memory: Memory | None, dual: DualSolution | None = None
    ) -> tuple[Action, Memory | None]:
        """Decides the next step of an episode. Returns the action and the memory for the step after it.

        `memory` is what the last step returned, None before the first; `dual` as in `decide`.
        """
        return self.decide(snapshot, dual), None


def with_shares(action: Action, snapshot: Snapshot, s: Scenario, shares: Shares | Sharing) -> Action:
    """The same choices with even shares ("equal"), the best ones ("optimal"), or those of the action ("own", "requests")."""
    if shares == "equal":
        return equal_shares(snapshot, action.choice)
    if shares == "optimal":
        return optimal_shares(snapshot, action.choice, s)
    return action
