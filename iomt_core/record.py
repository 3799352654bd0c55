"""Record of played episodes: snapshot, action, outcome and certificate of every step, and the same as a tidy table."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from iomt_core.model.batch import Batch
from iomt_core.model.outcome import Outcome
from iomt_core.model.snapshot import Action, Snapshot, device_name
from iomt_core.policies.dual import DualSolution, Prices
from iomt_core.policies.episode_dual import EpisodeDual
from iomt_core.scenario import Scenario

COLLAPSED = 0.98  # share of the tasks on one device from which a policy counts as collapsed


@dataclass(frozen=True)
class Record(Batch):
    """R steps of one or more episodes of a scenario; the first axis of every tensor is the step.

    It holds only steps that were played; an episode that an empty battery ended has fewer than T.
    """

    scenario: Scenario
    episode: Tensor  # (R,) from 1
    step: Tensor  # (R,) from 1
    snapshot: Snapshot
    action: Action
    outcome: Outcome
    dual: DualSolution | None  # certificates of the steps, if they were computed
    ended: Tensor  # (R,) bool: the battery of some user was too low for this step (C5)

    def __len__(self) -> int:
        return len(self.step)

    @property
    def totals(self) -> Tensor:
        """Total cost of each step, weighted by p = P / mean P, (R,)."""
        return (self.outcome.cost * self.snapshot.weight).sum((1, 2))

    @property
    def bound(self) -> Tensor:
        """Certified lower bound on `totals` of each step, (R,); NaN without certificates."""
        if self.dual is None:
            return torch.full_like(self.totals, torch.nan)
        return torch.where(self.outcome.skipped.flatten(1).any(1), self.dual.skip_bound, self.dual.bound)

    @property
    def returns(self) -> Tensor:
        """Reward of each step, weighted by p, (R,); 0 in a step that some user could not pay (C5)."""
        return (self.outcome.reward * self.snapshot.weight).sum((1, 2)) * ~self.ended

    @property
    def return_bound(self) -> Tensor | None:
        """Certified upper bound on the return of the episode that each step belongs to, (R,); None without certificates."""
        return self.dual.return_bound if isinstance(self.dual, EpisodeDual) else None

    @property
    def prices(self) -> Prices | None:
        """The shadow prices of every step; None without certificates."""
        return None if self.dual is None else self.dual.prices

    @property
    def collapse(self) -> str:
        """What a collapsed policy does with every task, such as "keeps everything local"; "" if it has not collapsed."""
        return self.collapse_from(COLLAPSED)

    def collapse_from(self, share: float) -> str:
        """`collapse`, where `share` of all tasks (0 to 1) are enough."""
        choices = self.action.choice[self.snapshot.active]
        if len(choices) < 2:
            return ""
        device = int(choices.mode().values)
        if float((choices == device).double().mean()) < share or (device > 0 and self.scenario.servers == 1):
            return "offloads everything" if float((choices > 0).double().mean()) >= share else ""
        name = device_name(self.scenario.device_numbers[device])
        return "keeps everything local" if device == 0 else f"sends everything to {name}"

    def columns(self) -> dict[str, Tensor]:
        """The columns of `table` but `kind`, as tensors (R, U, J); where there is no task, a value means nothing."""
        snap, out, act = self.snapshot, self.outcome, self.action
        j = snap.shape[2]
        shape = snap.D.shape
        local = act.choice == 0
        distance = snap.distance.gather(2, (act.choice - 1).clamp_min(0)).masked_fill(local, torch.nan)

        def per_task(x: Tensor) -> Tensor:
            return x[:, None, None].expand(shape)

        user = torch.tensor(self.scenario.user_numbers)[None, :, None].expand(shape)
        task = torch.arange(1, j + 1)[None, None, :].expand(shape)
        return {
            "episode": per_task(self.episode),
            "step": per_task(self.step),
            "user": user,
            "task": task,
            "priority": snap.P.to(torch.int64),
            "data_bits": snap.D,
            "cycles": snap.C,
            "choice": torch.tensor(self.scenario.device_numbers)[act.choice],
            "cpu_hz": out.f,
            "bandwidth_hz": out.b.masked_fill(local, 0.0),
            "distance_m": distance,
            "power_w": snap.P_tr[:, :, None].expand(shape),
            "rate_bps": out.rate.masked_fill(local, torch.nan),
            "delay_tx_s": out.delay_tx.masked_fill(out.skipped, torch.nan),
            "delay_exe_s": out.delay_exe.masked_fill(out.skipped, torch.nan),
            "delay_s": out.delay.masked_fill(out.skipped, torch.nan),
            "energy_j": out.energy,
            "cost": out.cost,
            "deadline_missed": out.missed,
            "bound": per_task(self.bound),
            "deadline_s": snap.deadline,
            "skipped": out.skipped,
            "battery_j": snap.battery[:, :, None].expand(shape),
            "weight": snap.weight,
            "cpu_share_requested": act.cpu,
            "bandwidth_share_requested": act.bandwidth.masked_fill(local, torch.nan),
        }

    def table(self) -> pd.DataFrame:
        """A table with a row for each active task and the columns of `metrics.TASK`, in SI units.

        Users and devices have their numbers in the whole ward.
        """
        active = self.snapshot.active.flatten()
        flat = {name: x.reshape(-1)[active].numpy() for name, x in self.columns().items()}
        names = self.scenario.kind_names
        codes = self.snapshot.kind.flatten()[active].tolist()
        kinds = pd.Categorical([names[n] for n in codes], categories=list(names))
        return pd.DataFrame(flat).assign(kind=kinds)
