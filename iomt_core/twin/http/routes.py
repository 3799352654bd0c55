"""The paths of the interface."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from iomt_core.policies.base import Shares
from iomt_core.scenario import ScenarioError
from iomt_core.training.run_spec import LARGEST_SEED
from iomt_core.twin.access import AGGREGATES, AUDIT, MODELS, OBSERVATIONS, STATE, TRACES, TWINS, Grant
from iomt_core.twin.http.errors import Json, StatusError, encodable
from iomt_core.twin.http.permissions import Needs, NeedsOwn, UserPath, service_of
from iomt_core.twin.http.service import MOST_ROWS
from iomt_core.twin.http.twins import OpenTwin
from iomt_core.twin.http.views import models_view, observations_view, state_view, trace_view, why_view
from iomt_core.twin.mapping.synchronisation import FIELD_GROUPS, LATE_GROUPS, LONGEST, MOST_NOISE, Synchronisation

HEARTBEAT = 15.0  # seconds between signs of life in an event stream
router = APIRouter()
Step = Annotated[int, Query(ge=1, le=10**6, description="A step that was played, from 1.")]
Number = Annotated[int, Query(ge=1, le=10**6)]


class SynchronisationRequest(BaseModel):
    """How the twin that the policy decides on is synchronised from the simulated ward."""

    model_config = ConfigDict(extra="forbid", strict=True)

    interval: int = Field(1, ge=1, le=LONGEST, description="Steps between two measurements.")
    delay: int = Field(0, ge=0, le=LONGEST, description="Steps until a measurement arrives.")
    noise: float = Field(0.0, ge=0, le=MOST_NOISE, description="Relative standard deviation of a measurement.")
    groups: list[str] = Field(
        list(LATE_GROUPS), max_length=len(FIELD_GROUPS), description=f"Of {', '.join(FIELD_GROUPS)}."
    )


class TwinRequest(BaseModel):
    """A twin to open."""

    model_config = ConfigDict(extra="forbid", strict=True)

    scenario: str | dict[str, Any] = Field(description="Name of a preset, or values as in a scenario file.")
    policy: str = Field("optimum", max_length=100, description="A name of /models.")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of the tasks.")
    shares: Shares = Field("own", description="Who decides on shares.")
    episode: int = Field(1, ge=1, le=10**6, description="Number of the seed's episode.")
    synchronisation: SynchronisationRequest | None = Field(None, description="null: the policy sees the ward itself.")


class ModelRequest(BaseModel):
    """What an alias is to mean."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reason: str = Field(max_length=400, description="Why, for the log.")
    model: str = Field("", max_length=100, description="A policy or version of /models; for /promote.")
    scenario: str | dict[str, Any] | None = Field(None, description="For which scenario; null: everywhere.")


class ForkRequest(BaseModel):
    """How a fork continues; null: as the original."""

    model_config = ConfigDict(extra="forbid", strict=True)

    policy: str | None = Field(None, max_length=100)
    shares: Shares | None = None


@router.post("/twins", status_code=201)
async def open_twin(
    request: Request, body: TwinRequest, grant: Annotated[Grant, Depends(Needs("open", TWINS))]
) -> Response:
    """Open a twin: one simulated episode of a scenario under a policy. It belongs to the token's identity."""
    service, owner = service_of(request), str(grant.identity)
    service.twins.reserve(owner)
    try:
        stale = body.synchronisation
        late = Synchronisation(stale.interval, stale.delay, stale.noise, tuple(stale.groups)) if stale else None
        arguments = (body.scenario, body.policy, body.seed, body.shares, body.episode, late)
        twin, notes = await service.opened(*arguments)
    except BaseException:
        service.twins.release(owner)
        raise
    return Json({**_facts(service.twins.add(owner, twin, [])), "notes": [encodable(text) for text in notes]}, 201)


@router.get("/twins")
async def list_twins(request: Request, grant: Annotated[Grant, Depends(Needs("list", TWINS))]) -> Response:
    """List the identity's own open twins."""
    return Json({"twins": [_facts(one) for one in service_of(request).twins.of(str(grant.identity))]})


