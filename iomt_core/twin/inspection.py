"""Values, requests and choices of a trained policy's networks in one step of an episode."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iomt_core.algorithms.pa_ddpg import ContinuousActions
from iomt_core.algorithms.parameterised_q import ParameterisedQ, Turn
from iomt_core.environment.observation import mixer_observation
from iomt_core.nets.inputs import Inputs, on_chosen, requests_on_servers
from iomt_core.policies.base import Memory
from iomt_core.record import Record
from iomt_core.scenario import Scenario
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.twin.mixing import Mixing, mixing


@dataclass(frozen=True)
class TaskTurn:
    """The values by which one task's strategy is chosen, when it is the task's turn.

    `values` has a column for each of the agent's tasks, or only one if the network values just its own task. The strategy with
    the largest `worth + margin` is chosen, the first one if several are equal. If the largest gain moves next, every task is
    valued before each move, and only the `mover` takes that strategy.
    """

    round: int  # from 1, of rounds or moves; 0 if all tasks decide at once
    devices: tuple[int, ...]  # (K + 1,) the devices' numbers in the whole ward
    before: list[int]  # (J,) the agent's strategies before this turn
    values: Tensor  # (K + 1, J) or (K + 1, 1)
    valued: list[bool]  # of each column; others count as 0, because the own column has what the task costs them
    weight: Tensor  # (J,) or (1,) p of the columns
    worth: Tensor  # (K + 1,) the sum in (17)
    margin: Tensor  # (K + 1,) added before the choice, see `ParameterisedQ.margins`
    choice: int  # after this turn
    mover: int | None = None  # the task that moves, from 1; 0 if none gains; None if tasks decide in fixed order


@dataclass(frozen=True)
class Inspection:
    """A trained policy's networks in one step.

    Networks without values for strategies have no `turns`; the Actor's `numbers` determine their choices.
    """

    scenario: Scenario
    requested: Tensor  # (U, J, 2) shares of CPU and bandwidth that the agent requests
    choice: Tensor  # (U, J) the choices of these networks
    agrees: bool  # whether the record has the same choices
    turns: tuple[Turn, ...] = ()
    values: tuple[Tensor, ...] = ()  # for each turn: (U, 1, tasks, K + 1, J) values by strategy and task
    rounds: int = 0
    server_values_only: bool = False  # whether networks value servers for their own task only
    task_values: Tensor | None = None  # (U, J) q_j of (18), at the choices of the record
    mixing: Mixing | None = None
    numbers: Tensor | None = None  # (U, J) the Actor's number for a task's strategy
    first_server: Tensor | None = None  # (U, J) the server with which the numbering of strategies starts
    only_user: int | None = (
        None  # whose turns and values alone are there, its number in the whole ward; None: everybody's
    )

    def of_user(self, user: int) -> Inspection:
        """The same with the turns and values of one user only."""
        i = self.scenario.user_numbers.index(user)
        one = slice(i, i + 1)
        turns = tuple(
            replace(
                turn,
                **{
                    name: getattr(turn, name)[one].clone()
                    for name in ("one_hot_before", "values", "worth", "margin", "one_hot_after")
                },
            )
            for turn in self.turns
        )
        return replace(self, turns=turns, values=tuple(x[one].clone() for x in self.values), only_user=user)

    def task_turns(self, user: int, task: int, weight: Tensor) -> list[TaskTurn]:
        """All turns of one task, in order; if the largest gain moves next, until no task of the user gains.

        user: number in the whole ward; task: from 1; weight: p of all tasks, (U, J).
        """
        i, j, found = self.scenario.user_numbers.index(user), task - 1, list[TaskTurn]()
        at_user = i if self.only_user is None else 0
        for turn, all_values in zip(self.turns, self.values, strict=True):
            if j not in turn.tasks:
                continue
            at = (at_user, 0, j - turn.tasks.start)
            values, before = all_values[at], turn.before[at_user, 0].tolist()
            own = weight[i] if values.shape[1] > 1 or weight.shape[1] == 1 else weight[i, j : j + 1]
            number, choice = len(found) + 1 if self.rounds else 0, int(turn.after[at_user, 0, j])
            valued = [True] * values.shape[1]
            if self.server_values_only:
                valued = [n == j or device == 0 for n, device in enumerate(before)]
            mover = None
            if turn.one_moves:
                moved = (turn.before[at_user, 0] != turn.after[at_user, 0]).nonzero().flatten().tolist()
                mover = moved[0] + 1 if moved else 0
            devices, scores = self.scenario.device_numbers, (turn.worth[at], turn.margin[at])
            found.append(TaskTurn(number, devices, before, values, valued, own, *scores, choice, mover))
            if mover == 0:
                break
        return found


@torch.no_grad()
def memories(policy: TrainedPolicy, record: Record) -> list[Memory]:
    """The agents' memory before each step of an episode, for the actions in its record."""
    agents = policy.agents
    memory, found = agents.start(1), list[Memory]()
    if policy.uses_past != "memory":
        return [memory] * len(record)
    for row in range(len(record)):
        found.append(memory)
        inputs = _inputs(policy, record, row)
        if isinstance(agents, ParameterisedQ):
            memory = agents.recall(inputs, record.action.choice[row : row + 1].transpose(0, 1), memory)[1]
        else:
            memory = agents.decide(inputs, memory)[1]
    return found


