"""The application: routes, limits, and the page that describes the interface."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from html import escape
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from iomt_core.scenario import ScenarioError
from iomt_core.twin.http.errors import add_handlers, problems
from iomt_core.twin.http.routes import router
from iomt_core.twin.http.service import Service

SWEEP = 10.0  # seconds between searches for idle twins, and for refused tokens that were not counted yet
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}
METHODS = ("get", "post", "delete")


def create_app(service: Service) -> FastAPI:
    """The application for a service, which it closes at the end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep(service))
        try:
            yield
        finally:
            sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await sweeping
            service.close()

    app = FastAPI(
        title="IoMT Twin Lab, northbound interface",
        version="1",
        description="Twins of a medical ward to step, fork and ask. Errors are JSON with a list of `problems`.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page loads scripts from another server
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(router)
    app.get("/docs", include_in_schema=False)(description)
    app.add_middleware(Limits, body=service.limits.body)
    add_handlers(app)
    return app


async def _sweep(service: Service) -> None:
    while True:
        await asyncio.sleep(SWEEP)
        service.twins.close_idle()
        with suppress(ScenarioError):  # a log that cannot be written; requests say so
            await service.store.run(service.gate.count_refused)


class Limits:
    """Refuses bodies that are too large, and adds `HEADERS` to every response."""

    def __init__(self, app: ASGIApp, body: int) -> None:
        self._app, self._body = app, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._body:  # also where no length was given before
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large())
            return message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdigit() or int(length[:20]) > self._body:
            refused = problems(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, [f"{self._too_large()}."])
            await refused(scope, receive, with_headers)
            return
        await self._app(scope, limited, with_headers)

    def _too_large(self) -> str:
        return f"the body is too large, allowed are {self._body} bytes"


def description(request: Request) -> Response:
    """The page that describes all paths, made from the OpenAPI schema, without scripts."""
    schema = request.app.openapi()
    rows = []
    for path, operations in schema["paths"].items():
        for method in METHODS:
            if method in operations:
                one = operations[method]
                names = ", ".join(p["name"] for p in one.get("parameters", ()) if p["in"] == "query")
                content = one.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
                body = _fields(schema, content)
                cells = (method.upper(), path, names, body, one["description"])
                rows.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    heads = "".join(f"<th scope=col>{name}</th>" for name in ("method", "path", "query", "JSON body", "what it does"))
    return HTMLResponse(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(schema['info']['title'])}</title>"
        "<style>body{font:16px sans-serif;margin:2em}td,th{text-align:left;padding:.3em 1em .3em 0;vertical-align:top}</style>"
        f"<h1>{escape(schema['info']['title'])}</h1><p>{escape(schema['info']['description'])} "
        "Send a token as <code>Authorization: Bearer TOKEN</code>. The schema is <a href=openapi.json>openapi.json</a>.</p>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></html>"
    )


def _fields(schema: dict[str, object], content: dict[str, object]) -> str:
    """Names of the fields of a request's body."""
    text = str(content)
    models: dict[str, dict[str, dict[str, object]]] = schema.get("components", {}).get("schemas", {})  # type: ignore[attr-defined]
    return next((", ".join(one["properties"]) for name, one in models.items() if f"/{name}'" in text), "")
