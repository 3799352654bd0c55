"""The errors of access. All are `ScenarioError`, which command line, pages and HTTP already show as a message."""

from __future__ import annotations

from iomt_core.scenario import ScenarioError
from iomt_core.twin.key_files import KeyFileError as KeyFileError


class AccessError(ScenarioError):
    """Something that access does not allow or cannot do."""


class TokenError(AccessError):
    """A token that is not accepted: expired, foreign, damaged, or signed in another way."""


class RefusedError(AccessError):
    """An action that the table of permissions does not allow, or an object that is not there."""


class BudgetSpentError(AccessError):
    """A query for which the privacy budget of the warehouse is too small."""


class AuditError(AccessError):
    """An audit log that cannot be used: missing, damaged, changed, or not writable."""
