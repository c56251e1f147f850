"""Folders as commands leave them, written by hand: every figure can be checked."""

from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from written_folders import EVIL, write

from twhin_hf.evaluation.alignment_plots import AlignmentPoint, write_points
from twhin_hf.network.engagements import Engagements
from twhin_hf.network.folder import Network, save_network
from twhin_hf.results import Result, Results, write_results


@pytest.fixture
def run_folder(tmp_path):
    """The folder of a main job, by hand: figures that can be checked."""
    folder = tmp_path / "run"
    write(
        folder / "run.json",
        {
            "command": "run",
            "options": {"user_id": "secret-user", "seeds": [0, 1]},
            "data": {"posts": "0123abcd"},
            "seed": 7,
            "command_line": "cli.py run --user_id secret-user --output run",
            "versions": {"python": "3.11"},
            "finished": True,
        },
    )
    (folder / "pipeline.yaml").write_text("posts: null\n")
    difference = {"value": 0.2, "interval": [0.1, 0.3], "p": 0.002}
    write_results(
        Results(
            "engagement",
            "run",
            [
                Result("en", "HITS@10", 0.4, [0, 1], [0.3, 0.5], {"model": "ours"}, [0.35, 0.45]),
                Result("en", "MRR", 0.2, [0, 1], [0.1, 0.3], {"model": "ours"}, [0.15, 0.25]),
            ],
            options={"pipeline": {}, "compared_with_baselines": "ours"},
            baselines={
                "chance": [Result("en", "HITS@10", 0.01), Result("en", "MRR", 0.008)],
                "words": [
                    Result("en", "HITS@10", 0.2, details={"difference": difference}),
                    Result("en", "MRR", 0.1),
                ],
            },
        ),
        folder,
    )
    for seed in (0, 1):
        write(
            folder / f"seed{seed}" / "social" / "trainer_state.json",
            {
                "log_history": [
                    {"step": 10, "loss": 8.0, "social_accuracy": 0.1, "tokens": 500.0},
                    {"step": 20, "loss": 4.0 + seed, "social_accuracy": 0.3, "tokens": 700.0},
                    {"step": 20, "train_runtime": 3.0},
                ]
            },
        )
        write(folder / f"seed{seed}" / "social" / "training_args.json", {"language_exponent": 0.5})
        write(
            folder / f"seed{seed}" / "social" / "training_record.json",
            {"objectives": ["social"], "languages": {"en": 0.8, "ar": 0.2}, "tokens": 1200},
        )
    posts = {"post_id": ["1", "2", "3"], "text": ["thanks @ana 🌋", EVIL, "x" * 50]}
    posts["lang"] = ["en", "en", "ar"]
    (folder / "data").mkdir()
    pq.write_table(pa.table(posts), folder / "data" / "posts.parquet")
    pairs = {"anchor_id": ["1", "1"], "positive_id": ["2", "3"]}
    similarities = pa.array([0.25, 0.75], pa.float32())
    pq.write_table(pa.table(pairs | {"similarity": similarities}), folder / "pairs.parquet")
    # Users 0 and 1 engaged with post 1, all three with post 2, user 2 with post 3.
    users, liked = np.array([0, 1, 0, 1, 2, 2]), np.array([0, 0, 1, 1, 1, 2])
    save_network(
        Network(
            user_ids=pa.array(["secret-user", "u2", "u3"]),
            post_ids=pa.array(["1", "2", "3"]),
            relations=["like"],
            user_vectors=np.eye(3, dtype=np.float32),
            post_vectors=np.eye(3, dtype=np.float32),
            relation_vectors=np.zeros((1, 3), np.float32),
            user_degrees=np.array([2, 2, 2]),
            post_degrees=np.array([2, 3, 1]),
            metadata={"num_edges": 6, "metrics": {"mrr": 0.5, "popularity_mrr": 0.25}},
            engagements=Engagements.from_edges(users, liked, 3, 3),
        ),
        folder / "network",
    )
    return folder


@pytest.fixture
def evaluations(tmp_path):
    """Folders of single commands: few-shot, alignment, a recommender, a suite."""
    folder = tmp_path / "evaluations"
    few_shot = folder / "hashtag"
    few_shot.mkdir(parents=True)
    rows = ["en,2,0,0.1", "en,2,1,0.3", "en,2,2,0.2", "en,8,0,0.5", "en,8,1,0.6", "en,8,2,0.7"]
    lines = ["model,language,examples_per_class,seed,macro F1", *(f"m,{row}" for row in rows)]
    (few_shot / "few_shot.csv").write_text("\n".join(lines) + "\n")
    write_results(
        Results("hashtag", "m", [Result("en", "macro F1", 0.61, [0, 1], [0.6, 0.62])]), few_shot
    )
    write_points(
        [
            AlignmentPoint("en-ar", "t-SNE", when, pair, language, x, float(pair))
            for when, x in (("before", 0.0), ("after", 1.0))
            for pair in range(3)
            for language in ("en", "ar")
        ],
        folder / "alignment" / "points.csv",
    )
    write_results(
        Results(
            "alignment",
            "after",
            [
                Result("en-ar", "cosine distance before", 0.5),
                Result("en-ar", "cosine distance after", 0.25),
                Result("en-ar", "cosine distance Δ%", -50.0),
            ],
        ),
        folder / "alignment",
    )
    write(
        folder / "recommender" / "config.json",
        {
            "model_type": "twhin_engagement",
            "figures": {"calibration_error": 0.0123},
            "reliability": {"predicted": [0.01, 0.1], "observed": [0.02, 0.2]},
        },
    )
    evaluation = Results("ner", "ours", [Result("hi", "micro F1", 0.25)], versions={"python": "3"})
    write(
        folder / "suite" / "results.json",
        {
            "suite": "tpp",
            "evaluations": [asdict(evaluation)],
            "averages": {},
            "published": ["a paper"],
            "versions": {},
            "run": {},
        },
    )
    return folder
