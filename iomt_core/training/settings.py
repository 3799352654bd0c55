"""Everything a training run is told besides algorithm, scenario and seed: configuration file and command line in one."""

from __future__ import annotations

import typing
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Hyper-parameters. A field's bounds and description are its documentation, its validation and its help text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    episodes: Annotated[int, Field(ge=1, le=10_000_000, description="episodes to play, M of Algorithm 1")] = 2400
    wards: Annotated[
        Literal["own", "lab"],
        Field(
            description="'own': networks for the scenario's ward; 'lab': one network for any ward of the lab's range, drawn "
            "at random in training"
        ),
    ] = "own"
    worlds: Annotated[int, Field(ge=1, le=4096, description="episodes played side by side")] = 32
    updates: Annotated[int, Field(ge=1, le=1000, description="learner updates each time it learns")] = 24
    learn_every: Annotated[
        Literal["episode", "step"], Field(description="whether the learner updates after episodes or after every step")
    ] = "episode"
    batch: Annotated[int, Field(ge=1, le=4096, description="episodes in a minibatch, N^B")] = 2
    replay: Annotated[int, Field(ge=1, le=100_000, description="episodes that the replay buffer holds")] = 192
    warm_up: Annotated[int, Field(ge=0, le=100_000, description="episodes played before the first update")] = 32
    gamma: Annotated[float, Field(ge=0, lt=1, description="discount γ")] = 0.0
    recurrent: Annotated[bool, Field(description="whether the GRUs remember earlier steps")] = True
    credit: Annotated[
        Literal["what-if", "own"],
        Field(
            description="what (19) regresses on: 'own', as printed, the reward of the strategy that was taken; 'what-if', "
            "the twin's answer for every strategy, less what the task costs other users"
        ),
    ] = "what-if"
    team_weight: Annotated[float, Field(ge=0, le=1000, description="weight of (26) and (27) beside (19) and (21)")] = (
        0.1
    )
    together: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="part of the run in which networks of a kind, begun equal, learn as one from the mean of their "
            "gradients, before each goes on for itself; 0: never",
        ),
    ] = 0.8
    learning_rate: Annotated[float, Field(gt=0, le=1, description="of θ^Q, Adam")] = 2e-3
    actor_learning_rate: Annotated[float, Field(gt=0, le=1, description="of θ^μ, Adam")] = 1e-3
    tau: Annotated[float, Field(gt=0, le=1, description="soft update of the targets")] = 0.005
    clip: Annotated[float, Field(gt=0, le=1e6, description="largest norm of a gradient")] = 10.0
    decay_from: Annotated[
        float, Field(ge=0, le=1, description="part of the run after which learning rates fall, linearly, to 3 %")
    ] = 0.5
    temperature: Annotated[
        tuple[Annotated[float, Field(ge=0, le=100)], Annotated[float, Field(ge=0, le=100)]],
        Field(description="of the Boltzmann choice over strategies, from and to (at 70 % of the run)"),
    ] = (0.1, 0.01)
    random: Annotated[float, Field(ge=0, le=1, description="share of strategies drawn evenly")] = 0.005
    share_noise: Annotated[
        tuple[Annotated[float, Field(ge=0, le=10)], Annotated[float, Field(ge=0, le=10)]],
        Field(description="deviation of the logarithm of a requested share, from and to"),
    ] = (0.5, 0.15)
    rounds: Annotated[
        int,
        Field(
            ge=0,
            le=8,
            description="how often an agent's tasks decide in turn, each knowing the others; 0: all at once (17)",
        ),
    ] = 4
    actor_every: Annotated[int, Field(ge=1, le=1000, description="critic updates to one of the actors")] = 2
    hold: Annotated[
        float,
        Field(
            ge=0,
            le=1000,
            description="times the price on requests for straying from where they start; a heavier team's loss, which "
            "knows no such price, asks for more",
        ),
    ] = 1.0
    blur: Annotated[
        float,
        Field(
            ge=0,
            le=10,
            description="deviation, in strategies' widths, of the noise on a DDPG's strategy number at which the critic "
            "judges it; 0: judged as it is",
        ),
    ] = 0.0
    saturation: Annotated[
        float, Field(ge=0, le=1, description="price of a DDPG's strategy number's logit, squared, in reward a task")
    ] = 0.0
    evaluate_every: Annotated[int, Field(ge=1, le=10_000_000, description="episodes between evaluations")] = 320
    checkpoint_every: Annotated[int, Field(ge=1, le=10_000_000, description="episodes between checkpoints")] = 320

    @model_validator(mode="after")
    def _of_one_mind(self) -> Settings:
        if self.wards == "lab" and (self.recurrent or self.rounds == 0 or self.credit == "own"):
            raise ValueError("wards = 'lab' allows only recurrent = false, rounds >= 1 and credit = 'what-if'")
        return self


def allowed(name: str) -> str:
    """The range of a setting in words, from its bounds or its choices; empty where it has neither or is not known."""
    field = Settings.model_fields.get(name)
    if field is None:
        return ""
    kind, known = field.annotation, field.metadata
    if typing.get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        known = typing.get_args(kind)[0].__metadata__[0].metadata
    bounds = {sign: getattr(one, sign) for one in known for sign in ("ge", "gt", "le", "lt") if hasattr(one, sign)}
    low = f"{bounds['ge']:,}" if "ge" in bounds else f"more than {bounds['gt']:,}" if "gt" in bounds else ""
    high = f"{bounds['le']:,.12g}" if "le" in bounds else f"less than {bounds['lt']:,}" if "lt" in bounds else ""
    return f"{low} to {high}" if low and high else ""
