"""Formats of run.json and of checkpoints: the current number, and how facts of format 1 are read.

Format 2 renamed settings, their values and a column of the replay buffer. Format 3 added settings of how agents decide;
checkpoints of older formats decide as before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

FORMAT = 3
KNOWN = (1, 2, FORMAT)
RULES = ("search", "own_cpu", "first_choice", "margins")  # settings of how agents decide
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
    settings, number = found.get("settings"), found.get("format", 1)
    if number == FORMAT or not isinstance(settings, Mapping):
        return found
    if number == 1:
        settings = {_SETTINGS.get(name, name): value for name, value in settings.items()}
        for name, old, new in _VALUES:
            if settings.get(name) == old:
                settings[name] = new
        found["backend"] = found.pop("kernels", None)
    found["settings"] = with_rules(settings)
    return found | {"format": FORMAT}


def with_rules(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of any format with those that format 3 added; where they are missing, as agents decided and learned before."""
    general = "general" in (settings.get("networks"), settings.get("wards"))
    rules: dict[str, Any] = {"search": "cyclic", "own_cpu": "requested", "first_choice": "round-robin", "ward_count": 4}
    return {**rules, "margins": (0.01, 0.0) if general else (0.03, -0.02), **settings}


def migrate_tensors(tensors: Mapping[str, Tensor], format_number: int) -> dict[str, Tensor]:
    """A checkpoint's tensors under their current names; `format_number` is the format that the checkpoint was written in."""
    if format_number == FORMAT:
        return dict(tensors)
    return {_REPLAYED.sub(r"\1requested", name): tensor for name, tensor in tensors.items()}
