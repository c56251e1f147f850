"""Every reader of the package, with small valid files to begin from.

A reader gets the path of a file whose bytes are anything. It gives a value or raises an error of
ours; `is_ours` tells. What a file needs beside it (a model's other files, labels of texts) is
written into its folder once. Readers by way of DuckDB share the engine of `sharing.py`.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import hashlib
import io
import json
import lzma
import shutil
import tarfile
import zipfile
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sharing import connection, engine

from twhin_hf.errors import InputError


class Reader(NamedTuple):
    """A reader and what it reads.

    Args:
        name: Of the target.
        file: Name of the file that it reads.
        read: Reads it.
        seeds: Small valid files.
        prepare: Writes into the folder what must be there beside the file. Where there are no
            seeds, it writes the file itself, which is then the one seed.
    """

    name: str
    file: str
    read: Callable[[Path], Any]
    seeds: tuple[bytes, ...] = ()
    prepare: Callable[[Path], Any] = lambda folder: None

    def open(self, folder: Path) -> tuple[Path, tuple[bytes, ...]]:
        """Prepares a folder; gives the path of the file and the seeds."""
        folder.mkdir(parents=True, exist_ok=True)
        self.prepare(folder)
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path, self.seeds or (path.read_bytes(),)


def is_ours(error: BaseException) -> bool:
    """Whether an error is one that may come out of a reader: InputError, or one of the system.

    Arrow and transformers raise bare `OSError` for damaged files: those have no number.
    """
    system = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError)
    return isinstance(error, (InputError, *system)) or bool(
        isinstance(error, OSError) and error.errno
    )


def exhaust(items: Iterable[Any]) -> None:
    """Reads to the end and keeps nothing."""
    deque(items, maxlen=0)


def parquet(**columns: Any) -> bytes:
    """A Parquet file."""
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def lines(*values: Any) -> bytes:
    """JSON lines."""
    return b"".join(json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in values)


def document(value: Any) -> bytes:
    """A JSON document."""
    return json.dumps(value, ensure_ascii=False, indent=1).encode()


def tarred(name: str, content: bytes) -> bytes:
    """A tar archive of one file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def zipped(**files: bytes) -> bytes:
    """A zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/") + ".tsv", content)
    return stream.getvalue()


def beside(**files: bytes) -> Callable[[Path], None]:
    """Writes files; `__` in a name stands for a dot."""

    def prepare(folder: Path) -> None:
        for name, content in files.items():
            (folder / name.replace("__", ".")).write_bytes(content)

    return prepare


# Tables


def read_text_table(path: Path, encoding: str = "utf-8") -> None:
    """CSV, TSV and JSON lines, as `read_table` reads them into its engine."""
    from twhin_hf.table_format import TableFormat
    from twhin_hf.tables import read_errors
    from twhin_hf.text_tables import Columns, read_csv, read_json_lines

    names = {name: name for name in ("post_id", "text", "lang")}
    wanted = Columns(names, {"post_id", "text"}, "columns")
    with read_errors(path, has_memory_limit=False):
        if path.suffix == ".jsonl":
            exhaust(read_json_lines(connection(), [path], wanted, str(path)))
        else:
            exhaust(read_csv(connection(), [path], TableFormat(encoding=encoding), wanted))


def read_csv_rows(path: Path) -> None:
    """CSV as Python reads it, where the engine gives up."""
    from twhin_hf.table_format import TableFormat
    from twhin_hf.text_tables import _whole_rows, csv_header

    table_format = TableFormat()
    delimiter = table_format.delimiter(path.name)
    if header := csv_header(path, table_format):
        exhaust(_whole_rows(path, table_format, delimiter, header))


def read_parquet(path: Path) -> None:
    """A Parquet table."""
    from twhin_hf.tables import column_names, read_errors, read_table

    column_names(path)
    with read_errors(path):
        table = read_table(path, ["post_id", "text"], ["lang"], connection=engine())
        table.to_pyarrow()


def read_posts(path: Path) -> None:
    """Posts."""
    from twhin_hf.data.posts import read_posts

    read_posts(path, threads=1, directory=path.parent / ".posts")
    for file in (path.parent / ".posts").iterdir():
        file.unlink()


def read_log(path: Path) -> None:
    """An engagement log."""
    from twhin_hf.network.log import read_log

    read_log(path, threads=1)


def read_log_before(path: Path) -> None:
    """An engagement log with times."""
    from twhin_hf.network.log import read_log

    read_log(path, threads=1, before="2024-05-01")


def read_pairs(path: Path) -> None:
    """Mined pairs, as the trainer reads them."""
    from twhin_hf.network.pairs import read_pairs
    from twhin_hf.training.social import pair_rows

    pair_rows(two_posts(), read_pairs(path), 0.0)


@functools.cache
def two_posts() -> Any:
    """Posts that pairs name."""
    from datasets import Dataset

    return Dataset.from_dict({"post_id": ["a", "b"], "text": ["x", "y"]})


# Lines


def read_compressed(path: Path) -> None:
    """Compressed lines."""
    from twhin_hf.lines import read_blocks

    exhaust(read_blocks(path))


# Logs of networks


def read_network_log(source: str) -> Callable[[Path], None]:
    """JSON of a network, without the queries that make posts and engagements of it."""

    def read(path: Path) -> None:
        from twhin_hf.lines import read_blocks
        from twhin_hf.network.sources.log_files import NO_JSON, read_head
        from twhin_hf.network.sources.log_format import Origin
        from twhin_hf.network.sources.reading import FORMATS, _check_network
        from twhin_hf.network.sources.unwrapping import dump, find_events, parse, unwrap_document

        log, origin = FORMATS[source], Origin(path, user_id="1")
        head = read_head(path)
        _check_network(path, head, log)
        if head.document is not None:
            exhaust(map(dump, unwrap_document(head.document, log, origin)))
            return
        for block in read_blocks(path, replacement=NO_JSON):
            for line in block.lines.to_pylist():
                exhaust(map(dump, find_events(parse(line), log, origin)))

    return read


def import_log(source: str) -> Callable[[Path], None]:
    """The whole import of a log."""

    def read(path: Path) -> None:
        from twhin_hf.network.sources.importing import import_log

        owner = None if source == "bluesky" else "1"
        output = path.parent / "_out"
        import_log(source, path, output, user_id=owner, threads=1, progress=False)

    return read


def read_car(path: Path) -> None:
    """An account's repository."""
    from twhin_hf.network.sources.car import is_car, read_car

    is_car(path)
    read_car(path)


