"""What README and docs say runs, exists and opens."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import typer
from streamlit.config import get_config_options

from dashboard import session
from dashboard.compare import state as compare_state
from dashboard.explore import state as explore_state
from dashboard.inspect import state as inspect_state
from dashboard.navigation import TITLES
from docs.take_pictures import PICTURES
from iomt_core.cli.commands import application
from iomt_core.experiments.coupled.table import comparison_markdown, gaps_markdown, price_markdown
from iomt_core.experiments.paper.claims import paper_claims_table
from iomt_core.experiments.paper.results import claim_table, range_table, results_table
from iomt_core.metrics import column_table, metric_table
from iomt_core.scenario.reference import assumption_table, parameter_table, signal_table

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
COMMAND = r"(?:iomt|python -m iomt_core)"
# What each page adds to a link; a name that no page reads would be dropped without a word.
ENTRIES = {
    "start": set(),
    "explore": {"tab", "also", "moved"},
    "inspect": {"tab", "rank", "round"},
    "compare": {"a", "episodes", "shown"},
    "train": {"runs"},
    "sweep": {"over", "policies", "episodes", "sweep"},
    "answers": {
        "question",
        "episodes",
        "change",
        "over",
        "method",
        "samples",
        "metric",
        "seek",
        "target",
        "policies",
        "weights",
        "answer",
    },
    "paper": {"figure", "metric", "at"},
    "twin": {
        "tab",
        "warehouse",
        "query",
        "epsilon",
        "recording",
        "episode",
        "at",
        "set",
        "policy",
        "interval",
        "delay",
        "noise",
        "over",
        "late",
    },
}


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


@cache
def text(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def prose(document: Path) -> str:
    """Without fenced blocks."""
    return re.sub(r"^```.*?^```", "", text(document), flags=re.DOTALL | re.MULTILINE)


def blocks() -> list[object]:
    found = []
    for document in DOCUMENTS:
        for match in re.finditer(r"^```python\n(.*?)^```", text(document), re.DOTALL | re.MULTILINE):
            line = text(document)[: match.start()].count("\n") + 1
            found.append(pytest.param(document, line, match[1], id=f"{name_of(document)}:{line}"))
    return found


@pytest.mark.parametrize(("document", "line", "code"), blocks())
def test_every_block_of_python_runs_by_itself(document: Path, line: int, code: str) -> None:
    exec(compile("\n" * line + code, name_of(document), "exec", dont_inherit=True), {"__name__": "__main__"})


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if target.startswith(("https://", "http://", "/?")):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists() or file in PICTURES.values(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(file), f"{target}: no such heading"


def anchors(document: Path) -> set[str]:
    """A heading's anchor as GitHub makes it."""
    heads = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_file_that_is_named_is_there(document: Path) -> None:
    named = re.findall(r"`((?:iomt_core|dashboard|pages|tests|docs|benchmarks)/[\w./-]*)`", prose(document))
    missing = [path for path in named if not (ROOT / path).exists()]
    assert not missing


