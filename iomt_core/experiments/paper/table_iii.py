"""Table III: parameters and FLOPs of the agent networks, counted on the networks themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from iomt_core.nets.actor import Actor
from iomt_core.nets.critic import Critic
from iomt_core.nets.inputs import Inputs, Sizes
from iomt_core.nets.task_q import TaskQ

TASKS, SERVERS = 10, 4
PAPER = {  # FLOPs, parameters
    "Actor (PA-DDPG)": (56312, 55822),
    "Critic (PA-DDPG)": (130772, 129213),
    "Actor (MT-PDQN)": (55672, 55172),
    "Q-Network (MT-PDQN)": (232760, 233779),
    "Actor (MT-MP-DQN)": (55672, 55172),
    "Q-Network (MT-MP-DQN)": (871720, 236059),
    "Actor (MPMT-DQN)": (55672, 55172),
    "Q-Network (MPMT-DQN)": (887720, 239309),
    "PA-DDPG": (187084, 185035),
    "MT-PDQN": (288432, 288951),
    "MT-MP-DQN": (927392, 291231),
    "MPMT-DQN": (943392, 294481),
}


@dataclass(frozen=True)
class Row:
    """One network of one agent, at one step of one episode."""

    network: str
    parameters: int
    flops: int  # multiply-accumulates, which the paper's numbers must be too: they are close to its parameters
    paper_parameters: int
    paper_flops: int


def table_iii() -> list[Row]:
    """All rows in the paper's order. FLOPs are PyTorch's count for the matrix products of one step, in multiply-accumulates."""
    sizes = Sizes(users=1, tasks=TASKS, servers=SERVERS, other=3 + 2 * SERVERS, state=2 * SERVERS + 5)
    inputs = Inputs(torch.rand(1, 1, TASKS, 3), torch.rand(1, 1, sizes.other), torch.ones(1, 1, TASKS))
    counts: dict[str, tuple[int, int]] = {}
    with torch.no_grad():
        for name, outputs in (("PA-DDPG", 3), ("MT-PDQN", 2), ("MT-MP-DQN", 2), ("MPMT-DQN", 2)):
            actor = Actor(sizes, outputs)
            counts[f"Actor ({name})"] = _count(actor, lambda a=actor: a(inputs, a.memory.start(1)))  # type: ignore[misc]
        critic = Critic(1, TASKS, sizes.other, 3)
        seen = (inputs.tasks.flatten(2)[:, None], inputs.other[:, None], torch.rand(1, 1, 1, 3 * TASKS))
        counts["Critic (PA-DDPG)"] = _count(critic, lambda: critic(*seen, seen[2], 1))
        for name, passes, columns in (("MT-PDQN", False, False), ("MT-MP-DQN", True, False), ("MPMT-DQN", True, True)):
            q = TaskQ(sizes, passes, columns, aware=columns)
            done = q.encode_actions(torch.rand(1, 1, TASKS, 2), torch.zeros(1, 1, TASKS, dtype=torch.int64))
            counts[f"Q-Network ({name})"] = _count(q, lambda q=q, a=done: q(q.encode(inputs), a, q.memory.start(1)))  # type: ignore[misc]
    for name in ("PA-DDPG", "MT-PDQN", "MT-MP-DQN", "MPMT-DQN"):
        value = "Critic" if name == "PA-DDPG" else "Q-Network"
        parts = counts[f"Actor ({name})"], counts[f"{value} ({name})"]
        counts[name] = (parts[0][0] + parts[1][0], parts[0][1] + parts[1][1])
    return [Row(name, *counts[name], parameters, flops) for name, (flops, parameters) in PAPER.items()]


def _count(module: nn.Module, call: Callable[[], object]) -> tuple[int, int]:
    with FlopCounterMode(display=False) as counter:
        call()
    return sum(p.numel() for p in module.parameters()), counter.get_total_flops() // 2
