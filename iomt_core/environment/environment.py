"""The Dec-POMDP of section IV-B: B worlds stepped together, with batteries, rewards and termination."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iomt_core.environment.fused import kernel
from iomt_core.environment.observation import observe
from iomt_core.environment.world import DynamicsState, World
from iomt_core.model.outcome import Outcome, outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.scenario import Scenario


@dataclass(frozen=True)
class Transition:
    """Result of one step. In worlds that are not `alive`, which ended before it, only the rewards (0) have a meaning."""

    outcome: Outcome
    reward: Tensor  # (B,) priority-weighted sum of task rewards, 0 where not alive
    agent_reward: Tensor  # (B, U) the same a user
    alive: Tensor  # (B,) bool: had not ended before this step
    terminated: Tensor  # (B,) bool: some user could not pay for this step (C5)
    truncated: Tensor  # (B,) bool: the episode's last step, and nobody ran empty


def priced_step(now: Snapshot, action: Action, s: Scenario) -> tuple[Outcome, Tensor, Tensor]:
    """Outcome of a joint action, the batteries after it (B, U) in J, negative where unpaid, and agents' rewards (B, U)."""
    result = outcome(now, action, s)
    return result, now.battery - result.energy.sum(-1), (result.reward * now.weight).sum(-1)


class Environment:
    """B worlds of one scenario, all at the same step of an episode.

    `reset` draws the worlds, `step` evaluates a joint action. A world terminates in the step in which any user cannot pay
    for its tasks (C5). The state consists of immutable tensors, so `fork` is a shallow copy. `fuse` compiles the step,
    which is worth it for thousands of steps of hundreds of worlds; a step that cannot be compiled runs eagerly.

    seeds: (B,) int64, one per world.
    """

    def __init__(self, s: Scenario, seeds: Tensor, dtype: torch.dtype = torch.float32, fuse: bool = False) -> None:
        self.scenario = s
        self._fuse, self._dtype = fuse, dtype
        self.reset(seeds)

    def reset(self, seeds: Tensor | None = None) -> Snapshot:
        """Returns to the first step, in new worlds if `seeds` (B,) int64 are given."""
        if seeds is not None:
            s, dtype = self.scenario, self._dtype
            self._world = World(s, seeds, dtype)
            self._kernel = kernel(s, len(seeds), dtype, seeds.device) if self._fuse else None
        self.t = 0
        self._moving: DynamicsState = self._world.initial_state()
        self.snapshot = self._world.snapshot(self._moving, 0)
        self._seen: Tensor | None = None
        self.alive = torch.ones(len(self._world.seeds), dtype=torch.bool, device=self._world.seeds.device)
        return self.snapshot

    @property
    def observation(self) -> Tensor:
        """The current observations of all agents, (B, U, n), eq. (14)."""
        if self._seen is None:
            self._seen = observe(self.snapshot, self.scenario)
        return self._seen

    @property
    def fused(self) -> bool:
        """Whether steps run compiled."""
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
        now, world = self.snapshot, self._world
        last = self.t + 1 >= s.T
        if self._kernel is not None:
            # The kernel always draws tasks; after the last step they are not used.
            stepped = self._kernel(now, action, world.task_keys[0 if last else self.t + 1])
            result, left, agent_reward = stepped.outcome, stepped.left, stepped.agent_reward
        else:
            result, left, agent_reward = priced_step(now, action, s)
        terminated = (left < 0).any(-1).logical_and_(self.alive)
        going_on = self.alive & ~terminated
        agent_reward.mul_(self.alive[:, None])
        truncated = going_on if last else torch.zeros_like(going_on)
        done = Transition(result, agent_reward.sum(-1), agent_reward, self.alive, terminated, truncated)
        self.alive, self._seen = going_on, None
        self.t += 1
        if last:
            self.snapshot = replace(now, battery=left.clamp_min_(0.0))
        elif self._kernel is not None:
            self.snapshot = replace(stepped.later, key=world.step_keys[self.t])
            self._seen = stepped.observation
        else:
            self._moving = world.advance(self._moving, self.t)
            self.snapshot = world.snapshot(self._moving, self.t, battery=left.clamp_min_(0.0))
        return done

    def fork(self) -> Environment:
        """Returns an independent copy that continues from here; stepping it does not change the original."""
        twin = object.__new__(Environment)
        twin.__dict__.update(self.__dict__)
        return twin
