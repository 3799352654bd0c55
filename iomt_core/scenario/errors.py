"""The error for invalid input, with field, value and allowed range, and the checks that raise it."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

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


def shortened(value: Any, most: int = 60) -> str:
    """A value from outside in a form short enough for an error message, at most about `most` characters."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = most
    return short.repr(value)  # limits nesting too


def explain(error: ValidationError, allowed: Callable[[str], str]) -> ScenarioError:
    """Translate pydantic's errors into messages with field, value and reason.

    allowed: returns the allowed values of a field as text, or ""; this text replaces pydantic's for a value out of range.
    """
    problems: list[str] = []
    for one in error.errors():
        cause = one.get("ctx", {}).get("error")
        if isinstance(cause, ScenarioError):
            problems += cause.problems
            continue
        reach = allowed(str(one["loc"][0])) if one["loc"] else ""
        outside = reach and one["type"].startswith(("greater_", "less_", "literal_"))
        reason = f"allowed is {reach}" if outside else f"{one['msg'][0].lower()}{one['msg'][1:]}"
        where = ".".join(map(str, one["loc"]))[:60]
        problems.append(f"{where} = {shortened(one.get('input'))} cannot be used: {reason}.")
    return ScenarioError(problems)


@contextmanager
def os_errors(what: str) -> Iterator[None]:
    """Raise an `OSError` of the block as a `ScenarioError`: `what`, for example "file 'x' cannot be read", and the reason."""
    try:
        yield
    except OSError as error:
        raise ScenarioError(f"{what}: {error.strerror or error}.") from None