def varint(number: int) -> bytes:
    """A number as CAR writes it."""
    found = bytearray()
    while number >= 128:
        found.append(number % 128 + 128)
        number //= 128
    return bytes([*found, number])


def car() -> bytes:
    """A repository with one post."""
    import libipld

    blocks: list[bytes] = []

    def add(value: Any) -> bytes:
        data = libipld.encode_dag_cbor(value)
        cid = b"\x01\x71\x12\x20" + hashlib.sha256(data).digest()
        blocks.append(cid + data)
        return cid

    post = add({"text": "a", "createdAt": "2024-01-01T00:00:00Z"})
    entry = {"p": 0, "k": b"app.bsky.feed.post/1", "v": post, "t": None}
    tree = add({"l": None, "e": [entry]})
    root = add({"did": "did:plc:a", "rev": "1", "data": tree, "prev": None, "version": 3})
    blocks.insert(0, libipld.encode_dag_cbor({"roots": [root], "version": 1}))
    return b"".join(varint(len(block)) + block for block in blocks)


# Recommender sets


def read_set(name: str) -> Callable[[Path], None]:
    """A recommender set."""

    def read(path: Path) -> None:
        from twhin_hf.network.sources.recommender import read_recommender_set
        from twhin_hf.tables import open_engine, read_errors

        with open_engine(threads=1) as own, read_errors(path):
            own.to_pyarrow(read_recommender_set(name, path, own).engagements)

    return read


# Labelled texts


def read_words(path: Path) -> None:
    """Named entities, a word a line or in Shakti Standard Format."""
    from twhin_hf.benchmarks.zero_shot.sentences import numbered_lines
    from twhin_hf.benchmarks.zero_shot.shakti import is_shakti, parse_shakti
    from twhin_hf.benchmarks.zero_shot.tags import to_bio
    from twhin_hf.benchmarks.zero_shot.word_columns import parse_word_columns
    from twhin_hf.lines import iterate_lines

    if is_shakti(iterate_lines(path)):
        found = parse_shakti(path, numbered_lines(path))
    else:
        found = parse_word_columns(path)
    exhaust(to_bio(tags) for _, tags in found)


def read_tag_rows(path: Path) -> None:
    """Named entities, a sentence a row."""
    from twhin_hf.benchmarks.zero_shot.tag_rows import parse_tag_rows

    # As strings of Arrow, which a data set holds: no halves of characters.
    exhaust(pa.array(tokens, pa.string()) for tokens, _ in parse_tag_rows(path))


def read_conllu(path: Path) -> None:
    """Parts of speech."""
    from twhin_hf.benchmarks.zero_shot.readers import _parse_conllu

    exhaust(_parse_conllu(path))


def read_bitext(path: Path) -> None:
    """Two columns of texts."""
    from twhin_hf.benchmarks.zero_shot.readers import _parse_bitext

    _parse_bitext(path)


def read_sentiment(path: Path) -> None:
    """Texts and labels in two files."""
    from twhin_hf.benchmarks.zero_shot.readers import read_sentiment

    read_sentiment(path)


def read_label_map(path: Path) -> None:
    """New names of labels."""
    from twhin_hf.benchmarks.zero_shot.labels import read_label_map

    read_label_map([str(path)])


