"""Which permission a path needs."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from iomt_core.twin.access import Grant, RefusedError, Resource, TokenError, warehouse_of
from iomt_core.twin.http.errors import StatusError
from iomt_core.twin.http.service import Service

Credentials = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(HTTPBearer(auto_error=False, bearerFormat="JWT", description="`iomt warehouse token IDENTITY DIR`")),
]
UserPath = Annotated[int, Path(ge=1, le=10**9, description="Number of the user in the ward.")]


def service_of(request: Request) -> Service:
    """The server's state."""
    service: Service = request.app.state.service
    return service


async def _authorise(request: Request, given: HTTPAuthorizationCredentials | None, action: str, r: Resource) -> Grant:
    if given is None:
        raise TokenError("a token is needed: send the header `Authorization: Bearer TOKEN`.")
    return await service_of(request).authorise(given.credentials, action, r)


class Needs:
    """A dependency: the token permits this action on a resource of the whole ward."""

    def __init__(self, action: str, resource: Resource) -> None:
        self.action, self.resource = action, resource

    async def __call__(self, request: Request, credentials: Credentials) -> Grant:
        """The grant. That these resources exist is public, so a refusal says "forbidden"."""
        try:
            return await _authorise(request, credentials, self.action, self.resource)
        except RefusedError as error:
            raise StatusError(HTTPStatus.FORBIDDEN, error.problems) from None


class NeedsOwn:
    """A dependency: the token permits this action on the warehouse of the user in the path. Refused looks like absent."""

    def __init__(self, action: str) -> None:
        self.action = action

    async def __call__(self, request: Request, credentials: Credentials, user: UserPath) -> Grant:
        """The grant."""
        return await _authorise(request, credentials, self.action, warehouse_of(user))
