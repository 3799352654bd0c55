"""Who asks: identities, and the signed tokens with which they show who they are (JSON Web Tokens, RFC 7519)."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Literal, get_args

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from iomt_core.scenario import ScenarioError, check_known
from iomt_core.scenario.errors import shortened
from iomt_core.twin.access.errors import TokenError

Kind = Literal["agent", "management", "operator"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ALGORITHM = "EdDSA"  # the only one; what a token says about its own algorithm is not believed
ISSUER = "iomt"
REQUIRED = ("exp", "iat", "iss", "aud", "sub")
LONGEST_TOKEN = 2048  # characters
LONGEST_LIFETIME = 30 * 24 * 3600  # seconds
KEY = "tokens"  # name of the signing key
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


@dataclass(frozen=True)
class Identity:
    """An agent, the management module, or an operator.

    kind: one of `KINDS`. user: the agent's user, by its number in the ward; None for the others. name: of an operator, may be
    empty. As text: `agent:3`, `management`, `operator`, `operator:anna`. Raises `ScenarioError` for anything else.
    """

    kind: Kind
    user: int | None = None
    name: str = ""

    def __post_init__(self) -> None:
        check_known("identity", self.kind, KINDS)
        if (self.user is not None) != (self.kind == "agent") or (self.user is not None and self.user < 1):
            raise ScenarioError(
                f"identity = {self.kind!r}: an agent, and only an agent, has a user from 1 on: agent:3."
            )
        if self.name and (self.kind != "operator" or not NAME.fullmatch(self.name)):
            raise ScenarioError(f"identity = {self.kind!r}: only an operator has a name, of letters, digits and . _ -")

    def __str__(self) -> str:
        suffix = self.name if self.user is None else str(self.user)
        return f"{self.kind}:{suffix}" if suffix else self.kind

    @classmethod
    def parse(cls, text: str) -> Identity:
        """The identity that is written as this text. Raises `ScenarioError`."""
        kind, _, suffix = text.partition(":")
        check_known("identity", kind, KINDS)
        identity = None
        if kind == "agent" and re.fullmatch(r"[1-9][0-9]{0,8}", suffix):
            identity = cls("agent", int(suffix))
        elif kind == "operator":
            identity = cls("operator", name=suffix)
        elif kind == "management":
            identity = cls("management")
        if identity is None or str(identity) != text:
            raise ScenarioError(
                f"identity = {shortened(text)} is not known: write agent:3, management or operator:anna."
            )
        return identity


@dataclass(frozen=True)
class VerifiedToken:
    """What a valid token says: the identity, and until when (seconds since 1970)."""

    identity: Identity
    expires: float


def issue_token(identity: Identity, audience: str, lifetime: float, key: Ed25519PrivateKey) -> str:
    """A token for an identity.

    audience: identifier of the warehouse for which it is valid. lifetime: seconds. Raises `ScenarioError` for a lifetime out of
    range.
    """
    if not 1 <= lifetime <= LONGEST_LIFETIME:
        raise ScenarioError(f"lifetime = {lifetime:g} s is out of range: allowed is 1 to {LONGEST_LIFETIME} s.")
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": str(identity), "aud": audience, "iat": now, "exp": now + int(lifetime)}
    return jwt.encode(claims, key, algorithm=ALGORITHM)


def verify_token(token: str, audience: str, key: Ed25519PublicKey) -> VerifiedToken:
    """Checks signature, algorithm, audience and expiry of a token. Raises `TokenError` with the reason."""
    if len(token) > LONGEST_TOKEN:
        raise TokenError(f"the token is longer than {LONGEST_TOKEN} characters.")
    try:
        claims = jwt.decode(
            token, key, algorithms=[ALGORITHM], audience=audience, issuer=ISSUER, options={"require": list(REQUIRED)}
        )
        return VerifiedToken(Identity.parse(claims["sub"]), float(claims["exp"]))
    except jwt.InvalidTokenError as error:
        raise TokenError(f"the token is not accepted: {_reason(error)}.") from None
    except ScenarioError as error:
        raise TokenError(f"the token is not accepted: {error}") from None
    except Exception:  # whatever a stranger's bytes do to a parser
        raise TokenError("the token is not accepted: it is damaged.") from None


def _reason(error: jwt.InvalidTokenError) -> str:
    match error:
        case jwt.ExpiredSignatureError():
            return "it has expired; ask for a new one"
        case jwt.InvalidAudienceError():
            return "it is for another warehouse"
        case jwt.InvalidIssuerError():
            return "another program has issued it"
        case jwt.InvalidAlgorithmError():
            return f"it is not signed with {ALGORITHM}, the only algorithm allowed"
        case jwt.InvalidSignatureError():
            return "it is signed with another key, or was changed"
        case jwt.MissingRequiredClaimError():
            return f"it has no {error.claim}"
        case jwt.ImmatureSignatureError():
            return "it is dated in the future"
        case jwt.DecodeError():
            return "it is damaged"
    return str(error)[:100]