def read_classification(path: Path) -> None:
    """The text files of classification benchmarks, each by its own reader."""
    from twhin_hf.benchmarks.classification import formats

    labels = path.with_name("labels.txt")
    formats.is_label_list(path)
    if formats.is_sentimix(path):
        formats.read_sentimix(path, {})
    elif formats.is_semeval_lines(path):
        formats.read_semeval_lines(path)
    elif formats.is_label_list(path):
        formats.read_label_list(path)
    else:
        formats.read_mapping(path)
        formats.read_paired_files(path, labels)


def read_labelled_table(path: Path) -> None:
    """A table with a label."""
    from twhin_hf.benchmarks.classification.formats import read_labelled_table

    read_labelled_table(path)


def read_hydration(path: Path) -> None:
    """Texts by the ids of their posts."""
    from twhin_hf.benchmarks.hydration import find_texts

    find_texts(path, pa.array(["1", "2"]), threads=1)


# Translation pairs

PAIR = [("en", "ar")]


def read_source(name: str) -> Callable[[Path], None]:
    """A source of translation pairs."""

    def read(path: Path) -> None:
        from twhin_hf.data.translation.aligned import moses_pairs
        from twhin_hf.data.translation.columns import column_pairs
        from twhin_hf.data.translation.sources import published_pairs, wikimatrix_pairs
        from twhin_hf.data.translation.tatoeba import tatoeba_pairs
        from twhin_hf.data.translation.wikidata import wikidata_pairs

        found = {
            "tatoeba": lambda: tatoeba_pairs(path, PAIR, progress=False),
            "tatoeba links": lambda: tatoeba_pairs(path.parent, PAIR, progress=False),
            "moses": lambda: moses_pairs(path, PAIR, progress=False),
            "wikidata": lambda: wikidata_pairs(path, PAIR, progress=False),
            "wikimatrix": lambda: wikimatrix_pairs(path, PAIR, progress=False),
            "published": lambda: published_pairs(path, PAIR, progress=False),
            "columns": lambda: column_pairs(path, PAIR),
        }[name]()
        exhaust(found.batches)

    return read


# Results, configs, cards


def read_results(path: Path) -> None:
    """results.json, and the table of it."""
    from rich.console import Console

    from twhin_hf.results import read_results, results_table

    Console(file=io.StringIO()).print(results_table(read_results(path)))


def read_config(command: str) -> Callable[[Path], None]:
    """The YAML config of a command."""

    def read(path: Path) -> None:
        from twhin_hf.commands.cli import load_command
        from twhin_hf.commands.declared import options_of
        from twhin_hf.commands.parsing import _check_config

        _check_config(path, list(options_of(load_command(command))))

    return read


def read_run(path: Path) -> None:
    """The config of the main job, all that is checked before its work."""
    from twhin_hf.commands.cli import load_command
    from twhin_hf.commands.parsing import parse_command

    parse_command(load_command("run"), [f"--config={path}"], "run")


def read_card(path: Path) -> None:
    """A card with metadata."""
    from twhin_hf.hub.sections import license_of_folder, merge_cards, read_card

    license_of_folder(path.parent)
    from twhin_hf.files import read_text

    text = read_text(path)
    read_card(text)
    merge_cards(text, "---\nlicense: mit\n---\n# New\n")


def read_curves(path: Path) -> None:
    """Curves of few-shot learning."""
    from twhin_hf.evaluation.hashtag import read_curves

    read_curves(path)


def open_archive(path: Path) -> None:
    """A zip archive."""
    from twhin_hf.benchmarks.archives import open_folder

    with open_folder(path, lambda name: True):
        pass


# Networks and models


def network(folder: Path) -> None:
    """A network folder."""
    from twhin_hf.network.engagements import Engagements, Neighbours
    from twhin_hf.network.folder import Network, save_network

    side = Neighbours(np.array([0, 1, 2]), np.array([0, 1], np.int32))
    save_network(
        Network(
            user_ids=pa.array(["u", "v"]),
            post_ids=pa.array(["a", "b"]),
            relations=["like"],
            user_vectors=np.ones((2, 4), np.float32),
            post_vectors=np.ones((2, 4), np.float32),
            relation_vectors=np.ones((1, 4), np.float32),
            user_degrees=np.array([1, 1]),
            post_degrees=np.array([1, 1]),
            engagements=Engagements(side, side),
        ),
        folder,
    )


def load_network(path: Path) -> None:
    """A network folder one of whose files is anything."""
    from twhin_hf.network.folder import load_network

    load_network(path.parent)


def network_checkpoint(folder: Path) -> None:
    """A checkpoint of a network's embedding."""
    import torch

    from twhin_hf.network.checkpoint import Position, save_checkpoint
    from twhin_hf.network.folder import CHECKPOINT_FILE

    tensors = {"users": torch.ones(2, 2)}
    save_checkpoint(folder / CHECKPOINT_FILE, tensors, Position(0, 1, []), {"graph": "a"})


