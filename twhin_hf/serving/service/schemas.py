"""Requests and answers of the service, with an example of each."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_HALF = re.compile("[\ud800-\udfff]")


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("it is empty")
    # Halves of characters, which JSON may hold and no file can.
    return _HALF.sub("\ufffd", value)


Text = Annotated[str, AfterValidator(_not_blank)]
Id = Annotated[str, AfterValidator(_not_blank)]


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [example]})


class Post(BaseModel):
    """A new post."""

    model_config = _example({"post_id": "p9", "text": "new volcano photos"})
    post_id: Id
    text: Text


class EmbedRequest(BaseModel):
    """Texts to embed."""

    model_config = _example({"texts": ["new volcano photos", "¡el volcán!"]})
    texts: Annotated[list[Text], Field(min_length=1)]
    space: Annotated[
        Literal["encoder", "posts"],
        Field(description="The encoder's vectors, or those of posts that a user's vector scores."),
    ] = "encoder"


class EmbedAnswer(BaseModel):
    """Vectors in the order of the texts."""

    model_config = _example({"vectors": [[0.11, -0.02, 0.4], [0.09, -0.05, 0.38]], "dimension": 3})
    vectors: list[list[float]]
    dimension: int


class RecommendRequest(BaseModel):
    """Whom to recommend to, and from what."""

    model_config = _example(
        {"users": ["u1"], "posts": [{"post_id": "p9", "text": "new volcano photos"}], "k": 5}
    )
    users: Annotated[list[Id] | None, Field(min_length=1, description="Known users.")] = None
    histories: Annotated[
        list[list[Id]] | None,
        Field(
            min_length=1,
            description="In place of users: ids of posts that each person engaged with. An empty "
            "one asks for what holds for anybody.",
        ),
    ] = None
    posts: Annotated[
        list[Post] | None, Field(min_length=1, description="New posts to choose from.")
    ] = None
    post_ids: Annotated[
        list[Id] | None,
        Field(min_length=1, description="Known posts to choose from (default: all)."),
    ] = None
    k: Annotated[int, Field(ge=1, description="Posts for each; fewer where fewer are left.")] = 10
    exclude_seen: Annotated[
        bool, Field(description="Leave out what a user has engaged with already.")
    ] = True

    @model_validator(mode="after")
    def _check(self) -> RecommendRequest:
        if (self.users is None) == (self.histories is None):
            raise ValueError("give users or histories: one of them")
        if self.posts is not None and self.post_ids is not None:
            raise ValueError("give posts or post_ids, not both")
        return self


class Recommended(BaseModel):
    """A post for somebody."""

    post_id: str
    score: float
    probability: float


class RecommendAnswer(BaseModel):
    """For each user or history the best posts, best first."""

    model_config = _example(
        {"recommendations": [[{"post_id": "p9", "score": 4.2, "probability": 0.013}]]}
    )
    recommendations: list[list[Recommended]]


class SimilarRequest(BaseModel):
    """What to find posts like."""

    model_config = _example({"texts": ["new volcano photos"], "k": 5})
    post_ids: Annotated[list[Id] | None, Field(min_length=1, description="Known posts.")] = None
    texts: Annotated[list[Text] | None, Field(min_length=1, description="Or any texts.")] = None
    k: Annotated[int, Field(ge=1)] = 10

    @model_validator(mode="after")
    def _check(self) -> SimilarRequest:
        if (self.post_ids is None) == (self.texts is None):
            raise ValueError("give post_ids or texts: one of them")
        return self


class SimilarPost(BaseModel):
    """A known post."""

    post_id: str
    cosine: float


class SimilarAnswer(BaseModel):
    """For each post or text the nearest known posts, nearest first."""

    model_config = _example({"similar": [[{"post_id": "p4", "cosine": 0.93}]]})
    similar: list[list[SimilarPost]]


class EngagementEvent(BaseModel):
    """Somebody has engaged with a post."""

    model_config = ConfigDict(extra="forbid")
    user_id: Id
    post_id: Id
    relation: Id = "engage"
    timestamp: Annotated[
        str | int | None, Field(description="When (default: when the service was told).")
    ] = None


class EventsRequest(BaseModel):
    """What has happened; the same again changes nothing."""

    model_config = _example(
        {
            "posts": [{"post_id": "p9", "text": "new volcano photos"}],
            "engagements": [
                {
                    "user_id": "u1",
                    "post_id": "p9",
                    "relation": "like",
                    "timestamp": "2026-01-31T12:00:00Z",
                }
            ],
        }
    )
    posts: list[Post] = []
    engagements: list[EngagementEvent] = []


class EventsAnswer(BaseModel):
    """How much of it was new."""

    model_config = _example({"new_posts": 1, "new_users": 0, "new_engagements": 1})
    new_posts: int
    new_users: int
    new_engagements: int


class Health(BaseModel):
    """The service answers."""

    model_config = _example({"status": "ok", "users": 4973, "posts": 12190})
    status: str
    users: int
    posts: int


class Failure(BaseModel):
    """What is wrong, and how to mend it."""

    model_config = _example({"error": "1 of 1 users are unknown ('u0' for one); send …"})
    error: str
