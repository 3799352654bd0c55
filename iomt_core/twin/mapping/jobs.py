"""What a process that is shut in can do with the log of one user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from iomt_core.twin.mapping import agent_training, generation
from iomt_core.twin.mapping.sealed_log import SealedLog

Report = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Job:
    """warm_up: imports what `run` needs; run: from log, arguments, report and stop to a result as JSON, and tensors."""

    warm_up: Callable[[], None]
    run: Callable[[SealedLog, Mapping[str, Any], Report, Callable[[], bool]], tuple[dict[str, Any], bytes]]


JOBS: Mapping[str, Job] = MappingProxyType(
    {
        "train": Job(agent_training.warm_up, agent_training.train),
        "generate": Job(generation.warm_up, generation.run_job),
    }
)
