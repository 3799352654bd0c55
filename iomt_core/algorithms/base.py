"""An algorithm: which agents, and which mixer over them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from iomt_core.algorithms.agents import PRINTED, Agents, DecisionRules
from iomt_core.nets.inputs import Sizes
from iomt_core.nets.mixers import Mixer


class Algorithm(ABC):
    """One of the paper's algorithms. Losses, replay buffer and training loop are the same for all of them."""

    name: ClassVar[str]
    label: ClassVar[str]
    summary: ClassVar[str]
    tuned: ClassVar[Mapping[str, Any]] = MappingProxyType({})  # settings that differ from the defaults

    @abstractmethod
    def agents(self, sizes: Sizes, recurrent: bool, rounds: int, rules: DecisionRules = PRINTED) -> Agents:
        """New, untrained networks of all agents.

        recurrent: whether they have a memory; rounds: how many times each task of an agent decides, one task after another;
        0: all tasks at once; rules: how they get from values to strategies.
        """

    @abstractmethod
    def mixer(self, sizes: Sizes) -> Mixer:
        """A new, untrained mixer."""
