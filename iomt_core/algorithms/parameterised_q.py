"""Agents with parameterised actions: an Actor for the shares and an MPTQ network per task for the strategies."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from iomt_core.algorithms.agents import (
    PRINTED,
    Agents,
    Decision,
    DecisionRules,
    Memory,
    Noise,
    add_exploration_noise,
)
from iomt_core.algorithms.episodes import Episodes
from iomt_core.model.utility import LEAST_WEIGHT
from iomt_core.nets.actor import FIRST_SHARE, Actor
from iomt_core.nets.inputs import Inputs, Sizes, cyclic_order, flatten_tasks, requests_on_servers
from iomt_core.nets.own_cpu import timely_shares
from iomt_core.nets.search import Preference, moves, search, surcharge
from iomt_core.nets.shared import SharedActor, SharedTaskQ, without_others
from iomt_core.nets.task_q import TaskQ

FORCED = 100.0  # added to the worth of a strategy that is drawn at random, in units of reward
HUBER_DELTA = 1.0  # in units of reward; far out, because a small one would have networks learn medians instead of means
# In units of reward, at `request_penalty` = 1: factor on the square of the mean of log(request / initial request).
REQUEST_PENALTY = 0.05
RELEVANT = 0.05  # temperature, in units of reward, of the choice that weights what general networks learn
LIKELY_TEMPERATURE = 0.02  # of the choice that weights passes with `actor_passes` = "likely", in units of reward


@dataclass(frozen=True)
class Turn:
    """One step of the choice of strategies: the tasks in `tasks` are valued, given the strategies before the step.

    All of them decide, or if the largest gain moves next (`one_moves`), each agent moves the task that gains most, if any gains.
    """

    tasks: range
    one_hot_before: Tensor  # (U, N, J, K + 1) the strategies before, one-hot
    values: Tensor  # (U, tasks, P, N, outputs) Q-values of every pass
    worth: Tensor  # (U, N, tasks, K + 1) the sum in (17) for each strategy
    margin: Tensor  # (U, N, tasks, K + 1) added to the worth before the choice, see `MARGINS`
    one_hot_after: Tensor  # (U, N, J, K + 1) the strategies after, one-hot
    one_moves: bool = False

    @property
    def before(self) -> Tensor:
        """The strategies before, (U, N, J)."""
        return self.one_hot_before.argmax(-1)

    @property
    def after(self) -> Tensor:
        """The strategies after, (U, N, J)."""
        return self.one_hot_after.argmax(-1)


class ParameterisedQ(Agents):
    """Agents of MPMT-DQN, sections V-A and V-B. MT-MP-DQN without `columns`; MT-PDQN without both."""

    def __init__(
        self, sizes: Sizes, passes: bool = True, columns: bool = True, rounds: int = 0, recurrent: bool = True,
        rules: DecisionRules = PRINTED,
    ) -> None:  # fmt: skip
        """Creates the Actor and the MPTQ networks.

        passes: one pass for each strategy; columns: each network values all tasks of its agent; rounds: how many times each
        task of an agent decides, given the current strategies of the agent's other tasks, 0: all tasks decide at once. rules:
        how they decide in that case; without rounds an agent's tasks do not know each other's strategies.
        """
        super().__init__(sizes)
        self.rounds, self.rules = rounds, rules
        exact_local = rounds > 0 and rules.own_cpu == "exact"
        if sizes.shared:
            self.actor: Actor | SharedActor = SharedActor(sizes)
            self.q: TaskQ = SharedTaskQ(sizes, exact_local)
        else:
            self.actor = Actor(sizes, 2, recurrent)
            self.q = TaskQ(sizes, passes, columns, rounds > 0, recurrent, exact_local)

    @property
    def divides_own_cpu(self) -> bool:
        """As `Agents.divides_own_cpu`."""
        return self.q.exact_local

    def resized_for(self, sizes: Sizes) -> ParameterisedQ:
        """As `Agents.resized_for`; the result uses the same weights."""
        if sizes == self.sizes:
            return self
        assert self.sizes.shared
        resized, q = copy.copy(self), copy.copy(self.q)
        resized.sizes = sizes
        cast(SharedTaskQ, q).resize(sizes)
        resized._modules = {**self._modules, "q": q}
        return resized

    # -- acting ------------------------------------------------------------------------------------------------------

    def start(self, batch: int) -> Memory:
        """Zeros for the Actor and for every MPTQ network."""
        return self.actor.memory.start(batch), self.q.memory.start(batch)

    def decide(
        self, inputs: Inputs, memory: Memory, noise: Noise | None = None, generator: torch.Generator | None = None
    ) -> tuple[Decision, Memory]:
        """As `Agents.decide`: the Actor requests shares, then (17) chooses the strategies for these shares."""
        actor_memory, q_memory = memory
        requested, states = self.actor(inputs, actor_memory)
        requested = add_exploration_noise(requested, noise, generator, self.sizes.least_share)
        tokens = self.q.encode(inputs)
        choice = self.choose(inputs, tokens, requested, q_memory, noise, generator)
        memory = states[:, -1], self._remember(inputs, tokens, requested, choice, q_memory)
        skipped = None if inputs.first_choice is None else inputs.weight <= 0
        on_servers = requests_on_servers(inputs, requested)
        return Decision(choice, requested, self.own_cpu(inputs, choice), skipped, on_servers), memory

    def own_cpu(self, inputs: Inputs, choice: Tensor) -> Tensor | None:
        """How the own CPU is divided among the local tasks of `choice`, (U, N, J); None where the Actor requests it."""
        if not self.q.exact_local:
            return None
        return timely_shares(inputs, (choice == 0) & (inputs.weight > 0))

    @torch.no_grad()
    def choose(
        self,
        inputs: Inputs,
        tokens: Tensor,
        requested: Tensor,
        past: Tensor,
        noise: Noise | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Chooses the strategies by (17). Returns them, (U, N, J).

        tokens: `q.encode(inputs)`; requested: shares, (U, N, J, 2); past: the MPTQ networks' memory. With rounds, tasks start
        from `first_choice`. Then the task that gains most by moving moves, until none gains; or, in cyclic search and always
        with exploration noise, each task in order takes the strategy that is best for its agent, given the current strategies
        of the agent's other tasks.
        """
        if self._searches(inputs, noise) and inputs.crowding is None:
            start = functional.one_hot(self.first_choice(inputs), self.sizes.servers + 1).to(requested.dtype)
            preference = self._preference(requested.device)
            return search(self.q, tokens, requested, past, inputs, start, preference).argmax(-1)
        for turn in self.turns(inputs, tokens, requested, past, noise, generator):
            one_hot = turn.one_hot_after
        return one_hot.argmax(-1)

    def turns(
        self,
        inputs: Inputs,
        tokens: Tensor,
        requested: Tensor,
        past: Tensor,
        noise: Noise | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Turn]:
        """Yields the steps of `choose`: one if all tasks decide at once, else one for each task in each round, or for each move.

        If the largest gain moves next, the last step shows that no task gains, unless the number of moves ends the search.
        """
        choice, k = self.first_choice(inputs), self.sizes.servers
        taken = functional.one_hot(choice, k + 1).to(requested.dtype)
        favoured_margin, other_margin = self.margins
        margins = requested.new_tensor([0.0] + [other_margin] * k).expand(*choice.shape[:2], 1, -1)
        if not self.rounds:
            values = self.q(tokens, self.q.encode_actions(requested, choice, inputs), past)
            worth = self.strategy_values(values, inputs.weight)
            margin = margins.expand_as(worth).scatter(-1, choice[..., None], favoured_margin)
            after = functional.one_hot(_boltzmann(worth + margin, noise, generator), k + 1)
            all_values = values.unflatten(0, (self.sizes.users, self.sizes.tasks))
            yield Turn(range(self.sizes.tasks), taken, all_values, worth, margin, after)
            return
        preference = self._preference(choice.device)
        if self._searches(inputs, noise):
            explore = None if noise is None else _perturbation(taken, noise, generator)
            for move in moves(self.q.joint(tokens, requested, past, inputs), inputs, taken, preference, explore):
                all_tasks = range(self.sizes.tasks)
                yield Turn(all_tasks, taken, move.values, move.worth, move.margin, move.after, one_moves=True)
                taken = move.after
            return
        rank = preference.rank[:, None]
        values_of, weights = self.q.sequential(tokens, requested, past, inputs), self._cyclic_weights(inputs.weight)
        count = taken.sum(2)
        for turn in range(self.rounds * self.sizes.tasks):
            j = turn % self.sizes.tasks
            values = values_of(j, taken)
            worth = self._worth_of(j, values, weights)
            count -= taken[:, :, j]
            favoured = (count + rank).argmin(-1, keepdim=True)
            margin = margins[:, :, 0].scatter(-1, favoured, favoured_margin)
            strategy = _boltzmann(worth + margin, noise, generator)
            after = taken.clone()
            count += after[:, :, j].zero_().scatter_(-1, strategy[..., None], 1.0)
            yield Turn(range(j, j + 1), taken, values[:, None], worth[:, :, None], margin[:, :, None], after)
            taken = after

    def _preference(self, device: torch.device) -> Preference:
        """Each agent's order of servers, from its first server on, and the margins."""
        k, offset = self.sizes.servers, self.first_servers(device)
        rank = ((torch.arange(k, device=device) - offset[:, None]) % k) / k
        return Preference(functional.pad(rank, (1, 0), value=torch.inf), self.margins)

    def _searches(self, inputs: Inputs, noise: Noise | None) -> bool:
        """Whether the task that gains most moves next; with exploration tasks decide in turn.

        That tries more and is faster. Of general networks tasks move with exploration too, so that what is learned is what such
        agents do.
        """
        explores_in_turn = noise is not None and inputs.crowding is None
        return self.rounds > 0 and self.rules.search == "largest-gain" and not explores_in_turn

    def first_choice(self, inputs: Inputs) -> Tensor:
        """The strategies from which a search starts, (U, N, J).

        All tasks on servers by round robin, or where price response computes them at the expected prices.
        """
        if self.rules.first_choice == "prices" and inputs.first_choice is not None:
            return inputs.first_choice
        return self.round_robin_choice(inputs)

    @property
    def margins(self) -> tuple[float, float]:
        """The margins of the favoured server and of every other server, which are added to the worth of strategies.

        Servers are similar. Without margins, agents that cannot see each other would all choose the server that seems slightly
        better. The favoured server is also less crowded than the average server, but a network only knows the average.
        """
        return self.rules.margins if self.sizes.servers > 1 else (0.0, 0.0)  # nothing to spread tasks over

    def recall(self, inputs: Inputs, choice: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Repeats `decide` for known strategies `choice`. Returns the requested shares and the memory after the step."""
        actor_memory, q_memory = memory
        requested, states = self.actor(inputs, actor_memory)
        return requested, (states[:, -1], self._remember(inputs, self.q.encode(inputs), requested, choice, q_memory))

    def _remember(self, inputs: Inputs, tokens: Tensor, requested: Tensor, choice: Tensor, past: Tensor) -> Tensor:
        """The MPTQ networks' memory after a step with the action (`requested`, `choice`)."""
        if not self.q.memory.recurrent:
            return past
        rows = self.q.rows(tokens, self.q.encode_actions(requested, choice, inputs), _by_network(choice))
        return self.q.memory.advance(rows, past)[:, 0]

    def offered(self, values: Tensor, tasks: range) -> Tensor:
        """Reorders the values of a turn by strategy and task: (U, tasks, P, N, outputs) -> (U, N, tasks, K + 1, J).

        Without columns a network values its own task only; the result is then (U, N, tasks, K + 1, 1).
        """
        if self.q.columns:
            column = self._order()[list(tasks)].argsort(-1)  # the column that holds task j'
            index = column[None, :, None, None].expand(values.shape[0], -1, values.shape[2], values.shape[3], -1)
            return values.gather(4, index).permute(0, 3, 1, 2, 4)
        return self._own(values)[..., None]

    def q_taken(self, inputs: Inputs, requested: Tensor, choice: Tensor, past: Tensor) -> Tensor:
        """The values q_j of (18) of the action that was taken, (U, N, J)."""
        values = self.q(self.q.encode(inputs), self.q.encode_actions(requested, choice, inputs), past)
        return self.task_values(self.q.select_pass(values, _by_network(choice)), choice)[1]

    # -- losses ------------------------------------------------------------------------------------------------------

    def critic_loss(self, episodes: Episodes, target: Agents, gamma: float) -> tuple[Tensor, Tensor]:
        """The loss (19) with the targets (20), and the agents' values (18) of the actions taken, (N, U).

        The loss is summed over all networks. A pass learns all of its columns, because (17) uses all of them. With
        counterfactual rewards all passes learn, otherwise only the pass of the strategy that was taken.
        """
        assert isinstance(target, ParameterisedQ)
        tokens = self.q.encode(episodes.now)
        now, network_choice = episodes.now, _by_network(episodes.choice)
        actions = self.q.encode_actions(episodes.requested, episodes.choice, now)
        rows = self.q.rows(tokens, actions, None if episodes.counterfactual is not None else network_choice)
        taken = rows if episodes.counterfactual is None else self.q.select_pass(rows, network_choice)
        states = self.q.unroll_memory(taken, episodes.batch)
        later = target.next_values(episodes) * gamma if gamma else None
        if episodes.counterfactual is None:
            values = self.q.values(tokens, rows, states[:, 1:].flatten(1, 2)[:, None], actions)
            regressed, own = self.task_values(values, episodes.choice)
            wanted = episodes.reward[:, :, self._order()] if self.q.columns else episodes.reward
            if later is not None:
                wanted = wanted + later
            loss = (regressed - wanted).square().flatten(2).mean(2)
        else:
            values = self.q.values(tokens, rows, self.q.memory.advance(rows, states[:, :-1].flatten(1, 2)), actions)
            own = self.task_values(self.q.select_pass(values, network_choice), episodes.choice)[1]
            surcharges = self._surcharges(values, now, episodes.choice) if self.sizes.shared else None
            loss = self._counterfactual_loss(values, episodes.counterfactual, later, now.weight, surcharges)
        return episodes.mean(loss).sum() * self.sizes.tasks, self._agent_values(own, episodes.now.weight)

    def _surcharges(self, values: Tensor, inputs: Inputs, choice: Tensor) -> Tensor:
        """What agents add to a task's value of each server for their other tasks there, in units of reward, (U, J, K, N).

        values: (G, P, N, outputs); choice: where the other tasks are, (U, N, J).
        """
        own = values.detach().unflatten(0, (self.sizes.users, self.sizes.tasks))[:, :, 1:, :, 0].permute(0, 3, 1, 2)
        taken = functional.one_hot(choice, self.sizes.servers + 1)[..., 1:].to(own.dtype)
        added = surcharge(own, inputs, taken)[..., 1:] / inputs.weight.clamp_min(LEAST_WEIGHT)[..., None]
        return added.permute(0, 2, 3, 1)

    def _counterfactual_loss(
        self, values: Tensor, rewards: Tensor, later: Tensor | None, weight: Tensor, surcharges: Tensor | None
    ) -> Tensor:
        """Mean error between the learned values of every strategy and their counterfactual rewards, (U, N).

        Where the own CPU is divided exactly, networks learn servers' values only. General networks learn each as much as it
        matters for a decision: by the task's weight, and by how near it is to the best strategy. Rewards contain what an
        agent's tasks cost each other on a server, which these agents add when they decide, so their networks learn the rest.

        surcharges: what general networks' agents add, see `_surcharges`; None for other networks.
        """
        u, j = self.sizes.users, self.sizes.tasks
        values = values.unflatten(0, (u, j))  # (U, J, P, N, outputs)
        if self.q.columns:
            order = self._order()[:, None, None].expand(-1, rewards.shape[2], rewards.shape[3], -1)
            wanted = rewards.gather(4, order.expand_as(rewards))
            if later is not None:
                wanted = wanted + later.transpose(1, 2)[:, :, None]
            difference = values - wanted
            if self.q.exact_local:
                difference = difference[:, :, 1:, :, :1]
            if surcharges is not None:
                valued = values[..., 0].detach()
                valued = torch.cat([valued[:, :, :1], valued[:, :, 1:] + surcharges], 2)
                likely = torch.softmax(valued / RELEVANT, 2)[:, :, 1:] * weight.transpose(1, 2)[:, :, None]
                return (self._error(difference[..., 0] + surcharges) * likely).sum(2).mean(1)
            return self._error(difference).mean((1, 2, 4))
        offered = self._own(values).permute(0, 2, 3, 1)
        wanted = rewards.diagonal(dim1=1, dim2=4).permute(0, 3, 1, 2)  # (U, J, K + 1, N): a task's own reward
        if later is not None:
            wanted = wanted + later.transpose(1, 2)[:, :, None]
        return (offered - wanted).square().mean((1, 2))

    def _error(self, difference: Tensor) -> Tensor:
        """Squared error; for general networks twice the Huber loss, which is linear beyond `HUBER_DELTA`.

        In some wards a wrong device costs a hundred times as much as the right one. Large errors get less weight, because
        ranking the good devices matters more than the exact cost of a bad one.
        """
        if not self.sizes.shared:
            return difference.square()
        zeros = torch.zeros_like(difference)
        return functional.huber_loss(difference, zeros, reduction="none", delta=HUBER_DELTA) * 2

    def actor_loss(self, episodes: Episodes, target: Agents) -> tuple[Tensor, Tensor]:
        """The loss (21), and the agents' values (18) of the Actors' requests for (27), (N, U).

        The loss is minus the sum of p Q' over networks and columns, averaged over passes; with `actor_passes` = "likely" the
        passes count as much as the agent would choose their strategies. Network j values the requests of task j,
        μ(o)[2j-1 : 2j] in (21), by their effect on all tasks; the other tasks' requests x_-j are part of its input and get no
        gradient. If the requests exceed a device, only their ratios matter, so nothing keeps their level stable. A small
        penalty therefore keeps their mean near the initial request. Networks that start from good requests keep each near it.
        """
        assert isinstance(target, ParameterisedQ)
        now = episodes.now
        requested = self._requests(now, episodes.batch)
        actions = without_others(target.q.encode_actions(requested, episodes.choice, now))
        values = target.q(target.q.encode(now), actions, target.past(episodes))
        worth = target.strategy_values(values, now.weight)
        _, own = target.best(values, now.weight)
        if now.suggested is None:
            away = (requested / FIRST_SHARE).log().mean(2).square()
        else:
            away = (requested / now.suggested).log().square().mean(2)
        valued = worth.mean(3)
        if self.actor_passes == "likely":
            valued = (worth * torch.softmax(worth.detach() / LIKELY_TEMPERATURE, -1)).sum(3)
        loss = self.request_penalty * REQUEST_PENALTY * away.sum(-1) - valued.sum(2)
        return episodes.mean(loss).sum(), self._agent_values(own, now.weight)

    def best_next(self, episodes: Episodes) -> Tensor:
        """As `Agents.best_next`: the value (18) of the next step, for each step, (N, U)."""
        inputs = episodes.later
        return self._agent_values(self._best_later(episodes)[1], inputs.weight)

    def next_values(self, episodes: Episodes) -> Tensor:
        """The next step's values Q' in (20), before the factor γ, at the best strategies; 0 after the last step.

        Returns (U, N, J, J) with columns, network j's values of all tasks; otherwise (U, N, J).
        """
        with torch.no_grad():
            regressed, own = self._best_later(episodes)
            values = regressed if self.q.columns else own
            return values * episodes.going_on.view(-1, *[1] * (values.dim() - 2))

    def _best_later(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """`task_values` of the next steps at their best strategies and the requests of the Actor."""
        inputs = episodes.later
        states = self._states(episodes)[:, 1:].flatten(1, 2)
        requested = self._requests(episodes.inputs, episodes.batch)[:, episodes.batch :]
        tokens = self.q.encode(inputs)
        choice = self.choose(inputs, tokens, requested, states)
        values = self.q(tokens, self.q.encode_actions(requested, choice, inputs), states)
        return self.task_values(self.q.select_pass(values, _by_network(choice)), choice)

    # -- values ------------------------------------------------------------------------------------------------------

    def strategy_values(self, values: Tensor, weight: Tensor) -> Tensor:
        """The worth of each strategy of each task for its agent: the sum in (17), (U, N, J, K + 1).

        values: (G, P, N, outputs) of all passes; weight: p, (U, N, J). Without columns the sum has only the own task's term.
        """
        values = values.unflatten(0, (self.sizes.users, self.sizes.tasks))
        if self.q.columns:
            return (values * torch.stack(self._cyclic_weights(weight), 1)).sum(-1).permute(0, 3, 1, 2)
        return self._own(values) * weight[..., None]

    def _worth_of(self, j: int, values: Tensor, weights: list[Tensor]) -> Tensor:
        """`strategy_values` of task j alone, from its values (U, P, N, outputs) and `_cyclic_weights`; (U, N, K + 1)."""
        if self.q.columns:
            return (values * weights[j]).sum(-1).transpose(1, 2).contiguous()
        return self._own(values[:, None])[:, :, 0] * weights[j][:, 0, :, :1]

    def _own(self, values: Tensor) -> Tensor:
        """Each task's own value under each strategy, for networks without columns.

        (U, tasks, P, N, outputs) -> (U, N, tasks, K + 1). One pass holds the values of all strategies;
        with several passes, pass s holds the value of strategy s.
        """
        own = values[:, :, 0] if self.q.slots == 1 else values.diagonal(dim1=2, dim2=4)
        return own.transpose(1, 2)

    def _cyclic_weights(self, weight: Tensor) -> list[Tensor]:
        """For each network j, the weights p of the tasks in the order of its columns, (U, 1, N, J)."""
        return [x[:, None] for x in weight[:, :, self._order()].unbind(2)]

    def task_values(self, values: Tensor, choice: Tensor) -> tuple[Tensor, Tensor]:
        """The values that are fitted to rewards, and each task's own value q_j, (U, N, J).

        values: (G, 1, N, outputs), the passes of `choice` (U, N, J). With columns the fitted values are (U, N, J, J): network
        j's values of all tasks in cyclic order from j. Without columns they are the same as the own values.
        """
        u, j = self.sizes.users, self.sizes.tasks
        values = values[:, 0].unflatten(0, (u, j)).transpose(1, 2)  # (U, N, J, outputs)
        if self.q.columns:
            return values, values[..., 0]
        own = values.gather(3, choice[..., None]).squeeze(3)
        return own, own

    def best(self, values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The best strategies by (17) from the values (G, P, N, outputs) of all passes, and each task's value; both (U, N, J)."""
        choice = self.strategy_values(values.detach(), weight).argmax(-1)
        return choice, self.task_values(self.q.select_pass(values, _by_network(choice)), choice)[1]

    def past(self, episodes: Episodes) -> Tensor:
        """The MPTQ networks' memories before each step of the episodes, (G, N, width)."""
        return self._states(episodes)[:, :-1].flatten(1, 2)

    def _states(self, episodes: Episodes) -> Tensor:
        """The MPTQ networks' memories before each step and after the last, (G, T + 1, episodes, width)."""
        with torch.no_grad():
            if not self.q.memory.recurrent:
                g, t = self.sizes.users * self.sizes.tasks, episodes.steps // episodes.batch
                return self.q.memory.start(episodes.batch)[:, None].expand(g, t + 1, episodes.batch, -1)
            now = episodes.now
            actions = self.q.encode_actions(episodes.requested, episodes.choice, now)
            rows = self.q.rows(self.q.encode(now), actions, _by_network(episodes.choice))
            return self.q.unroll_memory(rows, episodes.batch)

    def _requests(self, inputs: Inputs, batch: int) -> Tensor:
        """The Actors' requests μ(o) over whole episodes, (U, N, J, 2)."""
        requested: Tensor = self.actor(inputs, self.actor.memory.start(batch))[0]
        return requested

    def _order(self) -> Tensor:
        """The task in each column of each network, (J, J)."""
        return cyclic_order(self.sizes.tasks, self.q.out.weight.device)

    @staticmethod
    def _agent_values(own: Tensor, weight: Tensor) -> Tensor:
        """The agents' values (18): Q_i = Σ_j p_j q_j, (N, U)."""
        return (own * weight).sum(-1).transpose(0, 1)

    def critic_parameters(self) -> list[nn.Parameter]:
        """θ^Q of all MPTQ networks."""
        return list(self.q.parameters())

    def actor_parameters(self) -> list[nn.Parameter]:
        """θ^μ of all Actors."""
        return list(self.actor.parameters())


def _by_network(choice: Tensor) -> Tensor:
    """Moves the tasks of the strategies (U, N, J) into the network axis, (U·J, N)."""
    return flatten_tasks(choice[..., None])[..., 0]


def _perturbation(taken: Tensor, noise: Noise, generator: torch.Generator | None) -> Tensor:
    """Gumbel noise on the worth of strategies, of the shape of `taken`, so that the best one is a Boltzmann choice.

    All servers together get as much as the own device. With the probability `noise.epsilon` a task takes a random strategy.
    """
    uniform = torch.rand(taken.shape, generator=generator).clamp_(1e-6, 1 - 1e-6).to(taken.device)
    gumbel = -torch.log(-torch.log(uniform))
    gumbel[..., 1:] -= math.log(taken.shape[-1] - 1)
    even = torch.randint(0, taken.shape[-1], taken.shape[:-1], generator=generator).to(taken.device)
    explore = (torch.rand(taken.shape[:-1], generator=generator) < noise.epsilon).to(taken.device)
    return noise.temperature * gumbel + FORCED * functional.one_hot(even, taken.shape[-1]) * explore[..., None]


def _boltzmann(worth: Tensor, noise: Noise | None, generator: torch.Generator | None) -> Tensor:
    """Chooses strategies by their worth (…, K + 1): the best, or with noise by Boltzmann exploration at its temperature.

    A server is drawn first, then the choice is between this server and the own device. Otherwise many similar servers would
    almost always win over the own device, only because there are more of them.
    """
    if noise is None:
        return worth.argmax(-1)
    local, servers = worth[..., 0], worth[..., 1:]
    if noise.temperature > 0:
        uniform = torch.rand(worth.shape, generator=generator).clamp_(1e-6, 1 - 1e-6).to(worth.device)
        server = (servers / noise.temperature - torch.log(-torch.log(uniform[..., 1:]))).argmax(-1)
        away = servers.amax(-1) - local > noise.temperature * torch.logit(uniform[..., 0])
    else:
        server, away = servers.argmax(-1), servers.amax(-1) > local
    choice = torch.where(away, server + 1, 0)
    if noise.epsilon > 0:
        even = torch.randint(0, worth.shape[-1], choice.shape, generator=generator).to(worth.device)
        explore = (torch.rand(choice.shape, generator=generator) < noise.epsilon).to(worth.device)
        choice = torch.where(explore, even, choice)
    return choice
