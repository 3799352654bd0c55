"""The compiled kernels compute the modules' results and gradients."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from iomt_core.algorithms.agents import DecisionRules
from iomt_core.algorithms.parameterised_q import ParameterisedQ
from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.environment.counter import world_seeds
from iomt_core.environment.world import World
from iomt_core.nets.backend import accelerated
from iomt_core.nets.encoder import Encoder
from iomt_core.nets.grouped import GroupedGRU, GroupedLinear, two_layers
from iomt_core.nets.inputs import Sizes
from iomt_core.nets.own_cpu import own_shares
from iomt_core.nets.task_q import TaskQ
from iomt_core.scenario import PRESETS
from iomt_core.training.observation_encoder import ObservationEncoder
from iomt_core.training.settings import Settings
from iomt_core.training.trainer import Trainer
from tests.compiler import needs_compiler

functions = pytest.importorskip("iomt_core.nets.kernels.functions", reason="the kernels' folder was deleted")
library_module = pytest.importorskip("iomt_core.nets.kernels.library")
library, ready = library_module.library, library_module.ready

ROWS = [1, 15, 16, 40, 65, 130]  # less than one SIMD vector, one, and several chunks with and without a remainder


class Block(nn.Module):
    """A building block with its inputs."""

    def __init__(self, modules: list[nn.Module], call: Callable[..., Tensor], *inputs: Tensor) -> None:
        super().__init__()
        self.parts, self.call, self.inputs = nn.ModuleList(modules), call, inputs

    def results(self, kernels: bool, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """The output, and the gradients of all inputs and weights."""
        self.to(dtype)
        inputs = [x.detach().to(dtype, copy=True).requires_grad_() for x in self.inputs]
        with accelerated(kernels):
            out = self.call(*inputs)
        wanted = torch.randn(out.shape, generator=torch.Generator().manual_seed(5)).to(dtype)
        slopes = torch.autograd.grad((out * wanted).sum(), [*inputs, *self.parameters()])
        self.float()
        return [out.detach(), *slopes]


def block(kind: str, n: int, width: int = 24, networks: int = 3, slices: int = 1) -> Block:
    torch.manual_seed(n)
    g = networks * slices
    rows, others, state = torch.randn(g, 5, n, width), torch.randn(g, 2, n, width), torch.randn(g, n, width)
    if kind in ("self", "passes"):
        encoder = Encoder(networks, width, 56)
        return Block([encoder], encoder, rows) if kind == "self" else Block([encoder], encoder.passes, rows, others)
    if kind in ("step", "episode"):
        gru = GroupedGRU(networks, width)
        return Block([gru], gru.advance if kind == "step" else gru.unroll, rows, state)
    wide, out = GroupedLinear(networks, width, 64), GroupedLinear(networks, 64, 7)
    return Block([wide, out], lambda x: two_layers(wide, out, x), rows)


def close(found: list[Tensor], wanted: list[Tensor], tolerance: float = 1e-5) -> None:
    """Checks each tensor to a tolerance relative to its largest entry."""
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert float((a.double() - b).abs().max()) <= tolerance * max(1e-3, float(b.abs().max()))


@needs_compiler
@pytest.mark.parametrize("kind", ["self", "passes", "step", "episode", "two layers"])
@pytest.mark.parametrize("n", ROWS)
def test_kernels_are_the_modules(kind: str, n: int) -> None:
    """Against the modules in double precision."""
    one = block(kind, n)
    close(one.results(kernels=True), one.results(kernels=False, dtype=torch.float64))
    with accelerated():
        assert type(one.call(*one.inputs).grad_fn).__name__ in {"_EncoderBackward", "_GRUBackward", "_LayersBackward"}


@needs_compiler
@pytest.mark.parametrize("width", [8, 16, 20, 48, 64])
@pytest.mark.parametrize("kind", ["self", "passes", "step", "episode", "two layers"])
def test_any_width(kind: str, width: int) -> None:
    one = block(kind, 21, width)
    close(one.results(kernels=True), one.results(kernels=False, dtype=torch.float64))


@needs_compiler
@pytest.mark.parametrize("kind", ["self", "passes", "two layers"])
def test_one_network_for_many(kind: str) -> None:
    one = block(kind, 21, networks=1, slices=6)
    close(one.results(kernels=True), one.results(kernels=False, dtype=torch.float64))


@needs_compiler
@pytest.mark.parametrize("kind", ["self", "passes", "step", "episode", "two layers"])
def test_slopes_and_inputs_that_are_no_plain_arrays(kind: str) -> None:
    """Gradients may be views with another order of axes, or one expanded number."""
    one = block(kind, 40)
    plain, call = one.results(kernels=True), one.call
    one.inputs = tuple(x.transpose(0, -1).contiguous().transpose(0, -1) for x in one.inputs)
    for spread in (False, True):
        found = []
        for kernels in (True, False):
            with accelerated(kernels):
                out = call(*(x.detach().requires_grad_() for x in one.inputs))
            turned = out.transpose(1, -1)
            weights = (
                torch.ones(()) if spread else torch.randn(turned.shape, generator=torch.Generator().manual_seed(2))
            )
            found.append(torch.autograd.grad((turned * weights).sum() * 3, list(one.parameters())))
        close(list(found[0]), [x.double() for x in found[1]], 1e-4)
    close([x.detach() for x in one.results(kernels=True)], [x.double() for x in plain])


@needs_compiler
def test_one_state_for_many_slices_is_left_to_the_modules() -> None:
    gru = GroupedGRU(1, 24)
    rows, start = torch.randn(4, 5, 7, 24), torch.randn(1, 7, 24)
    with accelerated():
        assert functions.gru_step((gru.from_input, gru.from_state), rows, start) is None
        assert functions.gru_step((gru.from_input, gru.from_state), rows, start.expand(4, 7, 24)) is not None
        assert functions.gru_step((gru.from_input, gru.from_state), rows.double(), start.expand(4, 7, 24)) is None


@needs_compiler
@pytest.mark.parametrize("kind", ["passes", "step", "episode"])
def test_far_inputs(kind: str) -> None:
    """Where softmax and gates saturate or jump, kernels are about as exact as the modules in single precision."""
    one = block(kind, 33)
    one.inputs = tuple(300 * x for x in one.inputs)
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.mul_(5)
    found, single, double = (
        one.results(True),
        one.results(False),
        one.results(False, torch.float64),
    )
    for a, b, exact in zip(found, single, double, strict=True):
        allowed = 4 * float((b - exact).abs().max()) + 1e-5 * float(exact.abs().max())
        assert float((a - exact).abs().max()) <= allowed


@needs_compiler
@pytest.mark.parametrize("kind", ["passes", "step", "episode", "two layers"])
def test_frozen_weights_get_no_slope(kind: str) -> None:
    """With frozen weights, as in target networks, only inputs get gradients, and the same ones."""
    one = block(kind, 40)
    every = one.results(kernels=True)
    one.requires_grad_(False)
    inputs = [x.detach().clone().requires_grad_() for x in one.inputs]
    with accelerated():
        out = one.call(*inputs)
    wanted = torch.randn(out.shape, generator=torch.Generator().manual_seed(5))
    (out * wanted).sum().backward()
    assert all(torch.equal(x.grad, slope) for x, slope in zip(inputs, every[1:], strict=False))
    assert all(p.grad is None for p in one.parameters())


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@needs_compiler
@pytest.mark.parametrize("kind", ["self", "passes", "step", "episode", "two layers"])
def test_threads_change_no_bit(kind: str, threads: Callable[[int], None]) -> None:
    one = block(kind, 130, networks=5)
    found = []
    for number in (1, 2, 4):
        threads(number)
        found.append(one.results(kernels=True))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def played(algorithm: str, **settings: object) -> Trainer:
    given = {"num_envs": 4, "batch": 3, "replay": 4, "warm_up": 0, "episodes": 64, "actor_every": 1, **settings}
    trainer = Trainer(ALGORITHMS[algorithm], PRESETS["lecture"].changed(T=4), Settings.model_validate(given), seed=0)
    trainer.play()
    return trainer


@needs_compiler
@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        *((algorithm, {"gamma": 0.5}) for algorithm in ALGORITHMS),
        ("sae-mt-qmix", {"recurrent": False}),
        ("sae-mt-qmix", {"critic_target": "observed", "rounds": 0}),
        ("qmix", {"wards": "general", "recurrent": False, "num_envs": 8, "replay": 8}),
    ],
)
def test_an_update_is_the_same_with_and_without(algorithm: str, settings: dict[str, object]) -> None:
    trainer = played(algorithm, **settings)
    learner = trainer.learner
    episodes = trainer.replay.draw(3, torch.Generator().manual_seed(1), settings.get("critic_target") != "observed")
    parameters = learner.critic_parameters + learner.actor_parameters
    found = []
    for kernels in (True, False):
        with accelerated(kernels):
            losses = learner.losses(episodes)
        slopes = torch.autograd.grad(sum(losses), parameters, allow_unused=True)
        found.append(([float(x.detach()) for x in losses], [x for x in slopes if x is not None]))
    (one, slopes), (other, others) = found
    assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
    largest = max(float(x.abs().max()) for x in others)
    for a, b in zip(slopes, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * largest)


@needs_compiler
def test_one_task_at_a_time_has_a_kernel() -> None:
    q = TaskQ(Sizes.of(PRESETS["lecture"]), aware=True)
    shares, past = torch.rand(q.sizes.users, 5, q.sizes.tasks, 2), q.memory.start(5)
    tokens = torch.randn(q.sizes.networks, 3, 5, 24)
    with torch.no_grad(), accelerated():
        assert isinstance(q.sequential(tokens, shares, past), functions.Turns)
    with torch.no_grad(), accelerated(False):
        assert not isinstance(q.sequential(tokens, shares, past), functions.Turns)


@needs_compiler
@pytest.mark.parametrize("worlds", [1, 40])
@pytest.mark.parametrize("own_cpu", ["exact", "requested"])
def test_the_search_ends_where_it_ends_with_tensors(own_cpu: str, worlds: int) -> None:
    s = PRESETS["lecture"].changed(tasks=5, servers=3)
    agents = ParameterisedQ(Sizes.of(s), rounds=1, rules=DecisionRules("largest-gain", own_cpu))  # type: ignore[arg-type]
    world = World(s, world_seeds(0, 0, worlds))
    inputs = ObservationEncoder(s, agents.divides_own_cpu).inputs(world.snapshot(world.initial_state(), 0))
    found = []
    with torch.no_grad():
        torch.nn.init.normal_(agents.q.out.weight, std=0.1)
        for kernels in (True, False):
            with accelerated(kernels):
                found.append(agents.decide(inputs, agents.start(worlds))[0].choice)
    assert torch.equal(*found)
    assert not torch.equal(found[0], agents.round_robin_choice(inputs))


@needs_compiler
@pytest.mark.parametrize("tasks", [1, 3, 8])
def test_the_own_cpu_is_divided_as_with_tensors(tasks: int) -> None:
    torch.manual_seed(tasks)
    cost, weight = torch.rand(4, 30, tasks, 2) * 3 + 0.01, torch.randint(1, 4, (4, 30, tasks)).float()
    local = torch.rand(4, 30, 5, 2, tasks) < 0.5
    found = []
    for kernels in (True, False):
        with accelerated(kernels):
            found.append(own_shares(cost, weight, local))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)
    assert not found[0][~local].any()
    assert float(found[0].sum(-1).max()) <= 1 + 1e-6


@pytest.fixture
def forgotten() -> Iterator[None]:
    """The state of a process that has not asked for the library yet."""
    every = (library, ready, library_module.source_and_path)
    for one in every:
        one.cache_clear()
    yield
    for one in every:
        one.cache_clear()


@pytest.fixture
def elsewhere(forgotten: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder for the compiled library."""
    monkeypatch.setattr(importlib.util, "cache_from_source", lambda path: str(tmp_path / "cache" / "library.pyc"))
    return tmp_path / "cache"


@pytest.mark.parametrize("compiler", ["/nowhere/c++", "false", '"', "sleep 30 #"])
def test_without_a_compiler_networks_go_on(
    compiler: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(library_module, "MOST_SECONDS", 1)
    trainer = played("qmix")
    with caplog.at_level(logging.WARNING):
        losses = trainer.learn()
    assert ready() is None
    assert all(torch.tensor(x).isfinite() for x in losses.values())
    assert sum("without compiled kernels" in line for line in caplog.messages) <= 1
    assert library() is None
    assert not list(elsewhere.glob("*.tmp"))


@needs_compiler
def test_a_library_cut_short_is_made_again(elsewhere: Path) -> None:
    place = library_module.source_and_path()[1]
    place.parent.mkdir()
    place.write_bytes(b"\x7fELF")
    assert library() is not None
    assert place.stat().st_size > 10_000
    assert elsewhere in place.parents