@router.delete("/twins/{twin}")
async def close_twin(request: Request, twin: str, grant: Annotated[Grant, Depends(Needs("close", TWINS))]) -> Response:
    """Close a twin; its event streams end."""
    one = _own(request, twin, grant)
    service_of(request).twins.close(one)
    return Json({"closed": one.name})


@router.post("/twins/{twin}/step")
async def step(request: Request, twin: str, grant: Annotated[Grant, Depends(Needs("step", TWINS))]) -> Response:
    """Play the next step: decisions and outcomes of all tasks, without what the tasks are."""
    service, one = service_of(request), _own(request, twin, grant)
    async with one.lock:
        plans = one.twin.plans_ahead and not one.planned  # the whole episode, in its first step
        played = await (service.planned if plans else service.played).play(one.twin)
        one.planned = True
        one.add_step(played)
    return Response(played, media_type="application/json")


@router.post("/twins/{twin}/fork", status_code=201)
async def fork(
    request: Request, twin: str, grant: Annotated[Grant, Depends(Needs("fork", TWINS))], body: ForkRequest | None = None
) -> Response:
    """Open a twin that continues from here, under another policy or share rule if given; the original does not change."""
    service, one, wanted = service_of(request), _own(request, twin, grant), body or ForkRequest()
    service.twins.reserve(one.owner)
    try:
        async with one.lock:
            forked = await service.steps.run(service.fork_twin, one.twin, wanted.policy, wanted.shares)
            steps = list(one.steps)
    except BaseException:
        service.twins.release(one.owner)
        raise
    return Json({**_facts(service.twins.add(one.owner, forked, steps)), "parent": one.name}, 201)


@router.get("/twins/{twin}/why")
async def why(
    request: Request,
    twin: str,
    step: Step,
    user: Number,
    task: Number,
    grant: Annotated[Grant, Depends(Needs("explain", TWINS))],
) -> Response:
    """Ask why a task runs where it runs: delay, energy and cost on every other device, all other choices unchanged."""
    service, one = service_of(request), _own(request, twin, grant)
    async with one.lock:
        if not one.steps:
            raise ScenarioError(f"step = {step} was not played: no step was.")
        return Json(why_view(await service.steps.run(one.twin.why, step, user, task)))


@router.get("/twins/{twin}/events")
async def events(
    request: Request,
    twin: str,
    grant: Annotated[Grant, Depends(Needs("watch", TWINS))],
    last_event_id: Annotated[str | None, Header(description="Continue after this step.", max_length=20)] = None,
) -> Response:
    """Watch a twin: server-sent events `step`, each as /step answers it, from the first on; `end` when no more can come."""
    one = _own(request, twin, grant)
    if one.streams >= service_of(request).limits.streams:
        raise StatusError(429, f"the twin has {one.streams} event streams, the most that are allowed.")
    known = last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit()
    stream = _stream(one, int(last_event_id) if known and last_event_id else 0, grant.expires)
    return StreamingResponse(stream, media_type="text/event-stream")


@router.get("/twins/{twin}/observations")
async def observations(
    request: Request, twin: str, step: Step, grant: Annotated[Grant, Depends(Needs("read", OBSERVATIONS))]
) -> Response:
    """Read ô of a step: what the agents send to the mixer. For management."""
    one = service_of(request).twins.find(twin, None)
    async with one.lock:
        return Json(await service_of(request).steps.run(observations_view, one.twin, step))


@router.get("/twins/{twin}/state")
async def state(
    request: Request, twin: str, step: Step, grant: Annotated[Grant, Depends(Needs("read", STATE))]
) -> Response:
    """Read ŝ of a step: the limited global state. For management."""
    one = service_of(request).twins.find(twin, None)
    async with one.lock:
        return Json(await service_of(request).steps.run(state_view, one.twin, step))