def load_checkpoint(path: Path) -> None:
    """A checkpoint of a network's embedding."""
    import torch

    from twhin_hf.network.checkpoint import load_checkpoint

    load_checkpoint(path, {"users": torch.ones(2, 2)}, {"graph": "a"})


SIZES = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size"),
    "max_position_embeddings",
)


def model(folder: Path) -> None:
    """A tiny model with its tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, PreTrainedTokenizerFast

    from twhin_hf.modeling import TwhinBertModel, apply_settings

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    names = ("pad", "unk", "cls", "sep", "mask")
    special = {f"{name}_token": f"[{name.upper()}]" for name in names}
    PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=16, **special).save_pretrained(
        folder
    )
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=4,
        max_position_embeddings=16,
    )
    TwhinBertModel(apply_settings(config)).save_pretrained(folder)


def stock_model(folder: Path) -> None:
    """A plain encoder with the modules of a SentenceTransformer."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    from twhin_hf.modeling.sentence_transformer_files import plain_sentence_transformer_files

    model(folder)
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    settings = json.loads((folder / "config.json").read_text())
    config = BertConfig(**{key: settings[key] for key in SIZES}, num_attention_heads=1)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    for name, content in plain_sentence_transformer_files(config, "mean", 16, True).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def load_modules(path: Path) -> None:
    """The modules of a SentenceTransformer, as training and export read them."""
    from twhin_hf.loading.auto import load_post_encoder
    from twhin_hf.serving.embedding_settings import embedding_settings, sentence_transformer_paths

    folder = str(path.parent.parent if path.parent.name == "1_Pooling" else path.parent)
    embedding_settings(folder, load_post_encoder(folder))
    sentence_transformer_paths(folder)


def trained_model(folder: Path) -> None:
    """A model with the records of a training."""
    model(folder)
    record = {
        "trainer": "SocialPretrainingTrainer",
        "base_model": ["bert"],
        "objectives": ["social"],
        "earlier_objectives": [["mlm"]],
        "license": "mit",
        "languages": {"en": 1.0},
        "data": {"posts": 3},
        "steps": 2,
        "epochs": 1.0,
        "tokens": 100,
        "seconds": 1.0,
        "hyper_parameters": {"seed": 0},
        "hardware": "CPU",
        "processes": 1,
        "versions": {"torch": "2"},
    }
    (folder / "training_record.json").write_bytes(document(record))
    history = [{"step": 1, "loss": 2.0}, {"step": 2, "eval_loss": 1.0}]
    (folder / "trainer_state.json").write_bytes(document({"log_history": history}))


def make_card(path: Path) -> None:
    """The card of a model's folder."""
    from twhin_hf.hub.cards import model_card, read_facts

    model_card(read_facts(path.parent), "me/name")


