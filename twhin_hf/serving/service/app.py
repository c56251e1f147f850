"""The service over HTTP: JSON in, JSON out, errors in plain words."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timezone
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from twhin_hf.recommendation.top_k import Ranking
from twhin_hf.serving.service.events_log import Engagement
from twhin_hf.serving.service.gate import Gate, failure
from twhin_hf.serving.service.page import examples_page
from twhin_hf.serving.service.refused import Refused
from twhin_hf.serving.service.schemas import (
    EmbedAnswer,
    EmbedRequest,
    EventsAnswer,
    EventsRequest,
    Failure,
    Health,
    RecommendAnswer,
    RecommendRequest,
    SimilarAnswer,
    SimilarRequest,
)
from twhin_hf.serving.service.service import Service
from twhin_hf.serving.service.service_config import ServiceLimits
from twhin_hf.version import __version__

logger = logging.getLogger(__name__)

_MOST_ANSWERS = 20_000
"""Rows of an answer at most."""

_FEW_NUMBERS = 10_000
"""So many numbers are written at once; more are written while others are answered."""


def create_app(
    service: Service,
    limits: ServiceLimits,
    token: str | None = None,
    hosts: Collection[str] | None = None,
) -> FastAPI:
    """The application.

    Args:
        service: What answers.
        limits: Of requests.
        token: That clients must have; see `Gate`.
        hosts: By which it may be found; see `Gate`.
    """
    app = FastAPI(
        title="twhin_hf",
        version=__version__,
        description="Vectors of texts, and who will like which post.",
        docs_url=None,
        redoc_url=None,
        responses={code: {"model": Failure} for code in (400, 401, 404, 413, 422, 503)},
    )
    app.add_middleware(
        Gate,
        max_requests=limits.max_requests,
        max_body=limits.max_body,
        token=token,
        hosts=hosts,
    )
    _tell_errors(app)

    @app.get("/health", response_model=Health)
    async def health() -> Response:
        """Whether the service answers, and how much it knows."""
        return JSONResponse({"status": "ok", **service.counts})

    @app.post("/embed", response_model=EmbedAnswer)
    async def embed(asked: EmbedRequest) -> Response:
        """Vectors of texts, by the encoder of the model."""
        _check_items(limits, texts=asked.texts)
        _check_texts(limits, asked.texts)
        found = await service.embed(asked.texts)
        vectors = found.vectors if asked.space == "encoder" else service.vectors_of_new(found)
        return await _answer(
            lambda: {"vectors": vectors.tolist(), "dimension": vectors.shape[1]}, vectors.size
        )

    @app.post("/recommend", response_model=RecommendAnswer)
    async def recommend(asked: RecommendRequest) -> Response:
        """The posts that users will most likely engage with: of all, of some, or of new ones."""
        histories = asked.histories or []
        posts = asked.posts or []
        people = asked.users or histories
        _check_items(limits, users=people, posts=posts, post_ids=asked.post_ids or [])
        for history in histories:
            _check_items(limits, history=history)
        _check_texts(limits, [post.text for post in posts])
        _check_texts(limits, [post.post_id for post in posts])
        _check_k(limits, asked.k, len(people))
        ranking = await service.recommend(
            asked.users,
            asked.histories,
            None if asked.posts is None else [(post.post_id, post.text) for post in posts],
            asked.post_ids,
            asked.k,
            asked.exclude_seen,
        )
        return await _answer(lambda: {"recommendations": _rows(ranking)}, _size(ranking))

    @app.post("/similar", response_model=SimilarAnswer)
    async def similar(asked: SimilarRequest) -> Response:
        """Known posts that the same people would like as these posts or texts."""
        wanted = asked.post_ids or asked.texts or []
        _check_items(limits, items=wanted)
        _check_texts(limits, wanted)
        _check_k(limits, asked.k, len(wanted))
        ranking = await service.similar(asked.post_ids, asked.texts, asked.k)
        return await _answer(lambda: {"similar": _rows(ranking)}, _size(ranking))

    @app.post("/events", response_model=EventsAnswer)
    async def events(asked: EventsRequest) -> Response:
        """Takes new posts and engagements, which count at once."""
        _check_items(limits, posts=asked.posts, engagements=asked.engagements)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        posts = [(post.post_id, post.text) for post in asked.posts]
        told = [
            Engagement(
                one.user_id,
                one.post_id,
                one.relation,
                now if one.timestamp is None else one.timestamp,
            )
            for one in asked.engagements
        ]
        _check_texts(limits, [word for post in posts for word in post])
        _check_texts(limits, [str(word) for one in told for word in one])
        return JSONResponse((await service.add(posts, told))._asdict())

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        page = examples_page(app.openapi(), str(request.base_url))
        policy = "default-src 'none'; style-src 'unsafe-inline'"
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    return app


def _tell_errors(app: FastAPI) -> None:
    """Errors as JSON: what is wrong with a request, and of anything else nothing."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return failure(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        if not request.headers.get("content-type", "").startswith("application/json"):
            return failure(Refused(415, "send JSON, with Content-Type: application/json"))
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        said = first["msg"].removeprefix("Value error, ")
        if first["type"] == "json_invalid":
            return failure(Refused(400, f"the body is no JSON: {first['ctx']['error']}"))
        return failure(Refused(422, f"{place}: {said}" if place else said))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        return failure(Refused(error.status_code, f"{error.detail}; /docs shows what may be asked"))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return failure(Refused(500, "the service could not answer; its log tells why"))


async def _answer(content: Callable[[], Any], numbers: int) -> Response:
    def write() -> bytes:
        return json.dumps(content(), ensure_ascii=False, separators=(",", ":")).encode()

    body = write() if numbers <= _FEW_NUMBERS else await asyncio.to_thread(write)
    return Response(body, media_type="application/json")


def _rows(ranking: Ranking) -> list[list[dict[str, Any]]]:
    """Posts with score and probability, or with the cosine."""
    if not ranking.probabilities:
        return [
            [{"post_id": name, "cosine": value} for name, value in zip(ids, row, strict=True)]
            for ids, row in zip(ranking.ids, map(_numbers, ranking.scores), strict=True)
        ]
    return [
        [
            {"post_id": name, "score": score, "probability": chance}
            for name, score, chance in zip(ids, _numbers(scores), _numbers(chances), strict=True)
        ]
        for ids, scores, chances in zip(*ranking, strict=True)
    ]


def _numbers(values: Any) -> list[float]:
    return values.tolist()


def _size(ranking: Ranking) -> int:
    return 3 * sum(map(len, ranking.ids))


def _check_items(limits: ServiceLimits, **lists: Sequence[Any]) -> None:
    for name, items in lists.items():
        if len(items) > limits.max_items:
            raise Refused(
                413, f"{len(items):,} {name}; {limits.max_items:,} at most: send several requests"
            )


def _check_texts(limits: ServiceLimits, texts: Sequence[str]) -> None:
    longest = max(map(len, texts), default=0)
    if longest > limits.max_characters:
        raise Refused(
            413, f"a text of {longest:,} characters; {limits.max_characters:,} at most: cut it"
        )


def _check_k(limits: ServiceLimits, k: int, asked: int) -> None:
    if k > limits.max_k:
        raise Refused(422, f"k is {k:,}; {limits.max_k:,} at most")
    if k * asked > _MOST_ANSWERS:
        raise Refused(
            422, f"{asked:,} times {k:,} posts; {_MOST_ANSWERS:,} at most: send several requests"
        )
