"""What the Inspect page needs of a large ward, computed by the process beside the dashboard."""

from __future__ import annotations

import pandas as pd
from torch import Tensor

from iomt_core.experiments.around import played
from iomt_core.model import progress
from iomt_core.policies.base import Shares
from iomt_core.record import Record
from iomt_core.scenario import Scenario
from iomt_core.twin import northbound_inspect as north
from iomt_core.twin.moves import ShareRule
from iomt_core.twin.northbound_inspect import Inspection, Seen
from iomt_core.twin.regret import regrets


def all_regrets(record: Record, rule: ShareRule, optimum: Tensor | None) -> pd.DataFrame:
    """The regret of every task in every step of a record, see `regret.regrets`; optimum: (R, U, J), None if it is not known."""
    parts, steps = [], len(record)
    for row in range(steps):
        with progress.part(row / steps, (row + 1) / steps):
            parts.append(regrets(record, row, rule, None if optimum is None else optimum[row]))
    return pd.concat(parts, ignore_index=True)


def step_inspection(s: Scenario, policy: str, shares: Shares, seed: int, step: int, user: int) -> Inspection | None:
    """A trained policy's networks in a step, with the values of one user's strategies only, which take the most memory."""
    record = played(s, policy, shares, seed)
    assert isinstance(record, Record)
    found = north.inspect_step(s, policy, seed, shares, step, seen=Seen(record, None))
    return None if found is None else found.of_user(user)
