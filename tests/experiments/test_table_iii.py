"""The networks are of the paper's size."""

from __future__ import annotations

from iomt_core.experiments.paper.table_iii import PAPER, table_iii


def test_parameters_are_within_ten_percent_of_the_papers() -> None:
    rows = table_iii()
    assert [row.network for row in rows] == list(PAPER)
    for row in rows:
        assert abs(row.parameters / row.paper_parameters - 1) < 0.10, row


def test_one_more_output_a_task_costs_the_actor_what_it_costs_the_papers() -> None:
    """PA-DDPG's actor also chooses the device of each of its ten tasks."""
    with_choice, without = (row for row in table_iii() if row.network in ("Actor (PA-DDPG)", "Actor (MT-PDQN)"))
    assert with_choice.parameters - without.parameters == with_choice.paper_parameters - without.paper_parameters
