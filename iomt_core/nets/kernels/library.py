"""`blocks.cpp` compiled for this machine when it is first wanted, and kept beside Python's own compiled files."""

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
FLAGS = (
    "-std=c++17",
    "-O3",
    "-fno-math-errno",
    "-Wno-psabi",
    "-Wno-ignored-attributes",
    "-shared",
    "-fPIC",
    "-fopenmp",
)
# What torch says of a CPU, in the compiler's words. Named one by one, and not -march=native: the file may be found by another
# machine that shares the folder.
OF_CPU = {
    "AVX512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"),
    "AVX2": ("-mavx2", "-mfma"),
}
MOST_SECONDS = 120


@cache
def library() -> ctypes.CDLL | None:
    """The kernels; `None`, with a word in the log, where they cannot be had."""
    try:
        found = ctypes.CDLL(str(_built()))
    except (OSError, subprocess.SubprocessError, Timeout) as error:
        told = getattr(error, "stderr", None) or str(error)
        log.warning("networks go on without compiled kernels: %s", told.strip().partition("\n")[0])
        return None
    for name in ("encoder_keeps", "gru_keeps", "layers_keep"):
        getattr(found, name).restype = ctypes.c_long
    return found


def ready() -> ctypes.CDLL | None:
    """The kernels if they need not be compiled first."""
    return library() if library.cache_info().currsize or _command()[1].exists() else None


@cache
def _command() -> tuple[list[str], Path]:
    """What compiles the library, without its output, and where it then is."""
    compiler = shlex.split(os.environ.get("CXX", "")) or [next(filter(shutil.which, ("g++", "clang++")), "c++")]
    capability = torch.backends.cpu.get_cpu_capability()
    flags = (*FLAGS, *OF_CPU.get(capability, ()))
    told = [
        SOURCE.read_bytes(),
        *(word.encode() for word in (*compiler, *flags, platform.machine(), platform.system())),
    ]
    name = f"blocks-{hashlib.blake2b(b' '.join(told), digest_size=8).hexdigest()}.so"
    return [*compiler, *flags, str(SOURCE)], Path(importlib.util.cache_from_source(__file__)).with_name(name)


def _built() -> Path:
    """Path of the library, compiled if it is not there. Raises `OSError` or what `subprocess` and the lock raise."""
    command, place = _command()
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_name("blocks.lock"), timeout=MOST_SECONDS):
        if not place.exists():
            part = place.with_suffix(f".{os.getpid()}.tmp")
            try:
                subprocess.run(
                    [*command, "-o", str(part)], check=True, capture_output=True, text=True, timeout=MOST_SECONDS
                )
                part.replace(place)
            finally:
                part.unlink(missing_ok=True)
    return place
