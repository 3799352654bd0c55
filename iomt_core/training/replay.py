"""The replay buffer: whole episodes as they happened, and what the environment's twin says of them on replay.

Kept are states and actions; observations, rewards and what-ifs are computed anew from them when a minibatch is drawn,
by the same functions that the environment uses.
"""

from __future__ import annotations

import torch
from torch import Tensor

from iomt_core.algorithms.episodes import Episodes
from iomt_core.environment.observation import limited_state, mixer_observation, observe
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.model.utility import COST_MAX
from iomt_core.model.what_if import what_if
from iomt_core.nets.inputs import Inputs, Sizes
from iomt_core.scenario import Scenario

MOST_COST = 2.0  # of a task in what-ifs: beyond, it is just bad
STATE = ("D", "C", "P", "weight", "active", "P_tr", "battery", "F_i", "F_k", "B_k", "beta")


class Replay:
    """A ring of the `capacity` latest episodes of one scenario."""

    def __init__(self, s: Scenario, sizes: Sizes, capacity: int) -> None:
        self.scenario, self.sizes, self.capacity = s, sizes, capacity
        self.store: dict[str, Tensor] = {}
        self.count = 0  # episodes ever added

    def __len__(self) -> int:
        return min(self.count, self.capacity)

    def add(
        self,
        snapshots: list[Snapshot],
        choices: list[Tensor],
        asked: list[Tensor],
        alive: list[Tensor],
        ended: list[Tensor],
    ) -> None:
        """T steps of B episodes: T + 1 snapshots, the last as the last action left it, and T of the rest.

        `choices` (B, U, J), `asked` (B, U, J, outputs), `alive` and `ended` (B,) bool.
        """
        columns = {name: torch.stack([getattr(x, name) for x in snapshots], dim=1) for name in STATE}
        columns |= {"choice": torch.stack(choices, 1), "asked": torch.stack(asked, 1)}
        columns |= {"alive": torch.stack(alive, 1), "ended": torch.stack(ended, 1)}
        batch = len(columns["D"])
        place = torch.arange(self.count, self.count + batch) % self.capacity
        for name, values in columns.items():
            if name not in self.store:
                self.store[name] = values.new_zeros(self.capacity, *values.shape[1:])
            self.store[name][place] = values
        self.count += batch

    def snapshot_of(self, episode: int) -> Snapshot:
        """The first step of one of the episodes it holds."""
        return _snapshot({name: self.store[name][episode : episode + 1, 0] for name in STATE})

    def draw(self, batch: int, dice: torch.Generator, strategies: bool) -> Episodes:
        """A minibatch of episodes; with `strategies` what-if rewards of all of a task's strategies.

        What-if rewards are cost_max - cost, below 0 too, so that a task that does badly still has something to gain.
        Task j's own, in network j, bears what its being there costs the other users.
        """
        s = self.scenario
        index = torch.randint(0, len(self), (batch,), generator=dice)
        kept = {name: values[index].transpose(0, 1) for name, values in self.store.items()}
        steps = len(kept["choice"])
        every = _snapshot({name: kept[name].flatten(0, 1) for name in STATE})
        done = _snapshot({name: kept[name][:steps].flatten(0, 1) for name in STATE})
        choice, asked = kept["choice"].flatten(0, 1), kept["asked"].flatten(0, 1)
        action = Action(choice, asked[..., 0], asked[..., 1])
        result = outcome(done, action, s)
        offered = imposed = None
        if strategies:
            other_ways = what_if(done, action, result, s)
            price = 1 / done.weight.clamp_min(1e-6)
            own = torch.diag_embed((other_ways.others * price[..., None]).transpose(2, 3)).transpose(2, 3)
            offered = (COST_MAX - other_ways.cost.clamp_max(MOST_COST) - own).permute(1, 2, 3, 0, 4)
            taken = other_ways.others.gather(3, choice[..., None]).squeeze(3)  # (N, U, J)
            imposed = taken.sum(2).transpose(0, 1)
        return Episodes(
            batch=batch,
            inputs=Inputs.of(observe(every, s), every.weight, self.sizes),
            corrected=mixer_observation(every, s),
            state=limited_state(every, s),
            choice=choice.transpose(0, 1),
            asked=asked.transpose(0, 1),
            reward=result.reward.transpose(0, 1),
            team_reward=(result.reward * done.weight).sum((1, 2)),
            mask=kept["alive"].flatten().to(asked.dtype),
            going_on=(~kept["ended"]).flatten().to(asked.dtype),
            imposed=imposed,
            strategies=offered,
        )


def _snapshot(fields: dict[str, Tensor]) -> Snapshot:
    """A snapshot of what agents, prices and rewards need; places are not kept."""
    D, beta = fields["D"], fields["beta"]
    nothing = D.new_zeros(len(D), 0)
    return Snapshot(
        **fields,  # type: ignore[arg-type]
        kind=nothing,
        users_xy=nothing,
        servers_xy=nothing,
        distance=beta,
        key=torch.zeros_like(D[:, 0, 0]).long(),
    )
