"""The replay buffer: whole episodes as they happened, and what the environment's twin says of them on replay.

Kept are states and actions; observations, rewards and what-ifs are computed anew from them when a minibatch is drawn,
by the same functions that the environment uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from iomt_core.algorithms.episodes import Episodes
from iomt_core.environment.observation import mixer_observation
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.model.utility import COST_MAX
from iomt_core.model.what_if import what_if
from iomt_core.nets.inputs import compressed
from iomt_core.training.observation_encoder import ObservationEncoder

MOST_COST = 2.0  # of a task in what-ifs: beyond, it is just bad
STATE = ("D", "C", "P", "weight", "active", "P_tr", "battery", "F_i", "F_k", "B_k", "beta")


class Replay:
    """A ring of the `capacity` latest episodes of one scenario, as `encoder` reads it."""

    def __init__(self, encoder: ObservationEncoder, capacity: int) -> None:
        self.encoder, self.scenario, self.capacity = encoder, encoder.scenario, capacity
        self.store: dict[str, Tensor] = {}
        self.count = 0  # episodes ever added

    def __len__(self) -> int:
        return min(self.count, self.capacity)

    def add(
        self,
        snapshots: list[Snapshot],
        choices: list[Tensor],
        requested: list[Tensor],
        alive: list[Tensor],
        ended: list[Tensor],
    ) -> None:
        """T steps of B episodes: T + 1 snapshots, the last as the last action left it, and T of the rest.

        `choices` (B, U, J), `requested` (B, U, J, outputs), `alive` and `ended` (B,) bool.
        """
        columns = {name: torch.stack([getattr(x, name) for x in snapshots], dim=1) for name in STATE}
        columns |= {"choice": torch.stack(choices, 1), "requested": torch.stack(requested, 1)}
        columns |= {"alive": torch.stack(alive, 1), "ended": torch.stack(ended, 1)}
        batch = len(columns["D"])
        place = torch.arange(self.count, self.count + batch) % self.capacity
        for name, values in columns.items():
            if name not in self.store:
                self.store[name] = values.new_zeros(self.capacity, *values.shape[1:])
            self.store[name][place] = values
        self.count += batch

    def tensors(self) -> dict[str, Tensor]:
        """All that is in it, by name."""
        return {name: values[: len(self)] for name, values in self.store.items()}

    def load(self, tensors: Mapping[str, Tensor], count: int) -> None:
        """As it was when `tensors` was requested, `count` episodes having been added."""
        for name, kept in tensors.items():
            store = kept.new_zeros(self.capacity, *kept.shape[1:])
            store[: len(kept)] = kept
            self.store[name] = store
        self.count = count

    def draw(self, batch: int, generator: torch.Generator, strategies: bool) -> Episodes:
        """A minibatch of episodes; with `strategies` what-if rewards of all of a task's strategies.

        What-if rewards are cost_max - cost, below 0 too, so that a task that does badly still has something to gain.
        Task j's own, in network j, bears what its being there costs the other users; of networks for any ward, which learn no
        other values, also what it costs the user's other tasks on servers.
        """
        s = self.scenario
        index = torch.randint(0, len(self), (batch,), generator=generator)
        kept = {name: values[index].transpose(0, 1) for name, values in self.store.items()}
        steps = len(kept["choice"])
        every = _snapshot({name: kept[name].flatten(0, 1) for name in STATE})
        done = _snapshot({name: kept[name][:steps].flatten(0, 1) for name in STATE})
        choice, requested = kept["choice"].flatten(0, 1), kept["requested"].flatten(0, 1)
        action = Action(choice, requested[..., 0], requested[..., 1])
        result = outcome(done, action, s)
        unit = self.encoder.unit
        reward = result.reward if unit == 1 else (COST_MAX - result.cost * unit).clamp_min(0.0)
        offered = imposed = None
        if strategies:
            other_ways = what_if(done, action, result, s)
            price = 1 / done.weight.clamp_min(1e-6)
            others, cost = other_ways.others, other_ways.cost
            if unit != 1:
                others = others + _imposed_at_home(cost, choice, done.weight)
            charged = others * price[..., None]
            if unit == 1:
                cost = cost.clamp_max(MOST_COST)
            else:
                others, cost, charged = others * unit, compressed(cost * unit), compressed(charged * unit)
            own = torch.diag_embed(charged.transpose(2, 3)).transpose(2, 3)
            offered = (COST_MAX - cost - own).permute(1, 2, 3, 0, 4)
            taken = others.gather(3, choice[..., None]).squeeze(3)  # (N, U, J)
            imposed = taken.sum(2).transpose(0, 1)
        return Episodes(
            sizes=self.encoder.sizes,
            batch=batch,
            inputs=self.encoder.inputs(every),
            corrected=mixer_observation(every, s),
            state=self.encoder.state(every),
            choice=choice.transpose(0, 1),
            requested=requested.transpose(0, 1),
            reward=reward.transpose(0, 1),
            team_reward=(reward * done.weight).sum((1, 2)),
            mask=kept["alive"].flatten().to(requested.dtype),
            going_on=(~kept["ended"]).flatten().to(requested.dtype),
            imposed=imposed,
            strategies=offered,
        )


class GeneralReplay:
    """The episodes of the latest wards, a `Replay` a ward; `ward` says how the ward of a number reads."""

    def __init__(self, ward: Callable[[int], ObservationEncoder], wards: int, episodes: int) -> None:
        self._ward, self.capacity, self.episodes = ward, wards, episodes
        self.wards: dict[int, Replay] = {}
        self.count = 0  # wards ever added

    def __len__(self) -> int:
        return len(self.wards)

    def next_ward(self) -> Replay:
        """Room for the next ward's episodes; the oldest ward's go where there is none left."""
        while len(self.wards) >= self.capacity:
            del self.wards[min(self.wards)]
        replay = self.wards[self.count] = Replay(self._ward(self.count), self.episodes)
        self.count += 1
        return replay

    def draw(self, batch: int, generator: torch.Generator, strategies: bool) -> Episodes:
        """A minibatch of episodes of one of the wards."""
        ward = list(self.wards)[int(torch.randint(0, len(self.wards), (1,), generator=generator))]
        return self.wards[ward].draw(batch, generator, strategies)

    def tensors(self) -> dict[str, Tensor]:
        """All that is in it, by name."""
        return {f"{n}/{name}": x for n, replay in self.wards.items() for name, x in replay.tensors().items()}

    def load(self, tensors: Mapping[str, Tensor], count: int) -> None:
        """As it was when `tensors` was requested, `count` wards having been added."""
        parts: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            ward, _, name = key.partition("/")
            parts.setdefault(int(ward), {})[name] = value
        for number in sorted(parts):
            replay = self.wards[number] = Replay(self._ward(number), self.episodes)
            replay.load(parts[number], len(parts[number]["choice"]))
        self.count = count


def _imposed_at_home(cost: Tensor, choice: Tensor, weight: Tensor) -> Tensor:
    """What the user's own other tasks on servers pay for task j's being on each device and not at home, (N, U, J, K + 1).

    `cost` (N, U, J, K + 1, J') is that of task j' with task j on each device.
    """
    apart = 1 - torch.eye(choice.shape[2], dtype=weight.dtype, device=weight.device)
    touched = (choice > 0) * weight
    return ((cost - cost[..., :1, :]) * touched[:, :, None, None] * apart[:, None]).sum(-1)


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
