"""What policies that heed batteries achieve, which another process computes, so that the page need not wait for it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import streamlit as st

from iomt_core.experiments.around import curve_computer
from iomt_core.policies.base import BatteryAware, Planner, Shares
from iomt_core.policies.registry import POLICIES
from iomt_core.scenario import Scenario

FOLLOWING = tuple(name for name, policy in POLICIES.items() if issubclass(policy, (Planner, BatteryAware)))


def client() -> str:
    """Names this browser session for the process that computes what follows."""
    return str(st.session_state.setdefault("curves_client", uuid.uuid4().hex))


def following(s: Scenario, seed: int, part: str, shown: str = "") -> Mapping[str, Mapping[str, Any]]:
    """What is known by now of the policies `FOLLOWING` in the episode of a seed, see `around.evaluate`; by name.

    part: names the part of the page that asks; shown: a policy that is not asked for, because the page has computed it.
    """
    names: dict[str, Shares] = {name: "own" for name in FOLLOWING if name != shown}
    known = curve_computer().episodes(f"{client()} {part}", s, names, seed)
    return {name: result for name, result in known.items() if not isinstance(result, str)}
