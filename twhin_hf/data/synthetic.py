"""A small, seeded, multilingual social network for quickstarts and tests.

Users have interests (topics), posts are written in several languages and scripts, and users
engage with posts of their topics. What makes it a test of *social* pretraining: in each language
a topic has several facets with disjoint words, and a post is written from one facet. Co-occurring
words therefore tell the facet, and only the users, who like a topic in all its facets and in all
the languages they read, tell which facets belong together.

Word `s` of a facet means the same in every language, so posts have exact translations.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twhin_hf.data.synthetic_config import SyntheticConfig
from twhin_hf.errors import InputError
from twhin_hf.files import new_file

RELATIONS = ("like", "repost", "reply")
RELATION_SHARES = (0.8, 0.13, 0.07)
EMOJI = tuple("😀😂😍🔥🎉👏💯🙏🤔😢⚽🎵🌍🌸👀✨")

# Each language: consonants and vowels that its syllables are made of.
SYLLABLES = {
    "en": ("b c d f g h k l m n p r s t w br st th sh", "a e i o u ea oo"),
    "es": ("b c d f g j l m n ñ p r s t v qu ll rr", "a e i o u á é í ó ue"),
    "ja": (
        "日 本 東 山 川 田 花 火 水 木 空 海 音 楽 食 車 町 新 白 黒 電 話 学 力",
        "の か き く さ し た て",
    ),
    "ar": ("ب ت ث ج ح خ د ر ز س ش ص ط ع ف ق ك ل م ن ه", "ا و ي"),
    "ru": ("б в г д ж з к л м н п р с т х ц ч ш", "а е и о у ы я ю"),
    "hi": ("क ख ग च ज ट ड त द न प ब भ म य र ल व स ह", "ा ि ी ु ू े ै ो"),
}
FIRST_DAY = 1_704_067_200  # 2024-01-01, seconds since 1970
HALF_LIFE = 4 * 3600  # seconds after which half of a post's engagements are there
COMMON = 120  # common words a language
MOST = 20.0  # times the activity or popularity that the most active user or popular post has
UNSPACED = {"ja"}


@dataclass(frozen=True)
class SyntheticNetwork:
    """The generated tables.

    Args:
        posts: `post_id`, `text`, `lang`, `timestamp` (seconds since 1970), and what they were
            written from: `topic`, `facet`.
        engagements: `user_id`, `post_id`, `relation`, `timestamp`.
        users: `user_id`, and the `topics` and `languages` (lists) the user likes.
    """

    posts: pa.Table
    engagements: pa.Table
    users: pa.Table

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write posts.parquet and engagements.parquet, the inputs of every other command."""
        folder = Path(directory)
        tables = {"posts": self.posts, "engagements": self.engagements}
        for name, table in tables.items():
            with new_file(folder / f"{name}.parquet") as path:
                pq.write_table(table, path)


def generate_network(config: SyntheticConfig | None = None) -> SyntheticNetwork:
    """Generate users, posts and engagements; equal configs give equal tables."""
    config = config or SyntheticConfig()
    rng = np.random.default_rng([config.seed, 1])
    topics = rng.integers(config.num_topics, size=config.num_posts)
    facets = rng.integers(config.num_facets, size=config.num_posts)
    languages = rng.choice(len(config.languages), size=config.num_posts, p=_shares(config))
    texts = _write(config, _lexicons(config), topics, facets, languages, rng)
    liked, read = _interests(config, rng)
    users, rows, relations = _engage(config, topics, languages, liked, read, rng)
    written, engaged = _times(config, rows)
    names = np.array(config.languages)
    post_ids = pa.array([f"p{row}" for row in range(config.num_posts)])
    user_ids = pa.array([f"u{row}" for row in range(config.num_users)])
    return SyntheticNetwork(
        posts=pa.table(
            {
                "post_id": post_ids,
                "text": texts,
                "lang": names[languages],
                "timestamp": written,
                "topic": topics,
                "facet": facets,
            }
        ),
        engagements=pa.table(
            {
                "user_id": user_ids.take(pa.array(users)),
                "post_id": post_ids.take(pa.array(rows)),
                "relation": np.array(RELATIONS)[relations],
                "timestamp": engaged,
            }
        ),
        users=pa.table(
            {
                "user_id": user_ids,
                "topics": [sorted(set(row)) for row in liked.tolist()],
                "languages": [sorted(set(row)) for row in names[read].tolist()],
            }
        ),
    )


