"""Options of the commands that play episodes."""

from __future__ import annotations

from typing import Annotated

import typer

from iomt_core.experiments.sweeps.executors import MOST_WORKERS
from iomt_core.policies.base import SHARES
from iomt_core.scenario import ScenarioError
from iomt_core.training.catalogue import catalogue

SeedOption = Annotated[int, typer.Option(help="Seed of the tasks; the seed of the places is the scenario's.")]
SharesOption = Annotated[str, typer.Option(help=f"Who decides on shares: {', '.join(SHARES)}.")]
WorkersOption = Annotated[
    int | None, typer.Option(help=f"Processes on this machine, 1 to {MOST_WORKERS}; without it 2.")
]
ClusterOption = Annotated[
    str | None, typer.Option(help="A dask.distributed scheduler that you trust.", metavar="tcp://HOST:PORT")
]


def policy_help() -> str:
    """The help of an option that takes a policy."""
    return f"An alias of `iomt models`, or one of {', '.join(catalogue())}."


def check_place(workers: int | None, cluster: str | None) -> None:
    """Raises `ScenarioError` if both are given: the processes of a cluster are started elsewhere."""
    if cluster is not None and workers is not None:
        raise ScenarioError(f"workers = {workers} has no meaning with cluster = {cluster!r}: give one of them.")
