"""The paper's formulas with one task's numbers, as LaTeX with the number of the equation.

Every formula also has its right-hand side as plain arithmetic of the printed numbers, so that a test, or a student with a
pocket calculator, gets the value shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from iomt_core.model.channel import path_loss_db
from iomt_core.model.snapshot import device_name
from iomt_core.model.special import scaled_exp1
from iomt_core.record import Record
from iomt_core.twin.inspection import TaskTurn
from iomt_core.twin.mixing import Mixing

DIGITS = 6


@dataclass(frozen=True)
class Formula:
    """One formula: `latex` shows symbols, numbers and value; `arithmetic` is the middle part in Python's notation."""

    number: str  # of the equation, or of the constraint
    what: str
    latex: str
    arithmetic: str
    value: float  # SI

    @property
    def source(self) -> str:
        """Where it stands in the paper, for a tooltip; empty if it has no number there."""
        kind = "Equation" if self.number.startswith("(") else "Constraint" if self.number.startswith("C") else ""
        return f"{kind} {self.number}" if kind else ""


def printed(x: float) -> str:
    """A number as the formulas print it, in Python's notation."""
    return f"{x:.{DIGITS}g}"


def tex(x: float, unit: str = "") -> str:
    """The same in LaTeX."""
    mantissa, _, exponent = printed(x).partition("e")
    text = rf"{mantissa} \times 10^{{{int(exponent)}}}" if exponent else mantissa
    return text + (rf"\,\mathrm{{{unit}}}" if unit else "")


def task_formulas(record: Record, row: int, user: int, task: int) -> list[Formula]:
    """(1) to (10) and the cost of one task on its chosen device, from the requested shares to the cost.

    row: index of the step; user: number in the whole ward; task: from 1.
    """
    s, snap, out = record.scenario, record.snapshot, record.outcome
    i, j = s.user_numbers.index(user), task - 1
    at = (row, i, j)
    choice = int(record.action.choice[at])
    here = (record.action.choice[row] == choice) & snap.active[row]
    if choice == 0:
        here &= torch.arange(s.users)[:, None] == i
    D, C, P, p = (float(x[at]) for x in (snap.D, snap.C, snap.P, snap.weight))
    f, b, rate = float(out.f[at]), float(out.b[at]), float(out.rate[at])
    x, y = float(record.action.cpu[at]), float(record.action.bandwidth[at])
    F = float(snap.F_k[row, choice - 1] if choice else snap.F_i[row, i])
    mean_P = float(s.mean_P)
    of = f"{user},{task}"
    weight = Formula(
        "weight", "its weight in sums: its priority over the ward's mean priority",
        rf"p_{{{of}}} = \frac{{P}}{{\overline{{P}}}} = \frac{{{tex(P)}}}{{{tex(mean_P)}}} = {tex(p)}",
        f"{printed(P)} / {printed(mean_P)}", p,
    )  # fmt: skip
    if bool(out.skipped[at]):
        return [
            Formula(
                "cost", "task cost: nobody computes it", rf"\mathrm{{cost}}_{{{of}}} = 1", "1", float(out.cost[at])
            ),
            weight,
        ]
    found = [
        _grant("C3" if choice else "C2", "CPU granted", "f", of, x, float(record.action.cpu[row][here].sum()), F, f),
        Formula(
            "(1)", "execution delay",
            rf"T^{{exe}}_{{{of}}} = \frac{{C}}{{f}} = \frac{{{tex(C, 'cycle')}}}{{{tex(f, 'cycle/s')}}} = "
            + tex(float(out.delay_exe[at]), "s"),
            f"{printed(C)} / {printed(f)}", float(out.delay_exe[at]),
        ),
    ]  # fmt: skip
    execution = s.k0 * f**2 * C
    if choice:
        found.append(
            _grant("C4", "bandwidth granted", "b", of, y, float(record.action.bandwidth[row][here].sum()),
                   float(snap.B_k[row, choice - 1]), b)
        )  # fmt: skip
        found += _transmission(record, row, i, choice, D, b, rate, of)
    else:
        found.append(
            Formula(
                "(2)", "execution energy, paid by the user",
                rf"E^{{exe}}_{{{of}}} = k_0 f^2 C = {tex(s.k0)} \cdot ({tex(f)})^2 \cdot {tex(C)} = " + tex(execution, "J"),
                f"{printed(s.k0)} * {printed(f)} ** 2 * {printed(C)}", execution,
            )
        )  # fmt: skip
    T, E, cost = float(out.delay[at]), float(out.energy[at]), float(out.cost[at])
    deadline = float(snap.deadline[at])
    exe, tx = float(out.delay_exe[at]), float(out.delay_tx[at])
    parts = f"{printed(tx)} + {printed(exe)}" if choice else printed(exe)
    shown = f"{tex(tx)} + {tex(exe)}" if choice else tex(exe)
    symbols = r"T^{tr} + T^{exe}" if choice else r"T^{exe}"
    if choice and s.has_latency:
        latency = float(snap.latency[row, choice - 1])
        parts, shown = f"{parts} + {printed(latency)}", f"{shown} + {tex(latency)}"
        symbols += rf" + L_{{{s.device_numbers[choice]}}}"
    found.append(Formula("(9)", "delay", rf"T_{{{of}}} = {symbols} = {shown} = " + tex(T, "s"), parts, T))
    symbol = r"E^{tr}" if choice else r"E^{exe}"
    found.append(
        Formula("(10)", "energy of the user", rf"E_{{{of}}} = {symbol} = " + tex(E, "J"), printed(E), E)
    )  # fmt: skip
    found.append(
        Formula(
            "cost", "task cost",
            r"\mathrm{cost} = \alpha^T \frac{T}{T^{max}} + \alpha^E \frac{E}{E^{ref}} = "
            + rf"{tex(s.alpha_T)} \cdot \frac{{{tex(T)}}}{{{tex(deadline)}}} + {tex(s.alpha_E)} \cdot "
            + rf"\frac{{{tex(E)}}}{{{tex(s.E_ref)}}} = {tex(cost)}",
            f"{printed(s.alpha_T)} * {printed(T)} / {printed(deadline)} + "
            f"{printed(s.alpha_E)} * {printed(E)} / {printed(s.E_ref)}",
            cost,
        )
    )  # fmt: skip
    found.append(weight)
    return found


