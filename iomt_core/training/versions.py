"""Versions of trained models: each is named by a hash of its weights and settings, and is kept unchanged.

A kept version is a copy of the part of a checkpoint that decides, in a folder with the version's hash as its name. It stays when
the run that it came from goes on or is deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iomt_core.paths import user_folder
from iomt_core.scenario import os_errors
from iomt_core.scenario.files import replace_file
from iomt_core.training.checkpoints import MARK, POLICY, CheckpointError, check_file, read_facts

MODEL = "model:"  # begins the policy name of a kept version
SHORT = 12  # hexadecimal digits of a version that are shown
ORIGIN = "origin.json"
# Facts of a checkpoint that belong to a version, where it has them; `kind` and `user` are those of an agent's twin.
HASHED = ("format", "kind", "user", "algorithm", "scenario", "settings", "seed")


def models_root() -> Path:
    """The folder of the registry of models: IOMT_MODELS, or `models/`."""
    return user_folder("IOMT_MODELS")


def version_of(facts: Mapping[str, Any]) -> str:
    """The version of a checkpoint: SHA-256, 64 digits, of its weights' SHA-256 and of what it was trained with.

    facts: as in checkpoint.json. They are hashed as they are written there, so that a version never changes.
    """
    hashed = {"weights": facts["sha256"].get(POLICY), **{name: facts[name] for name in HASHED if name in facts}}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()


def checked_version(checkpoint: Path) -> str:
    """The version of a checkpoint on disk. Raises `CheckpointError` if its weights are not those that it was written with."""
    facts = read_facts(checkpoint)
    check_file(checkpoint, POLICY, facts)
    return version_of(facts)


def kept_versions() -> tuple[Path, ...]:
    """The folders of all kept versions, by their full hash."""
    return tuple(sorted(mark.parent for mark in (models_root() / "versions").glob(f"[0-9a-f]*/{MARK}")))


def kept_folder(name: str) -> Path:
    """The folder of the kept version with this policy name, `model:` and the first digits of its hash.

    Raises `CheckpointError` if there is none, or more than one, or if its facts do not give its hash.
    """
    digits = name.removeprefix(MODEL)
    found = [folder for folder in kept_versions() if len(digits) >= SHORT and folder.name.startswith(digits)]
    if len(found) != 1:
        raise CheckpointError(f"policy = {name[:80]!r} is not known: {len(found)} kept versions have this hash.")
    version = version_of(read_facts(found[0]))
    if version != found[0].name:
        raise CheckpointError(
            f"model {digits[:SHORT]} was changed: what is in {str(found[0] / MARK)!r} has the hash {version[:SHORT]}."
        )
    return found[0]


def keep(checkpoint: Path, origin: Mapping[str, Any]) -> str:
    """Copies a checkpoint into the registry, completely or not at all, unless it is there. Returns its version.

    origin: where it comes from and how good it is, as JSON. Raises `CheckpointError` if the checkpoint, or the copy that is there
    already, was changed, and `ScenarioError` if it cannot be written.
    """
    version = checked_version(checkpoint)
    place = models_root() / "versions" / version
    if not (place / MARK).is_file():
        part = place.with_name(f".{version}.{os.getpid()}.tmp")
        try:
            with os_errors(f"model {version[:SHORT]} cannot be kept"):
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir(parents=True)
                for name in (POLICY, MARK):
                    _copy(checkpoint / name, part / name)
                (part / ORIGIN).write_text(json.dumps(origin, ensure_ascii=False) + "\n", encoding="utf-8")
                if not place.exists():
                    replace_file(part, place)
        except OSError:  # another process was faster
            if not (place / MARK).is_file():
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    if checked_version(place) != version:
        raise CheckpointError(f"model {version[:SHORT]} was changed: the files in {str(place)!r} have another hash.")
    return version


def _copy(source: Path, target: Path) -> None:
    """Copies a file through to the disk."""
    with source.open("rb") as read, target.open("wb") as written:
        shutil.copyfileobj(read, written)
        written.flush()
        os.fsync(written.fileno())
