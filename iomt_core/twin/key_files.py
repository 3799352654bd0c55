"""Files with keys: outside all stores, mode 0600, and on the disk as a whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from iomt_core.paths import KEYS
from iomt_core.scenario import ScenarioError

OWNER_ONLY, OWNER_ONLY_FOLDER = 0o600, 0o700
OTHERS = stat.S_IRWXG | stat.S_IRWXO  # permissions of group and others, which no key file may have


class KeyFileError(ScenarioError):
    """A key file that cannot be read or written, is damaged, or can be read by others."""


def make_private_folder(folder: Path) -> None:
    """Makes a folder that only its owner can open; one that exists keeps its mode. Raises `KeyFileError`."""
    try:
        folder.mkdir(mode=OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
    except OSError as error:
        raise KeyFileError(f"the folder {folder} cannot be made: {error.strerror}; set {KEYS}.") from None


def read_key_file(path: Path) -> bytes:
    """The content. Raises `FileNotFoundError`, and `KeyFileError` if it cannot be read or can be read by others."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if os.name == "posix" and mode & OTHERS:
                raise KeyFileError(f"key file {str(path)!r} can be read by others (mode {mode:04o}): `chmod 600` it.")
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeyFileError(f"key file {str(path)!r} cannot be read: {error.strerror}; set {KEYS}.") from None


def write_key_file(path: Path, content: bytes, replace: bool) -> None:
    """Writes a file; it is on the disk when this returns. Raises `KeyFileError`.

    replace: whether a file that exists is replaced. Otherwise it stays, so that two processes that make a key at the same time
    get the same one.
    """
    make_private_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.replace(temporary, path)
            else:
                with suppress(FileExistsError):  # another process was faster
                    os.link(temporary, path)  # unlike a rename, fails if there is a file
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise KeyFileError(f"key file {str(path)!r} cannot be written: {error.strerror}.") from None


@contextmanager
def overwritten(path: Path) -> Iterator[None]:
    """Overwrites the bytes that the file has now, after the block has replaced or removed the file. Raises `KeyFileError`.

    A file system or a disk that copies on write may still keep them for a while.
    """
    try:
        with path.open("r+b", buffering=0) as file:
            yield
            file.write(b"\0" * os.fstat(file.fileno()).st_size)
            os.fsync(file.fileno())
    except OSError as error:
        raise KeyFileError(f"key file {str(path)!r} cannot be destroyed: {error.strerror}.") from None


def sync_folder(folder: Path) -> None:
    """Writes a folder's list of files to the disk, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