def _grant(
    number: str, what: str, symbol: str, of: str, share: float, requested: float, capacity: float, value: float
) -> Formula:
    unit = "Hz" if symbol == "b" else "cycle/s"
    whole, request = ("B", "y") if symbol == "b" else ("F", "x")
    return Formula(
        number, what,
        rf"{symbol}_{{{of}}} = \frac{{{request}}}{{\max(1, \sum {request}')}}\,{whole} = "
        rf"\frac{{{tex(share)}}}{{\max(1, {tex(requested)})}} \cdot {tex(capacity)} = {tex(value, unit)}",
        f"{printed(share)} / max(1, {printed(requested)}) * {printed(capacity)}", value,
    )  # fmt: skip


def _transmission(
    record: Record, row: int, i: int, choice: int, D: float, b: float, rate: float, of: str
) -> list[Formula]:
    s, snap = record.scenario, record.snapshot
    d = max(float(snap.distance[row, i, choice - 1]), s.d0)
    power, beta = float(snap.P_tr[row, i]), float(snap.beta[row, i, choice - 1])
    loss = float(path_loss_db(torch.tensor(d, dtype=torch.float64), s))
    snr = beta / s.sigma2 / b
    x = 1 / (snr * s.sigma2)
    scaled = float(scaled_exp1(torch.tensor(x, dtype=torch.float64)))
    tx, energy = D / rate, power * D / rate
    if s.channel == "paper":
        gain, gain_tex, where = f"{printed(loss)} ** 2", rf"({tex(loss)})^2", r"PL^2"
    else:
        gain, gain_tex, where = f"10 ** ({printed(loss)} / 10)", rf"10^{{{tex(loss)}/10}}", r"10^{PL/10}"
    return [
        Formula(
            "(4)", "path loss in dB",
            rf"PL = PL_0 + 10\,\eta\,\log_{{10}}(d/d_0) = {tex(s.PL0)} + 10 \cdot {tex(s.eta)} \cdot "
            rf"\log_{{10}}({tex(d)}/{tex(s.d0)}) = {tex(loss, 'dB')}",
            f"{printed(s.PL0)} + 10 * {printed(s.eta)} * log10({printed(d)} / {printed(s.d0)})", loss,
        ),
        Formula(
            "(5)", "signal-to-noise ratio at mean fading",
            rf"\gamma = \frac{{P^{{tr}}}}{{{where}\, b N_0}} = "
            rf"\frac{{{tex(power)}}}{{{gain_tex} \cdot {tex(b)} \cdot {tex(s.N0)}}} = {tex(snr)}",
            f"{printed(power)} / ({gain} * {printed(b)} * {printed(s.N0)})", snr,
        ),
        Formula(
            "(6)", "expected rate: the mean of (3) under Rayleigh fading",
            r"\mathbb{E}[rate] = \frac{b}{\ln 2}\, e^{x} E_1(x),\; x = \frac{1}{\gamma\sigma^2} = "
            rf"{tex(x)}:\quad \frac{{{tex(b)}}}{{\ln 2}} \cdot {tex(scaled)} = {tex(rate, 'bit/s')}",
            f"{printed(b)} / log(2) * {printed(scaled)}", rate,
        ),
        Formula(
            "(7)", "transmission delay",
            rf"T^{{tr}}_{{{of}}} = \frac{{D}}{{\mathbb{{E}}[rate]}} = \frac{{{tex(D, 'bit')}}}{{{tex(rate, 'bit/s')}}} = "
            + tex(tx, "s"),
            f"{printed(D)} / {printed(rate)}", tx,
        ),
        Formula(
            "(8)", "transmission energy, paid by the user",
            rf"E^{{tr}}_{{{of}}} = P^{{tr}} T^{{tr}} = {tex(power, 'W')} \cdot {tex(tx, 's')} = {tex(energy, 'J')}",
            f"{printed(power)} * {printed(tx)}", energy,
        ),
    ]  # fmt: skip


