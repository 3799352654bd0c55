"""Hyper-parameters of a training run: one class is the configuration file, the command line and their help."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from iomt_core.algorithms.agents import DecisionRules

# General networks on one ward. They learn from the latest episodes only: what a strategy is worth depends on what the other
# agents do now. They explore little, because their first decisions are good already.
ON_ONE_WARD: Mapping[str, Any] = MappingProxyType(
    {
        "networks": "general", "recurrent": False, "num_envs": 16, "replay": 32, "batch": 16, "updates": 4, "warm_up": 16,
        "learning_rate": 3e-4, "actor_learning_rate": 1e-4, "decay_from": 0.2, "tau": 0.01, "temperature": (0.01, 0.005),
        "share_noise": (0.05, 0.02),
    }
)  # fmt: skip
# Of the favoured server; without any, all agents go where a server seems slightly better. Positive margins draw tasks to servers:
# with 0.02 and 0, trained on `paper`, 53 % of tasks stay local, with 0 and -0.02 56 %, in the optimum 57 %.
LEAST_MARGIN = 0.001


class Settings(BaseModel):
    """Hyper-parameters of a run. A field's bounds and description are its validation, documentation and help text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # fmt: off
    episodes: Annotated[int, Field(ge=1, le=10_000_000, description="episodes to play, M of Algorithm 1")] = 2400
    networks: Annotated[Literal["own", "general"], Field(
        description="'own': every task has its own networks, which fit the scenario's numbers of users, tasks and servers "
        "only; 'general': all tasks share one network, which can decide for wards of many sizes and parameters")] = "own"
    wards: Annotated[Literal["own", "general"], Field(
        description="what is trained on. 'own': the run's scenario; 'general': wards of many sizes and parameters, which "
        "are drawn at random during training (needs networks = 'general')")] = "own"
    ward_count: Annotated[int, Field(
        ge=1, le=256, description="wards in each batch of episodes and in each update, with wards = 'general'")] = 16
    num_envs: Annotated[int, Field(ge=1, le=4096, description="episodes played in parallel")] = 32
    updates: Annotated[int, Field(ge=1, le=1000, description="gradient updates after each batch of episodes")] = 24
    learn_every: Annotated[Literal["episode", "step"], Field(
        description="whether updates follow each batch of episodes or every step")] = "episode"
    batch: Annotated[int, Field(ge=1, le=4096, description="episodes in a minibatch, N^B")] = 2
    replay: Annotated[int, Field(ge=1, le=100_000, description="capacity of the replay buffer, in episodes")] = 192
    warm_up: Annotated[int, Field(ge=0, le=100_000, description="episodes played before the first update")] = 32
    gamma: Annotated[float, Field(ge=0, lt=1, description="discount factor γ")] = 0.0
    recurrent: Annotated[bool, Field(description="whether the networks' GRUs carry memory from step to step")] = True
    coupled_steps: Annotated[bool, Field(
        description="whether agents learn a price of their batteries' energy by playing, instead of the one that is broadcast, "
        "and may know recent prices; needs networks = 'general' and wards = 'own'"
        )] = False
    recent_prices: Annotated[bool, Field(
        description="whether servers broadcast their prices after each step, which agents know in the next one; needs "
        "coupled_steps = true")] = False
    critic_target: Annotated[Literal["counterfactual", "observed"], Field(
        description="reward that the Q-networks learn in (19). 'observed': the reward of the strategy that was taken, "
        "as the paper prints it; 'counterfactual': the reward that every strategy would have brought, computed by the "
        "twin, minus the cost that the task causes other users")] = "counterfactual"
    team_weight: Annotated[float, Field(
        ge=0, le=1000, description="weight of the team losses (26), (27) relative to (19), (21)")] = 0.1
    parameter_tying: Annotated[float, Field(
        ge=0, le=1, description="fraction of the run in which all networks of one kind start equal and stay equal, "
        "because each applies the mean of their gradients; afterwards each learns alone; 0: never tied")] = 0.8
    learning_rate: Annotated[float, Field(
        gt=0, le=1, description="learning rate (Adam) of the Q-networks and the mixer, θ^Q")] = 2e-3
    actor_learning_rate: Annotated[float, Field(
        gt=0, le=1, description="learning rate (Adam) of the Actors, θ^μ")] = 1e-3
    tau: Annotated[float, Field(gt=0, le=1, description="rate of the soft update of the target networks")] = 0.005
    clip: Annotated[float, Field(gt=0, le=1e6, description="gradients are scaled down to at most this norm")] = 10.0
    decay_from: Annotated[float, Field(
        ge=0, le=1, description="fraction of the run after which learning rates decay linearly to 3 %")] = 0.5
    temperature: Annotated[tuple[Annotated[float, Field(ge=0, le=100)], Annotated[float, Field(ge=0, le=100)]], Field(
        description="temperature of the Boltzmann exploration over strategies, in units of reward: at the start and "
        "from 70 % of the run on")] = (0.1, 0.01)
    epsilon: Annotated[float, Field(
        ge=0, le=1, description="probability that a task's strategy is drawn uniformly (exploration)")] = 0.005
    share_noise: Annotated[tuple[Annotated[float, Field(ge=0, le=10)], Annotated[float, Field(ge=0, le=10)]], Field(
        description="standard deviation of the log-normal exploration noise on requested shares, at the start and at "
        "the end of the run")] = (0.5, 0.15)
    rounds: Annotated[int, Field(
        ge=0, le=8, description="how many times each task of an agent decides, one task after another, each knowing "
        "the current strategies of the agent's other tasks; 0: all tasks decide at once, as (17) is printed")] = 4
    search: Annotated[Literal["largest-gain", "cyclic"], Field(
        description="which task of an agent decides next when there is no exploration. 'largest-gain': the one that gains most "
        "by moving, until none gains; 'cyclic': one after another in fixed order, as always with exploration; both need "
        "rounds >= 1")] = "largest-gain"
    own_cpu: Annotated[Literal["exact", "requested"], Field(
        description="who divides an agent's own CPU among its local tasks. 'exact': the agent, at the least cost by (1) and (2), "
        "which is also what local tasks are worth; 'requested': the Actor, and the Q-networks learn what local tasks are "
        "worth, as the paper prints it")] = "exact"
    first_choice: Annotated[Literal["prices", "round-robin"], Field(
        description="where an agent's tasks are before they decide. 'round-robin': on servers; 'prices': where price response "
        "computes them, which only general networks know")] = "round-robin"
    margins: Annotated[tuple[
        Annotated[float, Field(ge=-1, le=1)], Annotated[float, Field(ge=-1, le=1)]], Field(
        description="added to the worth of the server with the fewest of an agent's other tasks, and of every other server, "
        "before the choice, in units of reward; the first is larger, so that agents do not all choose the same server"
        )] = (0.0, -0.02)
    actor_every: Annotated[int, Field(
        ge=1, le=1000, description="Q-network updates per Actor update (delayed policy updates)")] = 2
    actor_passes: Annotated[Literal["all", "likely"], Field(
        description="strategies that the Actors' loss (21) values. 'all': the mean over all of them, as the paper prints "
        "it; 'likely': each as much as the agent would choose it, so that a request fits the device where the task "
        "goes")] = "all"
    request_penalty: Annotated[float, Field(
        ge=0, le=1000, description="weight of the penalty that keeps requested shares near their initial value: their mean, "
        "or each of them with networks = 'general'; raise it together with team_weight")] = 1.0
    action_smoothing: Annotated[float, Field(
        ge=0, le=10, description="DDPG only: standard deviation of the noise that is added to the strategy number "
        "before the critic evaluates it, in widths of one strategy; 0: no noise")] = 0.0
    saturation_penalty: Annotated[float, Field(
        ge=0, le=1, description="DDPG only: weight of the squared logit of the strategy number, which keeps the "
        "Actor's output away from 0 and 1")] = 0.0
    evaluate_every: Annotated[int, Field(ge=1, le=10_000_000, description="episodes between evaluations")] = 320
    checkpoint_every: Annotated[int, Field(ge=1, le=10_000_000, description="episodes between checkpoints")] = 320
    # fmt: on

    @model_validator(mode="before")
    @classmethod
    def _random_wards_need_general_networks(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("wards") == "general":
            return {"networks": "general", **values}
        return values

    @model_validator(mode="before")
    @classmethod
    def _rules_fit_the_networks(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if values.get("coupled_steps") is True:
            values = {**ON_ONE_WARD, **values}
        first: dict[str, Any] = {}
        if values.get("rounds") == 0 or values.get("critic_target") == "observed":
            first["own_cpu"] = "requested"
        if "general" in (values.get("networks"), values.get("wards")):
            first |= {"first_choice": "prices"}
        return {**first, **values}

    @field_validator("margins")
    @classmethod
    def _margins_differ(cls, margins: tuple[float, float]) -> tuple[float, float]:
        if margins[0] - margins[1] < LEAST_MARGIN:
            raise ValueError(f"allowed is a first number that is {LEAST_MARGIN:g} or more above the second")
        return margins

    @property
    def rules(self) -> DecisionRules:
        """How agents get from values to strategies."""
        return DecisionRules(self.search, self.own_cpu, self.first_choice, self.margins)

    @model_validator(mode="after")
    def _rules_are_possible(self) -> Settings:
        if self.own_cpu == "exact" and (self.rounds == 0 or self.critic_target == "observed"):
            raise ValueError("own_cpu = 'exact' allows only rounds >= 1 and critic_target = 'counterfactual'")
        if self.first_choice == "prices" and self.networks == "own":
            raise ValueError("first_choice = 'prices' allows only networks = 'general'")
        return self

    @model_validator(mode="after")
    def _general_networks_allow(self) -> Settings:
        if self.coupled_steps and (self.wards == "general" or self.networks == "own" or self.own_cpu != "exact"):
            raise ValueError(
                "coupled_steps = true allows only networks = 'general', wards = 'own' and own_cpu = 'exact'"
            )
        if self.coupled_steps and self.search != "largest-gain":
            raise ValueError("coupled_steps = true allows only search = 'largest-gain'")
        if self.recent_prices and not self.coupled_steps:
            raise ValueError("recent_prices = true allows only coupled_steps = true")
        if self.wards == "general" and self.networks == "own":
            raise ValueError("wards = 'general' allows only networks = 'general'")
        if self.networks == "general" and (self.recurrent or self.rounds == 0 or self.critic_target == "observed"):
            raise ValueError(
                "networks = 'general' allows only recurrent = false, rounds >= 1 and critic_target = 'counterfactual'"
            )
        return self


def allowed(name: str) -> str:
    """The allowed range of a setting as text, from its bounds or its choices; empty if it has neither or is unknown."""
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
