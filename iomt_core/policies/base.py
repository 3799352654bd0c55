"""The one face of every policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor

from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.shares import equal_shares, optimal_shares
from iomt_core.scenario import Scenario

Shares = Literal["own", "equal", "optimal"]
SHARES: tuple[Shares, ...] = ("own", "equal", "optimal")
Memory = tuple[Tensor, ...]  # along the second axis of each, worlds
Sharing = Literal["requests", "equal", "optimal"]
Past = Literal["nothing", "batteries", "remembered"]


class Policy(ABC):
    """Decides for every task of every world of a batch: where it runs, and what it asks for there.

    A policy is made for one scenario and decides world by world: its decision for a world never depends on the
    others of the batch. `decentralised` says whether a user's decision uses its own observation and broadcasts only;
    `past` what of earlier steps a decision depends on: nothing, so that an episode's steps can be decided in one batch, the
    batteries that they left, or more, which the policy remembers; `sharing` by which rule its shares come about.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    summary: ClassVar[str]
    decentralised: ClassVar[bool] = True
    past: ClassVar[Past] = "nothing"
    sharing: ClassVar[Sharing] = "equal"

    def __init__(self, s: Scenario) -> None:
        self.scenario = s

    @abstractmethod
    def decide(self, snapshot: Snapshot) -> Action:
        """Choices and requested shares, (B, U, J) each; of a policy that remembers, those of a first step."""

    def step(self, snapshot: Snapshot, memory: Memory | None) -> tuple[Action, Memory | None]:
        """The same for the next step of an episode, and what is remembered of it; `memory` is None before the first."""
        return self.decide(snapshot), None


def with_shares(action: Action, snapshot: Snapshot, s: Scenario, shares: Shares) -> Action:
    """The same choices with the policy's own shares, even ones, or the best there are."""
    if shares == "equal":
        return equal_shares(snapshot, action.choice)
    if shares == "optimal":
        return optimal_shares(snapshot, action.choice, s)
    return action
