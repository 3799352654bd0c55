"""Key files: in `paths.keys_folder()`, outside all stores, readable by their owner only."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from iomt_core.paths import KEYS, keys_folder
from iomt_core.twin.access.errors import KeyFileError

OTHERS = stat.S_IRWXG | stat.S_IRWXO  # permissions of group and others, which no key file may have


def make_private_folder(folder: Path) -> None:
    """Makes a folder that only its owner can open; one that exists keeps its mode. Raises `KeyFileError`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KeyFileError(f"the folder {folder} cannot be made: {error.strerror}; set {KEYS}.") from None


def key_file(path: Path, make: Callable[[], bytes]) -> bytes:
    """The content of a key file; if it does not exist, it is made with mode 0600.

    Two processes that make it at the same time get the same content. Raises `KeyFileError` if it cannot be read or made, or if
    anybody but its owner can read it.
    """
    try:
        if not path.exists():
            make_private_folder(path.parent)
            create_private_file(path, make())
        if os.name == "posix" and path.stat().st_mode & OTHERS:
            raise KeyFileError(f"the key file {path} is open to other users: run `chmod 600` on it.")
        return path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"the key file {path} cannot be read: {error.strerror}.") from None


def signing_key(name: str, folder: Path | None = None) -> Ed25519PrivateKey:
    """The Ed25519 key in the file `name`.pem of `folder` (default `keys_folder()`), made if missing. Raises `KeyFileError`."""
    path = (folder or keys_folder()) / f"{name}.pem"
    content = key_file(path, _new_signing_key)
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"the key file {path} does not contain an Ed25519 key.")
    return key


def _new_signing_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def create_private_file(path: Path, content: bytes) -> None:
    """Writes a new file with mode 0600, completely or not at all; one that exists is left. Raises `OSError`."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike a rename, fails if another process was faster
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
