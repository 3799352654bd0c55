"""Computing model, eqs. (1) and (2)."""

from __future__ import annotations

from torch import Tensor


def execution_delay(cycles: Tensor, frequency: Tensor) -> Tensor:
    """Execution delay T_exe = C/f in s, eq. (1); C in cycles, f in cycle/s."""
    return cycles / frequency


def execution_energy(cycles: Tensor, frequency: Tensor, k0: float) -> Tensor:
    """Execution energy E_exe = k0 f² C in J, eq. (2); k0 in J·s²/cycle³."""
    return (k0 * frequency).mul_(frequency).mul_(cycles)
