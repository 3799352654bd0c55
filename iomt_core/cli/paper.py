"""`iomt paper`: the runs behind the paper's figures, and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from iomt_core.cli import INTERRUPTED
from iomt_core.cli.common import notes
from iomt_core.cli.options import WorkersOption
from iomt_core.cli.run_files import AgainOption, TimeLimitOption, compute_missing, only_one, seconds_allowed
from iomt_core.experiments.paper.claims import run_table, verdict_table, verdicts
from iomt_core.experiments.paper.figure_runs import (
    EPISODES,
    SEEDS,
    Plan,
    Progress,
    compute,
    progress,
    read_results,
    read_table_iii,
    write_table_iii,
)
from iomt_core.experiments.paper.figures import FIGURES, Figure, figure_named
from iomt_core.experiments.run_files import durations, pending
from iomt_core.experiments.sweeps.executors import checked_workers, default_workers
from iomt_core.paths import PAPER_FIGURES
from iomt_core.scenario import ScenarioError
from iomt_core.scenario.files import write_text_atomically, written_whole

DRAWN = Path("out/paper")
FigureOption = Annotated[
    list[str] | None,
    typer.Option(help=f"Only the runs of this figure; may be repeated. One of {', '.join(FIGURES)}.", metavar="FIGURE"),
]


def paper(
    out: Annotated[
        Path, typer.Option(help="Directory of the results; what is there is not computed again.", metavar="DIR")
    ] = PAPER_FIGURES,
    only: FigureOption = None,
    workers: WorkersOption = None,
    time_limit: TimeLimitOption = None,
    seeds: Annotated[
        int | None, typer.Option(help=f"Training seeds of each run; at first {SEEDS}. More may be added later.")
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(
            help=f"Training episodes of every run, the same for all; at first {EPISODES}. Fixed by the first run."
        ),
    ] = None,
    again: AgainOption = False,
    list_: Annotated[
        bool, typer.Option("--list", help="Only say what is done, what is missing and how long it takes.")
    ] = False,
    figure: Annotated[
        list[str] | None,
        typer.Option(help="Compute nothing; draw this figure from the results; may be repeated.", metavar="FIGURE"),
    ] = None,
    to: Annotated[Path, typer.Option(help="Directory for drawn figures, HTML and CSV.", metavar="DIR")] = DRAWN,
) -> None:
    """Make the paper's Figures 4 to 13 and Table III: train every algorithm at every point, and judge the paper's claims.

    Each run is one file, so the command can be stopped at any time and continues where it was; runs under way begin again. Runs
    are ordered so that all figures have a first seed early. Files of another machine may be copied into the directory.
    """
    seconds = seconds_allowed(time_limit)
    known = Plan.of(out)
    plan = Plan(known.episodes if episodes is None else episodes, known.seeds if seeds is None else seeds)
    if figure:
        _draw([figure_named(name) for name in figure], out, plan, to)
        return
    chosen = tuple(figure_named(name) for name in only) if only else tuple(FIGURES.values())
    runs = plan.runs(chosen)
    if list_:
        _list(plan, chosen, out)
        return
    count = checked_workers(default_workers() if workers is None else workers)
    plan.save(out)
    with only_one(out, "paper"):
        write_table_iii(out)
        results = read_results(out)
        missing = pending(runs, results, again)
        stopped = compute_missing("The paper's figures", missing, out, count, seconds, compute, durations(results))
    now = progress(runs, read_results(out))
    _print_verdicts(out, plan, chosen)
    notes.print(f"{len(now.done)} of {len(runs)} runs are done. Results: {out}", soft_wrap=True)
    if now.missing or now.outdated:
        notes.print("The same command continues.")
    if stopped:
        raise typer.Exit(INTERRUPTED)


def _list(plan: Plan, figures: Sequence[Figure], out: Path) -> None:
    results = read_results(out)
    table = Table(
        "figure", "runs", "done", "missing", "other settings", "other code", "core-hours done", "core-hours left",
        title=f"{plan.episodes} episodes a run, {plan.seeds} seeds. Figures share runs.",
    )  # fmt: skip

    def row(name: str, now: Progress) -> None:
        counts = (now.done, now.missing, now.outdated, now.other_code)
        hours = (f"{seconds / 3600:.2f}" for seconds in (now.seconds_done, now.seconds_left))
        table.add_row(name, str(sum(map(len, counts[:3]))), *(str(len(runs)) for runs in counts), *hours)

    for one in figures:
        row(one.label, progress(plan.runs([one]), results))
    row("all", progress(plan.runs(figures), results))
    notes.print(table)


def _print_verdicts(out: Path, plan: Plan, figures: Sequence[Figure]) -> None:
    results, sizes = read_results(out), read_table_iii(out)
    table = Table("figure", "the paper's claim", "found here", "verdict")
    for one in figures:
        for row in verdict_table(verdicts(results, sizes, plan.seeds, one.name)).itertuples(index=False):
            table.add_row(str(row[0]), str(row[1]), str(row[2]), str(row[4]))
    notes.print(table)


def _draw(figures: Sequence[Figure], out: Path, plan: Plan, to: Path) -> None:
    from iomt_core.charts.paper import paper_report, shown_table  # plotly, which computing does not need

    results, sizes = read_results(out), read_table_iii(out)
    for one in figures:
        found = verdicts(results, sizes, plan.seeds, one.name)
        if not (sizes if not one.arms else any(arm in one.arms for arm, _, _ in results)):
            raise ScenarioError(
                f"figure = {one.name!r} has no results in {str(out)!r}: `iomt paper --only {one.name}` makes them."
            )
        page, numbers = to / f"{one.name}.html", to / f"{one.name}.csv"
        to.mkdir(parents=True, exist_ok=True)
        write_text_atomically(page, paper_report(one, results, sizes, found, plan.words))
        with written_whole(numbers) as part:
            shown_table(one, results, sizes).to_csv(part, index=False)
        notes.print(f"Written: {page}, {numbers}", soft_wrap=True)
    if results:
        with written_whole(to / "runs.csv") as part:
            run_table(results).to_csv(part, index=False)
