"""Formats of run.json and of checkpoints: the current number, and how facts of format 1 are read.

Format 2 renamed settings, their values and a column of the replay buffer. No network changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

FORMAT = 2
KNOWN = (1, FORMAT)
_SETTINGS = {
    "worlds": "num_envs", "credit": "critic_target", "together": "parameter_tying", "random": "epsilon",
    "hold": "request_penalty", "blur": "action_smoothing", "saturation": "saturation_penalty",
}  # fmt: skip
_REPLAYED = re.compile(r"^(replay/(?:\d+/)?)asked$")
_VALUES = (
    ("critic_target", "what-if", "counterfactual"),
    ("critic_target", "own", "observed"),
    ("wards", "lab", "general"),
)


def migrate(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run or checkpoint in the current format.

    facts: what run.json or checkpoint.json holds; a run.json of format 1 has no format number. Nothing is checked here:
    `RunSpec.from_json` does that.
    """
    found = dict(facts)
    settings = found.get("settings")
    if found.get("format", 1) != 1 or not isinstance(settings, Mapping):
        return found
    renamed = {_SETTINGS.get(name, name): value for name, value in settings.items()}
    for name, old, new in _VALUES:
        if renamed.get(name) == old:
            renamed[name] = new
    found["settings"] = renamed
    found["backend"] = found.pop("kernels", None)
    return found | {"format": FORMAT}


def migrate_tensors(tensors: Mapping[str, Tensor], format_number: int) -> dict[str, Tensor]:
    """A checkpoint's tensors under their current names; `format_number` is the format that the checkpoint was written in."""
    if format_number == FORMAT:
        return dict(tensors)
    return {_REPLAYED.sub(r"\1requested", name): tensor for name, tensor in tensors.items()}
