"""A policy that decides on the synchronised twin of the environment, while its actions are carried out in the ward."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import Planner, Policy
from iomt_core.policies.dual import DualSolution
from iomt_core.scenario import ScenarioError
from iomt_core.twin.mapping.synchronisation import Synchronisation, SynchronisedTwin


@dataclass(frozen=True)
class _Memory:
    """What is carried from step to step: the twin, and the memory of the policy itself."""

    twin: SynchronisedTwin
    policy: Any = None


class StalePolicy(Policy):
    """Decides as another policy does that sees the twin and not the ward.

    past: the twin so far, if it was made before this policy starts. A task that the twin does not know of is skipped. With
    `Synchronisation()` the decisions are exactly those of the policy. Raises `ScenarioError` for a policy that knows the whole
    episode in advance: it has no use for a twin.
    """

    uses_past = "memory"
    joins_rollouts = False  # each rollout has a twin of its own

    def __init__(self, policy: Policy, settings: Synchronisation, past: SynchronisedTwin | None = None) -> None:
        super().__init__(policy.scenario)
        if isinstance(policy, Planner):
            raise ScenarioError(
                f"policy = {policy.name!r} plans the whole episode in advance and does not decide on a twin: allowed are all "
                "other policies, such as optimum-causal and optimum-step."
            )
        self.policy, self.settings = policy, settings
        self._start = past or SynchronisedTwin(policy.scenario, settings)
        self.name, self.label, self.summary = policy.name, policy.label, policy.summary  # type: ignore[misc]
        self.decentralised, self.sharing = policy.decentralised, policy.sharing  # type: ignore[misc]

    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """Decides every row as the first step of an episode."""
        return self.step(snapshot, None, dual)[0]

    def step(
        self, snapshot: Snapshot, memory: _Memory | None, dual: DualSolution | None = None
    ) -> tuple[Action, _Memory]:
        """Decides the next step of an episode; see `Policy.step`. `dual` belongs to the ward, so a stale twin does not use it."""
        known = memory or _Memory(self._start)
        twin = known.twin.synchronised(snapshot)
        action, after = self.policy.step(twin.snapshot, known.policy, dual if twin.is_exact else None)
        unknown = snapshot.active & ~twin.snapshot.active
        if bool(unknown.any()):
            action = replace(
                action, choice=action.choice.masked_fill(unknown, 0), cpu=action.cpu.masked_fill(unknown, 0.0)
            )
        return action, _Memory(twin, after)


def on_twin(policy: Policy, settings: Synchronisation | None, past: SynchronisedTwin | None = None) -> Policy:
    """The policy itself if it sees the ward (None), else the one that decides on a twin with these settings."""
    return policy if settings is None else StalePolicy(policy, settings, past)
