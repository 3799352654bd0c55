"""Keys for signatures, of tokens and of checkpoints: files in `paths.keys_folder()`."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from iomt_core.paths import keys_folder
from iomt_core.twin.key_files import KeyFileError, read_key_file, write_key_file


def signing_key(name: str, folder: Path | None = None) -> Ed25519PrivateKey:
    """The Ed25519 key in the file `name`.pem of `folder` (default `keys_folder()`), made if missing. Raises `KeyFileError`."""
    path = (folder or keys_folder()) / f"{name}.pem"
    try:
        content = read_key_file(path)
    except FileNotFoundError:
        write_key_file(path, _new_signing_key(), replace=False)
        content = read_key_file(path)  # of another process, if that was faster
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"key file {str(path)!r} does not contain an Ed25519 key.")
    return key


def _new_signing_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
