"""One learner update of SAE-MT-QMIX written as the paper reads: loops over agents, task networks, passes and steps.

The losses are (19), (21), (26) and (27) with γ = 0, on one network at a time from the same stacked weights. What the fast
learner is measured against, and checked by.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from iomt_core.algorithms.episodes import Episodes
from iomt_core.algorithms.learner import Learner
from iomt_core.algorithms.parameterised_q import REQUEST_PENALTY, ParameterisedQ
from iomt_core.nets.actor import FIRST_SHARE, Actor
from iomt_core.nets.encoder import HEADS, Encoder
from iomt_core.nets.grouped import GroupedGRU, GroupedLinear
from iomt_core.nets.inputs import LEAST_SHARE, share_features
from iomt_core.nets.task_q import TaskQ


def linear(layer: GroupedLinear, g: int, x: Tensor) -> Tensor:
    return x @ layer.weight[g] + layer.bias[g, 0]


def attend(encoder: Encoder, g: int, row: Tensor, tokens: list[Tensor]) -> Tensor:
    """One row attends to some tokens; all (B, width)."""
    d, h = encoder.width, HEADS
    norm = [functional.layer_norm(x, (d,)) for x in [row, *tokens]]
    q = linear(encoder.project, g, norm[0])[:, :d]
    pairs = [linear(encoder.project, g, x)[:, d:].chunk(2, -1) for x in norm[1:]]
    heads = []
    for head in range(h):
        part = slice(head * d // h, (head + 1) * d // h)
        scores = torch.stack([(q[:, part] * k[:, part]).sum(-1) for k, _ in pairs]) / math.sqrt(d / h)
        weights = scores.softmax(0)
        heads.append(sum(weight[:, None] * v[:, part] for weight, (_, v) in zip(weights, pairs, strict=True)))
    row = row + linear(encoder.out, g, torch.cat(heads, dim=-1))
    hidden = functional.relu(linear(encoder.wide, g, functional.layer_norm(row, (d,))))
    return row + linear(encoder.narrow, g, hidden)


def gru(layer: GroupedGRU, g: int, x: Tensor, state: Tensor) -> Tensor:
    d = layer.width
    assert layer.from_state is not None
    now, past = linear(layer.from_input, g, x), linear(layer.from_state, g, state)
    update = torch.sigmoid(now[:, :d] + past[:, :d])
    reset = torch.sigmoid(now[:, d : 2 * d] + past[:, d : 2 * d])
    new = torch.tanh(now[:, 2 * d :] + reset * past[:, 2 * d :])
    return (1 - update) * new + update * state


def actor(net: Actor, i: int, tasks: list[Tensor], other: list[Tensor]) -> list[Tensor]:
    """An agent's requests at each step, (B, J, 2) each."""
    state = torch.zeros(len(other[0]), net.memory.width)
    steps = []
    for task, rest in zip(tasks, other, strict=True):
        tokens = [linear(net.of_tasks, i, task.flatten(1)), linear(net.of_other, i, rest)]
        tokens = [attend(net.first, i, token, tokens) for token in tokens]
        state = gru(net.memory, i, tokens[1], state)
        row = state + tokens[1]
        mixed = attend(net.second, i, row, [row, tokens[0]])
        out = torch.sigmoid(linear(net.out, i, functional.relu(linear(net.wide, i, mixed))))
        steps.append((LEAST_SHARE + (1 - LEAST_SHARE) * out).view(len(out), net.tasks, -1))
    return steps


