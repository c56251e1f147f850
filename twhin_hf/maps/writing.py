"""A map of posts: from files of vectors, posts and a network to one page."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twhin_hf.data.posts import read_posts
from twhin_hf.errors import InputError
from twhin_hf.evaluation.alignment import available_methods
from twhin_hf.evaluation.audience import AudienceAgreement, audience_agreement
from twhin_hf.evaluation.baselines import TFIDF, tfidf_svd
from twhin_hf.files import write_text
from twhin_hf.maps.audiences import Audiences, audiences_of
from twhin_hf.maps.classes import Classes, clusters, languages
from twhin_hf.maps.layout import layouts
from twhin_hf.maps.map_config import FEWEST_POSTS, Coloring, MapConfig
from twhin_hf.maps.page import MapContent, map_page
from twhin_hf.network.folder import Network, load_network
from twhin_hf.network.near_duplicates import normalize_texts
from twhin_hf.privacy.people import SUBSTITUTE, mask_people
from twhin_hf.serving.search import vectors_made_with
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import TableSource, read_errors, read_ids, read_parquet

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

AFTER, BEFORE, ALONE = "after training", "before training", "this encoder"
_CHARACTERS = 160
"""A hover shows no more, and 5,000 such texts of any script stay below 3 MB."""
_ROWS_PER_BLOCK = 16_384


class MapReport(NamedTuple):
    """What was written.

    Args:
        num_posts: Posts on the map.
        colorings: What it can be coloured by.
        agreement: How far neighbours share an audience; None where no audience is known.
        notes: What the page says of how it was made.
    """

    num_posts: int
    colorings: list[str]
    agreement: AudienceAgreement | None
    notes: list[str]


def write_map(
    vectors: str | Path,
    posts: TableSource,
    output: str | Path,
    config: MapConfig | None = None,
    *,
    before: str | Path | None = None,
    network: str | Path | None = None,
    engagements: TableSource | None = None,
    held_out: TableSource | None = None,
    columns: Mapping[str, str] | None = None,
    post_columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    memory_limit: str = "1GB",
    overwrite: bool = False,
) -> MapReport:
    """Writes a page that shows a sample of posts as an encoder sees them, and opens from a disk.

    Posts are coloured by language, topic (k-means of the vectors, named by words) or audience
    (k-means of the mean network vectors of who engaged). Where audiences are known, the page also
    says how often the nearest neighbours of a post share its audience (`audience_agreement`), by
    this encoder, by the one before training, by words alone, and by chance.

    The page holds no ids. Names and ids of people in texts are `@user`.

    Args:
        vectors: File of `embed_posts`.
        posts: Posts (post_id, text, lang).
        output: HTML file to write.
        config: What the map shows.
        before: Vectors of the same posts by the encoder before training.
        network: Network folder: its users' vectors place the audiences, and its engagements are
            taken where there is no log.
        engagements: Engagement log: who engaged with the posts, those included that the network
            was not made of.
        held_out: Table of `post_id`: only these posts are shown and counted, such as those that
            training has not seen.
        columns: What the log calls a column.
        post_columns: What the posts call a column.
        table_format: How text tables are written.
        memory_limit: Most memory of the readers.
        overwrite: Replace the output where it is there.

    Raises:
        FileExistsError: The output is there.
        FileNotFoundError: A file or folder is missing.
        InputError: A file of other columns or damaged, fewer than 10 posts that all of them have,
            an asked-for colour that the data do not allow, a log or network in which no two of the
            posts have a person in common, or UMAP where it is not installed.

    Example:
        >>> write_map("after.parquet", "posts.parquet", "map.html")  # doctest: +SKIP
    """
    config, output = config or MapConfig(), Path(output)
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} is there; remove it, or give another output.")
    if config.method not in available_methods():
        raise InputError("UMAP is not installed: pip install 'twhin_hf[umap]', or take t-SNE.")
    files = {AFTER: vectors, BEFORE: before} if before is not None else {ALONE: vectors}
    models = {name: vectors_made_with(path).get("model") for name, path in files.items()}
    learnt = None if network is None else load_network(network)
    read = read_posts(
        posts, columns=post_columns, table_format=table_format, memory_limit=memory_limit
    ).dataset
    ids = {name: _ids(path) for name, path in files.items()}
    chosen = _sample(
        read,
        [*ids.values(), *_given_ids(held_out, table_format, memory_limit)],
        config,
    )
    table = read.with_format("arrow")[chosen]
    post_ids, texts = (table[name].combine_chunks() for name in ("post_id", "text"))
    codes = table["lang"].to_pylist()
    found = {name: _vectors_of(path, ids[name], post_ids) for name, path in files.items()}
    people = audiences_of(
        post_ids,
        learnt,
        engagements,
        columns=columns,
        table_format=table_format,
        memory_limit=memory_limit,
    )
    agreement = None
    if people is not None:
        copies = pc.dictionary_encode(normalize_texts(texts)).indices.to_numpy()
        compared = found | _words_alone(texts.to_pylist())
        agreement = audience_agreement(
            compared, people.engaged, copies, languages=codes, k=config.k, seed=config.seed
        )
    shown = shown_texts(texts)
    colorings = _colorings(
        config, codes, next(iter(found.values())), shown if config.texts else None, people
    )
    notes = list(_notes(config, len(read), models, post_ids, agreement))
    training = "" if agreement is None else _of_training(learnt, post_ids, held_out is not None)
    content = MapContent(
        layouts=dict(reversed(layouts(found, config.method, config.seed).items())),
        colorings=colorings,
        languages=codes,
        texts=[text[:_CHARACTERS] for text in shown] if config.texts else None,
        people=None
        if people is None
        else [number or None for number in np.diff(people.engaged.indptr).tolist()],
        agreement=agreement,
        training=training,
        notes=notes,
    )
    write_text(output, map_page(content))
    return MapReport(len(codes), list(colorings), agreement, [*notes, *filter(None, [training])])


def _ids(vectors: str | Path) -> pa.Array:
    return read_parquet(Path(vectors), ["post_id"])["post_id"].combine_chunks().cast(pa.string())


def _given_ids(
    held_out: TableSource | None, table_format: TableFormat | None, memory_limit: str
) -> Iterator[pa.ChunkedArray]:
    if held_out is not None:
        yield read_ids(held_out, table_format=table_format, memory_limit=memory_limit)


def _sample(posts: Dataset, others: list[pa.Array], config: MapConfig) -> np.ndarray:
    """Rows of posts that all the others have, drawn at random, in the order of the draw."""
    own = posts.select_columns(["post_id"]).with_format("arrow")[:]["post_id"]
    is_there = np.ones(len(own), bool)
    for ids in others:
        is_there &= pc.is_in(own, value_set=ids).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(is_there)
    if len(rows) < FEWEST_POSTS:
        raise InputError(
            f"{len(rows)} of {len(own):,} posts have vectors in every file, and are held out where "
            f"that is asked for; at least {FEWEST_POSTS} are needed. Embed these posts, with both "
            "encoders."
        )
    # The order tells nothing of the posts' ids, or of when they were written.
    return np.random.default_rng(config.seed).permutation(rows)[: config.sample]


def _vectors_of(vectors: str | Path, ids: pa.Array, post_ids: pa.Array) -> np.ndarray:
    """The vectors of some posts, float32 `[posts, width]`, read block by block."""
    rows = pc.index_in(post_ids, value_set=ids).to_numpy()
    order = np.argsort(rows)
    with pq.ParquetFile(vectors) as file, read_errors(vectors):
        width = file.schema_arrow.field("embedding").type.list_size
        found = np.empty((len(rows), width), np.float32)
        start = 0
        for batch in file.iter_batches(_ROWS_PER_BLOCK, columns=["embedding"]):
            first, last = np.searchsorted(rows[order], (start, start + len(batch)))
            own = order[first:last]
            values = batch["embedding"].take(pa.array(rows[own] - start))
            if values.null_count:
                raise InputError(f"{vectors} holds posts without a vector. Embed the posts again.")
            found[own] = values.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
            start += len(batch)
    if not np.isfinite(found).all():
        raise InputError(f"{vectors} holds vectors of NaN or infinity. Embed the posts again.")
    return found


def _words_alone(texts: list[str]) -> dict[str, np.ndarray]:
    """What an encoder must beat; empty where no word stands in two posts."""
    try:
        return {TFIDF: tfidf_svd(texts, np.ones(len(texts), bool))}
    except InputError as error:
        logger.warning("%s is left out: %s", TFIDF, error)
        return {}


def shown_texts(texts: pa.Array) -> list[str]:
    """Texts in one line each, with @user for the names and ids of people."""
    masked = mask_people(texts)
    return pc.utf8_trim_whitespace(
        pc.replace_substring_regex(masked, pattern=r"[\s\p{Z}\p{Cc}]+", replacement=" ")
    ).to_pylist()


def _colorings(
    config: MapConfig,
    codes: list[str],
    vectors: np.ndarray,
    texts: list[str] | None,
    people: Audiences | None,
) -> dict[str, Classes]:
    """Classes by the name of the colouring, those that were asked for or all that there are."""
    wanted = config.color or get_args(Coloring)
    words = None if texts is None else [text.replace(SUBSTITUTE, " ") for text in texts]
    found = {}
    for name in wanted:
        classes, lacks = None, ""
        if name == "language":
            classes, lacks = languages(codes), "all posts are of one language, or of none"
        elif name == "topic":
            classes = clusters(vectors, words, "Topic", "no words", config.seed)
            lacks = "fewer than 20 posts have a vector that is not zero"
        elif people is None or people.places is None:
            lacks = "it needs a network folder (network)"
        else:
            classes = clusters(people.places, words, "Audience", "not known", config.seed)
            lacks = "fewer than 20 posts have an audience in the network"
        if classes is not None:
            found[name] = classes
        elif config.color:
            raise InputError(f"The map cannot be coloured by {name}: {lacks}.")
        else:
            logger.info("No colours by %s: %s", name, lacks)
    if not found:
        raise InputError("There is nothing to colour the map by; give a larger sample.")
    return found


def _notes(
    config: MapConfig,
    num_posts: int,
    models: Mapping[str, str | None],
    post_ids: pa.Array,
    agreement: AudienceAgreement | None,
) -> Iterator[str]:
    made = [f"{name}: {Path(model).name}" for name, model in models.items() if model]
    draw = f", drawn at random (seed {config.seed})" if len(post_ids) == config.sample else ""
    yield (
        f"{len(post_ids):,} of {num_posts:,} posts{draw}. "
        f"Vectors of {'; '.join(made) or 'an encoder that the file does not name'}."
    )
    yield (
        f"Places are a projection ({config.method}) to two dimensions, which keeps near posts near "
        "and says little of far ones. Topics and figures are of the vectors themselves."
    )
    if agreement is None:
        return
    yield (
        f"The figure is of the {agreement.num_posts:,} of these posts that somebody engaged with, "
        f"and of the {agreement.k} nearest of each among them, by cosine; copies of its text are "
        "left out. Chance is exact: the mean over all other posts. Intervals (95 %) are of posts "
        f"drawn anew. {TFIDF} knows words alone, those of these posts."
    )


def _of_training(network: Network | None, post_ids: pa.Array, is_held_out: bool) -> str:
    """Whether training has seen the posts, as far as that is known: a figure may flatter."""
    said = "held out from training, by the list that was given"
    if network is None:
        return f"Posts {said}." if is_held_out else "Whether training has seen them is not known."
    seen = pc.sum(pc.is_in(post_ids, value_set=network.post_ids)).as_py() or 0
    if seen:
        return (
            f"{seen:,} of the {len(post_ids):,} posts are in the network: an encoder trained on it "
            "has seen who engaged with them, and the figure flatters it."
        )
    return f"Posts {said}; none is in the network." if is_held_out else "None is in the network."
