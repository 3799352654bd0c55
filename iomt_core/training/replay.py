"""The replay buffer: whole episodes, with counterfactual rewards computed by the environment's twin.

Stored are states and actions. Observations, rewards and counterfactuals are computed from them when a minibatch is drawn, by
the functions that the environment uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from iomt_core.algorithms.episodes import Episodes
from iomt_core.environment.observation import mixer_observation
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.model.utility import COST_MAX, joule_price
from iomt_core.model.what_if import what_if
from iomt_core.nets.inputs import Inputs, compress_cost, on_chosen, requests_on_servers
from iomt_core.nets.own_cpu import timely_shares
from iomt_core.rollout import Step
from iomt_core.training.observation_encoder import ObservationEncoder

MAX_COST = 2.0  # largest cost of a task in counterfactual rewards; larger ones are cut
STATE = ("D", "C", "P", "weight", "active", "P_tr", "battery", "F_i", "F_k", "B_k", "beta")


class Replay:
    """The latest `capacity` episodes of one scenario, in a ring buffer; `encoder` computes the networks' inputs."""

    def __init__(self, encoder: ObservationEncoder, capacity: int) -> None:
        self.encoder, self.scenario, self.capacity = encoder, encoder.scenario, capacity
        self.store: dict[str, Tensor] = {}
        self._state = (*STATE, "deadline") if self.scenario.has_own_deadlines else STATE
        self.count = 0  # episodes ever added

    def __len__(self) -> int:
        return min(self.count, self.capacity)

    def add(
        self, steps: Sequence[Step], after: Snapshot, requested: Sequence[Tensor], prices: Sequence[Tensor] = ()
    ) -> None:
        """Adds T played steps of B episodes.

        after: the state after the last step. requested: the Actors' outputs in each step, (B, U, J, outputs). prices: what agents
        expected of the servers in each step and in the one after the last, (B, ·, 2K); none if they have no such expectations.
        """
        snapshots = [*(step.snapshot for step in steps), after]
        columns = {name: torch.stack([getattr(x, name) for x in snapshots], dim=1) for name in self._state}
        columns["choice"] = torch.stack([step.action.choice for step in steps], 1)
        columns["requested"] = torch.stack([*requested], 1)
        columns["alive"] = torch.stack([step.transition.alive for step in steps], 1)
        columns["ended"] = torch.stack([step.transition.terminated for step in steps], 1)
        if prices:
            columns["prices"] = torch.stack([*prices], 1)
        self.insert(columns)

    def insert(self, columns: Mapping[str, Tensor]) -> None:
        """Adds B episodes by column: those of `STATE` (B, T + 1, …), choice, requested, alive and ended (B, T, …)."""
        batch = len(columns["D"])
        place = torch.arange(self.count, self.count + batch) % self.capacity
        for name, values in columns.items():
            if name not in self.store:
                self.store[name] = values.new_zeros(self.capacity, *values.shape[1:])
            self.store[name][place] = values
        self.count += batch

    def close(self) -> None:
        """Releases what the buffer has open; adding opens it again. In memory that is nothing."""

    def tensors(self) -> dict[str, Tensor]:
        """Its content by name, for a checkpoint."""
        return {name: values[: len(self)] for name, values in self.store.items()}

    def load(self, tensors: Mapping[str, Tensor], count: int) -> None:
        """Restores the content that `tensors` returned; `count` is the number of episodes added until then."""
        for name, kept in tensors.items():
            store = kept.new_zeros(self.capacity, *kept.shape[1:])
            store[: len(kept)] = kept
            self.store[name] = store
        self.count = count

    def draw(self, batch: int, generator: torch.Generator, counterfactual: bool) -> Episodes:
        """A minibatch of `batch` episodes; with `counterfactual` the rewards of all strategies of each task.

        A counterfactual reward is cost_max - cost, without a floor at 0, so that a bad strategy still has a slope. In network
        j, task j's own reward is reduced by what its presence on the device costs the other users; for networks that learn no
        values of other tasks, also by what it costs the user's other tasks on servers.
        """
        s = self.scenario
        index = torch.randint(0, len(self), (batch,), generator=generator)
        kept = {name: values[index].transpose(0, 1) for name, values in self.store.items()}
        steps = len(kept["choice"])
        every = self._snapshot({name: kept[name] for name in self._state})
        done = self._snapshot({name: kept[name][:steps] for name in self._state})
        choice, requested = kept["choice"].flatten(0, 1), kept["requested"].flatten(0, 1)
        prices = kept.get("prices")
        known = self.encoder.know(every, None if prices is None else prices.flatten(0, 1))
        inputs = self.encoder.inputs(every, known)
        battery_price = None if known is None else known.battery_price[: steps * batch].to(done.D.dtype)
        now = inputs.rows(slice(len(choice)))
        fitted = requests_on_servers(now, requested.transpose(0, 1))
        on_servers = requested[..., :2] if fitted is None else fitted.transpose(0, 1)
        cpu, bandwidth = (on_servers if fitted is None else on_chosen(on_servers, choice)).unbind(-1)
        action = Action(choice, self._cpu(now, choice, cpu), bandwidth)
        result = outcome(done, action, s)
        unit = self.encoder.unit
        reward = result.reward if unit == 1 else (COST_MAX - result.cost * unit).clamp_min(0.0)
        if battery_price is not None:  # a task that is not done costs 1, and energy what it would be worth later
            later = result.energy * (joule_price(done, s, battery_price) - s.alpha_E / s.E_ref)
            cost = torch.where(result.reward > 0, result.cost, COST_MAX) + later
            reward = COST_MAX - compress_cost(cost * unit)
        paid = (~kept["ended"]).flatten().to(reward.dtype)  # a step that somebody cannot pay earns nothing
        reward = reward * paid[:, None, None]
        offered = imposed = None
        if counterfactual:
            other_ways = what_if(
                done, action, result, s, on_servers, battery_price, late_earns_nothing=known is not None
            )
            price = 1 / done.weight.clamp_min(1e-6)
            others, cost = other_ways.others, other_ways.cost
            if unit != 1 or self.encoder.exact_own_cpu:
                others = others + _imposed_on_own_tasks(cost, choice, done.weight)
            charged = others * price[..., None]
            if unit == 1 and not self.encoder.exact_own_cpu:
                cost = cost.clamp_max(MAX_COST)
            else:
                others, cost, charged = others * unit, compress_cost(cost * unit), compress_cost(charged * unit)
            own = torch.diag_embed(charged.transpose(2, 3)).transpose(2, 3)
            offered = ((COST_MAX - cost - own) * paid[:, None, None, None, None]).permute(1, 2, 3, 0, 4)
            taken = others.gather(3, choice[..., None]).squeeze(3)  # (N, U, J)
            imposed = taken.sum(2).transpose(0, 1)
        return Episodes(
            sizes=self.encoder.sizes,
            batch=batch,
            inputs=inputs,
            corrected=mixer_observation(every, s),
            state=self.encoder.state(every),
            choice=choice.transpose(0, 1),
            requested=requested.transpose(0, 1),
            reward=reward.transpose(0, 1),
            team_reward=(reward * done.weight).sum((1, 2)),
            mask=kept["alive"].flatten().to(requested.dtype),
            going_on=paid.to(requested.dtype),
            imposed=imposed,
            counterfactual=offered,
        )

    def _cpu(self, inputs: Inputs, choice: Tensor, requested: Tensor) -> Tensor:
        """The shares of CPU in the actions that were taken, (N, U, J): as requested, or as agents divided their own CPUs."""
        if not self.encoder.exact_own_cpu:
            return requested
        local = choice.transpose(0, 1) == 0
        own = timely_shares(inputs, local & (inputs.weight > 0)).transpose(0, 1).to(requested.dtype)
        if inputs.first_choice is not None:  # what is not on a server and has no share is skipped
            return torch.where(choice == 0, own, requested)
        return torch.where(own > 0, own, requested)

    def _snapshot(self, fields: dict[str, Tensor]) -> Snapshot:
        """The first steps of some episodes, (steps, episodes, …), with what agents, prices and rewards need; no positions."""
        D, beta = fields["D"].flatten(0, 1), fields["beta"].flatten(0, 1)
        nothing = D.new_zeros(len(D), 0)
        steps, episodes = fields["D"].shape[:2]
        left = (self.scenario.T - torch.arange(steps, device=D.device)).clamp_min(1).repeat_interleave(episodes)
        rest = {"kind": nothing, "users_xy": nothing, "servers_xy": nothing, "distance": beta, "steps_left": left}
        rest["deadline"] = D.new_full((), self.scenario.T_max).expand_as(D)
        rest["latency"] = D.new_tensor(self.scenario.device_values["latency"]).expand(len(D), -1)
        rest["key"] = torch.zeros_like(left)
        return Snapshot(**(rest | {name: x.flatten(0, 1) for name, x in fields.items()}))  # type: ignore[arg-type]


