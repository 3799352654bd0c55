"""Agents observe the deadlines of their tasks where these differ; elsewhere observations are what they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.environment.observation import names, observe, size
from iomt_core.nets.inputs import Inputs, Sizes
from iomt_core.runs.training_run import TrainingRun
from iomt_core.scenario import PRESETS, Scenario, ScenarioError
from iomt_core.training.checkpoints import POLICY, CheckpointError, last_checkpoint, load_module
from iomt_core.training.run_spec import RunSpec, default_settings
from iomt_core.training.trained_policy import TrainedPolicy
from tests.wards import steps

PAPER, HOSPITAL = PRESETS["paper"], PRESETS["hospital"]
SMALL = HOSPITAL.changed(users=2, tasks=3, servers=2, T=2)
DAY = 86_400.0
BRIEF = {
    "episodes": 8, "num_envs": 4, "updates": 1, "batch": 2, "replay": 8, "warm_up": 4, "recurrent": False
}  # fmt: skip


def without_deadlines(s: Scenario) -> Scenario:
    return s.changed(kinds=[kind.model_copy(update={"T_max": None}) for kind in s.kinds])


def workload(*deadlines: float | None) -> Scenario:
    """One user whose tasks differ in nothing but their deadlines."""
    tasks = [{"step": 1, "user": 1, "D": 2e5, "C": 1e5, "P": 2, "T_max": x} for x in deadlines]
    return PAPER.changed(users=1, tasks=len(deadlines), T=1, workload=tasks)


def network_inputs(s: Scenario) -> torch.Tensor:
    """What the networks see of each task of the first user, (J, features)."""
    snapshot = steps(s, 1)
    return Inputs.of(observe(snapshot, s).float(), snapshot.weight.float(), Sizes.of(s)).tasks[0, 0]


def test_tasks_that_differ_in_their_deadline_only_are_observed_differently() -> None:
    generator = np.random.default_rng(3)
    pairs = np.exp(generator.uniform(np.log(1e-3), np.log(DAY), (40, 2))).tolist()
    close = [(x, x * 1.01) for x, _ in pairs]
    for one, other in [*pairs, *close, (1e-3, DAY), (1e-4, 1e-3)]:
        for third in (1e-4, 0.02, DAY):  # whatever else the ward has
            s = workload(one, other, third)
            a, b, _ = network_inputs(s)
            assert torch.equal(a[:3], b[:3])
            assert float(a[3] - b[3]) * (one - other) > 0
            seen = observe(steps(s, 1), s)
            assert bool(torch.isfinite(seen).all())
            assert 0 <= float(seen.min()) <= float(seen.max()) <= 1


def test_a_task_without_a_deadline_of_its_own_has_the_wards() -> None:
    s = workload(1e-3, None, DAY)
    own = dict(zip(names(s), observe(steps(s, 1), s)[0, 0].tolist(), strict=True))
    assert own["T_max[1]"] == 0
    assert own["T_max[2]"] == pytest.approx(np.log(s.T_max / 1e-3) / np.log(DAY / 1e-3))
    assert own["T_max[3]"] == pytest.approx(1)


def test_missing_tasks_are_all_zero() -> None:
    tasks = [{"step": 1, "user": u, "D": 2e5, "C": 1e5, "T_max": t} for u, t in ((1, 5.0), (1, 9.0), (2, 5.0))]
    s = PAPER.changed(users=2, tasks=2, T=1, workload=tasks)
    of_second = observe(steps(s, 1), s)[0, 1, : 4 * 2].view(4, 2)
    assert bool((of_second[:, 1] == 0).all())


@pytest.mark.parametrize(
    "s", [*PRESETS.values(), without_deadlines(HOSPITAL), HOSPITAL.changed(kinds=HOSPITAL.kinds[:1])], ids=lambda s: s.name
)  # fmt: skip
def test_deadlines_are_observed_only_where_they_differ(s: Scenario) -> None:
    differ = len(set(s.kind_deadlines)) > 1
    own = [x for x in names(s) if x.startswith("T_max")]
    assert own == ([f"T_max[{j}]" for j in range(1, s.tasks + 1)] if differ else [])
    links = s.servers * (s.channel == "log-distance")
    before = 3 * s.tasks + 3 + 2 * s.servers + links
    assert size(s) == len(names(s)) == before + len(own)
    sizes = Sizes.of(s)
    assert sizes.features * sizes.tasks + sizes.other == size(s)


def test_all_other_numbers_are_what_they_are_without_deadlines() -> None:
    bare = without_deadlines(HOSPITAL)
    seen, before = (observe(steps(s, 5), s) for s in (HOSPITAL, bare))
    rest = [n for n, name in enumerate(names(HOSPITAL)) if not name.startswith("T_max")]
    assert [names(HOSPITAL)[n] for n in rest] == names(bare)
    assert torch.equal(seen[..., rest], before)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_networks_of_every_algorithm_take_deadlines_in(name: str, tmp_path: Path) -> None:
    """Learned from, decided by; and networks that never observed deadlines are refused in words."""
    run = tmp_path / "run"
    TrainingRun.create(run, RunSpec(name, SMALL, default_settings(name, **BRIEF), seed=1)).train()
    place = last_checkpoint(run)
    assert place is not None
    policy, snapshot = TrainedPolicy.load(place), steps(SMALL, 4)
    requested = policy.decide(snapshot).cpu
    later = policy.decide(replace(snapshot, deadline=snapshot.deadline.flip(2))).cpu
    assert not torch.equal(requested, later)

    earlier = ALGORITHMS[name].agents(Sizes.of(without_deadlines(SMALL)), False, 0)
    agents = ALGORITHMS[name].agents(Sizes.of(SMALL), False, 0)
    with pytest.raises(
        CheckpointError, match=r"earlier version, which did not observe the deadlines .* train them again"
    ):
        load_module(agents, dict(earlier.named_parameters()), "checkpoint")
    with pytest.raises(
        ScenarioError, match="fits deadlines that differ only; this ward has one deadline for all tasks"
    ):
        TrainedPolicy.load(place, without_deadlines(SMALL))
    far = SMALL.changed(latency=1e-3)
    with pytest.raises(ScenarioError, match="fits servers without latency only; this ward has servers with latency"):
        TrainedPolicy.load(place, far)
    assert load_file(place / POLICY)
