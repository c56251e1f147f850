"""The whole evaluation: split, network, models, baselines, ranks, rows."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from twhin_hf.errors import InputError
from twhin_hf.evaluation.baselines import TFIDF
from twhin_hf.evaluation.recommendation.baselines import (
    ALS,
    ENCODER,
    HYBRID,
    MEAN,
    POPULARITY,
    RANDOM,
    RECENCY,
    als,
    at_random,
    by_post,
    engagement_matrix,
    mean_of_history,
    parts_of_model,
    user_table,
)
from twhin_hf.evaluation.recommendation.config import RecommendationJudgingConfig
from twhin_hf.evaluation.recommendation.judging import Scorer, judge
from twhin_hf.evaluation.recommendation.results import recommendation_rows
from twhin_hf.evaluation.recommendation.splits import (
    RecommendationSplit,
    check_network,
    split_recommendation,
)
from twhin_hf.loading.text_encoders import TextEncoder
from twhin_hf.network.embedding import embed_network
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.folder import Network
from twhin_hf.network.log import EngagementGraph
from twhin_hf.recommendation.model import EngagementModel
from twhin_hf.recommendation.recommendation_config import RecommendationConfig
from twhin_hf.recommendation.words import WordFeatures
from twhin_hf.results import Result

logger = logging.getLogger(__name__)


def evaluate_recommendation(
    log: EngagementGraph,
    posts: pa.Table,
    encoder: TextEncoder,
    splits: np.ndarray,
    *,
    network: Network | None = None,
    stock: Mapping[str, TextEncoder] | None = None,
    times: np.ndarray | None = None,
    config: RecommendationJudgingConfig | None = None,
    fitting: RecommendationConfig | None = None,
) -> dict[str, list[Result]]:
    """Judges an engagement model and what it must beat: new posts, known posts, new users.

    Args:
        log: All engagements.
        posts: `post_id`, `text` and, for figures by language, `lang`, of all posts.
        encoder: Of `load_text_encoder`.
        splits: `train`, `validation` or `test` of each post, as of `split_posts`.
        network: Embedded from `training_log` of the split; embedded here where None.
        stock: Encoders that are judged by the mean of what a user engaged with, by name; the
            encoder itself always is.
        times: When each post was written, any numbers that rise, `[posts]`; the baseline of the
            most recent posts is left out where None.
        config: Options.
        fitting: Options of the model.

    Returns:
        Rows by model, as of `recommendation_rows`; `ours` is the model.

    Raises:
        InputError: Nothing is left to learn from or to find, the network has seen what is to be
            found, or as `EngagementModel.fit`.
    """
    config = config or RecommendationJudgingConfig()
    split = split_recommendation(log, posts, splits, config)
    return judge_split(
        split, encoder, network=network, stock=stock, times=times, config=config, fitting=fitting
    )


def judge_split(
    split: RecommendationSplit,
    encoder: TextEncoder,
    *,
    network: Network | None = None,
    stock: Mapping[str, TextEncoder] | None = None,
    times: np.ndarray | None = None,
    config: RecommendationJudgingConfig,
    fitting: RecommendationConfig | None = None,
) -> dict[str, list[Result]]:
    """`evaluate_recommendation` of a split that is there already."""
    if network is None:
        edges = len(split.training_log.lhs)
        logger.info("1 of 5: embedding a network of %s engagements to learn from", f"{edges:,}")
        options = NetworkEmbeddingConfig(dimension=config.dimension, seed=config.seed)
        network = embed_network(split.training_log, options, progress=False)
    else:
        check_network(network, split)
    texts = split.posts["text"].to_pylist()
    logger.info("2 of 5: encoding %s posts", f"{len(texts):,}")
    encoder = _encoded_once(encoder, texts)
    logger.info("3 of 5: fitting the model")
    model = EngagementModel.fit(
        split.known_log,
        split.known_posts,
        encoder,
        network,
        fitting or RecommendationConfig(seed=config.seed),
    )
    model.add_posts(split.posts)
    logger.info("4 of 5: fitting what it is judged beside")
    stock = {name: _encoded_once(one, texts) for name, one in (stock or {}).items()}
    judged = baseline_scorers(split, {ENCODER: encoder, **stock}, times, config)
    judged |= model_scorers(model, split)
    tasks = ", ".join(task.name for task in split.tasks)
    logger.info("5 of 5: judging %s models: %s", len(judged), tasks)
    found = {
        task.name: judge(
            judged,
            task,
            split.history,
            num_candidates=config.num_candidates,
            recommended=config.recommended,
            seed=config.seed,
        )
        for task in split.tasks
    }
    return recommendation_rows(found, split, HYBRID, config)


def baseline_scorers(
    split: RecommendationSplit,
    encoders: Mapping[str, TextEncoder],
    times: np.ndarray | None,
    config: RecommendationJudgingConfig,
) -> dict[str, Scorer]:
    """What a recommender must beat, by name; what cannot be made is left out, and that is told."""
    shape = (split.log.num_users, len(split.posts))
    known, history = (engagement_matrix(part, shape) for part in (split.known, split.history))
    found = {
        RANDOM: at_random(*shape, config.seed),
        POPULARITY: by_post(shape[0], np.asarray(known.sum(axis=0)).ravel()),
    }
    if times is not None:
        found[RECENCY] = by_post(shape[0], times)
    texts = split.posts["text"].to_pylist()
    training = [text for text, of in zip(texts, split.splits, strict=True) if of == "train"]
    try:
        words = WordFeatures.fit(training)
    except InputError as error:
        logger.warning("%s is left out: %s", TFIDF, error)
    else:
        found[f"{TFIDF}, {MEAN}"] = mean_of_history(history, words.encode(texts))
    for name, encoder in encoders.items():
        features = np.asarray(encoder.encode(texts), np.float32)
        found[f"{name}, {MEAN}"] = mean_of_history(history, features)
    if importlib.util.find_spec("implicit") is None:
        logger.warning("%s is left out: pip install 'twhin_hf[als]'", ALS)
    else:
        found[ALS] = als(known, history, config.dimension, config.seed)
    return found


def model_scorers(
    model: EngagementModel, split: RecommendationSplit, rows: np.ndarray | None = None
) -> dict[str, Scorer]:
    """The parts of an engagement model, and the whole.

    Args:
        model: Fitted; it has these posts.
        split: What users have engaged with.
        rows: Posts to score, all where None; the vectors of others are 0.
    """
    users = split.log.user_ids.to_pylist()
    posts = split.posts["post_id"].to_pylist()
    vectors = user_table(model, users, posts, split.history)
    chosen = np.arange(len(posts)) if rows is None else rows
    names = [posts[row] for row in chosen.tolist()]
    found = parts_of_model(model, vectors, names)
    found[HYBRID] = Scorer(model.user_vectors(vectors=vectors), model.post_vectors(names))
    return {name: _spread(scorer, chosen, len(posts)) for name, scorer in found.items()}


def _spread(scorer: Scorer, rows: np.ndarray, num_posts: int) -> Scorer:
    posts = np.zeros((num_posts, scorer.posts.shape[1]), np.float32)
    posts[rows] = scorer.posts
    return scorer._replace(posts=posts)


def _encoded_once(encoder: TextEncoder, texts: Sequence[str]) -> TextEncoder:
    """An encoder that has encoded these texts already, and knows no others."""
    row = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    vectors = np.asarray(encoder.encode(list(row)), np.float32)
    return encoder._replace(encode=lambda asked: vectors[[row[text] for text in asked]])
