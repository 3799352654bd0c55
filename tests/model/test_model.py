"""The tensors equal the equations, the closed form the Monte Carlo mean, and capacities hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import exp1

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.world import World
from iomt_core.model.allocation import device_index, granted, per_device
from iomt_core.model.channel import mean_rate, power_gain, rate_quantile, unit_snr_bandwidth
from iomt_core.model.outcome import outcome
from iomt_core.model.special import scaled_exp1
from iomt_core.model.utility import delay_utility, energy_utility
from iomt_core.scenario import PRESETS, Scenario, WorkloadTask
from tests.model.reference import Task, priced
from tests.model.reference import scaled_exp1 as reference_exp1
from tests.wards import anywhere, random_action, steps

RAGGED = PRESETS["paper"].changed(
    workload=tuple(WorkloadTask(step=1 + n % 2, user=1 + n % 5, D=2e5 + n, C=1e5 + n, P=1 + n % 3) for n in range(13)),
    users=6,
)
DYNAMIC = PRESETS["hospital"].changed(background=0.4, speed=3.0, burst=0.7)
MIXED = PRESETS["hospital"].changed(
    user_devices=[{"number": 2, "F_i": 2e7, "P_tr": 0.05}, {"number": 5, "Cap": 1.0}],
    server_devices=[{"number": 1, "B_k": 2e7, "latency": 2e-3}, {"number": 4, "F_k": 1e11, "latency": 0.05}],
)
WARDS = {
    **{name: s for name, s in PRESETS.items() if name != "city"}, "ragged": RAGGED, "dynamic": DYNAMIC, "mixed": MIXED,
    **{f"anywhere {n}": anywhere(n).changed(N0=4e-21, PL0=40.0) for n in range(6)},
}  # fmt: skip


@pytest.mark.parametrize("name", list(WARDS))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_the_model_equals_the_equations(name: str, dtype: torch.dtype, tolerance: float) -> None:
    s = WARDS[name]
    world = World(s, world_seeds(3, 0, 2), dtype)
    for snapshot in world.episode()[:2]:
        action = random_action(snapshot, seed=4)
        found = outcome(snapshot, action, s)
        for b in range(2):
            places = snapshot.active[b].nonzero().tolist()
            tasks = [
                Task(
                    float(snapshot.D[b, i, j]), float(snapshot.C[b, i, j]), i, int(action.choice[b, i, j]),
                    float(action.cpu[b, i, j]), float(action.bandwidth[b, i, j]),
                    float(snapshot.deadline[b, i, j]),
                )
                for i, j in places
            ]  # fmt: skip
            expected = priced(
                tasks,
                s,
                snapshot.P_tr[b].tolist(),
                snapshot.distance[b].tolist(),
                snapshot.F_i[b].tolist(),
                snapshot.F_k[b].tolist(),
                snapshot.B_k[b].tolist(),
                snapshot.latency[b].tolist(),
            )
            for (i, j), (delay, energy, cost, missed) in zip(places, expected, strict=True):
                assert float(found.delay[b, i, j]) == pytest.approx(delay, rel=tolerance)
                assert float(found.energy[b, i, j]) == pytest.approx(energy, rel=tolerance)
                assert float(found.cost[b, i, j]) == pytest.approx(cost, rel=tolerance)
                if abs(delay / float(snapshot.deadline[b, i, j]) - 1) > tolerance:
                    assert bool(found.missed[b, i, j]) == missed
                reward = 0.0 if missed else max(0.0, 1 - cost)
                assert float(found.reward[b, i, j]) == pytest.approx(reward, abs=10 * tolerance)
        absent = ~snapshot.active
        for numbers in (found.delay, found.energy, found.cost, found.reward):
            assert float(numbers[absent].abs().sum()) == 0


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_the_scaled_integral_equals_scipys(dtype: torch.dtype, tolerance: float) -> None:
    x = torch.from_numpy(np.geomspace(1e-12, 1e6, 20_001)).to(dtype)
    expected = np.array([reference_exp1(v) for v in x.double().tolist()])
    np.testing.assert_allclose(scaled_exp1(x).double().numpy(), expected, rtol=tolerance)
    near = x[(x < 500)]
    unscaled = scaled_exp1(near).double() * torch.exp(-near.double())
    np.testing.assert_allclose(unscaled.numpy(), exp1(near.double().numpy()), rtol=tolerance)


def test_one_element_does_not_depend_on_its_batch() -> None:
    x = torch.tensor([1e-9, 0.5, 1.9, 2.1, 7.0, 1e5], dtype=torch.float64)
    alone = torch.cat([scaled_exp1(v[None]) for v in x])
    assert torch.equal(scaled_exp1(x), alone)


@pytest.mark.parametrize("channel", ["paper", "log-distance"])
@pytest.mark.parametrize("distance", [0.2, 10.0, 100.0])
def test_the_expected_rate_is_the_mean_of_fading_rates(channel: str, distance: float) -> None:
    s = PRESETS["paper"].changed(channel=channel, sigma2=0.7)
    beta = unit_snr_bandwidth(torch.tensor(distance, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64), s)
    band = torch.tensor(1.2e8, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    power = torch.empty(400_000, dtype=torch.float64).exponential_(generator=generator)
    rates = band * torch.log2(1 + power * beta / band)  # eq. (3) under Rayleigh fading
    error = 4 * float(rates.std()) / math.sqrt(len(rates))
    assert float(rates.mean()) == pytest.approx(float(mean_rate(band, beta)), abs=error)
    quantiles = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    found = torch.quantile(rates[:200_000], quantiles)
    torch.testing.assert_close(rate_quantile(quantiles, band, beta), found, rtol=0.02, atol=0)


def test_distance_decides_on_the_physical_channel_only() -> None:
    near_far = torch.tensor([10.0, 100.0], dtype=torch.float64)
    paper = power_gain(near_far, PRESETS["paper"])
    physical = power_gain(near_far, PRESETS["hospital"])
    assert float(paper[0] / paper[1]) == pytest.approx((100 / 70) ** 2)
    assert float(physical[0] / physical[1]) == pytest.approx(1e3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["paper", "crowded", "ragged", "dynamic"]), st.floats(0.01, 3))
def test_capacities_are_never_exceeded_and_scaling_is_pro_rata(seed: int, name: str, size: float) -> None:
    s: Scenario = WARDS[name]
    snapshot = steps(s, 1, seed)
    raw = random_action(snapshot, seed)
    action = type(raw)(raw.choice, (raw.cpu * size).clamp_max(1), (raw.bandwidth * size).clamp_max(1))
    f, b = granted(snapshot, action)
    device = device_index(action.choice, s.servers)
    capacity = torch.cat([snapshot.F_k, snapshot.F_i], dim=1)
    asked, used = per_device(action.cpu * snapshot.active, device, s.servers), per_device(f, device, s.servers)
    assert bool((used <= capacity * (1 + 1e-12)).all())  # C2, C3
    torch.testing.assert_close(used, capacity * asked.clamp_max(1.0))
    band = per_device(b, device, s.servers)
    assert bool((band[:, : s.servers] <= snapshot.B_k * (1 + 1e-12)).all())  # C4
    assert float(b[action.choice == 0].abs().sum()) == 0
    assert bool(((action.choice >= 0) & (action.choice <= s.servers)).all())  # C1


def test_the_utilities_are_those_of_the_paper() -> None:
    s = PRESETS["paper"].changed(c=2.0, alpha=0.7, mu=1.5)
    delay, energy, P = (torch.tensor(x, dtype=torch.float64) for x in ([0.001, 0.03], [1e-5, 3e-4], [1.0, 3.0]))
    weight = 2.0 * np.exp(0.7 * (P.numpy() - 1.5))
    np.testing.assert_allclose(delay_utility(delay, P, s), weight * (1 - delay.numpy() / s.T_max))
    np.testing.assert_allclose(energy_utility(energy, P, s), weight * (1 - energy.numpy() / s.E_ref))
