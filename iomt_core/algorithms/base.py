"""What an algorithm is: which agents, and which mixer over them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from iomt_core.algorithms.agents import Agents
from iomt_core.nets.inputs import Sizes
from iomt_core.nets.mixers import Mixer

Level = Literal["agent", "system"]


class Algorithm(ABC):
    """One of the paper's algorithms. The losses, the replay and the loop are the same for all of them."""

    name: ClassVar[str]
    label: ClassVar[str]
    summary: ClassVar[str]
    level: ClassVar[Level]  # at which the paper compares it: section VI-B or VI-C

    tuned: ClassVar[Mapping[str, Any]] = MappingProxyType({})  # settings that suit it better than the defaults

    @abstractmethod
    def agents(self, sizes: Sizes, recurrent: bool, rounds: int) -> Agents:
        """Fresh networks of all agents; `rounds` is how often an agent's tasks decide in turn, 0 is all at once."""

    @abstractmethod
    def mixer(self, sizes: Sizes) -> Mixer:
        """A fresh mixer."""