def pickled_model(folder: Path) -> None:
    """The same with its weights in a pickle."""
    import torch
    from safetensors.torch import load_file

    model(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def fairseq_model(folder: Path) -> None:
    """A checkpoint of fairseq."""
    import torch

    shapes = {"embed_tokens.weight": (7, 4), "embed_positions.weight": (6, 4)}
    shapes |= {f"emb_layer_norm.{kind}": (4,) for kind in ("weight", "bias")}
    weights = {f"decoder.sentence_encoder.{n}": torch.ones(shape) for n, shape in shapes.items()}
    content = {"model": weights, "args": {"encoder_attention_heads": 1}}
    torch.save(content, folder / "model.pt")
    (folder / "dict.txt").write_text("a 1\nb 1\n")


def adapter(folder: Path) -> None:
    """An adapter beside its base."""
    from peft import LoraConfig, get_peft_model

    from twhin_hf.modeling import TwhinBertModel

    model(folder / "base")
    base = TwhinBertModel.from_pretrained(folder / "base", local_files_only=True)
    get_peft_model(base, LoraConfig(target_modules=["query"], r=1)).save_pretrained(folder)


def load_model(path: Path) -> None:
    """A model folder one of whose files is anything."""
    from twhin_hf.loading.auto import load_post_encoder

    folder = path.parent.parent if path.parent.name == "1_Pooling" else path.parent
    load_post_encoder(str(folder))


def load_tokenizer(path: Path) -> None:
    """The tokenizer of a model folder."""
    from twhin_hf.loading.auto import load_tokenizer

    load_tokenizer(str(path.parent))("a b")


def load_fingerprint(path: Path) -> None:
    """What tells one model from another."""
    from twhin_hf.loading.fingerprint import model_fingerprint, weights_fingerprint

    model_fingerprint(str(path.parent))
    weights_fingerprint(str(path.parent))


def read_checkpoint(path: Path) -> None:
    """Weights as the converter reads them."""
    from twhin_hf.conversion.checkpoints import read_config, read_weights

    read_config(path.parent, read_weights(path.parent))


def read_fairseq(path: Path) -> None:
    """A checkpoint of fairseq."""
    from twhin_hf.conversion.fairseq import read_fairseq

    read_fairseq(path.with_name("model.pt"))


def exported(folder: Path) -> None:
    """What `twhin-hf export` says of an export."""
    model(folder)
    export = {"format": "onnx", "pooling": ["mean"], "max_length": 8, "longest": 8, "dimension": 4}
    (folder / "export.json").write_bytes(document(export))


def load_exported(path: Path) -> None:
    """An export."""
    from twhin_hf.serving.exported import load_exported

    load_exported(path.parent)


def vectors() -> bytes:
    """Vectors of posts."""
    embedding = pa.array([[1.0, 0.0], [0.0, 1.0]], pa.list_(pa.float32(), 2))
    return parquet(post_id=["a", "b"], embedding=embedding)


def search_vectors(path: Path) -> None:
    """Search among vectors."""
    from twhin_hf.serving.search import search_vectors
    from twhin_hf.serving.vector_files import vectors_made_with

    vectors_made_with(path)
    search_vectors(path, np.ones((1, 2), np.float32), 1)


def index(folder: Path) -> None:
    """An index, something of which was deleted."""
    from twhin_hf.serving.index.index import build_index

    shutil.rmtree(folder)
    built = build_index(([*"abcdefgh"], np.eye(8, dtype=np.float32)), folder)
    built.delete(["a"])


def load_index(path: Path) -> None:
    """An index, and a search in it."""
    from twhin_hf.serving.index.index import load_index

    opened = load_index(path.parent)
    opened.search(np.ones((1, opened.dimension), np.float32), 3)


POSTS_CSV = (
    b'post_id,text,lang\n1,hello,en\n2,"a, ""b""\nc",ar\n',
    b"\xef\xbb\xbfpost_id,text\r\n007,x\r\n\r\n8,\r\n",
    b"text;post_id\na;1\n",
)
POSTS_JSON = (
    lines({"post_id": "1", "text": "hello", "lang": "en"}, {"post_id": 2, "text": "\U0001f30b"}),
    lines({"post_id": 12345678901234567890, "text": "a"}) + b'{"post_id":"3","text":"\\ud83d"}\n',
)
BLUESKY = (
    lines(
        {
            "did": "did:plc:a",
            "time_us": 1,
            "kind": "commit",
            "commit": {
                "rev": "1",
                "operation": "create",
                "collection": "app.bsky.feed.post",
                "rkey": "1",
                "record": {"text": "hello", "langs": ["en"], "createdAt": "2024-01-01T00:00:00Z"},
            },
        },
        {
            "did": "did:plc:b",
            "time_us": 2,
            "kind": "commit",
            "commit": {
                "rev": "2",
                "operation": "create",
                "collection": "app.bsky.feed.like",
                "rkey": "2",
                "record": {"subject": {"uri": "at://did:plc:a/app.bsky.feed.post/1"}},
            },
        },
    ),
)
STATUS = '{"id": "1", "uri": "u", "content": "a", "account": {"id": "2"}}'
MASTODON = (
    lines(
        {
            "id": "1",
            "content": "<p>hello</p>",
            "language": "en",
            "created_at": "2024-01-01T00:00:00Z",
            "account": {"id": "7", "acct": "a"},
            "uri": "https://x.y/1",
            "reblog": None,
            "favourited": True,
        }
    ),
    document([{"event": "update", "payload": STATUS}]),
    f"event: update\ndata: {STATUS}\n\n".encode(),
)
X = (
    lines({"id_str": "1", "full_text": "hi", "user": {"id_str": "5"}, "lang": "en"}),
    lines({"data": [{"id": "1", "text": "hi", "author_id": "5"}], "includes": {"users": []}}),
    b'window.YTD.tweets.part0 = [{"tweet": {"id_str": "1", "full_text": "a"}}]',
    lines({"delete": {"status": {"id_str": "1", "user_id_str": "5"}}}),
)
WORDS = (
    b"Anna B-PER\nsees O\nParis B-LOC\n\nshe O\n",
    b"# id 1\n1\tAnna\tB-PER\t-\t-\n2\tsees\tO\t-\t-\n",
    b"de:Anton\tB-PER\nde:geht\tO\n",
    b"-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\n",
    b'<Sentence id="1">\n0\t((\tSSF\n1\t((\tNP\t<ne=NEP>\n1.1\tA\n\t))\n\t))\n</Sentence>\n',
)
TAG_ROWS = (
    lines({"tokens": ["a", "b"], "ner_tags": ["O", "B-PER"]}),
    document({"data": [{"tokens": ["a"], "tags": [1]}], "names": ["O", "B-PER"]}),
    document([{"tokens": ["a"], "labels": ["O"]}]),
)
CLASSIFICATION = (
    b"hello\nworld\n",
    b"0\tnegative\n1\tpositive\n",
    b"meta\t1\tpositive\na\tEng\nb\tHin\n\n",
    b"1\tpositive\tgood\n2\tnegative\tNot Available\n",
    b"Uid,Sentiment\n1,positive\n",
)
RESULT = {"language": "en", "metric": "MRR", "value": 0.5, "interval": [0.4, 0.6], "details": {}}
RESULTS = {
    "task": "engagement",
    "model": "m",
    "results": [RESULT],
    "revision": None,
    "options": {"a": 1},
    "versions": {"python": "3"},
    "baselines": {"chance": [RESULT]},
}
ITEM = {
    "id": "Q1",
    "labels": {"en": {"value": "a"}, "ar": {"value": "b"}},
    "descriptions": {"en": {"value": "c"}, "ar": {"value": "d"}},
}
VARIABLES = ["label_en", "description_en", "label_ar", "description_ar"]
ANSWER = {
    "head": {"vars": VARIABLES},
    "results": {"bindings": [{name: {"value": "a"} for name in VARIABLES}]},
}
POSTS_LINES = b"hello\nworld\n\xf0\x9f\x8c\x8b\n"
CONLLU = b"# text = a b\n1\ta\ta\tNOUN\t_\t_\t0\troot\t_\t_\n1.1\t_\t_\t_\t_\t_\t_\t_\t_\t_\n\n"
CONFIGS = {
    "pretrain": (
        b"posts: a.parquet\noutput_dir: out\nlearning_rate: 1.0e-4\nmax_length: 64\n",
        b"posts: a\npairs: b\nsave_steps: 0.5\nlogging_steps: 20\nmlm_weight: 0.05\n",
    ),
    "run": (
        b"output: a\nengagements: b\nposts: c\nseeds: [0, 1]\nnetwork:\n  dimension: 64\n",
        b"output: a\nobjectives:\n  x: {social_weight: 1.0}\ntraining: {max_length: 64}\n",
    ),
    "evaluate suite": (b"suite: twhin\nmodel: [a, b]\ndata_dir: d\noutput: o\n",),
}

RUNS = (
    b"output: a\nsynthetic: {num_users: 10}\nmodel_name_or_path: bert\nsettings: {pooling: cls}\n"
    b"objectives:\n  x: {social_weight: 1.0}\ntraining: {max_length: 64}\nnetwork: {seed: 0}\n",
    b"output: a\nsynthetic: {}\nencoder: {hidden_size: 48}\nstage1: {max_steps: 3}\nseeds: [1]\n",
)

EVENTS = (
    b'{"user_id": "u", "post_id": "p", "relation": "like", "timestamp": "2026-01-31"}\n',
    b'{"user_id": "u", "post_id": "p", "relation": "engage", "timestamp": 5}\n{"user',
)


def read_events_log(path: Path) -> Any:
    from twhin_hf.serving.service.events_log import EventsLog

    log = EventsLog(path)
    log.close()
    return log.engagements


def read_demo(path: Path) -> None:
    """The folder of a demo."""
    from twhin_hf.demo.answers import Demo
    from twhin_hf.demo.content import read_demo
    from twhin_hf.demo.showing import answer_html

    content = read_demo(path.parent)
    widths = {name: units.shape[1] for name, units in content.units.items()}
    encoders = {name: lambda text, width=width: np.ones(width) for name, width in widths.items()}
    answer_html(Demo(content, encoders).answer("a"), content)


DEMO = document(
    {
        "models": {"model": {"place": "x", "pooling": None}},
        "k": 1,
        "is_generated": False,
        "audiences": ["a"],
        "examples": ["b"],
        "label": None,
    }
)
DEMO_POSTS = parquet(
    text=["a", "b"],
    lang=["en", "ja"],
    audience=np.array([0, -1], np.int16),
    model=pa.array([[1.0, 0.0], [0.6, 0.8]], pa.list_(pa.float32(), 2)),
)


READERS = (
    Reader("csv", "a.csv", read_text_table, POSTS_CSV),
    Reader("csv-rows", "a.csv", read_csv_rows, POSTS_CSV),
    Reader("csv-gz", "a.csv.gz", read_csv_rows, tuple(map(gzip.compress, POSTS_CSV))),
    Reader(
        "csv-latin-1",
        "a.csv.gz",
        functools.partial(read_text_table, encoding="latin-1"),
        tuple(map(gzip.compress, (b"post_id,text\n1,\xf6l\n", b"post_id,text\n1,\xc3\xb6l\n"))),
    ),
    Reader("tsv", "a.tsv", read_text_table, (b'post_id\ttext\n1\thello\n2\t"a\n',)),
    Reader("json-lines", "a.jsonl", read_text_table, POSTS_JSON),
    Reader("parquet", "a.parquet", read_parquet, (parquet(post_id=[1, 2], text=["a", "b"]),)),
    Reader("posts", "a.csv", read_posts, POSTS_CSV),
    Reader("events-log", "events.jsonl", read_events_log, EVENTS),
    Reader("log", "a.csv", read_log, (b"user_id,post_id,relation\nu,1,like\nv,1,\n",)),
    Reader(
        "log-before",
        "a.csv",
        read_log_before,
        (
            b"user_id,post_id,timestamp\nu,1,1600000000\nv,1,1.6e9\n",
            b"user_id,post_id,timestamp\nu,1,2020-09-13T12:26:40+02:00\nv,1,20200913\n",
            b"user_id,post_id,timestamp\nu,1,Sun Sep 13 12:26:40 +0000 2020\n",
            b'user_id,post_id,timestamp\nu,1,"Sun, 13 Sep 2020 14:26:40 +0200"\n',
        ),
    ),
    Reader(
        "pairs",
        "a.parquet",
        read_pairs,
        (parquet(anchor_id=["a"], positive_id=["b"], similarity=[0.5]),),
    ),
    Reader(
        "demo", "demo.json", read_demo, (DEMO,), beside(posts__parquet=DEMO_POSTS, map__html=b"<p>")
    ),
    Reader(
        "demo-posts",
        "posts.parquet",
        read_demo,
        (DEMO_POSTS,),
        beside(demo__json=DEMO, map__html=b"<p>"),
    ),
    Reader("lines", "a.txt", read_compressed, (POSTS_LINES, tarred("a", POSTS_LINES))),
    Reader("lines-gz", "a.gz", read_compressed, (gzip.compress(POSTS_LINES),)),
    Reader(
        "lines-bz2",
        "a.bz2",
        read_compressed,
        (bz2.compress(POSTS_LINES), bz2.compress(tarred("a", POSTS_LINES))),
    ),
    Reader("lines-xz", "a.xz", read_compressed, (lzma.compress(POSTS_LINES),)),
    Reader(
        "lines-zst",
        "a.zst",
        read_compressed,
        (pa.Codec("zstd").compress(POSTS_LINES, asbytes=True),),
    ),
    Reader("bluesky", "a.jsonl", read_network_log("bluesky"), BLUESKY),
    Reader("mastodon", "a.json", read_network_log("mastodon"), MASTODON),
    Reader("x", "a.json", read_network_log("x"), X),
    Reader("import-bluesky", "a.jsonl", import_log("bluesky"), BLUESKY),
    Reader("import-mastodon", "a.json", import_log("mastodon"), MASTODON),
    Reader("import-x", "a.json", import_log("x"), X),
    Reader("car", "a.car", read_car, (car(),)),
    Reader("movielens", "ratings.dat", read_set("movielens"), (b"1::2::5::9\n1::3::4::8\n",)),
    Reader(
        "recbole",
        "a.inter",
        read_set("recbole"),
        (b"user_id:token\titem_id:token\ttimestamp:float\n1\t2\t3\n",),
    ),
    Reader("lightgcn", "train.txt", read_set("lightgcn"), (b"0 1 2\n1 2 3\n",)),
    Reader(
        "recsys2020",
        "a.tsv",
        read_set("recsys2020"),
        (b"\x01".join(b"%d" % i for i in range(24)) + b"\n",),
    ),
    Reader(
        "mind",
        "behaviors.tsv",
        read_set("mind"),
        (b"1\tU1\t11/11/2019 9:05:58 AM\tN1 N2\tN3-1 N4-0\n",),
    ),
    Reader("words", "a.txt", read_words, WORDS),
    Reader("tag-rows", "a.json", read_tag_rows, TAG_ROWS),
    Reader(
        "tag-rows-parquet",
        "a.parquet",
        read_tag_rows,
        (parquet(tokens=[["a"]], ner_tags=[["O"]]),),
    ),
    Reader("conllu", "a.conllu", read_conllu, (CONLLU,)),
    Reader("bitext", "en-ar.tsv", read_bitext, (b"hello\tworld\na\tb\n",)),
    Reader(
        "sentiment",
        "test_labels.txt",
        lambda path: read_sentiment(path.with_name("test_text.txt")),
        (b"0\n1\n2\n", b"positive\nnegative\nneutral\n"),
        beside(test_text__txt=b"a\nb\nc\n"),
    ),
    Reader("label-map", "a.yaml", read_label_map, (b"person: PER\n0: O\n",)),
    Reader(
        "classification",
        "text.txt",
        read_classification,
        CLASSIFICATION,
        beside(labels__txt=b"0\n1\n"),
    ),
    Reader("labelled-table", "a.csv", read_labelled_table, (b"text,label\na,0\nb,1\n",)),
    Reader("labelled-bz2", "a.csv.bz2", read_labelled_table, (bz2.compress(b"text,label\na,0\n"),)),
    Reader("hydration", "a.jsonl", read_hydration, X[:2]),
    Reader("tatoeba", "en-ar.tsv", read_source("tatoeba"), (b"a\tb\n", b"1\ta\t2\tb\n")),
    Reader(
        "tatoeba-links",
        "links.csv",
        read_source("tatoeba links"),
        (b"1\t2\n2\t1\n",),
        beside(sentences__csv=b"1\teng\ta\n2\tara\tb\n"),
    ),
    Reader(
        "anki", "ara.txt", read_source("tatoeba"), (b"Hi\tb\tCC-BY 2.0 (France) Attribution: a\n",)
    ),
    Reader("moses", "a.en", read_source("moses"), (b"a\nb\n",), beside(a__ar=b"c\nd\n")),
    Reader(
        "wikidata",
        "a.json",
        read_source("wikidata"),
        (
            b"[\n" + lines(ITEM).rstrip() + b",\n]\n",
            document({"entities": {"Q1": ITEM}}),
            document(ANSWER),
        ),
    ),
    Reader(
        "wikidata-tsv",
        "a.tsv",
        read_source("wikidata"),
        (b"\t".join(b"?" + n.encode() for n in VARIABLES) + b'\n"a"@en\t"b"@en\t"c"@ar\t"d"@ar\n',),
    ),
    Reader("wikimatrix", "WikiMatrix.ar-en.tsv", read_source("wikimatrix"), (b"1.1\ta\tb\n",)),
    Reader(
        "published",
        "a.jsonl",
        read_source("published"),
        (lines({"id": "1", "unique_label_desc": ["a", "b", "c"]}),),
    ),
    Reader(
        "columns", "a.csv", read_source("columns"), (b"text_a,text_b,lang_a,lang_b\na,b,en,ar\n",)
    ),
    Reader("results", "results.json", read_results, (document(RESULTS),)),
    *(
        Reader(f"config-{name.replace(' ', '-')}", "a.yaml", read_config(name), seeds)
        for name, seeds in CONFIGS.items()
    ),
    Reader("command-run", "a.yaml", read_run, RUNS),
    Reader(
        "card",
        "README.md",
        read_card,
        (
            b"---\nlicense: mit\ntags: [a]\ndatasets:\n- b\n---\n# Title\n",
            b"---\nlicense: mit\nlanguage: en\n---\n<!-- twhin_hf:begin x -->\na\n"
            b"<!-- twhin_hf:end x -->\n",
        ),
    ),
    Reader(
        "curves",
        "few_shot.csv",
        read_curves,
        (b"model,language,examples_per_class,seed,macro F1\nm,en,5,0,0.5\n",),
    ),
    Reader("archive", "a.zip", open_archive, (zipped(en__train=b"a\tb\n", en__dev=b"c\td\n"),)),
    *(
        Reader(f"network-{name}", name, load_network, prepare=network)
        for name in (
            "network.json",
            "users.parquet",
            "users.safetensors",
            "engagements.safetensors",
        )
    ),
    Reader(
        "network-checkpoint",
        "embedding_checkpoint.safetensors",
        load_checkpoint,
        prepare=network_checkpoint,
    ),
    *(
        Reader(f"model-{name}", name, load_model, prepare=model)
        for name in ("config.json", "model.safetensors")
    ),
    *(
        Reader(f"modules-{Path(name).stem}", name, load_modules, prepare=stock_model)
        for name in ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json")
    ),
    *(
        Reader(f"card-{name}", name, make_card, prepare=trained_model)
        for name in ("config.json", "training_record.json", "trainer_state.json")
    ),
    Reader("model-bin", "pytorch_model.bin", load_model, prepare=pickled_model),
    *(
        Reader(f"model-{name}", name, load_tokenizer, prepare=model)
        for name in ("tokenizer.json", "tokenizer_config.json")
    ),
    Reader("fingerprint", "model.safetensors", load_fingerprint, prepare=model),
    Reader("convert-bin", "pytorch_model.bin", read_checkpoint, prepare=pickled_model),
    Reader("convert-safetensors", "model.safetensors", read_checkpoint, prepare=model),
    Reader("convert-config", "config.json", read_checkpoint, prepare=model),
    Reader("fairseq", "model.pt", read_fairseq, prepare=fairseq_model),
    Reader("fairseq-dict", "dict.txt", read_fairseq, prepare=fairseq_model),
    *(
        Reader(f"adapter-{name}", name, load_model, prepare=adapter)
        for name in ("adapter_config.json", "adapter_model.safetensors")
    ),
    Reader("export", "export.json", load_exported, prepare=exported),
    Reader("vectors", "a.parquet", search_vectors, (vectors(),)),
    *(
        Reader(f"index-{name}", name, load_index, prepare=index)
        for name in (
            *("index.json", "shard-000000.faiss", "shard-000000.parquet"),
            "deleted-000001.parquet",
        )
    ),
)
