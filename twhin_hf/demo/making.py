"""The folder of a demo: posts, their vectors by each encoder, audiences, a map, a recommender.

It is made to be shown to others. Texts hold `@user` for people, ids are keyed hashes, and a
recommender is in the form in which it may be published; the key lies beside the folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twhin_hf.data.posts import read_posts
from twhin_hf.demo.demo_config import FEWEST_POSTS, DemoConfig, DemoInputs
from twhin_hf.errors import InputError
from twhin_hf.files import write_json
from twhin_hf.maps.audiences import audiences_of
from twhin_hf.maps.classes import clusters
from twhin_hf.maps.map_config import MapConfig
from twhin_hf.maps.writing import shown_texts, write_map
from twhin_hf.network.folder import load_network
from twhin_hf.network.near_duplicates import normalize_texts
from twhin_hf.network.neighbours import unit_vectors
from twhin_hf.privacy.keys import hash_ids
from twhin_hf.privacy.people import SUBSTITUTE
from twhin_hf.recommendation import folder as recommenders
from twhin_hf.scratch import scratch_folder
from twhin_hf.serving.search import texts_of
from twhin_hf.serving.vector_files import vector_blocks
from twhin_hf.serving.vectors import embed_posts
from twhin_hf.serving.vectors_config import PostVectorsConfig
from twhin_hf.table_format import TableFormat
from twhin_hf.version import __version__

SETTINGS, POSTS, MAP, RECOMMENDER = "demo.json", "posts.parquet", "map.html", "recommender"
MODEL, STOCK = "model", "stock"
_MOST_ON_THE_MAP = 5000
_EXAMPLES = 5
_READABLE = (25, 140)
"""Characters of a post that makes a good example."""


def make_demo(
    inputs: DemoInputs,
    output: str | Path,
    config: DemoConfig | None = None,
    *,
    key: bytes | None = None,
    is_generated: bool = False,
    table_format: TableFormat | None = None,
    progress: bool = True,
) -> int:
    """Writes into a folder what the page of a demo is made of.

    Args:
        inputs: Models and data; `model` and `posts` are needed.
        output: A folder that is there.
        config: What is shown.
        key: Secret key of the hashes that stand for ids; needed with a recommender.
        is_generated: Whether posts and people are made up, which the page then says.
        table_format: How text tables are written.
        progress: Shows progress bars.

    Returns:
        Number of posts to look in.

    Raises:
        FileNotFoundError: A file or folder is missing.
        InputError: Neither model nor posts, posts that cannot be read or of fewer than 20 texts, a
            label that is no column, a model that cannot be loaded, a recommender without a key, or
            one that was published already.

    Example:
        >>> inputs = DemoInputs("model", "posts.parquet", stock="stock")
        >>> make_demo(inputs, "demo")  # doctest: +SKIP
    """
    config, output = config or DemoConfig(), Path(output)
    if not inputs.model or not inputs.posts:
        raise InputError("a demo is made of a model and posts: give both")
    if inputs.recommender and key is None:
        raise InputError("ids of a recommender are hashed: give a key (new_key())")
    table = _sampled(inputs, config, table_format)
    ids, texts = table["post_id"], table["text"].to_pylist()
    # First what is quick, so that a mistake costs no time.
    shown: dict[str, Any] = {"text": texts, "lang": table["lang"]}
    if config.label:
        shown["label"] = _labels(inputs, config.label, ids.to_pylist(), table_format)
    if inputs.recommender and key is not None:
        shown["id"] = hash_ids(ids.to_pylist(), key)
        recommenders.save(recommenders.load(inputs.recommender), output / RECOMMENDER, key)
    shown["audience"], names = _audiences(inputs, ids, texts, config, table_format)
    sides = _sides(inputs)
    with scratch_folder() as scratch:
        pq.write_table(table, scratch / POSTS)
        columns = {
            name: _embedded(side, scratch / POSTS, scratch / f"{name}.parquet", progress)
            for name, side in sides.items()
        }
        write_map(
            scratch / f"{MODEL}.parquet",
            scratch / POSTS,
            output / MAP,
            MapConfig(sample=min(config.sample, _MOST_ON_THE_MAP), seed=config.seed),
            before=scratch / f"{STOCK}.parquet" if STOCK in sides else None,
            network=inputs.network,
            engagements=inputs.engagements,
            columns=inputs.columns,
            table_format=table_format,
            memory_limit=inputs.memory_limit,
        )
    pq.write_table(pa.table({**shown, **columns}), output / POSTS)
    settings = {
        "twhin_hf_version": __version__,
        "models": {name: _place(side) for name, side in sides.items()},
        "hashtag_classifier": _local(inputs.hashtag_classifier),
        "is_generated": is_generated,
        "k": config.k,
        "label": config.label,
        "audiences": names,
        "examples": config.examples or _examples(table["lang"].to_pylist(), texts),
    }
    write_json(output / SETTINGS, settings)
    return len(texts)


def _sampled(inputs: DemoInputs, config: DemoConfig, table_format: TableFormat | None) -> pa.Table:
    """Posts in the order of a draw, in one line each, without people and without copies."""
    read = read_posts(
        str(inputs.posts),
        columns=inputs.post_columns,
        table_format=table_format,
        memory_limit=inputs.memory_limit,
    ).dataset
    rows = np.random.default_rng(config.seed).permutation(len(read))[: config.sample]
    table = read.with_format("arrow")[rows]
    texts = pa.array(shown_texts(table["text"].combine_chunks()))
    _, first = np.unique(normalize_texts(texts).to_numpy(zero_copy_only=False), return_index=True)
    first.sort()
    if len(first) < FEWEST_POSTS:
        raise InputError(
            f"{inputs.posts}: {len(first)} posts have a text of their own; {FEWEST_POSTS} or more "
            "are needed to look in."
        )
    return pa.table(
        {
            "post_id": table["post_id"].combine_chunks().take(first),
            "text": texts.take(first),
            "lang": table["lang"].combine_chunks().take(first),
        }
    )


def _sides(inputs: DemoInputs) -> dict[str, PostVectorsConfig]:
    """How each encoder embeds, the stock one first."""
    sides = {MODEL: PostVectorsConfig(str(inputs.model), pooling=inputs.pooling)}
    if inputs.stock:
        stock = PostVectorsConfig(inputs.stock, pooling=inputs.stock_pooling)
        sides = {STOCK: stock, **sides}
    return sides


def _embedded(
    config: PostVectorsConfig, posts: Path, output: Path, progress: bool
) -> pa.FixedSizeListArray:
    """Vectors of length 1 in half precision; their file stays, for the map."""
    embed_posts(posts, output, config, progress=progress)
    vectors = np.concatenate([block.vectors for block in vector_blocks(output)])
    units = unit_vectors(vectors).astype(np.float16)
    return pa.FixedSizeListArray.from_arrays(pa.array(units.ravel()), units.shape[1])


def _audiences(
    inputs: DemoInputs,
    ids: pa.ChunkedArray,
    texts: list[str],
    config: DemoConfig,
    table_format: TableFormat | None,
) -> tuple[pa.Array, list[str]]:
    """The group of people that each post appeals to, -1 where it is not known; their names."""
    nobody = pa.array(np.full(len(texts), -1, np.int16))
    if inputs.network is None:
        return nobody, []
    people = audiences_of(
        ids.combine_chunks(),
        load_network(inputs.network),
        inputs.engagements,
        columns=inputs.columns,
        table_format=table_format,
        memory_limit=inputs.memory_limit,
    )
    if people is None or people.places is None:
        return nobody, []
    words = [text.replace(SUBSTITUTE, " ") for text in texts]
    found = clusters(people.places, words, "Group", "not known", config.seed)
    if found is None:
        return nobody, []
    number = len(found.names) - found.has_rest
    groups = np.where(found.of_posts < number, found.of_posts, -1)
    return pa.array(groups.astype(np.int16)), found.names[:number]


def _labels(
    inputs: DemoInputs, label: str, ids: Sequence[str], table_format: TableFormat | None
) -> pa.Array:
    found = texts_of(
        str(inputs.posts),
        ids,
        columns={**(inputs.post_columns or {}), "text": label},
        table_format=table_format,
        memory_limit=inputs.memory_limit,
    )
    return pc.fill_null(pa.array([found.get(name) for name in ids], pa.string()), "")


def _examples(languages: Sequence[str], texts: Sequence[str]) -> list[str]:
    """A readable post of each of the most frequent languages."""
    return list(_one_of_each(languages, texts))


def _one_of_each(languages: Sequence[str], texts: Sequence[str]) -> Iterator[str]:
    names, counts = np.unique(np.asarray(languages), return_counts=True)
    shortest, longest = _READABLE
    for name in names[np.argsort(-counts, kind="stable")][:_EXAMPLES]:
        own = [text for text, code in zip(texts, languages, strict=True) if code == name]
        readable = (
            text
            for text in own
            if shortest <= len(text) <= longest and SUBSTITUTE not in text and "://" not in text
        )
        yield next(readable, own[0][:longest])


def _place(config: PostVectorsConfig) -> dict[str, str | None]:
    return {"place": _local(config.model), "pooling": config.pooling}


def _local(name_or_path: str | None) -> str | None:
    """A folder as it is found from anywhere; a repository as it is."""
    if name_or_path is None or not Path(name_or_path).exists():
        return name_or_path
    return str(Path(name_or_path).resolve())
