"""What a page says about its policy: that another one decides in its place, and why, or that it may decide worse here."""

from __future__ import annotations

import streamlit as st

from dashboard.session import Session, replaced_policy
from dashboard.text import plain
from iomt_core.training.catalogue import default_policy, policy_label, warning, why_not


def policy_replaced(session: Session) -> None:
    """Says why the chosen policy cannot decide in this scenario, and offers the default policy if that one can.

    Of a policy that can, it says where the scenario lies beyond what it was trained on.
    """
    reason, default = replaced_policy(session.policy, session.scenario), default_policy()
    if not reason:
        if words := warning(session.policy, session.scenario):
            st.caption(f":material/info: {plain(words)}")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.warning(plain(reason), icon=":material/warning:", width="stretch")
        if not why_not(default, session.scenario) and st.button(f"Show {policy_label(default)}", key="show_default"):
            session.policy = default
            st.rerun()
