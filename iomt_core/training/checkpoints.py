"""Checkpoints: tensors as safetensors, everything else as JSON, and a last file that marks the checkpoint as complete.

A checkpoint is a directory. `policy.safetensors` holds what decisions need, `learner.safetensors` what resuming the training
needs in addition. `checkpoint.json` is written last and holds the SHA-256 of both: without it the checkpoint is incomplete.
Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from iomt_core.nets.inputs import TASK_FEATURES
from iomt_core.paths import user_folder
from iomt_core.scenario import ScenarioError
from iomt_core.scenario.errors import shortened
from iomt_core.scenario.files import replace_file
from iomt_core.training.formats import FORMAT, KNOWN, migrate_tensors

LONGEST_SHOWN = 100  # characters of a folder's name
POLICY, LEARNER, MARK = "policy.safetensors", "learner.safetensors", "checkpoint.json"
KEPT = "kept"  # folder in a run with the weights that decide, where these are not the last ones
LARGEST_MARK = 4_000_000
OF_TASKS = "of_tasks.weight"  # in whose shape networks of earlier versions differ, which did not observe deadlines


class CheckpointError(ScenarioError):
    """A checkpoint that cannot be used; the message names the file, what is wrong with it and what is expected."""


def runs_root() -> Path:
    """The folder of a user's own training runs: IOMT_RUNS, or `runs/`."""
    return user_folder("IOMT_RUNS")


def is_displayable(name: str) -> bool:
    """Whether a run's folder of this name can be shown to people and named by them.

    A run that was created on the command line may have any name, even bytes that are not text.
    """
    return name.isprintable() and not name.startswith(".") and len(name) <= LONGEST_SHOWN


def complete_checkpoints(run: Path) -> list[Path]:
    """The complete checkpoints in a run's folder, the earliest first.

    Their names are numbers of episodes; a copy under another name is neither loaded nor deleted.
    """
    found = (path.parent for path in (run / "checkpoints").glob(f"[0-9]*/{MARK}"))
    return sorted(place for place in found if place.name.isascii() and place.name.isdigit())


def last_checkpoint(run: Path) -> Path | None:
    """The latest complete checkpoint of a run, or None."""
    return next(reversed(complete_checkpoints(run)), None)


def deciding_checkpoint(run: Path) -> Path | None:
    """The checkpoint that decides for a run: the one that it kept by comparison with its start, otherwise the latest; or None."""
    return run / KEPT if (run / KEPT / MARK).is_file() else last_checkpoint(run)


def delete_checkpoint(place: Path) -> None:
    """Removes a checkpoint, its mark first, so that a half-removed one does not count. Raises `CheckpointError`."""
    try:
        (place / MARK).unlink(missing_ok=True)
        shutil.rmtree(place)
    except OSError as error:
        raise CheckpointError(f"checkpoint {str(place)!r} cannot be removed: {error.strerror}.") from None


def write_checkpoint(place: Path, files: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any]) -> None:
    """Writes a checkpoint completely or not at all.

    place: its directory, replaced if it exists; files: tensors by file name; facts: everything else, as JSON. Raises
    `CheckpointError` if it cannot be written.
    """
    part = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        digests = {}
        for name, tensors in files.items():
            save_file({key: value.contiguous() for key, value in tensors.items()}, part / name)
            digests[name] = _sha256(part / name)
            _sync(part / name)
        mark = json.dumps({"format": FORMAT, "sha256": digests, **facts}, indent=1, ensure_ascii=False)
        (part / MARK).write_text(mark + "\n", encoding="utf-8")
        _sync(part / MARK)
        shutil.rmtree(place, ignore_errors=True)
        replace_file(part, place)
        _sync_folder(place.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"checkpoint {str(place)!r} cannot be written: {reason}.") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def read_facts(place: Path) -> dict[str, Any]:
    """The facts in checkpoint.json, in the format they were written in. Raises `CheckpointError` if it is missing or invalid."""
    path = place / MARK
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_MARK + 1)
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {str(place)!r} is not complete: {MARK} cannot be read ({error.strerror})."
        ) from None
    if len(content) > LARGEST_MARK:
        raise CheckpointError(f"checkpoint file {str(path)!r} is too large: allowed is {LARGEST_MARK / 1e6:g} MB.")
    try:
        facts = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise CheckpointError(f"checkpoint file {str(path)!r} is not JSON.") from None
    if not isinstance(facts, dict) or not isinstance(facts.get("sha256"), dict):
        raise CheckpointError(f"checkpoint file {str(path)!r} is not a checkpoint's: 'sha256' is missing.")
    if facts.get("format") not in KNOWN:
        raise CheckpointError(
            f"checkpoint {str(place)!r}: format = {shortened(facts.get('format'))} is not known: allowed is "
            f"{' or '.join(map(str, KNOWN))}."
        )
    return facts


def read_tensors(place: Path, name: str, facts: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of one of the checkpoint's files; `facts` from `read_facts`.

    Raises `CheckpointError` if the file is missing, damaged, or has another SHA-256 than the facts.
    """
    path = check_file(place, name, facts)
    try:
        return migrate_tensors(load_file(path), facts["format"])
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"checkpoint file {str(path)!r} is not a safetensors file: {error}.") from None


def check_file(place: Path, name: str, facts: Mapping[str, Any]) -> Path:
    """The path of one of the checkpoint's files. Raises `CheckpointError` unless it has the SHA-256 of the facts."""
    path = place / name
    wanted = facts["sha256"].get(name)
    try:
        found = _sha256(path)
    except OSError as error:
        raise CheckpointError(f"checkpoint file {str(path)!r} cannot be read: {error.strerror}.") from None
    if found != wanted:
        raise CheckpointError(
            f"checkpoint file {str(path)!r} is damaged or was exchanged: its SHA-256 is {found}, "
            f"allowed is the one in {MARK}, {shortened(wanted, 70)}."
        )
    return path


def load_module(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Copies `tensors` into a module's parameters, all of them or none.

    what: how messages name the source. Raises `CheckpointError` with the first tensor that is missing, unknown, of another
    shape or not finite, and for networks of an earlier version that did not observe deadlines.
    """
    own = dict(module.named_parameters())
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or unknown:
        which = f"{missing[0]!r} is missing" if missing else f"{unknown[0]!r} is not known"
        raise CheckpointError(f"{what}: tensor {which} ({len(missing)} missing, {len(unknown)} unknown).")
    for name, parameter in own.items():
        if tensors[name].shape != parameter.shape:
            found, inputs = (x.shape[1] if x.dim() > 1 else 0 for x in (tensors[name], parameter))
            if name.endswith(OF_TASKS) and found * (TASK_FEATURES + 1) == inputs * TASK_FEATURES:
                raise CheckpointError(
                    f"{what} holds networks of an earlier version, which did not observe the deadlines of tasks, where these "
                    "differ: train them again."
                )
            raise CheckpointError(
                f"{what}: tensor {name!r} has shape {tuple(tensors[name].shape)}, allowed is {tuple(parameter.shape)}."
            )
        if not torch.isfinite(tensors[name]).all():
            raise CheckpointError(f"{what}: tensor {name!r} holds values that are not finite.")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(file_path: Path) -> None:
    with file_path.open("rb+") as file:  # Windows syncs only what is open for writing
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    with contextlib.suppress(OSError):  # Windows opens no folders
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