def look_formula(look: TaskTurn, strategy: int) -> Formula:
    """(17) for one strategy of one task, with the server's margin if there is one."""
    columns = zip(look.weight.tolist(), look.values[strategy].tolist(), look.valued, strict=True)
    pairs = [(p, q) for p, q, valued in columns if valued]
    margin = float(look.margin[strategy])
    total = float(look.worth[strategy]) + margin
    sign = "+" if margin > 0 else "-"
    extra, extra_tex = (f" {sign} {printed(abs(margin))}", rf" {sign} {tex(abs(margin))}") if margin else ("", "")
    symbol = r"\sum_{j'} p_{j'} Q^{s}_{j'}" if len(pairs) > 1 else r"p_j Q^{s}_{j}"
    return Formula(
        "(17)", f"score of {device_name(look.devices[strategy])}",
        rf"s = {look.devices[strategy]}:\; {symbol}{r' + m' if margin else ''} = {_sum(pairs)}{extra_tex} = {tex(total)}",
        " + ".join(f"{printed(p)} * {_signed(q)}" for p, q in pairs) + extra, total,
    )  # fmt: skip


def agent_formula(weight: Sequence[float], values: Sequence[float], user: int) -> Formula:
    """(18) of one agent."""
    pairs = list(zip(weight, values, strict=True))
    total = math.fsum(p * q for p, q in pairs)
    return Formula(
        "(18)", f"value of agent {user}",
        rf"Q_{{{user}}} = \sum_j p_j q_j^{{s_j^*}} = {_sum(pairs)} = {tex(total)}",
        " + ".join(f"{printed(p)} * {_signed(q)}" for p, q in pairs), total,
    )  # fmt: skip


def mixing_formulas(mixing: Mixing, user: int) -> list[Formula]:
    """(22) to (24) for one agent; for VDN the sum."""
    q, i = mixing.agent_values.tolist(), mixing.users.index(user)
    if mixing.kind == "sum":
        return [
            Formula(
                "VDN", "value of the team: the sum",
                rf"Q^{{tot}} = \sum_i Q_i = {' + '.join(map(tex, q))} = {tex(mixing.q_tot)}".replace("+ -", "- "),
                " + ".join(_signed(x) for x in q), mixing.q_tot,
            )
        ]  # fmt: skip
    found = []
    if mixing.scores is not None and mixing.attention is not None:
        scores, row = mixing.scores[i].tolist(), mixing.attention[i].tolist()
        found = [
            Formula(
                "(22)", f"how much agent {user} attends to itself",
                rf"\hat{{A}}_{{{user},{user}}} = \frac{{e^{{A_{{{user},{user}}}}}}}{{\sum_{{i'}} e^{{A_{{{user},i'}}}}}} = "
                rf"e^{{{tex(scores[i])}}} / ({' + '.join(f'e^{{{tex(x)}}}' for x in scores)}) = {tex(row[i])}",
                f"exp({printed(scores[i])}) / ({' + '.join(f'exp({printed(x)})' for x in scores)})", row[i],
            ),
            Formula(
                "(23)", f"weighted value of agent {user}",
                rf"\hat{{Q}}_{{{user}}} = \sum_{{i'}} \hat{{A}}_{{{user},i'}} Q_{{i'}} = "
                rf"{_sum(list(zip(row, q, strict=True)))} = {tex(float(mixing.weighted[i]))}",
                " + ".join(f"{printed(a)} * {_signed(x)}" for a, x in zip(row, q, strict=True)), float(mixing.weighted[i]),
            ),
        ]  # fmt: skip
    assert mixing.offset is not None
    assert mixing.hidden is not None
    before = mixing.q_tot - mixing.offset
    found.append(
        Formula(
            "(24)", f"value of the team; {mixing.hidden[0]} of {mixing.hidden[1]} hidden units are on",
            r"Q^{tot} = \mathbf{W}_2^\top\,\mathrm{ReLU}(\mathbf{W}_1^\top \hat{\mathbf{Q}} + \mathbf{b}_1) + b_2 = "
            rf"{tex(before)} + ({tex(mixing.offset)}) = {tex(mixing.q_tot)}",
            f"{printed(before)} + {_signed(mixing.offset)}", mixing.q_tot,
        )
    )  # fmt: skip
    return found


def _signed(x: float) -> str:
    return f"({printed(x)})" if x < 0 else printed(x)


def _sum(pairs: Sequence[tuple[float, float]]) -> str:
    return " + ".join(rf"{tex(a)} \cdot " + (f"({tex(x)})" if x < 0 else tex(x)) for a, x in pairs)
