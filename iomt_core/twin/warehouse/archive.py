"""Encrypted Parquet files of the archive, by pyarrow's modular encryption: footer and all columns with the segment's key."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

from iomt_core.twin.warehouse.errors import DamagedError, DiskFullError

TEMPORARY = ".tmp"
OTHERS_KEY = "the key, the file or its place in the warehouse is not the one it was encrypted for"


def write_file(path: Path, batch: pa.RecordBatch, key: bytes, associated: bytes) -> int:
    """Writes a file, whose content is complete and on the disk when this returns. Returns its size in bytes.

    Its name is on the disk after `sync_folder`. associated: bound to the data, not stored in the file. Raises `DiskFullError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + TEMPORARY)
    encryption = pe.create_encryption_properties(key, aad_prefix=associated, store_aad_prefix=False)
    # Few different values are in columns that are not floating; for the others a dictionary would only cost time.
    repeated = [field.name for field in batch.schema if not pa.types.is_floating(field.type)]
    try:
        with temporary.open("wb") as file:
            pq.write_table(
                pa.Table.from_batches([batch]), file, compression="zstd", compression_level=1, use_dictionary=repeated,
                write_statistics=False, encryption_properties=encryption,
            )  # fmt: skip
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        return path.stat().st_size
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise DiskFullError(f"file {str(path)!r} cannot be written: {error.strerror}. Nothing was moved.") from None
        raise


def read_file(
    path: Path, key: bytes, associated: bytes, columns: Sequence[str] | None = None, content: bytes | None = None
) -> pa.RecordBatch:
    """The file's rows; `content` is the file's if the caller has it, and then `path` is only its name in messages.

    Raises `FileNotFoundError`, and `DamagedError` where the file, the key or its place is another.
    """
    decryption = pe.create_decryption_properties(key, aad_prefix=associated)
    try:
        source = path if content is None else pa.BufferReader(content)
        with pq.ParquetFile(source, decryption_properties=decryption) as file:
            table = file.read(None if columns is None else list(columns), use_threads=False)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        reason = OTHERS_KEY if "ecrypt" in str(error) else str(error).splitlines()[0]
        raise DamagedError(path, f"it cannot be read: {reason}.") from None
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file's bytes. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
