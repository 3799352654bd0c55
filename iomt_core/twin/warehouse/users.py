"""The users of a warehouse that is written, and what is done to their keys: made, rotated, destroyed."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from iomt_core.twin.warehouse.database import add_commit, database_file, durable_transaction, now_us
from iomt_core.twin.warehouse.errors import DamagedError, KeyMissingError, WarehouseError
from iomt_core.twin.warehouse.keys import Keyring
from iomt_core.twin.warehouse.sealing import decrypt, encrypt, ledger_data, new_key
from iomt_core.twin.warehouse.segments import SegmentReader, select
from iomt_core.twin.warehouse.tiers import remove_files


class Users:
    """The users of the warehouse that this process writes.

    versions: which version of each user's key is in use; forgotten: users whose key was destroyed.
    """

    def __init__(self, db: sqlite3.Connection, folder: Path, identity: str, keys: Keyring) -> None:
        self.db, self.folder, self.identity, self.keys = db, folder, identity, keys
        self.load()

    def load(self) -> None:
        """Reads the users from the index."""
        rows = self.db.execute("SELECT user, key_version, forgotten FROM users").fetchall()
        self.versions: dict[int, int] = {user: version for user, version, _ in rows}
        self.forgotten = {user for user, _, revision in rows if revision is not None}
        self._ledgers: dict[int, AESGCM] = {}

    def complete(self) -> None:
        """Completes what a process that was killed had begun: to rotate keys, or to forget a user."""
        for user, version in self.versions.items():
            if user in self.forgotten:
                if self.keys.has(user):
                    self.destroy(user)
                continue
            with contextlib.suppress(KeyMissingError):  # whoever needs the key finds out
                self.keys.keep_only(user, version)

    def known(self, users: Iterable[int]) -> list[int]:
        """Those of the users who were not forgotten."""
        return [user for user in users if user not in self.forgotten]

    def add(self, users: list[int]) -> list[int]:
        """Makes a key and a ledger key for users that are new; inside a transaction. Returns the new users."""
        new = [user for user in users if user not in self.versions]
        for user in new:
            version = self.keys.create(user)
            key = new_key()
            wrapped = encrypt(self.keys.cipher(user, version), key, ledger_data(self.identity, user))
            self.db.execute("INSERT INTO users VALUES(?,?,?,NULL)", (user, version, wrapped))
            self.versions[user], self._ledgers[user] = version, AESGCM(key)
        return new

    def cipher(self, user: int) -> AESGCM:
        """The cipher for the keys of the user's segments. Raises `KeyMissingError`."""
        return self.keys.cipher(user, self.versions[user])

    def ledger(self, user: int) -> AESGCM:
        """The cipher for what is not a segment: sums and configurations. Raises `KeyMissingError` and `DamagedError`."""
        if user not in self._ledgers:
            self._ledgers[user] = AESGCM(self._ledger_key(user))
        return self._ledgers[user]

    def rotate(self) -> tuple[int, int, int]:
        """Gives every user a new key and wraps all keys again. Returns how many users and keys of segments, and the revision.

        The new keys are on the disk before the warehouse uses them, and the old ones are destroyed after that.
        """
        users = self.known(self.versions)
        new = {user: self.keys.add_version(user) for user in users}
        wrapped = []
        with durable_transaction(self.db):
            reader = SegmentReader(self.db, self.folder, self.keys)
            for segment in select(self.db, self.identity):
                h = segment.header
                key, cipher = reader.key(segment), self.keys.cipher(h.user, new[h.user])
                wrapped.append((encrypt(cipher, key, h.associated_data()), segment.number))
            ledgers = [(new[user], self._wrap_ledger(user, new[user]), user) for user in users]
            self.db.executemany("UPDATE segments SET wrapped_key=? WHERE id=?", wrapped)
            self.db.executemany("UPDATE users SET key_version=?, ledger_key=? WHERE user=?", ledgers)
            revision = add_commit(self.db, "rotate", json.dumps({"users": users}), now_us(self.db))
        for user in users:
            self.keys.keep_only(user, new[user])
        self.versions.update(new)
        return len(users), len(wrapped), revision

    def forget(self, user: int) -> int | None:
        """Marks a user as forgotten; `destroy` follows. Returns the revision, None if that was done already.

        Raises `WarehouseError` for a user that the warehouse does not know.
        """
        if user not in self.versions:
            known = ", ".join(map(str, self.versions)) or "none"
            raise WarehouseError(f"user = {user} is not known: the warehouse has {known}.")
        if user in self.forgotten:
            return None
        with durable_transaction(self.db):
            revision = add_commit(self.db, "forget", json.dumps({"user": user}), now_us(self.db))
            self.db.execute("UPDATE users SET forgotten=? WHERE user=?", (revision, user))
        return revision

    def destroy(self, user: int) -> None:
        """Destroys the key of a user who is marked as forgotten, and removes the user's segments; repeated after a kill."""
        self.keys.destroy(user)
        query = "SELECT file FROM segments WHERE user=? AND file NOT NULL"
        files = [name for (name,) in self.db.execute(query, (user,))]
        with durable_transaction(self.db):
            self.db.execute("DELETE FROM blocks WHERE segment IN (SELECT id FROM segments WHERE user=?)", (user,))
            self.db.execute("DELETE FROM segments WHERE user=?", (user,))
        remove_files(self.folder, files)

    def _ledger_key(self, user: int) -> bytes:
        version, wrapped = self.db.execute("SELECT key_version, ledger_key FROM users WHERE user=?", (user,)).fetchone()
        key = decrypt(self.keys.cipher(user, version), wrapped, ledger_data(self.identity, user))
        if key is None:
            raise DamagedError(database_file(self.folder), "the key of the user is another one.", user)
        return key

    def _wrap_ledger(self, user: int, version: int) -> bytes:
        return encrypt(self.keys.cipher(user, version), self._ledger_key(user), ledger_data(self.identity, user))
