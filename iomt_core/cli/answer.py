"""`iomt answer`: what matters most, how much is needed, and what the trade-off is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from iomt_core.charts.answer_report import report
from iomt_core.cli.common import PlacesOption, ScenarioOption, WorkloadOption, notes, print_notes, scenario_from
from iomt_core.cli.options import ClusterOption, SeedOption, SharesOption, WorkersOption, check_place, policy_help
from iomt_core.cli.point_runs import compute, leave
from iomt_core.experiments.answers.goal_seek import TARGETS, GoalSeek
from iomt_core.experiments.answers.question import Question, metric_named, target_from_words
from iomt_core.experiments.answers.run import ANSWERS, Answer, make_question, point_store
from iomt_core.experiments.answers.screening import METHODS, Screening
from iomt_core.experiments.answers.sensitivity import Sensitivity
from iomt_core.experiments.answers.trade_off import USUAL, TradeOff
from iomt_core.experiments.sweeps.executors import executor
from iomt_core.experiments.sweeps.spec import ends_from_words, sweepable
from iomt_core.scenario import ScenarioError, check_known, collect_notes
from iomt_core.training.catalogue import DEFAULT
from iomt_core.twin.management.registry import resolve

app = typer.Typer(
    help="Answer a question about a ward: what matters most, how much is needed, what the trade-off is. Ctrl-C keeps what is "
    "done; `iomt answer --resume DIR` continues it."
)
PolicyOption = Annotated[str, typer.Option(help=policy_help())]
EpisodesOption = Annotated[
    int | None,
    typer.Option(help="Episodes of each ward, the same for all; 2 or more. Without it as many as take seconds."),
]
OutOption = Annotated[
    Path | None,
    typer.Option(help="A new directory; without it one in `answers/`, which the dashboard shows.", metavar="DIR"),
]
RANGE = "NAME or NAME=LOW:HIGH[:log], in SI units or with a unit (B_k=200MHz:2GHz)"


@app.callback(invoke_without_command=True)
def answer(
    context: typer.Context,
    resume: Annotated[Path | None, typer.Option(help="Continue the answer in this directory.", metavar="DIR")] = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Continue an answer with --resume; the commands below begin one."""
    if context.invoked_subcommand is None:
        if resume is None:
            raise ScenarioError("answer: a command is missing, or --resume: see `iomt answer --help`.")
        check_place(workers, cluster)
        _work(resume, workers, cluster)


@app.command(Sensitivity.name)
def sensitivity(
    scenario: ScenarioOption = "paper",
    policy: PolicyOption = DEFAULT,
    change: Annotated[float, typer.Option(help="Relative change of a parameter; whole numbers change by 1.")] = 0.1,
    episodes: EpisodesOption = None,
    seed: SeedOption = 0,
    shares: SharesOption = "own",
    out: OutOption = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    workload: WorkloadOption = None,
    places: PlacesOption = None,
) -> None:
    """What matters most? Change every parameter a little, up and down, on the same episodes."""
    values = {"policy": policy, "change": change}
    _ask(Sensitivity, locals(), values)


@app.command(Screening.name)
def screening(
    scenario: ScenarioOption = "paper",
    policy: PolicyOption = DEFAULT,
    over: Annotated[list[str] | None, typer.Option(help=f"Two or more times: {RANGE}.", metavar="RANGE")] = None,
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = "morris",
    samples: Annotated[int, typer.Option(help="Trajectories (Morris), or base samples, a power of 2 (Sobol).")] = 8,
    episodes: EpisodesOption = None,
    seed: SeedOption = 0,
    shares: SharesOption = "own",
    out: OutOption = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    workload: WorkloadOption = None,
    places: PlacesOption = None,
) -> None:
    """What matters most over whole ranges? Vary several parameters together: Morris screening or Sobol indices."""
    s = scenario_from(scenario, workload, places)
    with collect_notes() as found:
        axes = [ends_from_words(words, s) for words in over or []]
    print_notes(found)
    _ask(Screening, locals(), {"policy": policy, "axes": axes, "method": method, "samples": samples})


