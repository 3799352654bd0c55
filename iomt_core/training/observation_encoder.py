"""Network inputs from a ward's state: eq. (14) as it is. Those of general networks are in `general_encoder.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from iomt_core.environment.observation import limited_state, observe
from iomt_core.model.outcome import SMALLEST_GRANT
from iomt_core.model.snapshot import Snapshot, deadlines
from iomt_core.nets.inputs import Inputs, Sizes
from iomt_core.scenario import Scenario


class ObservationEncoder:
    """Observations (14) of one scenario as inputs of its own networks."""

    unit = 1.0  # factor on costs before networks learn them

    def __init__(self, s: Scenario, exact_own_cpu: bool = False) -> None:
        """exact_own_cpu: whether agents divide their own CPUs themselves, so that they need the costs of their tasks there."""
        self.scenario, self.sizes, self.exact_own_cpu = s, Sizes.of(s), exact_own_cpu

    def know(self, snapshot: Snapshot, prices: Tensor | None = None) -> Any:
        """What agents know of prices in these steps, for `inputs`; None here. See `GeneralObservationEncoder.know`."""
        return None

    def inputs(self, snapshot: Snapshot, known: Any = None) -> Inputs:
        """The observations of all agents in B worlds, N = B rows, float32."""
        inputs = Inputs.of(observe(snapshot, self.scenario).float(), snapshot.weight.float(), self.sizes)
        return replace(inputs, local_cost=self.local_cost(snapshot)) if self.exact_own_cpu else inputs

    def local_cost(self, snapshot: Snapshot) -> Tensor:
        """What delay and energy of each task cost with all of its user's CPU, (1) and (2), in units of `unit`; (U, B, J, 2)."""
        s, F = self.scenario, snapshot.F_i[..., None].clamp_min(SMALLEST_GRANT)
        delay = snapshot.C / F * (s.alpha_T / deadlines(snapshot, s))
        energy = snapshot.C * F.square() * (s.k0 * s.alpha_E / s.E_ref)
        return (torch.stack([delay, energy], -1) * self.unit).float().transpose(0, 1)

    def state(self, snapshot: Snapshot) -> Tensor:
        """The limited global state ŝ for the mixer, (B, ·)."""
        return limited_state(snapshot, self.scenario)
