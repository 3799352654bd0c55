"""Generative models of a user's tasks: a Gaussian copula, and a normalising flow on top of it.

Both model a step given the step before (a Markov chain of order 1): the dependence of the attributes of a task, of the tasks of
a step, of the number of tasks, and of all these on the step before. Tasks of a step are exchangeable. Longer memory is not
modelled, nor what depends on the time of day.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from iomt_core.twin.mapping.normal_scores import Scores
from iomt_core.twin.mapping.task_steps import Array

MODELS = ("copula", "flow")
SMALLEST = 1e-3  # eigenvalue of a correlation matrix
TRANSFORMS, HIDDEN = 3, 64
EPOCHS, BATCH, RATE = 60, 256, 2e-3
PATIENCE = 8  # epochs without a better likelihood before the training ends
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
        self.factor = both[d:, :d] @ np.linalg.inv(both[:d, :d])  # mean given the step before
        rest = first - self.factor @ both[:d, d:]
        self.root_first, self.inverse_first, self.log_first = _roots(first)
        self.root, self.inverse, self.log_root = _roots((rest + rest.T) / 2)

    def residuals(self, scores: Scores) -> tuple[Array, Array]:
        """Each row without what the step before explains, standardised, (R, d); and minus the log of the scale, (R,)."""
        z = scores.values
        result, volume = z @ self.inverse_first, np.full(len(z), -self.log_first)
        now = scores.pairs
        result[now] = (z[now] - z[now - 1] @ self.factor.T) @ self.inverse
        volume[now] = -self.log_root
        return result, volume

    def log_density(self, scores: Scores) -> Array:
        """See `TaskModel`."""
        e, volume = self.residuals(scores)
        return volume - 0.5 * (e * e).sum(1) - 0.5 * self.size * np.log(2 * np.pi)

    def draw(self, sequences: int, steps: int, generator: np.random.Generator) -> Array:
        """See `TaskModel`."""
        return self.chain(sequences, steps, lambda before, first: generator.standard_normal((sequences, self.size)))

    def chain(self, sequences: int, steps: int, noise: Callable[[Array, bool], Array]) -> Array:
        """Sequences from residuals; noise: gets the step before and whether this is the first one, (sequences, d)."""
        found = np.empty((sequences, steps, self.size))
        before = np.zeros((sequences, self.size))
        for t in range(steps):
            e = noise(before, t == 0)
            found[:, t] = before = e @ self.root_first if t == 0 else before @ self.factor.T + e @ self.root
        return found


class Flow:
    """A neural spline flow (Durkan et al. 2019) of the copula's residuals, given the step before."""

    def __init__(
        self,
        scores: Scores,
        tasks: int,
        attributes: int,
        seed: int,
        on_epoch: Callable[[int, int], None] = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
        epochs: int = EPOCHS,
    ) -> None:
        """Trains it. The latest of the data decide which epoch is kept; tasks are permuted at random, since their order is none."""
        import zuko  # here, since it takes time to import

        self.copula, self._slots = Copula(scores, tasks), (tasks, attributes)
        d = self.copula.size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.flow: Any = zuko.flows.NSF(d, d + 1, transforms=TRANSFORMS, hidden_features=(HIDDEN, HIDDEN), passes=2)
            self._train(scores, on_epoch, stop, epochs)

    def _train(
        self, scores: Scores, on_epoch: Callable[[int, int], None], stop: Callable[[], bool], epochs: int
    ) -> None:
        e, context = self._tensors(scores)
        cut = int(len(e) * (1 - CHECKED_PART))
        optimiser = torch.optim.Adam(self.flow.parameters(), RATE, weight_decay=1e-5)
        best, kept, waited = -float(self._density(e[cut:], context[cut:]).mean()), self.flow.state_dict(), 0
        kept = copy.deepcopy(kept)
        for epoch in range(epochs):
            for rows in torch.randperm(cut).split(BATCH):
                permuted, before = self._permuted(e[rows], context[rows])
                loss = -self._density(permuted, before).mean()
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.flow.parameters(), 5.0)
                optimiser.step()
            with torch.no_grad():
                checked = -float(self._density(e[cut:], context[cut:]).mean())
            waited += 1
            if checked < best:
                best, kept, waited = checked, copy.deepcopy(self.flow.state_dict()), 0
            on_epoch(epoch + 1, epochs)
            if waited >= PATIENCE or stop():
                break
        self.flow.load_state_dict(kept)
        self.flow.requires_grad_(False)

    def _permuted(self, e: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """The tasks of each row in another order, the same one now and before."""
        tasks, attributes = self._slots
        order = torch.rand(len(e), tasks).argsort(1)
        index = (order[..., None] * attributes + torch.arange(attributes)).flatten(1)
        rest = torch.arange(tasks * attributes, self.copula.size).expand(len(e), -1)
        index = torch.cat([index, rest], 1)
        return e.gather(1, index), torch.cat([context[:, :-1].gather(1, index), context[:, -1:]], 1)

    def _density(self, e: Tensor, context: Tensor) -> Tensor:
        result: Tensor = self.flow(context).log_prob(e)
        return result

    def _tensors(self, scores: Scores) -> tuple[Tensor, Tensor]:
        residuals, _ = self.copula.residuals(scores)
        before = np.where(scores.follows[:, None], np.roll(scores.values, 1, 0), 0.0)
        context = np.column_stack([before, scores.follows])
        return torch.from_numpy(residuals).float(), torch.from_numpy(context).float()

    def log_density(self, scores: Scores) -> Array:
        """See `TaskModel`."""
        with torch.no_grad():
            density = self._density(*self._tensors(scores)).double().numpy()
        return np.asarray(density + self.copula.residuals(scores)[1])

    def draw(self, sequences: int, steps: int, generator: np.random.Generator) -> Array:
        """See `TaskModel`."""

        def noise(before: Array, first: bool) -> Array:
            context = torch.from_numpy(np.column_stack([before, np.full(len(before), not first)])).float()
            e: Tensor = self.flow(context).sample()
            return e.double().numpy()

        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(int(generator.integers(2**62)))
            return self.copula.chain(sequences, steps, noise)


def _correlation(a: Array, a_present: Any, b: Array, b_present: Any) -> Array:
    """Mean products of scores over the rows where both are present, (d, d)."""
    counts = a_present.astype(float).T @ b_present.astype(float)
    return ((a * a_present).T @ (b * b_present)) / np.maximum(counts, 1.0) * (counts > 1)


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
