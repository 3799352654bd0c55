"""Whose run it is, and who may change it. The lab has no accounts.

A browser keeps a secret token, and a run keeps the name that its person typed and the token's SHA-256. Only a browser with
the same token, or the operator of the lab, may stop, resume or delete the run. Runs of the command line are the operator's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from iomt_core.runs.directory import read_json, write_json

OWNER = "owner.json"
ANONYMOUS = "anonymous"
LONGEST_NAME = 40


@dataclass(frozen=True)
class Person:
    """Somebody who starts or changes runs."""

    name: str = ANONYMOUS  # as others see it; anybody may type any name
    token_sha256: str = ""  # of the secret token of the person's browser; empty: no browser
    operator: bool = False  # may change every run

    @classmethod
    def with_token(cls, token: str, name: str = "", operator: bool = False) -> Person:
        """The person whose browser has this token; `name` as typed."""
        return cls(_clean(name), digest(token), operator)

    def may_change(self, owner: Person) -> bool:
        """Whether this person may stop, resume and delete the runs of `owner`."""
        return self.operator or (bool(self.token_sha256) and self.token_sha256 == owner.token_sha256)

    def save(self, folder: Path) -> None:
        """Makes this person the owner of the run in this folder. Raises `ScenarioError`."""
        write_json(folder / OWNER, {"name": self.name, "token_sha256": self.token_sha256})


OPERATOR = Person("operator", operator=True)


def owner_of(folder: Path) -> Person:
    """The owner of the run in this folder: the operator unless the folder says otherwise."""
    facts = read_json(folder / OWNER)
    if facts is None:
        return Person(OPERATOR.name)
    return Person(_clean(str(facts.get("name") or "")), str(facts.get("token_sha256") or ""))


def digest(token: str) -> str:
    """The SHA-256 of a token, in hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()


def _clean(name: str) -> str:
    """A typed name in one line of printable characters; "anonymous" if nothing is left."""
    shown = "".join(letter if letter.isprintable() else " " for letter in name[: 4 * LONGEST_NAME])
    return " ".join(shown.split())[:LONGEST_NAME] or ANONYMOUS
