"""Generative models of a user's tasks: a Gaussian copula, and a normalising flow on top of it.

Both model a step given the step before (a Markov chain of order 1): the dependence of the attributes of a task, of the tasks of
a step, of the number of tasks, and of all these on the step before. Tasks of a step are exchangeable. Longer memory is not
modelled, nor what depends on the time of day.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from iomt_core.twin.mapping.normal_scores import Marginal, Scores
from iomt_core.twin.mapping.task_steps import Array

MODELS = ("copula", "flow")
SMALLEST = 1e-3  # eigenvalue of a correlation matrix
TRANSFORMS, HIDDEN, BINS = 2, (64, 64), 16
EPOCHS, BATCH, RATE, DECAY = 60, 512, 3e-3, 1e-5
EARLIER = -3  # entry of a context: whether tasks of the same step were before
RIDGE = 1.0  # of the linear regression, in records
PATIENCE = 10  # epochs without a better likelihood before the training ends
CHECKED_PART = 0.15  # of the training data, the latest, which decide when to stop


class TaskModel(Protocol):
    """A distribution of vectors of normal scores, given the vector before."""

    def log_density(self, scores: Scores) -> Array:
        """Logarithm of the density of each row, given the row before where it follows one, (R,) nats."""

    def draw(self, sequences: int, steps: int, generator: np.random.Generator) -> Array:
        """Sequences of consecutive steps, (sequences, steps, d)."""


class Copula:
    """A Gaussian copula over a step and the step before it."""

    def __init__(self, scores: Scores, tasks: int) -> None:
        """Fits the correlations; tasks: J, which are exchangeable."""
        z, d = scores.values, scores.values.shape[1]
        now = scores.pairs
        both = np.full((2 * d, 2 * d), 0.0)
        within = _correlation(z, scores.present, z, scores.present)
        both[:d, :d] = both[d:, d:] = _exchangeable(within, tasks)
        if len(now):
            lagged = _correlation(z[now], scores.present[now], z[now - 1], scores.present[now - 1])
            both[d:, :d] = _exchangeable(lagged, tasks)
            both[:d, d:] = both[d:, :d].T
        both = _positive(both)
        first = both[d:, d:]
        self.size = d
        self._factor = both[d:, :d] @ np.linalg.inv(both[:d, :d])  # mean given the step before
        rest = first - self._factor @ both[:d, d:]
        self._both, self._root_first, self._root = both, _roots(first)[0], _roots((rest + rest.T) / 2)[0]

    def log_density(self, scores: Scores) -> Array:
        """See `TaskModel`. A missing task, now or before, is left out; its score counts as independent noise."""
        z, d = scores.values, self.size
        here, before = scores.present, np.where(scores.follows[:, None], np.roll(scores.present, 1, 0), False)
        both = np.column_stack([np.roll(z, 1, 0), z])
        result = -0.5 * (z * z + np.log(2 * np.pi)).sum(1, where=~here)
        for pattern, rows in _patterns(np.column_stack([before, here])):
            a, b = np.flatnonzero(pattern[:d]), d + np.flatnonzero(pattern[d:])
            x = both[rows][:, b]
            spread = self._both[np.ix_(b, b)]
            if len(a):
                factor = self._both[np.ix_(b, a)] @ np.linalg.inv(self._both[np.ix_(a, a)])
                x = x - both[rows][:, a] @ factor.T
                spread = spread - factor @ self._both[np.ix_(a, b)]
            if len(b):
                _, inverse, log_root = _roots((spread + spread.T) / 2)
                e = x @ inverse
                result[rows] -= log_root + 0.5 * (e * e + np.log(2 * np.pi)).sum(1)
        return np.asarray(result)

    def draw(self, sequences: int, steps: int, generator: np.random.Generator) -> Array:
        """See `TaskModel`."""
        found = np.empty((sequences, steps, self.size))
        before = generator.standard_normal((sequences, self.size)) @ self._root_first
        for t in range(steps):
            if t:
                before = before @ self._factor.T + generator.standard_normal((sequences, self.size)) @ self._root
            found[:, t] = before
        return found


class Flow:
    """A neural spline flow (Durkan et al. 2019) of one task, given the tasks before it in the step and the step before.

    The tasks of a step are drawn one after another, all by the same flow. It models what a linear regression on `_Context`
    leaves, and begins as the identity, so that at first it is a linear model. The number of tasks is a Gaussian chain.
    """

    def __init__(
        self,
        scores: Scores,
        tasks: int,
        count: Marginal | None,
        seed: int,
        on_epoch: Callable[[int, int], None] = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
        epochs: int = EPOCHS,
    ) -> None:
        """Trains it. The latest data decide which epoch is kept. In each epoch the tasks of a step are in another order.

        tasks: J; count: the marginal of the number of tasks, None if it never varies.
        """
        import zuko  # here, since it takes time to import

        self.size, self.tasks = scores.values.shape[1], tasks
        self.attributes = self.size // tasks
        self._count, self._count_memory = count, self._fit_count(scores)
        z, context, present = self._records(scores)
        x, y = _features(context[present]).double(), z[present].double()
        penalty = RIDGE * torch.eye(x.shape[1], dtype=torch.float64)
        self._weights = torch.linalg.solve(x.T @ x + penalty, x.T @ y).float()
        covariance = np.cov((y - x @ self._weights.double()).T.numpy()).reshape(self.attributes, self.attributes)
        root, inverse, self._log_root = _roots(covariance)
        self._root, self._inverse = (torch.from_numpy(matrix).float() for matrix in (root, inverse))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            width = context.shape[-1]
            self._flow: Any = zuko.flows.NSF(
                self.attributes, width, transforms=TRANSFORMS, hidden_features=HIDDEN, bins=BINS
            )
            for transform in self._flow.transform.transforms:
                if hasattr(transform, "hyper"):
                    for parameter in transform.hyper[-1].parameters():
                        nn.init.zeros_(parameter)
            self._train(scores, on_epoch, stop, epochs)

    def log_density(self, scores: Scores) -> Array:
        """See `TaskModel`."""
        z, context, present = self._records(scores)
        with torch.no_grad():
            density = torch.zeros(present.shape, dtype=torch.float64)
            density[present] = self._density(z[present], context[present]).double()
            density[~present] = -0.5 * (z[~present].double() ** 2 + math.log(2 * math.pi)).sum(-1)
        result = density.sum(1).numpy()
        if self._count is not None:
            n, keep = scores.values[:, -1], self._count_memory
            before = np.where(scores.follows, np.roll(n, 1), 0.0)
            spread = np.where(scores.follows, 1 - keep**2, 1.0)
            result = result - 0.5 * ((n - keep * before) ** 2 / spread + np.log(2 * np.pi * spread))
        return np.asarray(result)

    def draw(self, sequences: int, steps: int, generator: np.random.Generator) -> Array:
        """See `TaskModel`."""
        found = np.zeros((sequences, steps, self.size))
        j, a, keep = self.tasks, self.attributes, self._count_memory
        before = _Before(torch.zeros(sequences, j, a), torch.zeros(sequences, j, dtype=torch.bool))
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(int(generator.integers(2**62)))
            for t in range(steps):
                present = torch.ones(sequences, j, dtype=torch.bool)
                if self._count is not None:
                    noise = generator.standard_normal(sequences)
                    found[:, t, -1] = keep * found[:, t - 1, -1] + math.sqrt(1 - keep**2) * noise if t else noise
                    present = torch.arange(j) < torch.from_numpy(self._count.quantiles(found[:, t, -1]))[:, None]
                z = torch.randn(sequences, j, a)
                for task in range(j):
                    context = _contexts(z, present, before)[:, task]
                    drawn = _features(context) @ self._weights + self._flow(context).sample() @ self._root
                    z[:, task] = torch.where(present[:, task, None], drawn, z[:, task])
                found[:, t, : j * a] = z.flatten(1).numpy()
                before = _Before(z, present)
        return found

    def _train(
        self, scores: Scores, on_epoch: Callable[[int, int], None], stop: Callable[[], bool], epochs: int
    ) -> None:
        cut = int(len(scores.values) * (1 - CHECKED_PART))
        z, context, present = self._records(scores)
        checked_z, checked_context = (x[cut:][present[cut:]] for x in (z, context))
        optimiser = torch.optim.Adam(self._flow.parameters(), RATE, weight_decay=DECAY)
        best, kept, waited = math.inf, copy.deepcopy(self._flow.state_dict()), 0
        for epoch in range(epochs + 1):  # after epoch 0 it is what it begins with
            if epoch:
                z, context, present = self._records(scores, permuted=True)
                own, given = (x[:cut][present[:cut]] for x in (z, context))
                for rows in torch.randperm(len(own)).split(BATCH):
                    loss = -self._density(own[rows], given[rows]).mean()
                    optimiser.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(self._flow.parameters(), 5.0)
                    optimiser.step()
                on_epoch(epoch, epochs)
            with torch.no_grad():
                found = -float(self._density(checked_z, checked_context).mean())
            waited += 1
            if found < best:
                best, kept, waited = found, copy.deepcopy(self._flow.state_dict()), 0
            if waited >= PATIENCE or stop():
                break
        self._flow.load_state_dict(kept)
        self._flow.requires_grad_(False)

    def _density(self, z: Tensor, context: Tensor) -> Tensor:
        e = (z - _features(context) @ self._weights) @ self._inverse
        result: Tensor = self._flow(context).log_prob(e) - self._log_root
        return result

    def _records(self, scores: Scores, permuted: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Each task's scores (R, J, A), its context, and whether it is present, (R, J)."""
        j, a = self.tasks, self.attributes
        z = torch.from_numpy(scores.values[:, : j * a]).float().unflatten(1, (j, a))
        present = torch.from_numpy(scores.present[:, : j * a]).unflatten(1, (j, a))[..., 0]
        before, follows = z.roll(1, 0), torch.from_numpy(scores.follows)
        before_present = present.roll(1, 0) & follows[:, None]
        if permuted:
            order = torch.rand(len(z), j).argsort(1)  # the same one now and before
            z, before = (x.gather(1, order[..., None].expand(-1, -1, a)) for x in (z, before))
            present, before_present = (x.gather(1, order) for x in (present, before_present))
        return z, _contexts(z, present, _Before(before, before_present)), present

    def _fit_count(self, scores: Scores) -> float:
        """Correlation of the number of tasks with that of the step before."""
        if scores.values.shape[1] == self.tasks * self.attributes or not len(scores.pairs):
            return 0.0
        now, before = scores.values[scores.pairs, -1], scores.values[scores.pairs - 1, -1]
        return float(np.clip(np.mean(now * before), -0.99, 0.99))


