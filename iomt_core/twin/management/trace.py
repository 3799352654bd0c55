"""The coordination of a step as the paper describes it: observations ô in, weighted by the mixer, decisions out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from iomt_core.environment.observation import MIXER_NAMES, limited_state, mixer_observation
from iomt_core.model.snapshot import device_name
from iomt_core.policies.base import Policy
from iomt_core.record import Record
from iomt_core.scenario import ScenarioError
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.twin.inspection import inspect_step, memories
from iomt_core.twin.management.borders import Message, crossings, messages, single_step
from iomt_core.twin.mixing import Mixing


@dataclass(frozen=True)
class Trace:
    """What management received, how the mixer weighted it, and what was decided, in one step.

    record: of this step only. observations: ô, (U, 6); state: ŝ, (2K + 5,). mixing: None for a policy without a mixer. agrees:
    whether the networks decide what the record has; always true for policies without networks.
    """

    policy: str
    record: Record
    observations: Tensor
    state: Tensor
    mixing: Mixing | None
    agrees: bool
    messages: tuple[Message, ...]

    @property
    def step(self) -> int:
        """Number of the step, from 1."""
        return int(self.record.step)

    @property
    def total(self) -> float:
        """Weighted cost of the step."""
        return float(self.record.totals)

    @property
    def joint_value(self) -> float | None:
        """Q_tot (24), in the networks' units of cost; None without a mixer."""
        return None if self.mixing is None else self.mixing.q_tot

    def agents(self) -> pd.DataFrame:
        """One row for each agent: `user`, ô, how the mixer weights it, and its decision.

        `value` is Q_i (18); `attention` the mean weight that all agents give to it, `weighted` its Q̂_i (23), `slope` ∂Q_tot/∂Q_i
        (25); NaN where the mixer has none. `local` and `offloaded` count its tasks, `devices` lists them in order.
        """
        u = len(self.observations)
        columns: dict[str, Any] = {"user": self.record.scenario.user_numbers}
        columns |= {f"ô {name}": self.observations[:, n].tolist() for n, name in enumerate(MIXER_NAMES)}
        mixing, none = self.mixing, torch.full((u,), torch.nan)
        attention = none if mixing is None or mixing.attention is None else mixing.attention.mean(0)
        columns |= {
            "value": (none if mixing is None else mixing.agent_values).tolist(),
            "attention": attention.tolist(),
            "weighted": (none if mixing is None else mixing.weighted).tolist(),
            "slope": (none if mixing is None else mixing.slopes).tolist(),
        }
        tasks = self.decisions().groupby("user")
        frame = pd.DataFrame(columns).set_index("user")
        frame["local"] = tasks["device"].agg(lambda x: int((x == device_name(0)).sum()))
        frame["offloaded"] = tasks["device"].agg(lambda x: int(x.str.startswith("server").sum()))
        frame["devices"] = tasks["choice"].agg(lambda x: " ".join(map(str, x)))
        frame = frame.fillna({"local": 0, "offloaded": 0, "devices": ""})
        return frame.astype({"local": int, "offloaded": int}).reset_index()

    def decisions(self) -> pd.DataFrame:
        """One row for each task: `user`, `task`, `choice` ("–" for a skipped task), `device` by name."""
        table = self.record.table()
        skipped = table["skipped"]
        choice = table["choice"].astype(str).mask(skipped, "–")
        device = table["choice"].map(device_name).mask(skipped, "skipped")
        return pd.DataFrame({"user": table["user"], "task": table["task"], "choice": choice, "device": device})

    def crossings(self) -> pd.DataFrame:
        """Bytes that crossed each border, see `borders.crossings`."""
        return crossings(self.messages)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; what is not known is None."""
        mixing = self.mixing
        return {
            "step": self.step,
            "episode": int(self.record.episode),
            "policy": self.policy,
            "mixer": None if mixing is None else mixing.kind,
            "joint_value": self.joint_value,
            "total_cost": self.total,
            "networks_agree": self.agrees,
            "observations": {"names": list(MIXER_NAMES), "values": self.observations.tolist()},
            "state": self.state.tolist(),
            "attention": None if mixing is None or mixing.attention is None else mixing.attention.tolist(),
            "agents": [
                {name: None if value != value else value for name, value in row.items()}
                for row in self.agents().to_dict("records")
            ],
            "borders": self.crossings().to_dict("records"),
        }


@torch.no_grad()
def trace(policy: Policy, record: Record, step: int) -> Trace:
    """The coordination of a played step.

    policy: that decided. record: of one episode from its first step on, since networks may have a memory. step: from 1. Raises
    `ScenarioError` for a step that was not played.
    """
    found = (record.step == step).nonzero().flatten()
    if not len(found):
        raise ScenarioError(f"step = {step} was not played: allowed is 1 to {int(record.step.max())}.")
    row, s = int(found[0]), record.scenario
    one = single_step(record, row)
    mixing, agrees = None, True
    if isinstance(policy, TrainedPolicy):
        inspection = inspect_step(policy, record, row, memories(policy, record)[row])
        mixing, agrees = inspection.mixing, inspection.agrees
    values = None if mixing is None else mixing.agent_values
    observations, state = mixer_observation(one.snapshot, s)[0], limited_state(one.snapshot, s)[0]
    return Trace(policy.name, one, observations, state, mixing, agrees, messages(one, values))
