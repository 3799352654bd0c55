"""Inside a trained policy at one step of an episode: its values, its requests, and how a strategy came about."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iomt_core.algorithms.pa_ddpg import ContinuousActions
from iomt_core.algorithms.parameterised_q import ParameterisedQ, Turn
from iomt_core.environment.observation import mixer_observation
from iomt_core.policies.base import Memory
from iomt_core.record import Record
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.twin.mixing import Mixing, mixing


@dataclass(frozen=True)
class Look:
    """One task's turn: the values by which its strategy is taken.

    `values` has a column for each of the agent's tasks, or one where the network knows its own task's value alone.
    What is taken is the largest of `worth` and `margin` together, of equals the first.
    """

    round: int  # from 1; 0 where all tasks decide at once
    before: list[int]  # (J,) the agent's strategies as they stood
    values: Tensor  # (K + 1, J) or (K + 1, 1)
    weight: Tensor  # (J,) or (1,) p of the columns
    worth: Tensor  # (K + 1,) the sum in (17)
    margin: Tensor  # (K + 1,) what is added to each before the choice, see `parameterised_q.MARGINS`
    taken: int


@dataclass(frozen=True)
class Inside:
    """A trained policy in one step. Without `turns` it has no value for a strategy; then `numbers` make its choice."""

    turns: tuple[Turn, ...]
    offered: tuple[Tensor, ...]  # (U, 1, tasks, K + 1, J) values by strategy and task, of every turn
    rounds: int
    requested: Tensor  # (U, J, 2) shares of CPU and bandwidth that the Actor asks for
    choice: Tensor  # (U, J) what these networks choose
    agrees: bool  # whether that is what the record holds
    task_values: Tensor | None  # (U, J) q_j of (18), at what was done
    mixing: Mixing | None
    numbers: Tensor | None = None  # (U, J) the Actor's number for a task's strategy
    first_server: Tensor | None = None  # (U, J) the server that strategies count from

    def looks(self, user: int, task: int, weight: Tensor) -> list[Look]:
        """The turns in which task `task` of user `user` (from 1) decides, in order; `weight` p, (U, J)."""
        i, j, found = user - 1, task - 1, list[Look]()
        for turn, offered in zip(self.turns, self.offered, strict=True):
            if j not in turn.tasks:
                continue
            at = j - turn.tasks.start
            values = offered[i, 0, at]
            own = weight[i] if values.shape[1] > 1 or weight.shape[1] == 1 else weight[i, j : j + 1]
            worth = turn.worth[i, 0, at]
            number = len(found) + 1 if self.rounds else 0
            found.append(
                Look(
                    number,
                    turn.before[i, 0].tolist(),
                    values,
                    own,
                    worth,
                    turn.margin[i, 0, at],
                    int(turn.after[i, 0, j]),
                )
            )
        return found


@torch.no_grad()
def memories(policy: TrainedPolicy, record: Record) -> list[Memory]:
    """What the agents remember before each step of one episode, given what was done in it."""
    agents = policy.agents
    memory, found = agents.start(1), list[Memory]()
    if policy.uses_past != "memory":
        return [memory] * len(record)
    for row in range(len(record)):
        found.append(memory)
        inputs = policy.encoder.inputs(record.snapshot.worlds(slice(row, row + 1)))
        if isinstance(agents, ParameterisedQ):
            memory = agents.recall(inputs, record.action.choice[row : row + 1].transpose(0, 1), memory)[1]
        else:
            memory = agents.decide(inputs, memory)[1]
    return found


@torch.no_grad()
def inside(policy: TrainedPolicy, record: Record, row: int, memory: Memory) -> Inside:
    """The policy in the step of `row`, with the `memory` it then had."""
    one = record.worlds(slice(row, row + 1))
    inputs, agents, done = policy.encoder.inputs(one.snapshot), policy.agents, one.action.choice[0]
    if isinstance(agents, ContinuousActions):
        decision, _ = agents.decide(inputs, memory)
        requested, choice = decision.requested[:, 0], decision.choice[:, 0]
        same = torch.equal(choice, done)
        return Inside(
            (),
            (),
            0,
            requested[..., :2],
            choice,
            same,
            None,
            None,
            requested[..., 2],
            agents.round_robin_choice(inputs)[:, 0],
        )
    assert isinstance(agents, ParameterisedQ)
    requested = agents.recall(inputs, one.action.choice.transpose(0, 1), memory)[0]
    turns = tuple(agents.turns(inputs, agents.q.encode(inputs), requested, memory[1]))
    own = agents.q_taken(inputs, requested, one.action.choice.transpose(0, 1), memory[1])[:, 0]
    mixed = None
    if policy.mixer is not None:
        agent_values = (own * inputs.weight[:, 0]).sum(-1)
        corrected = mixer_observation(one.snapshot, record.scenario)[0].float()
        mixed = mixing(policy.mixer, agent_values, corrected, policy.encoder.state(one.snapshot)[0].float())
    choice = turns[-1].after[:, 0]
    offered = tuple(agents.offered(turn.values, turn.tasks) for turn in turns)
    return Inside(turns, offered, agents.rounds, requested[:, 0], choice, torch.equal(choice, done), own, mixed)
