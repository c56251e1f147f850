"""What every request passes before it is read: number, host, token, size."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Collection

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twhin_hf.serving.service.refused import Refused

OPEN = ("/health", "/docs", "/openapi.json")
"""What is answered without a token: it tells nothing of anybody."""

_BODY_SECONDS = 20.0
"""In which a request must arrive: it takes the place of another meanwhile."""


def failure(refused: Refused) -> JSONResponse:
    """The answer to what is refused."""
    headers = {} if refused.retry_after is None else {"Retry-After": str(refused.retry_after)}
    if refused.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": refused.message}, refused.status, headers)


class Gate:
    """Lets a request through, or refuses it.

    Args:
        app: What answers.
        max_requests: Requests under way at once.
        max_body: Bytes of a request at most.
        token: That a client must have; None lets everybody in.
        hosts: Names that a browser may have found the service by; None for any. A page of another
            site could else reach a service of this machine by a name of its own.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_requests: int,
        max_body: int,
        token: str | None = None,
        hosts: Collection[str] | None = None,
    ):
        self._app, self._max_requests, self._max_body = app, max_requests, max_body
        self._token = None if token is None else token.encode()
        self._hosts = hosts
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._under_way += 1
        try:
            body = await self._admit(scope, receive)
        except Refused as refused:
            await failure(refused)(scope, receive, send)
        else:
            await self._app(scope, _again(body, receive), send)
        finally:
            self._under_way -= 1

    async def _admit(self, scope: Scope, receive: Receive) -> bytes:
        """The body of a request that may be answered."""
        headers = dict(scope["headers"])
        host = _without_port(headers.get(b"host", b"").decode("latin-1"))
        if self._hosts is not None and host not in self._hosts:
            raise Refused(421, "this service answers to localhost alone")
        is_open = scope["path"] in OPEN
        if self._under_way > self._max_requests and not is_open:
            raise Refused(503, "too many requests are under way; come again", retry_after=1)
        if self._token is not None and not is_open:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
                raise Refused(401, "give the service's token: Authorization: Bearer TOKEN")
        too_large = Refused(413, f"the request is larger than {self._max_body:,} bytes; send less")
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._max_body:
            raise too_large
        try:
            return await asyncio.wait_for(_body(receive, self._max_body, too_large), _BODY_SECONDS)
        except asyncio.TimeoutError:
            raise Refused(408, "the request did not arrive in time; send it again") from None


async def _body(receive: Receive, most: int, too_large: Refused) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise too_large
        if message["type"] != "http.request" or not message.get("more_body"):
            return b"".join(parts)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read already."""
    is_given = False

    async def give() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give
