"""How good generated tasks are: likeness to held-out tasks, and distance from the records that the model was trained on.

Every measure has a yardstick: the same for the training records instead of the generated ones, or what equal distributions
would give. None of them is a guarantee of privacy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import nn

from iomt_core.twin.mapping.normal_scores import Encoding, Scores
from iomt_core.twin.mapping.task_models import TaskModel
from iomt_core.twin.mapping.task_steps import Array, TaskSteps

LEVELS = np.linspace(0.05, 0.95, 19)  # of the quantiles that are shown
MOST_ROWS = 4000  # steps that are compared
CLASSIFIER_STEPS = 300
EQUAL = 1e-6  # relative difference up to which two values count as the same


def report(
    model: TaskModel, encoding: Encoding, training: TaskSteps, held_out: TaskSteps, made: TaskSteps, seed: int
) -> dict[str, Any]:
    """All measures by name, without a record: see `ks`, `correlation_error`, `tell_apart`, `log_likelihood`, `nearness`.

    made: generated steps that are compared; not those of the file.
    """
    sides = {"training": training, "held_out": held_out, "generated": made}
    compared = (("generated", made), ("training", training))
    return {
        "steps": {name: len(side) for name, side in sides.items()},
        "tasks": {name: len(side.tasks) for name, side in sides.items()},
        "ks": {name: ks(held_out, side) for name, side in compared},
        "correlation_error": {
            name: correlation_error(held_out, side, encoding, seed) for name, side in compared
        },
        "tell_apart": tell_apart(held_out, made, encoding, seed),
        "log_likelihood": log_likelihood(model, encoding, held_out, seed),
        "nearness": nearness(training, held_out, made),
        "quantiles": quantiles(held_out, made),
    }  # fmt: skip


def ks(one: TaskSteps, other: TaskSteps) -> dict[str, float]:
    """The largest difference of the distribution functions of each variable (Kolmogorov and Smirnov), 0 to 1."""
    a, b = _variables(one), _variables(other)
    return {name: _ks(a[name], b[name]) for name in a}


def correlation_error(one: TaskSteps, other: TaskSteps, encoding: Encoding, seed: int) -> float:
    """The largest difference of two correlations of normal scores, of a step and with the step before.

    Tasks are exchangeable, so each pair of variables counts once: of the same task, and of two tasks.
    """
    a, b = (_correlations(side, encoding, seed) for side in (one, other))
    return float(np.max(np.abs(a - b), initial=0.0))


def tell_apart(one: TaskSteps, other: TaskSteps, encoding: Encoding, seed: int) -> dict[str, float]:
    """Accuracy with which a small neural network tells the sides apart on records it was not trained on; 0.5 is chance.

    "task": it sees a task; "step": a step together with the step before (classifier two-sample test, Lopez-Paz and Oquab 2017).
    """
    generator = np.random.default_rng(seed)
    sides = [encoding.scores(side, generator) for side in (one, other)]
    tasks = [_present_tasks(scores, encoding) for scores in sides]
    return {
        "task": _accuracy(tasks, generator, seed),
        "step": _accuracy([_pairs(scores, encoding, generator) for scores in sides], generator, seed),
    }


def _accuracy(sides: list[Array], generator: np.random.Generator, seed: int) -> float:
    """Trains on one half of equally many rows of both sides, and counts on the other half."""
    count = min(MOST_ROWS, *map(len, sides))
    half = count // 2
    if half < 2:
        return 0.5
    chosen = [side[generator.permutation(len(side))[: 2 * half]] for side in sides]
    x = torch.from_numpy(np.concatenate([side[:half] for side in chosen] + [side[half:] for side in chosen])).float()
    y = torch.tensor([0.0] * half + [1.0] * half)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
        optimiser = torch.optim.AdamW(net.parameters(), 5e-3, weight_decay=0.05)
        for _ in range(CLASSIFIER_STEPS):
            loss = nn.functional.binary_cross_entropy_with_logits(net(x[: 2 * half])[:, 0], y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        found = (net(x[2 * half :])[:, 0] > 0).float()
    return float((found == y).float().mean())


def log_likelihood(model: TaskModel, encoding: Encoding, held_out: TaskSteps, seed: int) -> float:
    """Mean log-likelihood of a held-out step above that of independent variables with the same marginals, nats.

    Marginals are left out, since both models have the same ones; 0 is what independence gives.
    """
    scores = encoding.scores(held_out, np.random.default_rng(seed))
    independent = -0.5 * (scores.values**2).sum(1) - 0.5 * encoding.size * np.log(2 * np.pi)
    return float((model.log_density(scores) - independent).mean())


def nearness(training: TaskSteps, held_out: TaskSteps, made: TaskSteps) -> dict[str, dict[str, float]]:
    """Distance to the nearest training record, for a task and for a whole step.

    Distances are Euclidean over ranks of 0 to 1, so that all variables count the same. "nearer": probability that a generated
    record is nearer to a training record than a held-out record is; 0.5 is as near as other real records, more is a sign of
    copying. "generated", "held_out": median distances. "copies", "copies_held_out": share that equals a training record.
    """
    found = {}
    for name in ("task", "step"):
        sides = [_records(side, name)[:MOST_ROWS] for side in (training, held_out, made)]
        ranked = [_ranks(side, sides[0]) for side in sides]
        tree = cKDTree(ranked[0])
        own, generated = (tree.query(side)[0] for side in ranked[1:])
        place = np.sort(own)
        below = np.searchsorted(place, generated, side="left") / len(place)
        upto = np.searchsorted(place, generated, side="right") / len(place)
        found[name] = {
            "nearer": float((1 - (below + upto) / 2).mean()),
            "generated": float(np.median(generated)),
            "held_out": float(np.median(own)),
            "copies": _copies(sides[2], sides[0]),
            "copies_held_out": _copies(sides[1], sides[0]),
        }
    return found


def quantiles(held_out: TaskSteps, made: TaskSteps) -> dict[str, dict[str, list[float]]]:
    """Quantiles at `LEVELS` of each variable, to three digits: neither the extremes nor any record."""
    a, b = _variables(held_out), _variables(made)
    return {
        name: {
            side: [float(f"{x:.3g}") for x in np.quantile(of[name], LEVELS)]
            for side, of in (("held_out", a), ("generated", b))
        }
        for name in a
    }


def _variables(steps: TaskSteps) -> dict[str, Array]:
    """Each attribute of all tasks, and the number of tasks of all steps."""
    return {**dict(zip(steps.attributes, steps.tasks.T, strict=True)), "tasks": steps.counts}


def _ks(a: Array, b: Array) -> float:
    grid = np.unique(np.concatenate([a, b]))
    functions = (np.searchsorted(np.sort(x), grid, side="right") / len(x) for x in (a, b))
    return float(np.abs(np.subtract(*functions)).max())


def _correlations(steps: TaskSteps, encoding: Encoding, seed: int) -> Array:
    """Correlations of the attributes of a task, of two tasks of a step, and the same with the step before."""
    scores = encoding.scores(steps, np.random.default_rng(seed))
    a = len(encoding.attributes)
    z = np.where(scores.present, scores.values, np.nan)[:, : encoding.tasks * a].reshape(len(steps), encoding.tasks, a)
    found, pairs = [], scores.pairs
    for now, before, lagged in ((z, z, False), (z[pairs], z[pairs - 1], True)):
        for shift in range(min(2, encoding.tasks)):
            products = now[..., :, None] * np.roll(before, shift, 1)[..., None, :]
            if not np.isnan(products).all():
                matrix = np.nanmean(products, (0, 1)) if len(products) else np.zeros((a, a))
                found.append(matrix[~np.eye(a, dtype=bool)] if shift == 0 and not lagged else matrix.ravel())
    return np.concatenate(found) if found else np.zeros(1)


def _present_tasks(scores: Scores, encoding: Encoding) -> Array:
    """The scores of all tasks, (N, A)."""
    a = len(encoding.attributes)
    slots, there = (x[:, : encoding.tasks * a].reshape(-1, a) for x in (scores.values, scores.present))
    return np.asarray(slots[there[:, 0]])


def _pairs(scores: Scores, encoding: Encoding, generator: np.random.Generator) -> Array:
    """Each step together with the step before, as normal scores; missing tasks are 0. Their order is drawn at random."""
    z = np.where(scores.present, scores.values, 0.0)
    a, tasks = len(encoding.attributes), encoding.tasks
    now, before = z[scores.pairs], z[scores.pairs - 1]
    order = generator.permuted(np.tile(np.arange(tasks), (len(now), 1)), axis=1)
    index = (order[..., None] * a + np.arange(a)).reshape(len(now), tasks * a)
    both = []
    for x in (now, before):
        both += [np.take_along_axis(x[:, : tasks * a], index, 1), x[:, tasks * a :]]
    return np.column_stack(both)


def _records(steps: TaskSteps, level: str) -> Array:
    if level == "task":
        return steps.tasks
    filled = np.nan_to_num(steps.values, nan=-1.0)
    order = np.argsort(-filled[..., 0], axis=1)  # exchangeable tasks: the largest first
    return np.take_along_axis(filled, order[..., None], 1).reshape(len(filled), -1)


def _ranks(records: Array, reference: Array) -> Array:
    """Each variable as its rank among the reference's, 0 to 1."""
    return np.column_stack(
        [np.searchsorted(np.sort(y), x, side="left") / len(y) for x, y in zip(records.T, reference.T, strict=True)]
    )


def _copies(records: Array, training: Array) -> float:
    """Share of the records that equal a training record up to rounding."""
    scale = np.maximum(np.abs(training).max(0), 1e-300) * EQUAL
    known = {row.tobytes() for row in np.round(training / scale).astype(np.int64)}
    return float(np.mean([row.tobytes() in known for row in np.round(records / scale).astype(np.int64)]))