@router.get("/twins/{twin}/trace")
async def trace(
    request: Request, twin: str, step: Step, grant: Annotated[Grant, Depends(Needs("read", TRACES))]
) -> Response:
    """Read how a step was coordinated: ô in, the mixer's weights, decisions out, bytes across borders. For management."""
    one = service_of(request).twins.find(twin, None)
    async with one.lock:
        if not one.steps:
            raise ScenarioError(f"step = {step} was not played: no step was.")
        return Json(trace_view(await service_of(request).steps.run(one.twin.trace, step)))


@router.get("/models")
async def models(request: Request, grant: Annotated[Grant, Depends(Needs("list", MODELS))]) -> Response:
    """List the policies that a twin can have, the versions of trained ones, and the aliases that mean them."""
    return Json(await service_of(request).store.run(models_view))


@router.post("/models/{alias}/promote")
async def promote(
    request: Request, alias: str, body: ModelRequest, grant: Annotated[Grant, Depends(Needs("promote", MODELS))]
) -> Response:
    """Let an alias mean a version from now on. Forbidden, unless the server was started with --promotions."""
    service = service_of(request)
    return Json(
        await service.slow.run(service.promote, alias, body.model, str(grant.identity), body.reason, body.scenario)
    )


@router.post("/models/{alias}/rollback")
async def roll_back(
    request: Request, alias: str, body: ModelRequest, grant: Annotated[Grant, Depends(Needs("rollback", MODELS))]
) -> Response:
    """Let an alias mean again what it meant before. Forbidden, unless the server was started with --promotions."""
    service = service_of(request)
    return Json(await service.slow.run(service.roll_back, alias, str(grant.identity), body.reason, body.scenario))


@router.get("/aggregates/{query}")
async def aggregates(
    request: Request,
    query: str,
    epsilon: float,
    grant: Annotated[Grant, Depends(Needs("query", AGGREGATES))],
    name: Annotated[str, Query(alias="request", description="Names the question, see docs/access.md.")] = "",
) -> Response:
    """Ask for a mean over all users with differential privacy; the warehouse's privacy budget pays for it."""
    service = service_of(request)
    return Json((await service.store.run(service.query, grant, query, epsilon, name)).as_dict())


@router.get("/audit")
async def audit(request: Request, grant: Annotated[Grant, Depends(Needs("verify", AUDIT))]) -> Response:
    """Verify the audit log: its size, the hash of its last record, and whether anything was changed."""
    service = service_of(request)
    return Json((await service.store.run(service.verify)).as_dict())


@router.get("/warehouse/{user}/tasks")
async def tasks(
    request: Request,
    user: UserPath,
    grant: Annotated[Grant, Depends(NeedsOwn("read"))],
    at: Annotated[int | None, Query(ge=0, description="Revision; the latest if not given.")] = None,
    after: Annotated[int, Query(ge=0, description="Only tasks with a larger sequence number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 1000,
) -> Response:
    """Read the recorded tasks of the agent's own user."""
    service = service_of(request)
    return Json(await service.store.run(service.tasks, grant, user, at, after, limit))


def _own(request: Request, name: str, grant: Grant) -> OpenTwin:
    return service_of(request).twins.find(name, str(grant.identity))


def _facts(one: OpenTwin) -> dict[str, Any]:
    twin = one.twin
    return {
        "twin": one.name,
        "scenario": encodable(twin.scenario.name),
        "policy": twin.policy,
        "seed": twin.seed,
        "episode": twin.episode,
        "shares": twin.shares,
        "synchronisation": twin.synchronisation and asdict(twin.synchronisation),
        "steps": len(one.steps),
        "done": twin.done,
    }


async def _stream(one: OpenTwin, sent: int, expires: float) -> AsyncIterator[bytes]:
    one.streams += 1
    try:
        while time.time() < expires:
            while sent < len(one.steps):
                sent += 1
                yield b"id: %d\nevent: step\ndata: %s\n\n" % (sent, one.steps[sent - 1])
            if one.closed or one.twin.done:
                yield b"event: end\ndata: {}\n\n"
                return
            try:  # nothing is awaited between the check and this, so no step is missed
                await asyncio.wait_for(one.changed.wait(), min(HEARTBEAT, max(0.0, expires - time.time())))
            except TimeoutError:
                yield b": alive\n\n"
    finally:
        one.streams -= 1
