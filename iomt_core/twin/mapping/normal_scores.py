"""Steps of tasks as vectors of standard normal scores, by empirical marginals, and back.

The copula and the flow model such vectors, so that their densities can be compared: both leave the marginals as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from iomt_core.twin.mapping.task_steps import Array, TaskSteps

FEW_VALUES = 64  # a variable with at most so many values, in many more records, is discrete
RECORDS_A_VALUE = 4


@dataclass(frozen=True)
class Marginal:
    """The empirical distribution of a variable. Discrete values are repeated; between continuous ones it is interpolated."""

    values: Array  # sorted; distinct if discrete
    chances: Array  # cumulative, at each value
    discrete: bool

    @classmethod
    def of(cls, records: Array) -> Marginal:
        """From records, one or more."""
        values, counts = np.unique(records, return_counts=True)
        cumulative = counts.cumsum() / len(records)
        if len(values) <= FEW_VALUES and len(records) >= RECORDS_A_VALUE * len(values):
            return cls(values, cumulative, True)
        return cls(values, cumulative - counts / (2 * len(records)), False)

    def scores(self, x: Array, generator: np.random.Generator) -> Array:
        """Normal scores of values; those of a discrete one are spread over its part of the distribution."""
        if self.discrete:
            place = np.searchsorted(self.values, x).clip(0, len(self.values) - 1)
            low = np.concatenate([[0.0], self.chances[:-1]])[place]
            chance = low + (self.chances[place] - low) * generator.random(x.shape)
        else:
            chance = np.interp(x, self.values, self.chances)
        least = 1e-4 if self.discrete else float(self.chances[0])
        return np.asarray(ndtri(chance.clip(least, 1 - least)))

    def quantiles(self, scores: Array) -> Array:
        """Values of normal scores; the inverse of `scores`."""
        chance = ndtr(scores)
        if self.discrete:
            return np.asarray(self.values[np.searchsorted(self.chances, chance).clip(0, len(self.values) - 1)])
        return np.interp(chance, self.chances, self.values)


@dataclass(frozen=True)
class Scores:
    """Vectors (R, d) of normal scores with d = J·A (+ 1): each task's attributes, and the number of tasks if that varies.

    present: (R, d) False where there is no task, and the score is noise.
    """

    values: Array
    present: NDArray[np.bool_]
    follows: NDArray[np.bool_]

    @property
    def pairs(self) -> NDArray[np.int64]:
        """Rows that follow the row before."""
        return np.flatnonzero(self.follows)


@dataclass(frozen=True)
class Encoding:
    """The marginals of a user's steps; tasks of a step have the same ones."""

    attributes: tuple[str, ...]
    tasks: int  # J
    marginals: tuple[Marginal, ...]  # of each attribute
    count: Marginal | None  # of the number of tasks; None if it never varies

    @classmethod
    def of(cls, steps: TaskSteps) -> Encoding:
        """From the steps to train on."""
        marginals = tuple(Marginal.of(column) for column in steps.tasks.T)
        varies = len(np.unique(steps.counts)) > 1
        return cls(steps.attributes, steps.values.shape[1], marginals, Marginal.of(steps.counts) if varies else None)

    @property
    def size(self) -> int:
        """d."""
        return self.tasks * len(self.attributes) + (self.count is not None)

    def scores(self, steps: TaskSteps, generator: np.random.Generator) -> Scores:
        """Steps as normal scores; noise for discrete values and missing tasks is drawn."""
        there = ~np.isnan(steps.values)
        z = generator.standard_normal(steps.values.shape)
        for a, marginal in enumerate(self.marginals):
            z[..., a][there[..., a]] = marginal.scores(steps.values[..., a][there[..., a]], generator)
        flat, present = z.reshape(len(z), -1), there.reshape(len(z), -1)
        if self.count is not None:
            flat = np.column_stack([flat, self.count.scores(steps.counts, generator)])
            present = np.column_stack([present, np.ones(len(z), bool)])
        return Scores(flat, present, steps.follows)

    def steps(self, z: Array) -> TaskSteps:
        """Scores (R, d) of one sequence as steps."""
        attributes = len(self.attributes)
        slots = z[:, : self.tasks * attributes].reshape(len(z), self.tasks, attributes)
        values = np.stack([marginal.quantiles(slots[..., a]) for a, marginal in enumerate(self.marginals)], -1)
        if self.count is not None:
            values[np.arange(self.tasks) >= self.count.quantiles(z[:, -1])[:, None]] = np.nan
        return TaskSteps(self.attributes, values, np.arange(len(z)) > 0)

    def sequences(self, z: Array) -> TaskSteps:
        """Scores (sequences, steps, d) as the steps of all sequences, one after another."""
        parts = [self.steps(one) for one in z]
        follows = np.concatenate([part.follows for part in parts])
        return TaskSteps(self.attributes, np.concatenate([part.values for part in parts]), follows)
