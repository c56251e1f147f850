"""A demo of 240 posts of two tiny encoders, with a network and a recommender."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from four_groups import QUICK, graph_of
from transformers import BertConfig, BertForSequenceClassification

from twhin_hf.demo.demo_config import DemoConfig, DemoInputs
from twhin_hf.loading.families import PRETRAINING_MODELS
from twhin_hf.modeling import apply_settings
from twhin_hf.network.embedding import embed_network
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.folder import save_network
from twhin_hf.recommendation.model import EngagementModel

LANGUAGES = ("en", "es", "ar", "ja")
KEY = bytes(range(32))
CONFIG = DemoConfig(k=3, label="topic", sample=1000)
COPY = "post-copy"


def save_classifier(folder, tokenizer):
    """A stock classifier of two hashtags, as fine-tuning saves it."""
    torch.manual_seed(2)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=130,
        pad_token_id=tokenizer.pad_token_id,
        id2label={0: "Cats", 1: "#dogs"},
        initializer_range=0.2,
    )
    tokenizer.save_pretrained(folder)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def make_inputs(folder, texts, tokenizer):
    """Models, posts, a network and a recommender; the posts are of three topics."""
    for name, seed in (("stock", 0), ("trained", 1)):
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=48,
            max_position_embeddings=130,
            initializer_range=0.2,
            pad_token_id=tokenizer.pad_token_id,
        )
        tokenizer.save_pretrained(folder / name)
        PRETRAINING_MODELS["bert"](apply_settings(config)).save_pretrained(folder / name)
    (folder / "trained" / "optimizer.pt").write_bytes(b"never to be seen")
    topics = np.arange(len(texts)) // 4 % 3
    written = [
        f"{text} #topic{topic}" + " @zebedee" * (row % 5 == 0)
        for row, (text, topic) in enumerate(zip(texts, topics, strict=True))
    ]
    # The last repeats the first, but for a link.
    rows = {
        "post_id": [*(f"secret-{row}" for row in range(len(texts))), COPY],
        "text": [*written, f"{written[0]} https://example.org/1"],
        "lang": [*(LANGUAGES[row % 4] for row in range(len(texts))), "en"],
        "topic": [*topics.tolist(), 0],
    }
    pq.write_table(pa.table(rows), folder / "posts.parquet")
    random = np.random.default_rng(0)
    liked = random.random((60, len(texts))) < np.where(
        np.arange(60)[:, None] % 3 == topics, 0.3, 0.02
    )
    users, posts = np.nonzero(liked)
    log = {
        "user_id": [f"person-{user}" for user in users],
        "post_id": [f"secret-{post}" for post in posts],
    }
    pq.write_table(pa.table(log), folder / "engagements.parquet")
    graph = graph_of(pa.table(log))
    settings = NetworkEmbeddingConfig(dimension=8, holdout=0.1, seed=1, threads=1, device="cpu")
    network = embed_network(graph, settings, progress=False)
    save_network(network, folder / "network")
    table = pa.table(rows).select(["post_id", "text"])
    model = EngagementModel.fit(graph, table, str(folder / "trained"), network, QUICK)
    model.save_pretrained(folder / "recommender")
    return DemoInputs(
        model=str(folder / "trained"),
        posts=str(folder / "posts.parquet"),
        stock=str(folder / "stock"),
        recommender=str(folder / "recommender"),
        network=str(folder / "network"),
        engagements=str(folder / "engagements.parquet"),
    )
