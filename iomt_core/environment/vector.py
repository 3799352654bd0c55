"""Many worlds with a step counter each, so that one can start anew while the others continue."""

from __future__ import annotations

import secrets
from dataclasses import fields

import torch
from torch import Tensor

from iomt_core.environment.counter import episode_seeds
from iomt_core.environment.environment import Transition, priced_step
from iomt_core.environment.observation import observe
from iomt_core.environment.world import DynamicsState, World
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.scenario import Scenario


class VectorEnvironment:
    """`num_envs` worlds of one scenario that are stepped together and reset independently; no loop over worlds.

    `Environment` runs all its worlds through the same step of an episode and stops there. Here every world has its own
    step, and after its last one (terminated or truncated) it stays over until `reset`. Episode e of world i has the
    seed `episode_seeds(seed, e * num_envs + i)`, so that a run is reproducible and a world can be replayed by `Environment`.
    After truncation the snapshot is a fresh draw of the step that would have come, for bootstrapping.
    """

    def __init__(self, s: Scenario, num_envs: int, device: torch.device | str = "cpu") -> None:
        self.scenario = s
        self.num_envs = num_envs
        self._index = torch.arange(num_envs, device=device)
        self._seed: int | None = None
        self._world = World(s, self._index, torch.float32)
        self.snapshot: Snapshot
        self.reset()
        self._seed = None  # so that copies made before the first reset do not play the same worlds

    def reset(self, seed: int | None = None, where: Tensor | None = None) -> Snapshot:
        """Starts a new episode in all worlds, or in those of `where`, (B,) bool; returns what stands before the agents.

        seed: starts the run of that seed from its first episode, in all worlds. Without one the run continues with
        each world's next episode; if no seed was ever given, it is a random one.
        """
        if seed is not None or self._seed is None:  # a new run starts, in all worlds
            self._seed = secrets.randbits(62) if seed is None else seed
            self._episode = torch.full_like(self._index, -1)
            where = None
        chosen = torch.ones_like(self._index, dtype=torch.bool) if where is None else where
        self._episode = self._episode + chosen
        self._world = self._world.reseeded(episode_seeds(self._seed, self._episode * self.num_envs + self._index))
        first = self._world.initial_state()
        if where is None:
            self.t = torch.zeros_like(self._index)  # (B,) steps played
            self.terminated = torch.zeros_like(chosen)  # (B,) some user could not pay (C5)
            self.truncated = torch.zeros_like(chosen)  # (B,) all T steps were played
            self._moving, battery = first, None
        else:
            self.t = self.t.masked_fill(where, 0)
            self.terminated, self.truncated = self.terminated & ~where, self.truncated & ~where
            self._moving = _selected(where, first, self._moving)
            battery = torch.where(where[:, None], self._world.full_battery, self.snapshot.battery)
        self.snapshot = self._world.snapshot(self._moving, self.t, battery)
        self._observation: Tensor | None = None
        return self.snapshot

    @property
    def observation(self) -> Tensor:
        """What every agent observes now, (B, U, n), eq. (14)."""
        if self._observation is None:
            self._observation = observe(self.snapshot, self.scenario)
        return self._observation

    @property
    def over(self) -> Tensor:
        """Which worlds' episodes have ended, (B,) bool."""
        return self.terminated | self.truncated

    @torch.no_grad()
    def step(self, action: Action) -> Transition:
        """One step of every world; worlds that are over earn nothing and stay over."""
        s = self.scenario
        alive = ~self.over
        outcome, left, agent_reward = priced_step(self.snapshot, action, s)
        agent_reward = agent_reward * alive[:, None]
        terminated = (left < 0).any(-1) & alive
        self.t = (self.t + 1).clamp_max(s.T)
        truncated = alive & ~terminated & (self.t >= s.T)
        self.terminated, self.truncated = self.terminated | terminated, self.truncated | truncated
        self._moving = self._world.advance(self._moving, self.t)
        self.snapshot = self._world.snapshot(self._moving, self.t, left.clamp_min(0.0))
        self._observation = None
        return Transition(outcome, agent_reward.sum(-1), agent_reward, alive, terminated, truncated)


def _selected(where: Tensor, new: DynamicsState, old: DynamicsState) -> DynamicsState:
    """`new` in the worlds of `where`, `old` elsewhere; fields of no dimension belong to dynamics that are off."""
    chosen = {}
    for field in fields(DynamicsState):
        this, other = getattr(new, field.name), getattr(old, field.name)
        chosen[field.name] = torch.where(where.view(-1, *[1] * (this.dim() - 1)), this, other) if this.dim() else this
    return DynamicsState(**chosen)