def test_every_file_of_a_diagram_is_there() -> None:
    diagrams = re.findall(r"^```mermaid\n(.*?)^```", text(ROOT / "CONTRIBUTING.md"), re.DOTALL | re.MULTILINE)
    files = []
    for names in re.findall(r'"([\w/]+\.py[\w/., ]*)<br>', "".join(diagrams)):
        first, *others = names.split(", ")
        files += [Path(first), *(Path(first).with_name(name) for name in others)]
    assert len(diagrams) == 2
    assert [path for path in files if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_what_a_module_is_said_to_define_it_defines(document: Path) -> None:
    for path, names in re.findall(r"`([\w/]+\.py)`:((?:\s`\w+`,?)+)", prose(document)):
        if (ROOT / path).exists():
            known = {getattr(node, "name", "") for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8")))}
            assert set(re.findall(r"\w+", names)) <= known, path


def links() -> list[object]:
    return [
        pytest.param(link, id=f"{name_of(document)}: {link}")
        for document in DOCUMENTS
        for link in re.findall(r"\]\((?:http://localhost:8501)?/\?([^)\s]+)\)", text(document))
    ]


@pytest.mark.parametrize("link", links())
def test_every_share_link_opens_without_problems(link: str) -> None:
    query = dict(parse_qsl(link, keep_blank_values=True, strict_parsing=True))
    found = session.from_link(query)
    page = found.wanted_page
    assert page in TITLES
    assert set(found.view) <= ENTRIES[page]
    if page == "compare":
        compare_state.from_view(found, found.view)
    elif page == "explore":
        explore_state.from_view(found, found.view)
    elif page == "inspect":
        inspect_state.from_view(found, found.view)
    elif page == "sweep":
        from dashboard.sweep import views as sweep_views

        assert sweep_views.from_view(found, found.view).problems == []
    elif page == "answers":
        from dashboard.answers import state as answers_state

        assert answers_state.from_view(found, found.view).problems == []
    elif page == "paper":
        from dashboard.paper import state as paper_state

        assert paper_state.from_view(found.view).problems == []
    elif page == "twin":
        from dashboard.twin import state as twin_state

        assert twin_state.from_view(found.view).problems == []
    assert found.problems == []


def command_lines() -> list[object]:
    found = []
    for document in DOCUMENTS:
        fenced = "\n".join(re.findall(r"^```\n(.*?)^```", text(document), re.DOTALL | re.MULTILINE))
        lines = re.findall(rf"^{COMMAND} [^\n]*", fenced, re.MULTILINE)
        lines += re.findall(rf"`({COMMAND} [^`]*)`", prose(document))
        found += [pytest.param(line, id=f"{name_of(document)}: {line}") for line in dict.fromkeys(lines)]
    return found


@pytest.mark.parametrize("line", command_lines())
def test_every_command_line_names_what_there_is(line: str) -> None:
    words = shlex.split(re.sub(rf"^{COMMAND} ", "", line), comments=True)
    known = getattr(typer.main.get_command(application()), "commands")  # noqa: B009
    assert words[0] in known or words[0] == "--help"
    if words[0] in known:
        command = known[words[0]]
        while subcommands := getattr(command, "commands", {}):
            if len(words) == 1 or words[1].startswith("-"):
                break
            assert words[1] in subcommands
            command, words = subcommands[words[1]], words[1:]
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        given = {word.partition("=")[0] for word in words[1:] if word.startswith("-")}
        if words[0] == "dashboard":  # its options are Streamlit's
            given = {option for option in given if option[2:] not in get_config_options()}
        assert given <= options | {"--help"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_formulas_reach_the_renderer_as_they_are_written(document: Path) -> None:
    """GitHub takes the backslash off a mark in dollars before it reads the formula; in a fence of math it does not."""
    assert "$$" not in prose(document)
    assert not re.findall(r"\$[^$\n]*\\[^A-Za-z\s][^$\n]*\$", prose(document))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_make_target_is_there(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", text(ROOT / "Makefile"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", prose(document))) <= targets


def generated(document: str, marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n(.*)\n<!-- /{marker} -->", text(ROOT / document), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("document", "marker", "table"),
    [
        ("docs/parameters.md", "parameters", parameter_table),
        ("docs/system.md", "assumptions", assumption_table),
        ("docs/system.md", "signals", signal_table),
        ("docs/system.md", "metrics", metric_table),
        ("docs/system.md", "columns", column_table),
        ("docs/results.md", "results", results_table),
        ("docs/results.md", "claims", claim_table),
        ("docs/results.md", "paper-claims", paper_claims_table),
        ("docs/training.md", "range", range_table),
        ("docs/training.md", "coupled-gaps", gaps_markdown),
        ("docs/training.md", "coupled-differences", comparison_markdown),
        ("docs/training.md", "coupled-prices", price_markdown),
    ],
)
def test_generated_tables_are_up_to_date(document: str, marker: str, table: Callable[[], str]) -> None:
    assert generated(document, marker) == table(), f"paste what {table.__module__}.{table.__name__}() returns"


def test_the_gaps_in_the_readme_are_the_results() -> None:
    def gaps(table: str, column: int) -> set[tuple[str, str]]:
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
        return {(cells[0], cells[column]) for cells in rows}

    (shown,) = re.findall(r"\| policy \| what it is \|.*?\n\n", text(ROOT / "README.md"), re.DOTALL)
    assert gaps(shown, 2) <= gaps(generated("docs/results.md", "results"), 2)


def test_the_readme_is_short() -> None:
    assert len(text(ROOT / "README.md").splitlines()) <= 120


def test_every_page_has_a_guide() -> None:
    assert {path.stem for path in (ROOT / "docs/guide").glob("*.md")} == set(TITLES)