def _times(config: SyntheticConfig, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """When each post was written and each engagement happened, soon after; from draws of their own.

    Args:
        config: Days and seed.
        rows: Post of each engagement, `[engagements]`.
    """
    rng = np.random.default_rng([config.seed, 4])
    written = FIRST_DAY + rng.integers(config.days * 86_400, size=config.num_posts)
    delays = rng.exponential(HALF_LIFE / np.log(2), size=len(rows))
    return written, written[rows] + delays.astype(np.int64)


def translation_pairs(
    config: SyntheticConfig, num_pairs: int, lang_a: str, lang_b: str, seed: int = 0
) -> pa.Table:
    """Texts in the network's words and their translations.

    Args:
        config: That of the network: the same words with the same meaning.
        num_pairs: Rows.
        lang_a: Language of `text_a`, one of the config's.
        lang_b: Language of `text_b`, one of the config's.
        seed: Seed of the texts; the words depend on the config alone.

    Returns:
        `text_a`, `text_b`, `lang_a`, `lang_b`, `source`.
    """
    for language in (lang_a, lang_b):
        if language not in config.languages:
            raise InputError(f"{language!r} is none of the network's {config.languages}.")
    rng = np.random.default_rng([config.seed, 2, seed])
    lexicons = _lexicons(config)
    fewest, most = config.topic_words
    common = len(next(iter(lexicons.values())).common)
    pairs = []
    for _ in range(num_pairs):
        topic, facet = rng.integers(config.num_topics), rng.integers(config.num_facets)
        senses = rng.integers(config.words_per_facet, size=rng.integers(fewest, most + 1))
        noise = rng.integers(common, size=rng.integers(*config.noise_words, endpoint=True))
        order = rng.permutation(len(senses) + len(noise))
        texts = []
        for language in (lang_a, lang_b):
            words = np.append(
                lexicons[language].topical[topic, facet, senses], lexicons[language].common[noise]
            )
            texts.append(_join(words[order].tolist(), language))
        pairs.append(texts)
    return pa.table(
        {
            "text_a": [first for first, _ in pairs],
            "text_b": [second for _, second in pairs],
            "lang_a": [lang_a] * num_pairs,
            "lang_b": [lang_b] * num_pairs,
            "source": ["synthetic"] * num_pairs,
        }
    )


@dataclass(frozen=True)
class _Lexicon:
    topical: np.ndarray  # words [topics, facets, words_per_facet]
    common: np.ndarray  # words [COMMON]


def _lexicons(config: SyntheticConfig) -> dict[str, _Lexicon]:
    """Distinct words of each language; a language's words do not depend on the others."""
    shape = (config.num_topics, config.num_facets, config.words_per_facet)
    needed = int(np.prod(shape)) + COMMON
    lexicons = {}
    for language in config.languages:
        rng = np.random.default_rng([config.seed, 3, list(SYLLABLES).index(language)])
        consonants, vowels = (part.split() for part in SYLLABLES[language])
        syllables = np.array([first + second for first in consonants for second in vowels])
        words: dict[str, None] = {}
        while len(words) < needed:
            drawn = syllables[rng.integers(len(syllables), size=(needed, 3))]
            length = rng.integers(2, 4, size=needed)
            words |= dict.fromkeys("".join(d[:n]) for d, n in zip(drawn, length, strict=True))
        chosen = np.array(list(words)[:needed], dtype=object)
        lexicons[language] = _Lexicon(chosen[COMMON:].reshape(shape), chosen[:COMMON])
    return lexicons


def _shares(config: SyntheticConfig) -> np.ndarray:
    weights = 1.0 / np.arange(1, len(config.languages) + 1) ** 0.7
    return weights / weights.sum()


def _join(words: list[str], language: str) -> str:
    return ("" if language in UNSPACED else " ").join(words)


def _write(
    config: SyntheticConfig,
    lexicons: dict[str, _Lexicon],
    topics: np.ndarray,
    facets: np.ndarray,
    languages: np.ndarray,
    rng: np.random.Generator,
) -> list[str]:
    """Texts: topic words and common words in random order, then what posts are decorated with."""
    count = len(topics)
    most_topical, most_noise = config.topic_words[1], config.noise_words[1]
    num_topical = rng.integers(*config.topic_words, size=count, endpoint=True)
    num_noise = rng.integers(*config.noise_words, size=count, endpoint=True)
    senses = rng.integers(config.words_per_facet, size=(count, most_topical))
    noise = np.minimum(rng.zipf(1.5, size=(count, most_noise)), COMMON) - 1
    order = rng.random((count, most_topical + most_noise))
    decorated = rng.random((count, 4)) < (0.2, config.hashtag_share, 0.2, 0.25)
    details = rng.integers(2**31, size=(count, 3))
    texts = []
    for row in range(count):
        language = config.languages[languages[row]]
        lexicon = lexicons[language]
        facet = lexicon.topical[topics[row], facets[row]]
        words = [
            *facet[senses[row, : num_topical[row]]],
            *lexicon.common[noise[row, : num_noise[row]]],
        ]
        parts = [_join([words[place] for place in np.argsort(order[row, : len(words)])], language)]
        mention, hashtag, emoji, url = decorated[row]
        if mention:
            parts.insert(0, f"@u{details[row, 0] % config.num_users}")
        if hashtag:
            parts.append(f"#{facet[0]}")
        if emoji:
            parts.append(EMOJI[details[row, 1] % len(EMOJI)])
        if url:
            parts.append(f"https://t.co/{details[row, 2]:x}")
        texts.append(" ".join(parts))
    return texts


def _interests(config: SyntheticConfig, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Topics [users, topics_per_user] and languages [users, 2]; a repeat stands for 'no other'."""
    users = config.num_users
    liked = rng.random((users, config.num_topics)).argsort(axis=1)[:, : config.topics_per_user]
    followed = rng.integers(1, config.topics_per_user, size=users, endpoint=True)
    liked = np.where(np.arange(config.topics_per_user) < followed[:, None], liked, liked[:, :1])
    read = rng.choice(len(config.languages), size=(users, 2), p=_shares(config))
    bilingual = rng.random(users) < config.bilingual_share
    return liked, np.where(bilingual[:, None], read, read[:, :1])


def _engage(
    config: SyntheticConfig,
    topics: np.ndarray,
    languages: np.ndarray,
    liked: np.ndarray,
    read: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct (user, post, relation); activity and popularity follow power laws."""
    activity = np.cumsum(np.minimum(rng.pareto(1.5, size=config.num_users) + 0.3, MOST))
    popularity = np.minimum(rng.pareto(1.5, size=config.num_posts) + 0.3, MOST)
    draws = rng.random(max(config.num_engagements - config.num_users, 0)) * activity[-1]
    users = np.append(np.arange(config.num_users), np.searchsorted(activity, draws))
    users = np.minimum(users[: config.num_engagements], config.num_users - 1)
    count = len(users)
    topic = liked[users, rng.integers(config.topics_per_user, size=count)]
    off_topic = rng.random(count) < config.off_topic_share
    topic = np.where(off_topic, rng.integers(config.num_topics, size=count), topic)
    language = read[users, rng.integers(2, size=count)]
    # Posts lie sorted by language and topic; a draw is a point on that cell's popularity.
    cells = languages * config.num_topics + topics
    order = np.argsort(cells, kind="stable")
    total = np.append(0.0, np.cumsum(popularity[order]))
    cell = language * config.num_topics + topic
    starts = np.searchsorted(cells[order], cell, side="left")
    ends = np.searchsorted(cells[order], cell, side="right")
    inhabited = ends > starts
    points = total[starts] + rng.random(count) * (total[ends] - total[starts])
    places = np.clip(np.searchsorted(total, points, side="right") - 1, starts, ends - 1)
    rows = order[places[inhabited]]
    relations = rng.choice(len(RELATIONS), size=count, p=RELATION_SHARES)[inhabited]
    keys = (users[inhabited] * config.num_posts + rows) * len(RELATIONS) + relations
    keys = rng.permutation(np.unique(keys))
    pairs, relations = np.divmod(keys, len(RELATIONS))
    users, rows = np.divmod(pairs, config.num_posts)
    return users, rows, relations
