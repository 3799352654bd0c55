"""A minibatch of whole episodes, in the form that the learner takes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from iomt_core.nets.inputs import Inputs, Sizes


@dataclass(frozen=True)
class Episodes:
    """T steps of B episodes, N = T·B rows with time first. Observations have one more step, the one after the last."""

    sizes: Sizes
    batch: int  # B
    inputs: Inputs  # (U, N + B, …)
    corrected: Tensor  # (N + B, U, 6) ô
    state: Tensor  # (N + B, ·) ŝ
    choice: Tensor  # (U, N, J) int64, strategies taken
    requested: Tensor  # (U, N, J, outputs) the Actor's outputs with their exploration noise
    reward: Tensor  # (U, N, J) of each task
    team_reward: Tensor  # (N,) r_t, the priority-weighted sum
    mask: Tensor  # (N,) 1 where the episode had not ended
    going_on: Tensor  # (N,) 0 where the step ended the episode: there is no next value to bootstrap from
    imposed: Tensor | None = None  # (U, N) what the agent's tasks cost the other users
    strategy_noise: Tensor | None = None  # (U, N, J) standard normal, for `action_smoothing`
    counterfactual: Tensor | None = None  # (U, J, K + 1, N, J) reward of task j' had task j taken strategy s

    @property
    def steps(self) -> int:
        """N = T·B."""
        return len(self.mask)

    @property
    def now(self) -> Inputs:
        """The observations before each step."""
        return self.inputs.rows(slice(0, self.steps))

    @property
    def later(self) -> Inputs:
        """The observations after each step."""
        return self.inputs.rows(slice(self.batch, None))

    def mean(self, x: Tensor) -> Tensor:
        """Mean over the steps that were played; `x` (…, N)."""
        return (x * self.mask).sum(-1) / self.mask.sum().clamp_min(1.0)