def _inputs(policy: TrainedPolicy, record: Record, row: int) -> Inputs:
    before = record.snapshot.select(slice(row - 1, row)) if row else None
    return policy.inputs(record.snapshot.select(slice(row, row + 1)), before)


@torch.no_grad()
def inspect_step(policy: TrainedPolicy, record: Record, row: int, memory: Memory) -> Inspection:
    """Evaluates the policy's networks in the step of `row`; `memory` is their memory before it."""
    one, agents = record.select(slice(row, row + 1)), policy.agents
    inputs, taken = _inputs(policy, record, row), one.action.choice.transpose(0, 1)  # agents first
    s = record.scenario
    if isinstance(agents, ContinuousActions):
        decision, _ = agents.decide(inputs, memory)
        requested, choice = decision.requested[:, 0], decision.choice[:, 0]
        first_server = agents.round_robin_choice(inputs)[:, 0]
        agrees = torch.equal(choice, taken[:, 0])
        return Inspection(s, requested[..., :2], choice, agrees, numbers=requested[..., 2], first_server=first_server)
    assert isinstance(agents, ParameterisedQ)
    requested = agents.recall(inputs, taken, memory)[0]
    turns = tuple(agents.turns(inputs, agents.q.encode(inputs), requested, memory[1]))
    task_values = agents.q_taken(inputs, requested, taken, memory[1])[:, 0]
    mixed = None
    if policy.mixer is not None:
        agent_values = (task_values * inputs.weight[:, 0]).sum(-1)
        corrected = mixer_observation(one.snapshot, s)[0].float()
        state = policy.encoder.state(one.snapshot)[0].float()
        mixed = mixing(policy.mixer, s.user_numbers, agent_values, corrected, state)
    choice = turns[-1].after[:, 0]
    values = tuple(agents.offered(turn.values, turn.tasks) for turn in turns)
    agrees = torch.equal(choice, taken[:, 0])
    own_cpu, on_servers = agents.own_cpu(inputs, taken), requests_on_servers(inputs, requested)
    requested = requested if on_servers is None else on_chosen(on_servers, taken)
    if own_cpu is not None:
        cpu = torch.where(own_cpu > 0, own_cpu, requested[..., 0])
        requested = torch.stack([cpu, requested[..., 1]], -1)
    alone = agents.divides_own_cpu and not agents.sizes.shared
    return Inspection(s, requested[:, 0], choice, agrees, turns, values, agents.rounds, alone, task_values, mixed)
