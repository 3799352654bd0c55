"""The Dec-POMDP of section IV-B for B worlds at the same step, with batteries, rewards and termination."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iomt_core.environment.fused import kernel
from iomt_core.environment.observation import observe
from iomt_core.environment.world import World
from iomt_core.model.outcome import Outcome, evaluate_step
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.scenario import Scenario


@dataclass(frozen=True)
class Transition:
    """Result of one step. In worlds that ended before it (not `alive`) only the rewards are valid; they are 0.

    A step that some user cannot pay (`terminated`) earns nothing for anybody.
    """

    outcome: Outcome
    reward: Tensor  # (B,) priority-weighted sum of task rewards, 0 where not alive or terminated
    agent_reward: Tensor  # (B, U) the same for each user
    alive: Tensor  # (B,) bool: the episode had not ended before this step
    terminated: Tensor  # (B,) bool: the battery of some user was too low for this step (C5)
    truncated: Tensor  # (B,) bool: the last step of the episode, and not terminated


class Environment:
    """B worlds of one scenario, all at the same step of an episode.

    `reset` draws the worlds, `step` evaluates a joint action. A world terminates in the step in which the battery of any user
    is too low for its tasks (C5); that step earns nothing. The state consists of immutable tensors, so `fork` is a shallow
    copy.

    seeds: (B,) int64, one for each world. fuse: compiles the step, which pays off for thousands of steps of hundreds of
    worlds; a step that cannot be compiled runs eagerly.
    """

    def __init__(self, s: Scenario, seeds: Tensor, dtype: torch.dtype = torch.float32, fuse: bool = False) -> None:
        self.scenario = s
        self._fuse, self._dtype = fuse, dtype
        self.reset(seeds)

    def reset(self, seeds: Tensor | None = None) -> Snapshot:
        """Starts the episode again, in new worlds if `seeds` (B,) int64 are given. Returns the first snapshot."""
        if seeds is not None:
            s, dtype = self.scenario, self._dtype
            self._world = World(s, seeds, dtype)
            self._kernel = kernel(s, len(seeds), dtype, seeds.device) if self._fuse else None
        self.t = 0
        self._dynamics = self._world.initial_state()
        self.snapshot = self._world.snapshot(self._dynamics, 0)
        self._observation: Tensor | None = None
        self.alive = torch.ones(len(self._world.seeds), dtype=torch.bool, device=self._world.seeds.device)
        return self.snapshot

    @property
    def observation(self) -> Tensor:
        """The observations of all agents at the current step, (B, U, n), eq. (14)."""
        if self._observation is None:
            self._observation = observe(self.snapshot, self.scenario)
        return self._observation

    @property
    def fused(self) -> bool:
        """Whether the step is compiled."""
        return self._kernel is not None

    @property
    def done(self) -> bool:
        """Whether all worlds have ended."""
        return self.t >= self.scenario.T or not bool(self.alive.any())

    def step(self, action: Action) -> Transition:
        """Plays one step in every world. Raises `RuntimeError` after the last step of the episode."""
        s = self.scenario
        if self.t >= s.T:
            raise RuntimeError(f"the episode ended after T = {s.T} steps: reset first")
        snapshot, world = self.snapshot, self._world
        last = self.t + 1 >= s.T
        if self._kernel is not None:
            # The kernel always draws tasks; after the last step they are not used.
            stepped = self._kernel(snapshot, action, world.task_keys[0 if last else self.t + 1])
            result, charge, agent_reward = stepped.outcome, stepped.charge, stepped.agent_reward
        else:
            result, charge, agent_reward = evaluate_step(snapshot, action, s)
        terminated = (charge < 0).any(-1).logical_and_(self.alive)
        continues = self.alive & ~terminated
        agent_reward.mul_(self.alive[:, None])
        truncated = continues if last else torch.zeros_like(continues)
        transition = Transition(result, agent_reward.sum(-1), agent_reward, self.alive, terminated, truncated)
        self.alive, self._observation = continues, None
        self.t += 1
        if last:
            self.snapshot = replace(snapshot, battery=charge.clamp_min_(0.0))
        elif self._kernel is not None:
            self.snapshot = replace(
                stepped.next_snapshot, key=world.step_keys[self.t], steps_left=world.steps_left(self.t)
            )
            self._observation = stepped.observation
        else:
            self._dynamics = world.advance(self._dynamics, self.t)
            self.snapshot = world.snapshot(self._dynamics, self.t, battery=charge.clamp_min_(0.0))
        return transition

    def remaining(self) -> list[Snapshot]:
        """The snapshots of all steps from here to the last, which no action changes; with the batteries of now."""
        world, dynamics, battery = self._world, self._dynamics, self.snapshot.battery
        found = [self.snapshot]
        for step in range(self.t + 1, self.scenario.T):
            dynamics = world.advance(dynamics, step)
            found.append(world.snapshot(dynamics, step, battery=battery))
        return found

    def fork(self) -> Environment:
        """Returns an independent copy that continues from here; stepping it does not change the original."""
        return copy.copy(self)
