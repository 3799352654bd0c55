"""Evaluating one task's networks at a time gives what evaluating all networks at once gives."""

from __future__ import annotations

import pytest
import torch

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.world import World
from iomt_core.nets.backend import accelerated
from iomt_core.nets.inputs import Sizes
from iomt_core.nets.shared import SharedTaskQ
from iomt_core.nets.task_q import TaskQ
from iomt_core.scenario import PRESETS
from iomt_core.training.general_encoder import GeneralObservationEncoder, general_sizes
from iomt_core.training.observation_encoder import ObservationEncoder


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("worlds", [1, 6, 40])
@pytest.mark.parametrize("tasks", [1, 2, 5])
@pytest.mark.parametrize(
    ("kind", "on"),
    [("own", False), ("own", True), ("without memory", False), ("without memory", True), ("shared", False)],
)
def test_one_task_at_a_time_equals_all_at_once(kind: str, on: bool, tasks: int, worlds: int, exact: bool) -> None:
    torch.manual_seed(1)
    s = PRESETS["paper"].changed(users=3, tasks=tasks, servers=2)
    encoder = GeneralObservationEncoder(s, exact) if kind == "shared" else ObservationEncoder(s, exact)
    sizes: Sizes = encoder.sizes
    if kind == "shared":
        q: TaskQ = SharedTaskQ(general_sizes(), exact)
        q.resize(sizes)
    else:
        q = TaskQ(sizes, aware=True, recurrent=kind == "own", exact_local=exact)
    torch.nn.init.normal_(q.out.weight, std=0.3)
    world = World(s, world_seeds(4, 0, worlds))
    inputs = encoder.inputs(world.snapshot(world.initial_state(), 0))
    shares = torch.rand(3, worlds, tasks, 2).clamp_min(0.05)
    past = torch.randn_like(q.memory.start(worlds)) if kind == "own" else q.memory.start(worlds)
    with torch.no_grad(), accelerated(on):
        tokens = q.encode(inputs)
        one_task, all_tasks = (make(tokens, shares, past, inputs) for make in (q.sequential, q.joint))
        choice = torch.zeros(3, worlds, tasks, dtype=torch.int64)
        for changing in (1.0, 0.1, 0.0):  # part of the tasks whose strategies change
            drawn = torch.randint(0, 3, choice.shape)
            choice = torch.where(torch.rand(choice.shape) < changing, drawn, choice)
            with accelerated(False):
                whole = q(tokens, q.encode_actions(shares, choice, inputs), past).unflatten(0, (3, tasks))
            taken = torch.nn.functional.one_hot(choice, 3).float()
            torch.testing.assert_close(all_tasks(taken), whole, rtol=1e-4, atol=1e-5)
            for j in range(tasks):
                torch.testing.assert_close(one_task(j, taken), whole[:, j], rtol=1e-4, atol=1e-5)
