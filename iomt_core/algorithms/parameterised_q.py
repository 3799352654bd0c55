"""Agents with parameterised actions: an Actor for the shares and an MPTQ network per task for the strategies."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from iomt_core.algorithms.agents import Agents, Decision, Memory, Noise, add_exploration_noise
from iomt_core.algorithms.episodes import Episodes
from iomt_core.nets.actor import FIRST_SHARE, Actor
from iomt_core.nets.inputs import Inputs, Sizes, cyclic_order, flatten_tasks
from iomt_core.nets.shared import SharedActor, SharedTaskQ, without_others
from iomt_core.nets.task_q import TaskQ

# Added to the worth of a strategy before the choice: to the task's round-robin server, and to every other server; nothing to
# the own device. Servers are much alike: without it, agents that cannot see each other would all choose the server that
# seems slightly better. And the round-robin server is less crowded than the average one, which is all a network knows.
MARGINS = 0.03, -0.02
MARGINS_GENERAL = 0.01, 0.0  # the same for general networks: prices already tell servers apart
HUBER_DELTA = 0.1  # in units of reward
REQUEST_PENALTY = 0.05  # in units of reward, at `request_penalty` = 1: of an agent's squared mean logarithm of requests


@dataclass(frozen=True)
class Turn:
    """One step of the choice of strategies: `tasks` decide, given the strategies before it."""

    tasks: range
    stood: Tensor  # (U, N, J, K + 1) of 0 and 1, the strategies before
    values: Tensor  # (U, tasks, P, N, outputs) of every pass
    worth: Tensor  # (U, N, tasks, K + 1) the sum in (17)
    margin: Tensor  # (U, N, tasks, K + 1) added to the worth before the choice, see `MARGINS`
    taken: Tensor  # (U, N, J, K + 1) of 0 and 1, the strategies after

    @property
    def before(self) -> Tensor:
        """The strategies before, (U, N, J)."""
        return self.stood.argmax(-1)

    @property
    def after(self) -> Tensor:
        """The strategies after, (U, N, J)."""
        return self.taken.argmax(-1)


class ParameterisedQ(Agents):
    """MPMT-DQN of sections V-A and V-B; MT-MP-DQN without `columns`, MT-PDQN also without `passes`."""

    def __init__(
        self, sizes: Sizes, passes: bool = True, columns: bool = True, rounds: int = 0, recurrent: bool = True
    ) -> None:
        """`rounds` is how many times each task of an agent decides, given the others' current strategies; 0: all at once."""
        super().__init__(sizes)
        self.rounds = rounds
        if sizes.shared:
            self.actor: Actor | SharedActor = SharedActor(sizes)
            self.q: TaskQ = SharedTaskQ(sizes)
        else:
            self.actor = Actor(sizes, 2, recurrent)
            self.q = TaskQ(sizes, passes, columns, rounds > 0, recurrent)

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
        """As `Agents.decide`: shares by the Actor, then strategies by (17) at these shares."""
        of_actor, of_q = memory
        requested, states = self.actor(inputs, of_actor)
        requested = add_exploration_noise(requested, noise, generator, self.sizes.least_share)
        tokens = self.q.encode(inputs)
        choice = self.choose(inputs, tokens, requested, of_q, noise, generator)
        return Decision(choice, requested), (states[:, -1], self._remember(inputs, tokens, requested, choice, of_q))

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
        """Strategies by (17), (U, N, J).

        tokens: `q.encode(inputs)`; requested: shares, (U, N, J, 2); past: the MPTQ networks' memory. With rounds, tasks start
        from the round-robin assignment; then one task after another takes the strategy that is best for the agent, given the
        current strategies of its other tasks.
        """
        for turn in self.turns(inputs, tokens, requested, past, noise, generator):
            taken = turn.taken
        return taken.argmax(-1)

    def turns(
        self,
        inputs: Inputs,
        tokens: Tensor,
        requested: Tensor,
        past: Tensor,
        noise: Noise | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Turn]:
        """The steps by which `choose` arrives at its strategies: a single one at once, or one per task and round."""
        choice, k = self.round_robin_choice(inputs), self.sizes.servers
        taken = functional.one_hot(choice, k + 1).to(requested.dtype)
        favoured_margin, other_margin = self.margins
        margins = requested.new_tensor([0.0] + [other_margin] * k).expand(*choice.shape[:2], 1, -1)
        if not self.rounds:
            values = self.q(tokens, self.q.encode_actions(requested, choice, inputs), past)
            worth = self.strategy_values(values, inputs.weight)
            margin = margins.expand_as(worth).scatter(-1, choice[..., None], favoured_margin)
            after = functional.one_hot(_boltzmann(worth + margin, noise, generator), k + 1)
            every = values.unflatten(0, (self.sizes.users, self.sizes.tasks))
            yield Turn(range(self.sizes.tasks), taken, every, worth, margin, after)
            return
        values_of, weights = self.q.sequential(tokens, requested, past, inputs), self._cyclic_weights(inputs.weight)
        server, offset = (torch.arange(n, device=choice.device) for n in (k, self.sizes.users))
        rank = ((server - offset[:, None, None]) % k) / k  # (U, 1, K): servers from each agent's own first server on
        rank = functional.pad(rank, (1, 0), value=torch.inf)  # the own device is no server
        count = taken.sum(2)
        for turn in range(self.rounds * self.sizes.tasks):
            j = turn % self.sizes.tasks
            values = values_of(j, taken)
            worth = self._worth_of(j, values, weights)
            # The favoured server is the one with the fewest of the agent's other tasks: so agents that know nothing of each
            # other fill all servers evenly.
            count -= taken[:, :, j]
            favoured = (count + rank).argmin(-1, keepdim=True)
            margin = margins[:, :, 0].scatter(-1, favoured, favoured_margin)
            strategy = _boltzmann(worth + margin, noise, generator)
            after = taken.clone()
            count += after[:, :, j].zero_().scatter_(-1, strategy[..., None], 1.0)
            yield Turn(range(j, j + 1), taken, values[:, None], worth[:, :, None], margin[:, :, None], after)
            taken = after

    @property
    def margins(self) -> tuple[float, float]:
        """What is added to the worth of the favoured server, and of every other server."""
        if self.sizes.servers == 1:
            return 0.0, 0.0  # nothing to spread tasks over
        return MARGINS_GENERAL if self.sizes.shared else MARGINS

    def recall(self, inputs: Inputs, choice: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Replays `decide` for a step whose strategies `choice` are known: the requested shares, and the memory after it."""
        of_actor, of_q = memory
        requested, states = self.actor(inputs, of_actor)
        return requested, (states[:, -1], self._remember(inputs, self.q.encode(inputs), requested, choice, of_q))

    def _remember(self, inputs: Inputs, tokens: Tensor, requested: Tensor, choice: Tensor, past: Tensor) -> Tensor:
        """The MPTQ networks' memory after a step in which `requested` and `choice` were done."""
        if not self.q.memory.recurrent:
            return past
        rows = self.q.rows(tokens, self.q.encode_actions(requested, choice, inputs), _by_network(choice))
        return self.q.memory.advance(rows, past)[:, 0]

    def offered(self, values: Tensor, tasks: range) -> Tensor:
        """Values of a turn by strategy and task: (U, tasks, P, N, outputs) -> (U, N, tasks, K + 1, J).

        Without columns a network values its own task only; the result is then (U, N, tasks, K + 1, 1).
        """
        if self.q.columns:
            column = self._order()[list(tasks)].argsort(-1)  # which column holds task j'
            index = column[None, :, None, None].expand(values.shape[0], -1, values.shape[2], values.shape[3], -1)
            return values.gather(4, index).permute(0, 3, 1, 2, 4)
        return self._own(values)[..., None]

    def q_taken(self, inputs: Inputs, requested: Tensor, choice: Tensor, past: Tensor) -> Tensor:
        """q_j of (18) at the action that was taken, (U, N, J)."""
        values = self.q(self.q.encode(inputs), self.q.encode_actions(requested, choice, inputs), past)
        return self.task_values(self.q.select_pass(values, _by_network(choice)), choice)[1]

    # -- losses ------------------------------------------------------------------------------------------------------

    def critic_loss(self, episodes: Episodes, target: Agents, gamma: float) -> tuple[Tensor, Tensor]:
        """(19) with the targets (20): a mean over an agent's networks, summed over agents.

        A pass learns all of its columns, because (17) uses all of them. With counterfactual rewards all passes learn, else
        the one of the strategy that was taken.
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
            loss = self._counterfactual_loss(values, episodes.counterfactual, later)
        return episodes.mean(loss).sum() * self.sizes.tasks, self._agent_values(own, episodes.now.weight)

    def _counterfactual_loss(self, values: Tensor, rewards: Tensor, later: Tensor | None) -> Tensor:
        """Mean error of every strategy's values against its counterfactual reward, (U, N)."""
        u, j = self.sizes.users, self.sizes.tasks
        values = values.unflatten(0, (u, j))  # (U, J, P, N, outputs)
        if self.q.columns:
            order = self._order()[:, None, None].expand(-1, rewards.shape[2], rewards.shape[3], -1)
            wanted = rewards.gather(4, order.expand_as(rewards))
            if later is not None:
                wanted = wanted + later.transpose(1, 2)[:, :, None]
            return self._error(values - wanted).mean((1, 2, 4))
        offered = self._own(values).permute(0, 2, 3, 1)
        wanted = rewards.diagonal(dim1=1, dim2=4).permute(0, 3, 1, 2)  # (U, J, K + 1, N): a task's own reward
        if later is not None:
            wanted = wanted + later.transpose(1, 2)[:, :, None]
        return (offered - wanted).square().mean((1, 2))

    def _error(self, difference: Tensor) -> Tensor:
        """Squared error; for general networks Huber's, linear beyond `HUBER_DELTA`.

        In some wards the wrong device costs a hundred times as much as the right one. How bad exactly it is matters less than
        which of the good devices is best.
        """
        if not self.sizes.shared:
            return difference.square()
        zeros = torch.zeros_like(difference)
        return functional.huber_loss(difference, zeros, reduction="none", delta=HUBER_DELTA) * 2

    def actor_loss(self, episodes: Episodes, target: Agents) -> tuple[Tensor, Tensor]:
        """(21): minus the sum over networks, passes and columns of p Q', a mean over passes; and (18) at μ for (27).

        Network j values task j's requests, μ(o)[2j-1 : 2j] in (21), by their effect on all tasks; the other tasks' requests
        are observation, x_-j. Where more is requested than there is, only the ratios of requests count and nothing fixes
        their level; a small penalty on the distance from the initial request does.
        """
        assert isinstance(target, ParameterisedQ)
        now = episodes.now
        requested = self._requests(now, episodes.batch)
        actions = without_others(target.q.encode_actions(requested, episodes.choice, now))
        values = target.q(target.q.encode(now), actions, target.past(episodes))
        worth = target.strategy_values(values, now.weight)
        _, own = target.best(values, now.weight)
        start = FIRST_SHARE if now.suggested is None else now.suggested
        level = (requested / start).log().mean(2).square().sum(-1)
        loss = self.request_penalty * REQUEST_PENALTY * level - worth.mean(3).sum(2)
        return episodes.mean(loss).sum(), self._agent_values(own, now.weight)

    def best_next(self, episodes: Episodes) -> Tensor:
        """As `Agents.best_next`: (18) after each step, (N, U)."""
        inputs = episodes.later
        return self._agent_values(self._best_later(episodes)[1], inputs.weight)

    def next_values(self, episodes: Episodes) -> Tensor:
        """What (20) adds to a reward, before γ: Q' of the next step at its best strategies; 0 after the last step.

        (U, N, J, J) with columns, network j's values of all tasks; else (U, N, J).
        """
        with torch.no_grad():
            regressed, own = self._best_later(episodes)
            values = regressed if self.q.columns else own
            return values * episodes.going_on.view(-1, *[1] * (values.dim() - 2))

    def _best_later(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        inputs = episodes.later
        states = self._states(episodes)[:, 1:].flatten(1, 2)
        requested = self._requests(episodes.inputs, episodes.batch)[:, episodes.batch :]
        tokens = self.q.encode(inputs)
        choice = self.choose(inputs, tokens, requested, states)
        values = self.q(tokens, self.q.encode_actions(requested, choice, inputs), states)
        return self.task_values(self.q.select_pass(values, _by_network(choice)), choice)

    # -- values ------------------------------------------------------------------------------------------------------

    def strategy_values(self, values: Tensor, weight: Tensor) -> Tensor:
        """The worth of each strategy of each task to its agent, the sum in (17); (U, N, J, K + 1).

        values: (G, P, N, outputs) of all passes; weight: p, (U, N, J). Without columns the sum has one term, the own task's.
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

        (U, tasks, P, N, outputs) -> (U, N, tasks, K + 1). A single pass holds all of them; of several, pass s holds the s-th.
        """
        own = values[:, :, 0] if self.q.slots == 1 else values.diagonal(dim1=2, dim2=4)
        return own.transpose(1, 2)

    def _cyclic_weights(self, weight: Tensor) -> list[Tensor]:
        """p of the tasks in the order of network j's columns, for each j; (U, 1, N, J) each."""
        return [x[:, None] for x in weight[:, :, self._order()].unbind(2)]

    def task_values(self, values: Tensor, choice: Tensor) -> tuple[Tensor, Tensor]:
        """The values that are regressed on rewards, and each task's own value q_j, (U, N, J).

        values: (G, 1, N, outputs), the passes of `choice` (U, N, J). With columns the former are (U, N, J, J), network j's
        values of all tasks in cyclic order from j; without, they equal the latter.
        """
        u, j = self.sizes.users, self.sizes.tasks
        values = values[:, 0].unflatten(0, (u, j)).transpose(1, 2)  # (U, N, J, outputs)
        if self.q.columns:
            return values, values[..., 0]
        own = values.gather(3, choice[..., None]).squeeze(3)
        return own, own

    def best(self, values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The strategies of (17), (U, N, J), from the values (G, P, N, outputs) of all passes, and each task's value there."""
        choice = self.strategy_values(values.detach(), weight).argmax(-1)
        return choice, self.task_values(self.q.select_pass(values, _by_network(choice)), choice)[1]

    def past(self, episodes: Episodes) -> Tensor:
        """The MPTQ networks' memories before each step of the episodes, (G, N, width)."""
        return self._states(episodes)[:, :-1].flatten(1, 2)

    def _states(self, episodes: Episodes) -> Tensor:
        with torch.no_grad():
            if not self.q.memory.recurrent:
                g, t = self.sizes.users * self.sizes.tasks, episodes.steps // episodes.batch
                return self.q.memory.start(episodes.batch)[:, None].expand(g, t + 1, episodes.batch, -1)
            now = episodes.now
            actions = self.q.encode_actions(episodes.requested, episodes.choice, now)
            rows = self.q.rows(self.q.encode(now), actions, _by_network(episodes.choice))
            return self.q.unroll_memory(rows, episodes.batch)

    def _requests(self, inputs: Inputs, batch: int) -> Tensor:
        """μ over whole episodes, (U, N, J, 2)."""
        requested: Tensor = self.actor(inputs, self.actor.memory.start(batch))[0]
        return requested

    def _order(self) -> Tensor:
        """The task in each column of each network, (J, J)."""
        return cyclic_order(self.sizes.tasks, self.q.out.weight.device)

    @staticmethod
    def _agent_values(own: Tensor, weight: Tensor) -> Tensor:
        """(18): Q_i = Σ_j p_j q_j; (N, U)."""
        return (own * weight).sum(-1).transpose(0, 1)

    def critic_parameters(self) -> list[nn.Parameter]:
        """θ^Q of all MPTQ networks."""
        return list(self.q.parameters())

    def actor_parameters(self) -> list[nn.Parameter]:
        """θ^μ of all Actors."""
        return list(self.actor.parameters())


def _by_network(choice: Tensor) -> Tensor:
    """Strategies (U, N, J) with tasks in the network axis, (U·J, N)."""
    return flatten_tasks(choice[..., None])[..., 0]


def _boltzmann(worth: Tensor, noise: Noise | None, generator: torch.Generator | None) -> Tensor:
    """Strategies from their worth (…, K + 1): the best ones, or Boltzmann exploration at the noise's temperature.

    First a server is drawn, then that server or the own device. So many servers that are alike do not outweigh the single
    own device by their number.
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