class _Before(NamedTuple):
    """The step before: scores (R, J, A), and which tasks were there, (R, J)."""

    z: Tensor
    present: Tensor


def _contexts(z: Tensor, present: Tensor, before: _Before) -> Tensor:
    """What each task is drawn from, (R, J, 3 A + 5): the task at its place in the step before, and means of all tasks of the
    step before and of the tasks before it in its step, with how many these are."""
    there = present[..., None].float()
    earlier = (z * there).cumsum(1) - z * there
    number = there.cumsum(1) - there
    were = before.present[..., None].float()
    last = before.z * were
    total = were.sum(1, keepdim=True)
    everyone = (last.sum(1, keepdim=True) / total.clamp_min(1.0)).expand_as(z)
    j = z.shape[1]
    counts = [
        were,
        (total > 0).float().expand_as(were),
        (number > 0).float(),
        number / j,
        there.sum(1, keepdim=True).expand_as(were) / j,
    ]
    return torch.cat([last, everyone, earlier / number.clamp_min(1.0), *counts], -1)


def _features(context: Tensor) -> Tensor:
    """What the regression is on: each entry of a context has another weight after the first task of a step."""
    after_first = context[..., EARLIER, None]
    return torch.cat([context * (1 - after_first), context * after_first], -1)


def _patterns(present: Any) -> Iterator[tuple[Any, Any]]:
    """Each different row of truth values, and the numbers of the rows that equal it."""
    patterns, place = np.unique(present, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        yield pattern, np.flatnonzero(place.ravel() == number)


def _correlation(a: Array, a_present: Any, b: Array, b_present: Any) -> Array:
    """Mean products of scores over the rows where both are present, (d, d)."""
    counts = a_present.astype(float).T @ b_present.astype(float)
    return np.asarray(((a * a_present).T @ (b * b_present)) / np.maximum(counts, 1.0) * (counts > 1))


def _exchangeable(matrix: Array, tasks: int) -> Array:
    """The mean over all orders of the tasks of a matrix (d, d): one block for the same task, one for two tasks."""
    d = len(matrix)
    a = d // tasks
    blocks = matrix[: tasks * a, : tasks * a].reshape(tasks, a, tasks, a).transpose(0, 2, 1, 3)
    same = blocks[np.arange(tasks), np.arange(tasks)].mean(0)
    others = (blocks.sum((0, 1)) - same * tasks) / (tasks * (tasks - 1)) if tasks > 1 else same
    result = matrix.copy()
    result[: tasks * a, : tasks * a] = np.kron(np.ones((tasks, tasks)), others)
    for j in range(tasks):
        result[j * a : (j + 1) * a, j * a : (j + 1) * a] = same
    if d > tasks * a:  # the number of tasks
        result[-1, :-1] = np.tile(matrix[-1, :-1].reshape(tasks, a).mean(0), tasks)
        result[:-1, -1] = np.tile(matrix[:-1, -1].reshape(tasks, a).mean(0), tasks)
    return result


def _positive(matrix: Array) -> Array:
    """The nearest matrix with eigenvalues of at least `SMALLEST`, with a diagonal of 1."""
    np.fill_diagonal(matrix, 1.0)
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    raised = (vectors * np.maximum(values, SMALLEST)) @ vectors.T
    scale = 1 / np.sqrt(np.diag(raised))
    return np.asarray(raised * scale * scale[:, None])


def _roots(covariance: Array) -> tuple[Array, Array, float]:
    """The symmetric square root, its inverse, and the logarithm of its determinant."""
    values, vectors = np.linalg.eigh(covariance)
    root = np.sqrt(np.maximum(values, SMALLEST**2))
    return (vectors * root) @ vectors.T, (vectors / root) @ vectors.T, float(np.log(root).sum())
