"""A service from its start to its end: the model is warm before the port opens."""

from __future__ import annotations

import gc
import ipaddress
import logging
import os
import socket
import sys
from pathlib import Path

import uvicorn

from twhin_hf.errors import InputError
from twhin_hf.printing import report
from twhin_hf.recommendation.model import EngagementModel, PostIndex
from twhin_hf.serving.service.app import create_app
from twhin_hf.serving.service.events_log import EventsLog
from twhin_hf.serving.service.service import Service, replay
from twhin_hf.serving.service.service_config import ServiceLimits

logger = logging.getLogger(__name__)

TOKEN = "TWHIN_HF_TOKEN"
"""The variable that holds the service's token: on a command line others could read it."""

_LEAST_TOKEN = 16
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_BACKLOG = 2048
_SWITCH_SECONDS = 0.0005
"""How long a thread of Python may keep the others waiting: encoding must not hold up answers."""

_GRACE_SECONDS = 30

_IDLE_SECONDS = 75
"""Beyond the 60 that proxies keep a connection: it must be they who close it."""


class _Server(uvicorn.Server):
    """Says when the port is open."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for one in sockets or []:
            host, port = one.getsockname()[:2]
            address = f"[{host}]" if ":" in host else host
            report(
                f"Serving on http://{address}:{port} (examples: /docs; SIGTERM or Ctrl-C ends it)"
            )


def run_service(
    model: EngagementModel,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    limits: ServiceLimits | None = None,
    events_log: str | Path | None = None,
    index: PostIndex | None = None,
) -> None:
    """Answers until SIGTERM or SIGINT comes; requests under way are answered first.

    Args:
        model: The model; it changes with the events.
        host: Address to listen at; another than this machine's own is for everybody who reaches it.
        port: Port; 0 takes a free one.
        limits: Of requests.
        events_log: File that events are added to, and taken from again at the start.
        index: Of the model's post vectors, in which questions without posts look.

    Raises:
        InputError: The port is taken, the token is too short, or the events log cannot be used.
    """
    token = read_token()
    is_local = _is_local(host)
    if not is_local and token is None:
        logger.warning(
            "Whoever reaches %s may ask for everything and add events. Set %s to a secret of %d "
            "characters or more, or leave --host out",
            host,
            TOKEN,
            _LEAST_TOKEN,
        )
    bound = bind(host, port)
    try:
        log = None if events_log is None else EventsLog(events_log)
        if log is not None and (log.posts or log.engagements):
            taken = replay(model, log)
            report(f"Taken from {events_log}", taken._asdict())
        limits = limits or ServiceLimits()
        service = Service(model, limits, log, index)
        try:
            service.warm()
            app = create_app(service, limits, token, _LOCAL if is_local else None)
            _serve(app, bound)
        finally:
            service.close()
    finally:
        bound.close()


def _serve(app: object, bound: socket.socket) -> None:
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        backlog=_BACKLOG,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    # The model's objects never go: looking through them again and again would hold up answers.
    gc.collect()
    gc.freeze()
    try:
        _Server(config).run(sockets=[bound])
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)


def read_token() -> str | None:
    """The service's token; None where the variable is not set.

    Raises:
        InputError: It is too short to be a secret, or cannot stand in a header.
    """
    token = os.environ.get(TOKEN)
    if token is None:
        return None
    if len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            f"{TOKEN} holds {len(token)} characters; needed are {_LEAST_TOKEN} or more of ASCII "
            "without spaces, such as `openssl rand -hex 32` gives"
        )
    return token


def bind(host: str, port: int) -> socket.socket:
    """A socket that is this process's; nobody is heard before it listens.

    Raises:
        InputError: The port is taken or may not be used, or there is no such host.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"port {port} of {host} cannot be used ({error}); give another --port or --host"
        ) from error
    return bound


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
