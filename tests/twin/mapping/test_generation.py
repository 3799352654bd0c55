"""Models of a user's tasks: what they learn, what they generate, and how that is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load
from typer.testing import CliRunner

from iomt_core.cli.commands import application
from iomt_core.experiments import generated_training
from iomt_core.experiments.generated_training import compare_generated
from iomt_core.scenario import PRESETS, ScenarioError
from iomt_core.scenario.tables import read_workload_csv, with_workload
from iomt_core.twin.mapping.fidelity import correlation_error, ks, log_likelihood, nearness, tell_apart
from iomt_core.twin.mapping.generation import GeneratedTasks, fit_and_generate, run_job
from iomt_core.twin.mapping.normal_scores import Encoding, Marginal
from iomt_core.twin.mapping.task_models import Copula, Flow
from iomt_core.twin.mapping.task_steps import Array, TaskSteps, recorded_tasks, split_by_time, workload_csv
from iomt_core.twin.warehouse.errors import WarehouseError
from iomt_core.twin.warehouse.recorder import record
from tests.twin.mapping.conftest import WARD
from tests.twin.mapping.test_sealed_log import log_of


def correlated(rows: int = 600, seed: int = 0) -> TaskSteps:
    """Steps of one or two tasks, whose D and C are correlated by 0.8, also with the step before."""
    generator = np.random.default_rng(seed)
    z = np.zeros((rows, 2, 3))
    for t in range(rows):
        shared = generator.standard_normal()
        fresh = 0.8 * shared + 0.6 * generator.standard_normal((2, 3))
        z[t] = 0.6 * (z[t - 1] if t else 0) + 0.8 * fresh
    values = np.exp(0.3 * z)
    values[..., 2] = np.clip(np.round(2 + 0.7 * z[..., 2]), 1, 3)
    values[generator.random(rows) < 0.3, 1] = np.nan
    return TaskSteps(("data_bits", "cycles", "priority"), values, np.arange(rows) > 0)


def two_kinds(rows: int, seed: int) -> TaskSteps:
    """Tasks of two kinds, whose data and cycles lie in two bands: no Gaussian copula has them."""
    generator = np.random.default_rng(seed)
    kind = generator.integers(0, 2, (rows, 2))
    low = generator.random((rows, 2))
    values = np.stack([low + 3 * kind, low + 3 * (1 - kind), 1 + kind], -1)
    return TaskSteps(("data_bits", "cycles", "priority"), values.astype(float), np.arange(rows) % 10 > 0)


@pytest.mark.parametrize("records", [np.random.default_rng(1).random(500), np.repeat([1.0, 2.0, 5.0], [20, 70, 10])])
def test_scores_are_normal_and_lead_back(records: Array) -> None:
    generator, marginal = np.random.default_rng(0), Marginal.of(records)
    scores = marginal.scores(records, generator)
    np.testing.assert_allclose(marginal.quantiles(scores), records)
    assert abs(scores.mean()) < 0.15
    assert abs(scores.std() - 1) < 0.15


def test_steps_survive_their_scores() -> None:
    steps = correlated(200)
    encoding = Encoding.of(steps)
    back = encoding.steps(encoding.scores(steps, np.random.default_rng(0)).values)
    np.testing.assert_allclose(back.values, steps.values)


@pytest.mark.parametrize("model", ["copula", "flow"])
def test_generated_tasks_have_the_dependence_of_the_recorded_ones(model: str) -> None:
    steps, generator = correlated(), np.random.default_rng(3)
    encoding = Encoding.of(steps)
    scores = encoding.scores(steps, generator)
    made = Copula(scores, 2) if model == "copula" else Flow(scores, 2, encoding.count, 0, epochs=5)
    drawn = encoding.sequences(made.draw(30, 40, generator))
    independent = encoding.sequences(generator.standard_normal((30, 40, encoding.size)))
    assert correlation_error(steps, drawn, encoding, 0) < 0.4 < correlation_error(steps, independent, encoding, 0)
    assert max(ks(steps, drawn).values()) < 0.12
    assert log_likelihood(made, encoding, correlated(seed=1), 0) > 1.0


def test_independent_tasks_gain_nothing_and_a_flow_begins_as_a_linear_model() -> None:
    generator = np.random.default_rng(0)
    steps = TaskSteps(("data_bits", "cycles", "priority"), generator.random((800, 2, 3)), np.arange(800) > 0)
    encoding = Encoding.of(steps)
    scores = encoding.scores(steps, generator)
    for model in (Copula(scores, 2), Flow(scores, 2, None, 0, stop=lambda: True)):
        assert abs(log_likelihood(model, encoding, steps, 1)) < 0.05


def test_a_flow_learns_what_a_copula_cannot() -> None:
    training, held_out = two_kinds(500, 0), two_kinds(300, 1)
    generator, encoding = np.random.default_rng(0), Encoding.of(two_kinds(500, 0))
    scores = encoding.scores(training, generator)
    flow, copula = Flow(scores, 2, None, 0, epochs=25), Copula(scores, 2)
    assert log_likelihood(flow, encoding, held_out, 0) > log_likelihood(copula, encoding, held_out, 0) + 0.5
    D, C, _ = encoding.sequences(flow.draw(30, 10, generator)).tasks.T
    assert np.mean(np.abs(D + C - 4) < 1.05) > 0.7


def test_measures_find_copies_and_strangers() -> None:
    training, held_out, other = (correlated(600, seed) for seed in (0, 1, 2))
    copied, fresh = nearness(training, held_out, training), nearness(training, held_out, other)
    assert copied["task"] == {**copied["task"], "nearer": pytest.approx(1.0, abs=0.01), "copies": 1.0}
    assert copied["step"]["copies"] == 1.0
    assert 0.4 < fresh["task"]["nearer"] < 0.6
    assert fresh["task"]["copies"] < 0.01
    encoding = Encoding.of(training)
    stranger = TaskSteps(
        other.attributes, np.where(np.isnan(other.values), np.nan, other.values[:, :, [1, 0, 2]] ** -1), other.follows
    )
    stranger.values[..., 2] = other.values[..., 2]
    alike, apart = tell_apart(held_out, other, encoding, 0), tell_apart(held_out, stranger, encoding, 0)
    assert alike["task"] < 0.58
    assert apart["step"] > alike["step"] + 0.05
    assert ks(held_out, held_out) == dict.fromkeys(("data_bits", "cycles", "priority", "tasks"), 0.0)


def test_the_copula_invents_values_and_the_report_holds_no_record() -> None:
    training, held_out = split_by_time(correlated(400))
    assert (len(training), len(held_out)) == (280, 120)
    facts, tensors = fit_and_generate(
        training, held_out, {"model": "copula", "steps": 50, "seed": 1}, lambda progress: None, lambda: False
    )
    values = load(tensors)["values"]
    assert values.shape == (50, 2, 3)
    known = set(training.tasks[:, 0])
    assert not known & set(values[..., 0][~np.isnan(values[..., 0])])
    numbers = [float(x) for x in json.dumps(facts).replace("{", " ").replace("}", " ").replace("[", " ").replace("]", " ")
               .replace(",", " ").split() if x.replace(".", "").replace("-", "").isdigit()]  # fmt: skip
    assert not {*known, *held_out.tasks[:, 0]} & set(numbers)


def test_recorded_tasks_are_those_of_the_log(ward: Path) -> None:
    steps = recorded_tasks(log_of(ward, 2))
    table = log_of(ward, 2).tasks(columns=["data_bits", "priority"])
    assert (len(steps), steps.attributes) == (160, ("data_bits", "cycles", "priority"))
    np.testing.assert_array_equal(steps.tasks[:, 0], table.column("data_bits").to_numpy())
    np.testing.assert_array_equal(np.flatnonzero(~steps.follows), np.arange(0, 160, 4))


def test_kinds_missing_tasks_and_own_workloads(tmp_path: Path) -> None:
    record(PRESETS["hospital"].changed(users=1, tasks=2, servers=1, T=3), "random", 2, 0, tmp_path / "kinds")
    assert recorded_tasks(log_of(tmp_path / "kinds", 1)).attributes[-1] == "kind"
    text = "step,user,data_kb,cycles,priority\n1,1,20,1e5,1\n1,1,30,1e5,2\n3,1,40,2e5,3\n4,2,40,2e5,3\n"
    record(with_workload(WARD, read_workload_csv(text.encode())), "random", 3, 0, tmp_path / "own")
    steps = recorded_tasks(log_of(tmp_path / "own", 1))
    assert steps.counts.tolist() == [2, 0, 1, 0]  # once, though it was recorded three times
    with pytest.raises(WarehouseError, match="the log has 4 steps"):
        split_by_time(steps)


def test_a_workload_is_read_back(ward: Path) -> None:
    steps = recorded_tasks(log_of(ward, 2)).part(slice(30))
    tasks = read_workload_csv(workload_csv([(2, steps)]).encode())
    np.testing.assert_allclose([task.D for task in tasks], steps.tasks[:, 0], rtol=1e-5)
    s = with_workload(WARD, tasks)
    assert (s.T, s.users, s.tasks) == (30, 2, 2)


def command(*words: Any) -> Any:
    texts = [str(word) for word in words]
    return CliRunner().invoke(application(texts), texts)


def test_the_command_writes_a_workload_and_a_report(ward: Path, tmp_path: Path) -> None:
    out = tmp_path / "tasks.csv"
    found = command("twin", "generate", ward, "--user", 2, "--model", "copula", "--steps", 20, "--out", out, "--report")
    assert found.exit_code == 0, found.output
    assert "Not private" in found.output
    assert "copies of a training" in found.output
    assert with_workload(WARD, read_workload_csv(out)).T == 20
    assert "already there" in str(command("twin", "generate", ward, "--out", out).exception)
    with pytest.raises(ScenarioError, match="model = 'gan'"):
        raise command("twin", "generate", ward, "--out", tmp_path / "b.csv", "--model", "gan").exception


def test_training_on_generated_tasks_is_compared_on_held_out_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward = tmp_path / "one"
    record(WARD.changed(users=1, tasks=1, servers=1, T=20), "random", 7, 0, ward)

    def in_this_process(folder: Path, user: int, model: str, steps: int, recording: int) -> GeneratedTasks:
        log, arguments = log_of(folder, user), {"model": model, "steps": steps, "recording": recording, "seed": 0}
        facts, tensors = run_job(log, arguments, lambda progress: None, lambda: False)
        values = load(tensors)["values"]
        return GeneratedTasks(
            user, model, TaskSteps(tuple(facts["attributes"]), values, np.arange(len(values)) > 0), facts["report"]
        )

    monkeypatch.setattr(generated_training, "generate", in_this_process)
    found = compare_generated(ward, "copula", seeds=2, episodes=1)
    assert (found.seeds, found.steps) == (2, 98)
    assert all(0 < cost < 1 for cost in (*found.cost.a, *found.cost.b, found.reference))
    assert found.cost.interval is not None
    with pytest.raises(ScenarioError, match="minutes = 0 is out of range"):
        compare_generated(ward, minutes=0)
