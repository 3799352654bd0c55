"""How a table writes numbers: 1500.5, "1500,5", "1.500,5", "1 500,5". Decided once for a file, from all of its cells."""

from __future__ import annotations

import re

from iomt_core.scenario.errors import ScenarioError

MARKS = {".": "point", ",": "comma"}
SPACES = " '’\u00a0\u202f"  # separate thousands too, and are never a decimal mark
# A number in groups of three: the separator of its thousands, and its decimal mark if it has one. "1.500" matches too.
GROUPED = re.compile(rf"[+-]?[0-9]{{1,3}}([.,{SPACES}])[0-9]{{3}}(?:\1[0-9]{{3}})*(?:(?!\1)([.,])[0-9]*)?")
WITH_MARK = re.compile(r"[+-]?(?=[^eE]*[0-9])[0-9]*([.,])[0-9]*(?:[eE][+-]?[0-9]{1,4})?")


class Dialect:
    """How a file writes numbers: its decimal mark, and what separates thousands ("" where nothing does).

    assumed: a cell that could be read in another way too, where none shows which; "" if the cells prove the dialect.
    """

    def __init__(self, decimal: str, thousands: str, assumed: str = "") -> None:
        self.decimal, self.thousands, self.assumed = decimal, thousands, assumed
        whole = rf"(?:[0-9]{{1,3}}(?:{re.escape(thousands)}[0-9]{{3}})+|[0-9]*)" if thousands else "[0-9]*"
        self._pattern = re.compile(rf"[+-]?{whole}(?:{re.escape(decimal)}[0-9]*)?(?:[eE][+-]?[0-9]{{1,4}})?")

    def __str__(self) -> str:
        separator = {".": "points", ",": "commas"}.get(self.thousands, "spaces or apostrophes")
        return f"a decimal {MARKS[self.decimal]}" + (f" and {separator} between thousands" if self.thousands else "")

    @property
    def is_usual(self) -> bool:
        """Whether numbers are written as programs write them: a decimal point, nothing between thousands."""
        return (self.decimal, self.thousands) == (".", "")

    def number(self, text: str) -> float:
        """Convert a cell. Raises `ValueError` if it is not a number in this dialect."""
        if self._pattern.fullmatch(text) is None:
            raise ValueError(text)
        return float((text.replace(self.thousands, "") if self.thousands else text).replace(self.decimal, "."))


def evidence(text: str) -> tuple[str, str]:
    """Return the decimal mark and the separator of thousands that a cell proves, "" for what it leaves open.

    "1.5" and "0.500" prove a decimal point, "1.500.000" and "1.500,5" points between thousands, "1.500" neither.
    """
    if grouped := GROUPED.fullmatch(text):
        separator, decimal = grouped.groups(default="")
        if decimal or separator in SPACES or text.count(separator) > 1:
            return decimal, separator
        return (separator, "") if text.lstrip("+-").startswith("0") else ("", "")
    plain = WITH_MARK.fullmatch(text)
    return (plain[1], "") if plain else ("", "")


class Proofs:
    """The first cells of a file that allow only one way to read numbers."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._found: dict[str, tuple[str, str]] = {}  # by "decimal" and "thousands": the mark, and where it was proven

    def add(self, text: str, where: str) -> None:
        """Take in a cell. where: its line and column. Raises `ScenarioError` if it contradicts an earlier cell."""
        decimal, thousands = evidence(text)
        for kind, mark, other in (("decimal", decimal, "thousands"), ("thousands", thousands, "decimal")):
            if not mark:
                continue
            place = f"{where}: {text[:40]!r}"
            known, first = self._found.setdefault(kind, (mark, place))
            if known == mark:
                known, first = self._found.get(other, ("", ""))
                if known != mark:
                    continue
            raise ScenarioError(
                f"{self.name}, {place} does not fit {first}: write all numbers of a file in the same way, with a "
                "decimal point or comma, and with one separator of thousands or none."
            )

    @property
    def proven(self) -> bool:
        """Whether any cell has shown how to read numbers with a mark."""
        return bool(self._found)

    def dialect(self) -> Dialect:
        """The dialect that the cells prove; a decimal point where they prove nothing."""
        thousands = self._found.get("thousands", ("", ""))[0]
        return Dialect(self._found.get("decimal", ("," if thousands == "." else ".", ""))[0], thousands)