class GeneralReplay:
    """The episodes of the latest `wards` wards, with a `Replay` of `episodes` each; `ward` makes the encoder of ward number n."""

    def __init__(self, ward: Callable[[int], ObservationEncoder], wards: int, episodes: int) -> None:
        self._ward, self.capacity, self.episodes = ward, wards, episodes
        self.wards: dict[int, Replay] = {}
        self.count = 0  # wards ever added

    def __len__(self) -> int:
        return len(self.wards)

    def next_ward(self) -> Replay:
        """The empty buffer of the next ward; drops the oldest ward if the capacity is reached."""
        while len(self.wards) >= self.capacity:
            del self.wards[min(self.wards)]
        replay = self.wards[self.count] = Replay(self._ward(self.count), self.episodes)
        self.count += 1
        return replay

    def close(self) -> None:
        """Releases nothing, as `Replay.close`."""

    def draw(self, batch: int, generator: torch.Generator, counterfactual: bool) -> Episodes:
        """A minibatch of episodes of one of the wards, as `Replay.draw`."""
        ward = list(self.wards)[int(torch.randint(0, len(self.wards), (1,), generator=generator))]
        return self.wards[ward].draw(batch, generator, counterfactual)

    def tensors(self) -> dict[str, Tensor]:
        """Its content by name, for a checkpoint."""
        return {f"{n}/{name}": x for n, replay in self.wards.items() for name, x in replay.tensors().items()}

    def load(self, tensors: Mapping[str, Tensor], count: int) -> None:
        """Restores the content that `tensors` returned; `count` is the number of wards added until then."""
        parts: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            ward, _, name = key.partition("/")
            parts.setdefault(int(ward), {})[name] = value
        for number in sorted(parts):
            replay = self.wards[number] = Replay(self._ward(number), self.episodes)
            replay.load(parts[number], len(parts[number]["choice"]))
        self.count = count


def _imposed_on_own_tasks(cost: Tensor, choice: Tensor, weight: Tensor) -> Tensor:
    """What task j on each device costs the user's other tasks on servers, relative to task j on the own device.

    cost: (N, U, J, K + 1, J'), of task j' with task j on each device. Returns (N, U, J, K + 1).
    """
    apart = 1 - torch.eye(choice.shape[2], dtype=weight.dtype, device=weight.device)
    touched = (choice > 0) * weight
    return ((cost - cost[..., :1, :]) * touched[:, :, None, None] * apart[:, None]).sum(-1)
