"""Numbers with units, as people write them: "20 ms", "10 mJ", "1 GHz", "30 KB", "-174 dBm/Hz"."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pint

# JSON's numbers and YAML 1.2's: no octals (010), no sexagesimals (1:30), no separators (1_000), ASCII digits only.
NUMBER = r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?"
MINUS = "\u2212"  # the minus sign of typesetting
LONGEST = 60  # characters
_FACTOR = r"[A-Za-zµμ]+(?:(?:\^|\*\*)[1-9]|[²³])?"
_QUANTITY = re.compile(rf"({NUMBER})\s*((?:1?\s*/\s*)?{_FACTOR}(?:\s*[*·/]\s*{_FACTOR})*)?")
_LEVEL = re.compile(r"dB(m|W)")  # decibels over a milliwatt or a watt
# Only what a scenario needs: pint's own list takes a second to parse, and has units that would be misunderstood here
# (its KB is 1024 bytes). 1 KB = 8000 bit everywhere in this project.
_DEFINITIONS = """
nano- = 1e-9 = n-
micro- = 1e-6 = µ- = μ- = u-
milli- = 1e-3 = m-
kilo- = 1e3 = k- = K-
mega- = 1e6 = M-
giga- = 1e9 = G-
tera- = 1e12 = T-
second = [time] = s
minute = 60 * second = min
hour = 60 * minute = h
meter = [length] = m
joule = [energy] = J
watt = joule / second = W
cycle = [cycle]
hertz = cycle / second = Hz
bit = [information]
byte = 8 * bit = B
decibel = [level] = dB
"""


def read_number(text: str, unit: str) -> int | float:
    """Read a number with or without a unit.

    text: for example "0.02" or "20 ms". unit: the SI unit to convert to; "" for a number without a unit. A bare number
    counts as that many of `unit`. Returns an int where the text is a plain whole number. Raises `ValueError` with the
    reason where the text is no number, or its unit is unknown or measures something else.
    """
    if len(text) > LONGEST:
        raise ValueError(f"a number of more than {LONGEST} characters")
    found = _QUANTITY.fullmatch(text.strip().replace(MINUS, "-"))
    if found is None:
        raise ValueError(f"not a number{f', alone or with a unit such as {unit}' if unit else ''}")
    number, written = found.groups()
    if written is None:
        return int(number) if re.fullmatch(r"[+-]?[0-9]+", number) else float(number)
    if written == unit:
        return float(number)
    if not unit:
        raise ValueError(f"{written!r} cannot stand here: this value has no unit")
    if level := _LEVEL.match(written):
        decibels = float(number) - (30 if level[1] == "m" else 0)
        # 400 dB is beyond every allowed range, and 10 ** 400 beyond every float.
        return 10 ** (min(decibels, 400.0) / 10) * float(_factor("W" + written[level.end() :], unit, written))
    try:
        return float(Decimal(number) * _factor(written, unit, written))
    except ArithmeticError:
        raise ValueError("too large or too small for a number") from None


def _factor(written: str, unit: str, shown: str) -> Decimal:
    """How many of `unit` one of the written unit is; decimal, so that 100 µJ are 0.0001 J and not 0.00009999… J."""
    import pint

    try:
        registry = _registry()
        source = registry.parse_units(f"1{written}" if written.startswith("/") else written)
        return Decimal(registry.convert(Decimal(1), source, registry.parse_units(unit)))
    except (pint.PintError, ArithmeticError):
        raise ValueError(f"{shown!r} is not a unit for this value; write {unit} or a multiple of it") from None


@cache
def _registry() -> pint.UnitRegistry[Decimal]:
    import pint  # takes half a second, which only those who write units need to spend

    registry: pint.UnitRegistry[Decimal] = pint.UnitRegistry(None, non_int_type=Decimal)
    registry.load_definitions(_DEFINITIONS.strip().splitlines())
    return registry
