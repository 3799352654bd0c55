"""How long a run will take: as fast as the last one of its kind on this machine, else by a rule of thumb."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from iomt_core.runs.jobs import Job
from iomt_core.training.run_spec import RunSpec

LEAST_EPISODES = 32  # of a run, before its speed says something
STARTING = 6.0  # seconds to load everything
# Fitted to seconds on one core of a server, within 20 % over wards from 2 x 2 x 1 to 16 x 8 x 4: of an update of
# 2 episodes, and of an episode played, each a part that is always there and one for every user, task and choice, T = 20.
UPDATE, UPDATE_CHOICE = 0.022, 0.00038
EPISODE, EPISODE_CHOICE = 0.008, 0.00018
EVALUATION_CHOICE = 0.0012  # of the episodes of an evaluation
# How much of this an algorithm takes, on the paper's ward; those not named take all of it.
CHEAPER = MappingProxyType(
    {"sae-mt-qmix-paper": 0.5, "ma-pa-ddpg": 0.6, "mt-mp-dqn": 0.83, "mt-pdqn": 0.45, "pa-ddpg": 0.5}
)


@dataclass(frozen=True)
class Estimate:
    """Seconds, and where they come from: the run that was as fast, or nothing."""

    seconds: float
    like: str | None = None


def estimate(spec: RunSpec, known: Iterable[Job] = ()) -> Estimate:
    """How long the run takes where it has a core for itself. `known` are the runs to learn from, the newest first."""
    for job in known:
        if job.spec is not None and _kind(job.spec) == _kind(spec) and _telling(job):
            return Estimate(STARTING + spec.settings.episodes / job.episodes_per_s, job.name)
    s, settings = spec.scenario, spec.settings
    choices = s.users * s.tasks * (s.servers + 1) * s.T / 20
    batches = settings.episodes / min(settings.num_envs, settings.episodes)
    times = batches * (s.T if settings.learn_every == "step" else 1)
    learning = settings.updates * (UPDATE + UPDATE_CHOICE * choices * max(1.0, settings.batch / 2))
    evaluations = max(1.0, settings.episodes / settings.evaluate_every) * EVALUATION_CHOICE * choices
    played = settings.episodes * (EPISODE + EPISODE_CHOICE * choices)
    return Estimate(STARTING + CHEAPER.get(spec.algorithm, 1.0) * (played + times * learning) + evaluations)


def _kind(spec: RunSpec) -> tuple[object, ...]:
    """What decides on the speed."""
    s, settings = spec.scenario, spec.settings
    told = (
        settings.num_envs,
        settings.updates,
        settings.learn_every,
        settings.batch,
        settings.rounds,
        settings.critic_target,
    )
    return (spec.algorithm, s.users, s.tasks, s.servers, s.T, settings.recurrent, settings.wards, *told)


def _telling(job: Job) -> bool:
    return job.episodes_per_s > 0 and job.episodes >= LEAST_EPISODES
