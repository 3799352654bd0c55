"""The learner computes the paper's losses and updates all parameters."""

from __future__ import annotations

import pytest
import torch

from iomt_core.algorithms.learner import Learner
from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.scenario import PRESETS
from iomt_core.training.settings import Settings
from iomt_core.training.trainer import Trainer
from tests.algorithms.literal_learner import losses as literal_losses

WARD = PRESETS["lecture"].changed(T=4)


def played(algorithm: str, **settings: object) -> Trainer:
    """A trainer with a few episodes in its replay buffer."""
    given = {"num_envs": 4, "batch": 3, "replay": 4, "warm_up": 0, "episodes": 64, **settings}
    trainer = Trainer(ALGORITHMS[algorithm], WARD, Settings.model_validate(given), seed=0)
    trainer.play()
    return trainer


def test_losses_are_the_literal_ones() -> None:
    """(19), (21), (26) and (27) against loops over agents, task networks, passes and steps; and their gradients."""
    trainer = played("sae-mt-qmix", rounds=0, critic_target="observed", team_weight=1.0)
    learner = trainer.learner
    # Target networks that differ from the online ones, as in the middle of a run.
    with torch.no_grad():
        for parameter in learner.target_agents.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    episodes = trainer.replay.draw(3, torch.Generator().manual_seed(1), counterfactual=False)
    wanted, found = literal_losses(learner, episodes), learner.losses(episodes)
    for parameters, a, b in zip((learner.critic_parameters, learner.actor_parameters), found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
        for one, other in zip(
            torch.autograd.grad(a, parameters, retain_graph=True, allow_unused=True),
            torch.autograd.grad(b, parameters, retain_graph=True, allow_unused=True),
            strict=True,
        ):
            if one is not None and other is not None:
                torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-4 * float(other.abs().max()) + 1e-6)


GENERAL = {"wards": "general", "recurrent": False, "num_envs": 8, "replay": 8}


@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [
        *((name, {"critic_target": target}) for target in ("observed", "counterfactual") for name in ALGORITHMS),
        ("sae-mt-qmix", GENERAL),
    ],
)
def test_every_parameter_learns(algorithm: str, changes: dict[str, object]) -> None:
    trainer = played(algorithm, gamma=0.5, actor_every=1, **changes)
    learner: Learner = trainer.learner
    everything = {**dict(learner.agents.named_parameters()), **dict(learner.mixer.named_parameters(prefix="mixer"))}
    optimised = {id(p) for p in [*learner.critic_parameters, *learner.actor_parameters]}
    assert optimised == {id(p) for p in everything.values()}
    before = {name: p.detach().clone() for name, p in everything.items()}
    for number in range(3):
        learner.update(
            trainer.replay.draw(3, torch.Generator().manual_seed(number), changes.get("critic_target") != "observed")
        )
    still = [name for name, p in everything.items() if torch.equal(before[name], p)]
    assert not still


def test_targets_are_updated_softly() -> None:
    trainer = played("qmix")
    learner = trainer.learner
    before = [p.clone() for p in learner.target_agents.parameters()]
    learner.update(trainer.replay.draw(3, torch.Generator().manual_seed(0), True))
    tau = learner.settings.tau
    for was, now, online in zip(before, learner.target_agents.parameters(), learner.agents.parameters(), strict=True):
        torch.testing.assert_close(now, was + tau * (online - was))


def test_steps_after_the_end_do_not_matter() -> None:
    """Losses do not depend on what the replay buffer holds after an episode's end."""
    trainer = played("sae-mt-qmix", gamma=0.9)
    store = trainer.replay.store
    store["alive"][:, 2:] = False
    store["ended"][:, 1] = True
    episodes = trainer.replay.draw(3, torch.Generator().manual_seed(0), True)
    first = [float(x.detach()) for x in trainer.learner.losses(episodes)]
    for name in ("D", "C"):
        store[name][:, 3:] *= 0.5
    episodes = trainer.replay.draw(3, torch.Generator().manual_seed(0), True)
    assert first == pytest.approx([float(x.detach()) for x in trainer.learner.losses(episodes)], rel=1e-6)
