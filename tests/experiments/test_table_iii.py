"""The networks are of the paper's size."""

from __future__ import annotations

from iomt_core.experiments.paper.table_iii import PAPER, table_iii


def test_parameters_are_within_ten_percent_of_the_papers() -> None:
    rows = table_iii()
    assert [row.network for row in rows] == list(PAPER)
    for row in rows:
        assert abs(row.parameters / row.paper_parameters - 1) < 0.10, row


def test_what_the_paper_says_of_its_outputs_holds_exactly() -> None:
    """Ten more outputs of the Actor cost 650 parameters, five more of each of ten Q-networks 3250 less other inputs."""
    found = {row.network: row.parameters for row in table_iii()}
    assert found["Actor (PA-DDPG)"] - found["Actor (MT-PDQN)"] == 55822 - 55172
