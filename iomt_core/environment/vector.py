"""Worlds with separate step counters, so that one can start a new episode while the others continue."""

from __future__ import annotations

import secrets

import torch
from torch import Tensor

from iomt_core.environment.counter import episode_seeds
from iomt_core.environment.environment import Transition
from iomt_core.environment.observation import observe
from iomt_core.environment.world import World
from iomt_core.model.outcome import evaluate_step
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.scenario import Scenario


class VectorEnvironment:
    """`num_envs` worlds of one scenario that are stepped together and reset independently, without a loop over worlds.

    In `Environment` all worlds are at the same step. Here every world has its own step counter, and stays over after its last
    step (terminated or truncated) until `reset`. Episode e of world i has the seed `episode_seeds(seed, e * num_envs + i)`, so
    that a run is reproducible, and `Environment` can replay each episode. After truncation the snapshot is that of the step
    that would have followed, for bootstrapping.
    """

    def __init__(self, s: Scenario, num_envs: int, device: torch.device | str = "cpu") -> None:
        self.scenario = s
        self.num_envs = num_envs
        self._index = torch.arange(num_envs, device=device)
        self._seed: int | None = None
        self._world = World(s, self._index, torch.float32)
        self.snapshot: Snapshot
        self.reset()
        self._seed = None  # copies made before the first reset then draw different worlds

    def reset(self, seed: int | None = None, where: Tensor | None = None) -> Snapshot:
        """Starts a new episode in all worlds, or in those of `where`, (B,) bool. Returns the snapshot of all worlds.

        seed: starts all worlds at the first episode of this seed. Without a seed, each world continues with its next episode;
        if no seed was ever given, a random one is used.
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
            self.terminated = torch.zeros_like(chosen)  # (B,) the battery of some user was too low (C5)
            self.truncated = torch.zeros_like(chosen)  # (B,) all T steps are over
            self._dynamics, battery = first, None
        else:
            self.t = self.t.masked_fill(where, 0)
            self.terminated, self.truncated = self.terminated & ~where, self.truncated & ~where
            self._dynamics = self._dynamics.replace_where(where, first)
            full = self.snapshot.battery.new_tensor(self.scenario.device_values["Cap"])
            battery = torch.where(where[:, None], full, self.snapshot.battery)
        self.snapshot = self._world.snapshot(self._dynamics, self.t, battery)
        return self.snapshot

    @property
    def observation(self) -> Tensor:
        """The observations of all agents, (B, U, n), eq. (14)."""
        return observe(self.snapshot, self.scenario)

    @property
    def over(self) -> Tensor:
        """Whether the episode of a world has ended, (B,) bool."""
        return self.terminated | self.truncated

    @torch.no_grad()
    def step(self, action: Action) -> Transition:
        """Plays one step in every world. Worlds whose episode has ended get no reward and do not change."""
        s = self.scenario
        alive = ~self.over
        outcome, charge, agent_reward = evaluate_step(self.snapshot, action, s)
        agent_reward = agent_reward * alive[:, None]
        terminated = (charge < 0).any(-1) & alive
        self.t = (self.t + 1).clamp_max(s.T)
        truncated = alive & ~terminated & (self.t >= s.T)
        self.terminated, self.truncated = self.terminated | terminated, self.truncated | truncated
        self._dynamics = self._world.advance(self._dynamics, self.t)
        self.snapshot = self._world.snapshot(self._dynamics, self.t, charge.clamp_min(0.0))
        return Transition(outcome, agent_reward.sum(-1), agent_reward, alive, terminated, truncated)
