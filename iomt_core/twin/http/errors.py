"""Errors as responses: JSON with a list of `problems`, and a status."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from iomt_core.scenario import ScenarioError
from iomt_core.scenario.errors import shortened
from iomt_core.twin.access.errors import AuditError, BudgetSpentError, KeyFileError, RefusedError, TokenError
from iomt_core.twin.warehouse.errors import DamagedError, DiskFullError, KeyMissingError

LOG = logging.getLogger("iomt.http")
INVALID = 422
# The most special class first.
STATUS: tuple[tuple[type[ScenarioError], int], ...] = (
    (TokenError, HTTPStatus.UNAUTHORIZED),
    (RefusedError, HTTPStatus.NOT_FOUND),  # absent and forbidden look alike
    (BudgetSpentError, HTTPStatus.FORBIDDEN),
)
# Their messages name files of the server, which are nobody's business.
INTERNAL = (AuditError, KeyFileError, KeyMissingError, DamagedError, DiskFullError)


class StatusError(ScenarioError):
    """An error with its own status."""

    def __init__(self, status: int, problems: str | list[str]) -> None:
        super().__init__(problems)
        self.status = int(status)


class Json(Response):
    """A response as JSON; NaN becomes null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The content as bytes."""
        return to_json(content)


def to_json(content: Any) -> bytes:
    """JSON, also of numpy arrays."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def problems(status: int, texts: list[str]) -> Json:
    """An error as a response."""
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "1"
    return Json({"problems": [encodable(text) for text in texts]}, status, headers)


def encodable(text: str) -> str:
    """The text with "?" for halves of surrogate pairs, which JSON may contain and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def add_handlers(app: FastAPI) -> None:
    """Lets the app answer every error with `problems`."""
    app.add_exception_handler(ScenarioError, _scenario_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


def _scenario_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ScenarioError)
    if isinstance(error, INTERNAL):
        LOG.error("%s %s: %s", request.method, request.scope["route"].path, error)
        return problems(HTTPStatus.SERVICE_UNAVAILABLE, ["the server cannot use its store now; its log says why."])
    if isinstance(error, StatusError):
        return problems(error.status, error.problems)
    status = next((status for kind, status in STATUS if isinstance(error, kind)), INVALID)
    return problems(status, error.problems)


def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    texts = []
    for one in error.errors()[:10]:
        where = ".".join(str(part) for part in one["loc"][1:] or one["loc"])[:60]
        texts.append(
            f"{where} = {shortened(one.get('input'))} cannot be used: {one['msg'][0].lower()}{one['msg'][1:]}."
        )
    return problems(INVALID, texts)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problems(error.status_code, [f"{str(error.detail).lower()}: see /docs for all paths."])


def _unexpected(request: Request, error: Exception) -> Response:
    return problems(HTTPStatus.INTERNAL_SERVER_ERROR, ["the server made an error; its log says which."])
