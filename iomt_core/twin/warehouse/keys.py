"""Keys of users, outside the warehouse: one file for each user, which only its owner may read.

A user's key wraps the keys of the user's segments. Whoever destroys it destroys all data of the user, in every tier and in
every copy of the warehouse. A file holds two versions of a key only while keys are rotated.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from iomt_core.paths import keys_folder
from iomt_core.twin.key_files import KeyFileError, overwritten, read_key_file, sync_folder, write_key_file
from iomt_core.twin.warehouse.errors import KeyMissingError, WarehouseError

KEY_BYTES = 32  # AES-256


class Keyring:
    """The keys of one warehouse's users.

    folder: where the files are. only: the one user whose key may be used; None: all. An agent's process gets the keyring of
    its user only.
    """

    def __init__(self, folder: Path, only: int | None = None) -> None:
        self.folder, self.only = folder, only
        self._ciphers: dict[tuple[int, int], AESGCM] = {}

    @classmethod
    def of_warehouse(cls, identity: str, warehouse: Path) -> Keyring:
        """The keys of the warehouse with this identity, in the folder of `IOMT_KEYS`.

        Raises `WarehouseError` if that folder lies inside the warehouse: a copy of the warehouse would contain its keys.
        """
        folder = keys_folder() / identity
        if folder.resolve().is_relative_to(warehouse.resolve()):
            raise WarehouseError(
                f"keys = {str(keys_folder())!r} lies inside the warehouse {str(warehouse)!r}: set IOMT_KEYS to another folder."
            )
        return cls(folder)

    def for_user(self, user: int) -> Keyring:
        """A keyring that can use the key of this user and of nobody else."""
        self._check_allowed(user)
        return Keyring(self.folder, user)

    def versions(self, user: int) -> dict[int, bytes]:
        """All versions of the user's key, to hand them to a process of this user. Raises `KeyMissingError`."""
        return self._read(user)

    @classmethod
    def of_versions(cls, user: int, versions: Mapping[int, bytes]) -> Keyring:
        """A keyring of one user's key that knows no folder; see `versions`."""
        keyring = cls(Path(os.devnull), user)
        keyring._ciphers = {(user, version): AESGCM(key) for version, key in versions.items()}
        return keyring

    def has(self, user: int) -> bool:
        """Whether a key of the user exists."""
        return self._file(user).exists()

    def cipher(self, user: int, version: int) -> AESGCM:
        """The cipher with a version of the user's key. Raises `KeyMissingError`."""
        self._check_allowed(user)
        cipher = self._ciphers.get((user, version))
        if cipher is None:
            versions = self._read(user)
            if version not in versions:
                raise KeyMissingError(
                    f"version {version} of the key of user {user} is not in {str(self._file(user))!r}."
                )
            cipher = self._ciphers[user, version] = AESGCM(versions[version])
        return cipher

    def create(self, user: int) -> int:
        """Makes the user's first key, unless a process that was killed made it already. Returns its version."""
        if not self.has(user):
            self._write(user, {1: os.urandom(KEY_BYTES)})
        return max(self._read(user))

    def add_version(self, user: int) -> int:
        """Adds a new key beside the present ones. Returns its version."""
        versions = self._read(user)
        new = max(versions) + 1
        self._write(user, {**versions, new: os.urandom(KEY_BYTES)})
        return new

    def keep_only(self, user: int, version: int) -> None:
        """Destroys all other versions of the user's key. Raises `KeyMissingError` if this version does not exist."""
        versions = self._read(user)
        if version not in versions:
            raise KeyMissingError(f"version {version} of the key of user {user} is not in {str(self._file(user))!r}.")
        if len(versions) > 1:
            with overwritten(self._file(user)):
                self._write(user, {version: versions[version]})
        for old in [known for known in self._ciphers if known[0] == user and known[1] != version]:
            del self._ciphers[old]

    def destroy(self, user: int) -> None:
        """Destroys the user's key for ever. Nothing happens if there is none."""
        self._check_allowed(user)
        for known in [known for known in self._ciphers if known[0] == user]:
            del self._ciphers[known]
        if self.has(user):
            with overwritten(self._file(user)):
                self._file(user).unlink(missing_ok=True)
                sync_folder(self.folder)

    def _check_allowed(self, user: int) -> None:
        if self.only not in (None, user):
            raise KeyMissingError(
                f"the key of user {user} is not available here: this process may read user {self.only} only."
            )

    def _file(self, user: int) -> Path:
        return self.folder / f"user-{user}.json"

    def _read(self, user: int) -> dict[int, bytes]:
        self._check_allowed(user)
        path = self._file(user)
        try:
            content = read_key_file(path)
        except FileNotFoundError:
            raise KeyMissingError(
                f"the key of user {user} is not in {str(self.folder)!r}: set IOMT_KEYS to the folder of the keys."
            ) from None
        try:
            versions = {int(version): bytes.fromhex(key) for version, key in json.loads(content).items()}
        except (ValueError, AttributeError, TypeError):
            versions = {}
        if not versions or any(len(key) != KEY_BYTES for key in versions.values()):
            raise KeyFileError(f"key file {str(path)!r} is damaged: restore it from a backup.")
        return versions

    def _write(self, user: int, versions: Mapping[int, bytes]) -> None:
        self._check_allowed(user)
        text = json.dumps({str(version): key.hex() for version, key in versions.items()})
        write_key_file(self._file(user), text.encode(), replace=True)
