"""The paper's equations once more, one task at a time in plain Python: what the tensors are held against."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import exp1

from iomt_core.scenario import Scenario


def scaled_exp1(x: float) -> float:
    """e^x E1(x): scipy's E1 where it does not underflow, else its asymptotic series."""
    if x < 500:
        return math.exp(x) * float(exp1(x))
    return sum((-1) ** n * math.factorial(n) / x ** (n + 1) for n in range(12))


@dataclass
class Task:
    """One task of the reference; fields in SI."""

    D: float
    C: float
    user: int
    choice: int
    cpu: float
    bandwidth: float
    deadline: float
    f: float = 0.0
    b: float = 0.0


def priced(
    tasks: list[Task],
    s: Scenario,
    power: list[float],
    distance: list[list[float]],
    F_i: list[float],
    F_k: list[float],
    B_k: list[float],
    latency: list[float],
) -> list[tuple[float, float, float, bool]]:
    """(delay, energy, cost, missed) of every task."""
    for device in {(t.choice, t.user if t.choice == 0 else -1) for t in tasks}:
        here = [t for t in tasks if (t.choice, t.user if t.choice == 0 else -1) == device]
        wanted_cpu, wanted_band = sum(t.cpu for t in here), sum(t.bandwidth for t in here)
        for t in here:
            capacity = F_i[t.user] if t.choice == 0 else F_k[t.choice - 1]
            t.f = capacity * (t.cpu if wanted_cpu <= 1 else t.cpu / wanted_cpu)
            if t.choice > 0:
                t.b = B_k[t.choice - 1] * (t.bandwidth if wanted_band <= 1 else t.bandwidth / wanted_band)
    result = []
    for t in tasks:
        execution = t.C / t.f  # (1)
        if t.choice == 0:
            delay, energy = execution, s.k0 * t.f**2 * t.C  # (2)
        else:
            d = max(distance[t.user][t.choice - 1], s.d0)
            loss = s.PL0 + 10 * s.eta * math.log10(d / s.d0)  # (4)
            gain = 1 / loss**2 if s.channel == "paper" else 10 ** (-loss / 10)
            snr = power[t.user] * gain / (t.b * s.N0)  # (5)
            rate = t.b / math.log(2) * scaled_exp1(1 / (snr * s.sigma2))  # (6)
            sent = t.D / rate  # (7)
            delay, energy = sent + execution + latency[t.choice - 1], power[t.user] * sent  # (8)-(10)
        cost = s.alpha_T * delay / t.deadline + s.alpha_E * energy / s.E_ref
        result.append((delay, energy, cost, delay > t.deadline))
    return result
