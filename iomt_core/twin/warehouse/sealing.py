"""Sealed segments: AES-256-GCM by an envelope of keys, user key -> segment key -> segment.

A segment has a random key of its own, which is stored wrapped by the user's key. Rotation wraps segment keys again and leaves
the data as they are. Both encryptions are bound to the segment's header, so that a segment or a key that was put in another
place is refused.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from iomt_core.twin.warehouse.keys import KEY_BYTES

NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment is, in clear; everything here is authenticated with the data.

    first: sequence number of its first record. first_step, last_step: which of the user's recorded steps it covers, from 1.
    schema: identity of its columns. size: bytes before compression, 0 for a Parquet file.
    """

    warehouse: str
    user: int
    log: str
    first: int
    rows: int
    first_step: int
    last_step: int
    schema: str
    size: int

    @property
    def last(self) -> int:
        """Sequence number of its last record."""
        return self.first + self.rows - 1

    def associated_data(self) -> bytes:
        """The header as bytes; equal only for equal headers."""
        return (
            f"segment|{self.warehouse}|{self.user}|{self.log}|{self.first}|{self.rows}|{self.first_step}|{self.last_step}"
            f"|{self.schema}|{self.size}"
        ).encode()


def ledger_data(warehouse: str, user: int) -> bytes:
    """What a user's ledger key is bound to; it seals what is no segment: sums and configurations."""
    return f"ledger|{warehouse}|{user}".encode()


def sums_data(warehouse: str, user: int, revision: int) -> bytes:
    """What the sums of one commit are bound to."""
    return f"sums|{warehouse}|{user}|{revision}".encode()


def recording_data(warehouse: str, user: int, number: int) -> bytes:
    """What the configuration of a recording is bound to."""
    return f"recording|{warehouse}|{user}|{number}".encode()


def new_key() -> bytes:
    """A random key for one segment."""
    return os.urandom(KEY_BYTES)


def encrypt(cipher: AESGCM, plain: bytes, associated: bytes) -> bytes:
    """Nonce and ciphertext with tag."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plain, associated)


def decrypt(cipher: AESGCM, sealed: bytes, associated: bytes) -> bytes | None:
    """The plain bytes; None if key, bytes or associated data are not those of the encryption."""
    if len(sealed) <= NONCE_BYTES:
        return None
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
    except InvalidTag:
        return None