class TaskNetwork:
    """Network j of agent i: one pass of one step at a time."""

    def __init__(self, net: TaskQ, i: int, j: int) -> None:
        self.net, self.j, self.count = net, j, net.sizes.tasks
        self.g = i * self.count + j

    def encode(self, tasks: Tensor, other: Tensor) -> list[Tensor]:
        turned = [tasks[:, (self.j + r) % self.count] for r in range(1, self.count)]
        parts = [
            linear(self.net.own, self.g, tasks[:, self.j]),
            linear(self.net.others, self.g, torch.cat(turned, dim=-1)),
            linear(self.net.rest, self.g, other),
        ]
        return [attend(self.net.first, self.g, part, parts) for part in parts]

    def row(self, tokens: list[Tensor], shares: Tensor, s: int, own_only: bool = False) -> Tensor:
        requested = share_features(shares)
        turned = torch.cat([requested[:, (self.j + r) % self.count] for r in range(1, self.count)], dim=-1)
        if own_only:
            turned = turned.detach()
        slot = self.g * self.net.slots + s
        own = tokens[0] + linear(self.net.slot, slot, requested[:, self.j])
        others = tokens[1] + linear(self.net.others_asked, self.g, turned)
        return attend(self.net.second, self.g, own, [own, others, tokens[2]])

    def values(self, tokens: list[Tensor], row: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        after = gru(self.net.memory, self.g, row, state)
        joined = row + after
        mixed = attend(self.net.third, self.g, joined, [joined, *tokens])
        return linear(self.net.out, self.g, functional.relu(linear(self.net.wide, self.g, mixed))), after


def losses(learner: Learner, episodes: Episodes) -> tuple[Tensor, Tensor]:
    """The critics' loss, (19) and (26), and the actors', (21) and (27)."""
    agents, targets = learner.agents, learner.target_agents
    assert isinstance(agents, ParameterisedQ)
    assert isinstance(targets, ParameterisedQ)
    sizes, batch = agents.sizes, episodes.batch
    u, j, steps = sizes.users, sizes.tasks, episodes.steps // episodes.batch
    rows = [slice(t * batch, (t + 1) * batch) for t in range(steps)]
    now = episodes.now
    local, actors = torch.zeros(()), torch.zeros(())
    q_agents, q_at_mu = [], []
    for i in range(u):
        tasks, other = [now.tasks[i, r] for r in rows], [now.other[i, r] for r in rows]
        weight = [now.weight[i, r] for r in rows]
        mu = actor(agents.actor, i, tasks, other)
        q_i = [torch.zeros(batch) for _ in rows]
        q_mu = [torch.zeros(batch) for _ in rows]
        for task in range(j):
            online, target = TaskNetwork(agents.q, i, task), TaskNetwork(targets.q, i, task)
            state, target_state = torch.zeros(batch, agents.q.memory.width), torch.zeros(batch, agents.q.memory.width)
            for t, r in enumerate(rows):
                taken, shares = episodes.choice[i, r, task], episodes.requested[i, r]
                tokens = online.encode(tasks[t], other[t])
                ways = [online.row(tokens, shares, s) for s in range(agents.q.slots)]
                row = torch.stack(ways)[taken, torch.arange(batch)]
                values, state = online.values(tokens, row, state)
                order = [(task + n) % j for n in range(j)]
                errors = (values - episodes.reward[i, r][:, order]).square().mean(1)
                local = local + (errors * episodes.mask[r]).sum()
                q_i[t] = q_i[t] + weight[t][:, task] * values[:, 0]
                tokens = target.encode(tasks[t], other[t])
                worths, own = [], []
                for s in range(agents.q.slots):
                    values, _ = target.values(tokens, target.row(tokens, mu[t], s, own_only=True), target_state)
                    worths.append((values * weight[t][:, order]).sum(1))
                    own.append(values[:, 0])
                worth = torch.stack(worths)
                actors = actors - (worth.mean(0) * episodes.mask[r]).sum()
                best = worth.argmax(0)
                q_mu[t] = q_mu[t] + weight[t][:, task] * torch.stack(own)[best, torch.arange(batch)]
                ways = [target.row(tokens, shares, s) for s in range(agents.q.slots)]
                target_state = gru(
                    targets.q.memory, target.g, torch.stack(ways)[taken, torch.arange(batch)], target_state
                )
        level = torch.cat([(x / FIRST_SHARE).log().mean(1).square().sum(-1) for x in mu])
        actors = actors + REQUEST_PENALTY * (level * episodes.mask).sum()
        q_agents.append(torch.cat(q_i))
        q_at_mu.append(torch.cat(q_mu))
    played, n, count = episodes.mask.sum(), episodes.steps, u * j
    q_tot = learner.mixer(torch.stack(q_agents, 1), episodes.corrected[:n], episodes.state[:n])
    team = ((q_tot - episodes.team_reward).square() * episodes.mask).sum() / played / count
    at_mu = learner.target_mixer(torch.stack(q_at_mu, 1), episodes.corrected[:n], episodes.state[:n])
    team_mu = -(at_mu * episodes.mask).sum() / played
    w = learner.settings.team_weight
    return local / played + w * team, actors / played + w * team_mu
