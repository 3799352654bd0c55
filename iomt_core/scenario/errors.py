"""The error of everything that a person gives and that cannot be used, and the checks that raise it."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from contextlib import contextmanager

MOST_PROBLEMS = 10  # in one message


class ScenarioError(ValueError):
    """A scenario, file or table that cannot be used; each of its `problems` names field, value and allowed range."""

    def __init__(self, problems: str | list[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else problems
        more = len(self.problems) - MOST_PROBLEMS
        if more > 1:  # a list that was shortened before is not shortened again
            self.problems = [*self.problems[:MOST_PROBLEMS], f"… and {more} more."]
        super().__init__("\n".join(self.problems))


def check_known(name: str, value: object, known: Collection[str]) -> None:
    """Raise `ScenarioError`, with the most similar allowed value if one is similar, unless `value` is one of `known`."""
    if not isinstance(value, str) or value not in known:
        text = str(value)[:60]
        near = difflib.get_close_matches(text, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ScenarioError(f"{name} = {text!r} is not known: allowed is {', '.join(known)}.{hint}")


def check_range(name: str, value: int, low: int, high: int) -> None:
    """Raise `ScenarioError` unless `value` lies from `low` to `high`."""
    if not low <= value <= high:
        raise ScenarioError(f"{name} = {value} is out of range: allowed is {low} to {high}.")


@contextmanager
def os_errors(what: str) -> Iterator[None]:
    """Raise an `OSError` of the block as a `ScenarioError`: `what`, for example "file 'x' cannot be read", and the reason."""
    try:
        yield
    except OSError as error:
        raise ScenarioError(f"{what}: {error.strerror or error}.") from None
