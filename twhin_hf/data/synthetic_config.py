"""Options of `generate_network`; importing nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass

from twhin_hf.errors import InputError

LANGUAGES = ("en", "es", "ja", "ar", "ru", "hi")
"""Languages that posts can be generated in."""


@dataclass(frozen=True)
class SyntheticConfig:
    """Size and shape of the network.

    Args:
        num_users: Number of users.
        num_posts: Number of posts.
        num_engagements: Number of engagements drawn; repeats are dropped, so somewhat fewer remain.
        languages: Languages of the posts (en, es, ja, ar, ru, hi), the most frequent first.
        num_topics: Number of topics, which are what users are interested in.
        num_facets: Number of disjoint vocabularies of a topic in each language.
        words_per_facet: Number of words per facet.
        topics_per_user: Maximum number of topics a user follows; each follows 1 to this many.
        bilingual_share: Share of the users who read a second language.
        off_topic_share: Share of the engagements with any post in a language the user reads.
        topic_words: Minimum and maximum number of topic words per post.
        noise_words: Minimum and maximum number of common words per post.
        hashtag_share: Share of the posts with the hashtag of their facet.
        days: Number of days over which posts are written; half of the engagements with a post come
            within four hours.
        seed: Random seed.

    Raises:
        InputError: An unknown language, or a number that cannot work.
    """

    num_users: int = 5_000
    num_posts: int = 20_000
    num_engagements: int = 300_000
    languages: tuple[str, ...] = LANGUAGES
    num_topics: int = 16
    num_facets: int = 6
    words_per_facet: int = 6
    topics_per_user: int = 2
    bilingual_share: float = 0.5
    off_topic_share: float = 0.1
    topic_words: tuple[int, int] = (3, 7)
    noise_words: tuple[int, int] = (2, 6)
    hashtag_share: float = 0.25
    days: int = 7
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [language for language in self.languages if language not in LANGUAGES]
        if unknown or not self.languages:
            raise InputError(
                f"languages={self.languages}: one or more of {list(LANGUAGES)} are needed."
            )
        for name in (
            "num_users",
            "num_posts",
            "num_engagements",
            "num_topics",
            "num_facets",
            "days",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: at least 1 is needed.")
        if not 1 <= self.topics_per_user <= self.num_topics:
            raise InputError(
                f"topics_per_user={self.topics_per_user}: 1 to num_topics={self.num_topics}."
            )
