"""Compiles `blocks.cpp` for this machine when it is first needed, and stores the library in `__pycache__`."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import logging
import os
import platform
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("blocks.cpp")
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-Wno-psabi", "-Wno-ignored-attributes", "-shared", "-fPIC")
# Compiler flags for the CPU capability that torch reports. Not -march=native, because another machine may share the folder.
CPU_FLAGS = {
    "AVX512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"),
    "AVX2": ("-mavx2", "-mfma"),
}
MOST_SECONDS = 120  # time limit for the compiler, and for waiting for another process that compiles
PROBLEMS = (OSError, ValueError, subprocess.SubprocessError, Timeout)


@cache
def library() -> ctypes.CDLL | None:
    """The kernels, compiled if necessary. If they cannot be compiled, None and a warning in the log."""
    try:
        source, place = source_and_path()
        if place.exists():
            try:
                return _load(place)
            except OSError:  # truncated, or built against other libraries
                place.unlink(missing_ok=True)
        _compile(source, place)
        return _load(place)
    except PROBLEMS as error:
        message = getattr(error, "stderr", None) or str(error)
        if isinstance(message, bytes):
            message = message.decode(errors="replace")
        log.warning("networks run without compiled kernels: %s", message.strip().partition("\n")[0])
        return None


@cache
def ready() -> ctypes.CDLL | None:
    """The kernels if they were already compiled at the first call, else None; later calls return the same."""
    try:
        there = library.cache_info().currsize or source_and_path()[1].exists()
    except PROBLEMS:
        return None
    return library() if there else None


def identity() -> str | None:
    """An identifier of these kernels from source and CPU type; None if they cannot be compiled. May compile, for seconds."""
    return None if library() is None else source_and_path()[1].stem


def _load(place: Path) -> ctypes.CDLL:
    found = ctypes.CDLL(str(place))
    for name in ("encoder_keeps", "gru_keeps", "layers_keep"):
        getattr(found, name).restype = ctypes.c_long
    return found


@cache
def source_and_path() -> tuple[bytes, Path]:
    """The source, and the path of its library. The path depends on source, flags and CPU type, not on the compiler."""
    source = SOURCE.read_bytes()
    parts = [source, *(word.encode() for word in (*FLAGS, *_cpu_flags(), platform.machine(), platform.system()))]
    name = f"blocks-{hashlib.blake2b(b' '.join(parts), digest_size=8).hexdigest()}.so"
    return source, Path(importlib.util.cache_from_source(__file__)).with_name(name)


def _cpu_flags() -> tuple[str, ...]:
    return CPU_FLAGS.get(torch.backends.cpu.get_cpu_capability(), ())


def _compile(source: bytes, place: Path) -> None:
    """Compiles `source` to `place`. Raises one of `PROBLEMS`."""
    compiler = shlex.split(os.environ.get("CXX", "")) or [next(filter(shutil.which, ("g++", "clang++")), "c++")]
    # With g++ on Linux the library uses torch's own OpenMP threads; another OpenMP would start a second set of threads.
    threads = ["-fopenmp"] if platform.system() == "Linux" and "clang" not in compiler[0] else []
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_name("blocks.lock"), timeout=MOST_SECONDS):
        if place.exists():
            return
        part = place.with_suffix(f".{os.getpid()}.tmp")
        command = [*compiler, *FLAGS, *_cpu_flags(), *threads, "-x", "c++", "-", "-o", str(part)]
        try:
            subprocess.run(command, input=source, check=True, capture_output=True, timeout=MOST_SECONDS)
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)
