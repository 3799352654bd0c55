"""What Explore adds to a link: the open tab, the other policies whose curves are drawn, the parameter of the second curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dashboard.session import Session, page_state
from iomt_core.scenario import metadata
from iomt_core.scenario.links import whole_number
from iomt_core.training.catalogue import catalogue

TABS = {
    "time": "Where time goes",
    "devices": "Devices",
    "prices": "What more would save",
    "tasks": "All tasks",
    "fading": "Fading",
}


@dataclass
class ExploreState:
    """What the page shows, for the whole session."""

    tab: str = "time"
    site: int | None = None  # the server that the map of a city is zoomed to

    def link(self, session: Session) -> dict[str, str]:
        """The page's entries of a link."""
        entries = {
            "tab": self.tab,
            "also": ",".join(session.also),
            "moved": session.moved or "",
            "site": str(self.site or ""),
        }
        return {name: value for name, value in entries.items() if value}


def state(session: Session) -> ExploreState:
    """The page's state in this session; at first what the link says."""
    return page_state(session, "explore", lambda view: from_view(session, view))


def from_view(session: Session, view: Mapping[str, str]) -> ExploreState:
    """The state that the page's entries of a link describe; an unknown name becomes a problem of the session."""
    also = [name for name in view.get("also", "").split(",") if name]
    for entry, names, known in (
        ("tab", [view.get("tab", "time")], TABS),
        ("also", also, catalogue(also)),
        ("moved", [view["moved"]] if "moved" in view else [], metadata()),
    ):
        session.problems += [
            f"v_{entry} = {name[:40]!r} in the link is not known: allowed is {', '.join(known)}."
            for name in names[:3]
            if name not in known
        ]
    if view:  # a link; not the first visit in a session that has moved something on another page
        session.also = tuple(name for name in also if name in catalogue(also))
        session.moved = view["moved"] if view.get("moved") in metadata() else None
    site = whole_number(view["site"], 1, session.scenario.ward_servers) if "site" in view else None
    if "site" in view and site is None:
        most = session.scenario.ward_servers
        session.problems.append(f"v_site = {view['site'][:40]!r} in the link is not a server: allowed is 1 to {most}.")
    return ExploreState(view["tab"] if view.get("tab") in TABS else "time", site)