@app.command(GoalSeek.name)
def goal_seek(
    over: Annotated[str, typer.Option(help=f"{RANGE}. NAME is one of {', '.join(sweepable())}.", metavar="RANGE")],
    target: Annotated[str, typer.Option(help="The metric may be at most this: 10 ms, 0.1 mJ, 1 %.", metavar="VALUE")],
    scenario: ScenarioOption = "paper",
    policy: PolicyOption = DEFAULT,
    metric: Annotated[str, typer.Option(help=f"One of {', '.join(TARGETS)}.")] = "mean_delay_s",
    seek: Annotated[str, typer.Option(help="least or most.")] = "least",
    episodes: EpisodesOption = None,
    seed: SeedOption = 0,
    shares: SharesOption = "own",
    out: OutOption = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    workload: WorkloadOption = None,
    places: PlacesOption = None,
) -> None:
    """How much do I need? The least (or most) of a parameter with which a target holds."""
    s = scenario_from(scenario, workload, places)
    check_known("seek", seek, ("least", "most"))
    with collect_notes() as found:
        axis = ends_from_words(over, s)
    print_notes(found)
    amount = target_from_words(target, metric_named(metric))
    _ask(GoalSeek, locals(), {"policy": policy, "axis": axis, "metric": metric, "target": amount, "seek": seek})


@app.command(TradeOff.name)
def trade_off(
    scenario: ScenarioOption = "paper",
    policy: Annotated[list[str] | None, typer.Option(help=f"May be repeated. {policy_help()}")] = None,
    weights: Annotated[
        str, typer.Option(help="Values of α_T, ascending; α_E is 1 - α_T.", metavar="W1,W2,…")
    ] = ",".join(f"{w:g}" for w in USUAL),
    episodes: EpisodesOption = None,
    seed: SeedOption = 0,
    shares: SharesOption = "own",
    out: OutOption = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    workload: WorkloadOption = None,
    places: PlacesOption = None,
) -> None:
    """What is the trade-off? Delay against energy as the weight of delay moves from 0 to 1."""
    try:
        values = tuple(float(w) for w in weights.split(","))
    except ValueError:
        raise ScenarioError(
            f"weights = {weights[:60]!r} cannot be read: allowed are numbers, separated by commas."
        ) from None
    compared = policy or [DEFAULT, "price-response", "greedy"]
    _ask(TradeOff, locals(), {"compared": compared, "weights": values})


def _ask(kind: type[Question], options: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Create the answer to a question with these options of its command, and work on it."""
    check_place(options["workers"], options["cluster"])
    s = options.get("s") or scenario_from(options["scenario"], options["workload"], options["places"])
    values = dict(values)
    for name in ("policy", "compared"):
        if name in values:
            named = values[name]
            values[name] = resolve(named, s) if isinstance(named, str) else [resolve(one, s) for one in named]
    question = make_question(
        {
            "kind": kind.name, "scenario": s, "seed": options["seed"], "shares": options["shares"], **values,
            **({} if options["episodes"] is None else {"episodes": options["episodes"]}),
        }
    )  # fmt: skip
    folder = options["out"] or ANSWERS.kind.root() / ANSWERS.free_name(kind.name)
    Answer.create(folder, question, point_store())
    _work(folder, options["workers"], options["cluster"])


def _work(folder: Path, workers: int | None, cluster: str | None) -> NoReturn:
    """Compute an answer with a progress bar, print it, and exit."""
    place = executor(workers, cluster)
    run, state = compute(ANSWERS, Answer, folder, point_store(), place, lambda question: question.title, report)
    question, known = run.spec, run.known
    typer.echo(question.answer(known))
    for note in question.notes(known):
        notes.print(f"note: {note}", style="yellow", highlight=False, soft_wrap=True)
    notes.print(
        f"Decided by: {question.policy_names}. {question.episodes} episodes of seed {question.seed} on every ward."
    )
    notes.print(f"{state}: {len(run.results)} points, {run.cached} of them known before. Written: {folder}")
    leave(run, state)
