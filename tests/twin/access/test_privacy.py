"""Differential privacy: its noise, checked statistically, and what one user can change."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import beta

from iomt_core.scenario import PRESETS
from iomt_core.twin.access.privacy import QUERIES, REPLACED_USER, SUMS, Mechanism, mechanism, task_sums, user_means
from iomt_core.twin.northbound import play
from tests.twin.access.wards import Source, sums

ANSWERS = 10_000
MEAN_OF_OTHERS = 0.3
ERROR = 1e-4  # probability that an honest mechanism fails a check


def answers(source: Source, noise: Mechanism) -> NDArray[np.float64]:
    values = user_means(source.aggregates(1), source.users, QUERIES["mean-cost"], 0.5)
    return np.array([noise.release(values) for _ in range(ANSWERS)])


def privacy_loss_at_least(first: NDArray[np.float64], second: NDArray[np.float64], noise: Mechanism) -> float:
    """A lower bound of ε: ln of the ratio of the probabilities of an event, by Clopper-Pearson.

    first, second: answers on neighbouring data, (ANSWERS,). The events are "at most t" and "at least t", with t around the two
    true means. The bound holds for all of them together with probability 1 - ERROR.
    """
    middle = (MEAN_OF_OTHERS * 7 + 0.5) / 8
    events = [(sign, sign * (middle + shift * noise.scale)) for sign in (1, -1) for shift in np.linspace(-2, 2, 9)]
    error = ERROR / (4 * len(events))
    best = 0.0
    for (sign, t), (a, b) in product(events, ((first, second), (second, first))):
        x, y = int(np.sum(sign * a <= t)), int(np.sum(sign * b <= t))
        low = beta.ppf(error, x, ANSWERS - x + 1) if x else 0.0
        high = beta.ppf(1 - error, y + 1, ANSWERS - y) if y < ANSWERS else 1.0
        best = max(best, math.log(low / high) if low > 0 else 0.0)
    return best


def loss_of(noise: Mechanism) -> float:
    """In the worst case: one user at one end of the range or far beyond the other, all others alike."""
    low, high = (Source([MEAN_OF_OTHERS] * 7 + [end]) for end in (0.0, 1e9))
    return privacy_loss_at_least(answers(low, noise), answers(high, noise), noise)


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_answers_on_neighbouring_data_keep_epsilon(epsilon: float) -> None:
    found = loss_of(mechanism(0.0, 1.0, 8, epsilon))
    assert 0.6 * epsilon <= found <= epsilon  # not much more noise than needed either


def test_too_little_noise_is_found() -> None:
    """The statistical test has the power to find noise that is too small by a third."""
    assert loss_of(mechanism(0.0, 1.0, 8, 0.75)) > 0.5


def test_opendp_certifies_epsilon() -> None:
    for low, high, users, epsilon in (
        (0.0, 0.02, 8, 0.5),
        (0.0, 1e-4, 3, 0.001),
        (0.0, 1.0, 100, 10.0),
        (0.0, 1.0, 1, 1.0),
    ):
        noise = mechanism(low, high, users, epsilon)
        assert epsilon * 0.999 < noise.measurement.map(REPLACED_USER) <= epsilon
        assert noise.scale == pytest.approx((high - low) / users / epsilon, rel=1e-6)


def test_a_user_contributes_one_clamped_number() -> None:
    """However many tasks the user has, and whatever they are."""
    query = QUERIES["mean-cost"]
    frame = pd.DataFrame([sums(1, 0.2), sums(2, 0.9, tasks=1_000_000), sums(3, 1e12)])
    means = user_means(frame, range(1, 5), query, 0.5)  # nothing of user 4 can be read
    assert means == pytest.approx([0.2, 0.9, 1e12, 0.5])
    quiet = mechanism(0.0, 1.0, 4, 10.0)
    assert np.mean([quiet.release(means) for _ in range(2000)]) == pytest.approx((0.2 + 0.9 + 1 + 0.5) / 4, abs=0.01)
    assert math.isfinite(quiet.release([math.inf, -math.inf, 0.0, 0.0]))
    with pytest.raises(ValueError, match="3 values for 4 users"):
        quiet.release(means[:3])


def test_sums_of_a_played_episode_are_those_of_the_metrics() -> None:
    s = PRESETS["paper"]
    table = play(s, "greedy", 0).table()
    found = task_sums(table)
    assert set(found.columns) == {"user", *SUMS}
    assert len(found) == s.users
    one = table[table["user"] == 1]
    values = {name: user_means(found, [*s.user_numbers], query, 0.0)[0] for name, query in QUERIES.items()}
    assert values["mean-delay"] == pytest.approx(one["delay_s"].mean())
    assert values["mean-energy"] == pytest.approx(one["energy_j"].mean())
    assert values["mean-cost"] == pytest.approx((one["cost"] * one["weight"]).sum() / one["weight"].sum())
    assert values["miss-share"] == pytest.approx(one["deadline_missed"].mean())
    assert values["local-share"] == pytest.approx((one["choice"] == 0).mean())
