"""Every block of code that the documentation shows runs, offline and on tiny data.

What stands in for large data and models is said here, in `NAMES`, `SMALLER` and the fixture; the
lines of `NOT_RUN` are those that cannot run, each with its reason.
"""

import ast
import json
import re
import shlex
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.commands.cli import find_command, main
from twhin_hf.data.synthetic import generate_network
from twhin_hf.data.synthetic_config import SyntheticConfig
from twhin_hf.hub.cards import model_card, read_facts

pytestmark = pytest.mark.filterwarnings("ignore")
ROOT = Path(__file__).parents[1]
PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8")
    for page in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "examples").rglob("*.md")),
        *sorted((ROOT / "model_cards").glob("*.md")),
        ROOT / "twhin_hf" / "faq.md",
    ]
}
IN_ORDER = {
    "README.md": ["network import", "run"],
    "docs/guides/stages.md": [
        "run", "split", "network embed", "network mine", "tokenizer", "pretrain", "pretrain",
        "pretrain", "evaluate engagement", "run",
    ],
    "docs/start/social-scientist.md": ["network import", "run", "embed", "split", "map"],
    "docs/start/recommender-engineer.md": [
        "split", "network embed", "recommender fit", "recommend", "recommend", "recommend",
        "recommend",
    ],
    "docs/start/nlp-student.md": [],
    "docs/start/random-pooler.md": [],
    "docs/guides/bluesky.md": [
        "network import", "split", "network embed", "recommender fit", "recommend", "recommend",
        "recommend",
    ],
    "docs/guides/checkpoint.md": ["pretrain", "convert"],
    "docs/guides/lora.md": [
        "split", "network embed", "pretrain", "evaluate engagement", "convert",
    ],
    "docs/guides/languages.md": [
        "data translation-pairs", "tpp", "evaluate retrieval", "evaluate zero-shot",
        "evaluate alignment",
    ],
    "docs/guides/vectors.md": ["embed", "index", "search", "map"],
    "docs/guides/report.md": ["run", "evaluate engagement", "report"],
    "docs/guides/demo.md": ["demo"],
    "docs/guides/benchmarks.md": [
        "data hashtag", "data hashtag-build", "evaluate hashtag", "evaluate classification",
        "evaluate suite",
    ],
    "docs/guides/privacy.md": ["data forget", "data forget"],
}  # fmt: skip
"""Pages whose blocks run one after the other in one folder, and the commands that they show."""
LANGUAGES = ("en", "ar", "hi")

NAMES = {
    "sentence-transformers/all-MiniLM-L6-v2": "tiny",
    "Twitter/twhin-bert-base": "tiny",
    "me/name": "stage2",
}
"""Names of the Hub, and the folders that stand in for them."""

NOT_RUN = {"pip install .[all]": "it installs the package that is tested, from an index"}

TRAINING = [
    "--max_steps=2", "--per_device_train_batch_size=8", "--gradient_accumulation_steps=1",
    "--no_bf16", "--use_cpu", "--dataloader_num_workers=0", "--max_length=32", "--warmup_steps=0",
    "--save_strategy=no", "--report_to=none", "--disable_tqdm",
]  # fmt: skip
TINY_BERT = [
    "hidden_size=16", "num_hidden_layers=1", "num_attention_heads=2", "intermediate_size=16",
    "max_position_embeddings=64",
]  # fmt: skip
FINE_TUNING = ["--seeds=0", "--epochs=1", "--batch_size=32", "--max_length=32", "--device=cpu"]
SMALLER = {
    "network import": ["--no_progress", "--threads=1"],
    "run": [
        "--seeds=0", "--training", "use_cpu=true", "disable_tqdm=true", "max_length=32",
        "--stage2", "max_steps=2", "per_device_train_batch_size=8", "head_steps=2",
        "--network.dimension=16", "--network.epochs=1", "--network.threads=1",
        "--evaluation.max_epochs=1", "--evaluation.seeds=[0]",
    ],
    "split": [],
    "network embed": ["--dimension=16", "--epochs=1", "--threads=1", "--no_progress"],
    "network mine": ["--threads=1", "--no_progress"],
    "tokenizer": ["--vocab_size=500"],
    "pretrain": TRAINING,
    "evaluate engagement": [
        "--seeds", "0", "--max_epochs=1", "--max_length=32", "--records_per_user=all",
    ],
    "data translation-pairs": ["--no_progress"],
    "tpp": TRAINING,
    "evaluate retrieval": ["--device=cpu"],
    "evaluate zero-shot": [*FINE_TUNING, "--warmup_steps=0"],
    "evaluate alignment": ["--device=cpu"],
    "data hashtag": [],
    # The page shows two ways to one folder.
    "data hashtag-build": [
        "--output=own_hashtags", "--posts=hashtag_posts.csv", "--num_hashtags=2",
        "--min_examples=4", "--no_progress",
    ],
    "evaluate hashtag": [*FINE_TUNING, "--shots=2"],
    "evaluate classification": FINE_TUNING,
    "evaluate suite": FINE_TUNING,
    "recommender fit": ["--words=16", "--predictor.max_epochs=2", "--predictor.projection_size=8"],
    "recommend": [],
    "embed": ["--device=cpu", "--no_progress"],
    "index": [],
    "search": ["--device=cpu"],
    "map": ["--sample=60"],
    "report": [],
    "demo": ["--sample=60", "--no_launch"],
    "store": [],
    "convert": [],
    "data forget": [],
}  # fmt: skip
"""What makes the commands small; an option that comes later takes precedence."""


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def sh_lines(block):
    """Lines, those that go on joined; comments and what they leave empty are gone."""
    lines = block.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def replaced(text):
    for name, ours in NAMES.items():
        text = text.replace(name, ours)
    return text


def run_line(words):
    """Runs a line of the shell, if it is not one of `NOT_RUN`; gives the command's name."""
    if " ".join(words) in NOT_RUN:
        return None
    assert words[0] == "twhin-hf", f"{words} is neither a command of ours nor one of NOT_RUN"
    name, rest = find_command(words[1:])
    smaller = list(SMALLER[name])
    if "--config_name" in rest:
        smaller += ["--config_overrides", *TINY_BERT]
    assert main([*name.split(), *map(replaced, rest), *smaller]) == 0, words
    return name


def run_block(code, **names):
    exec(compile(replaced(code), "a block of the documentation", "exec"), names)
    return names


def run_page(text, **names):
    """All blocks of a page in their order; gives the commands that ran."""
    ran = []
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language == "sh":
            ran += filter(None, map(run_line, sh_lines(code)))
        elif language == "python":
            run_block(code, **names)
    return ran


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    """The inputs that the pages name, made here, and the current folder."""
    folder = tmp_path_factory.mktemp("docs")
    write_models(folder, tokenizer)
    texts = write_log(folder)
    write_translations(folder, texts)
    write_benchmarks(folder, texts)
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    # UMAP, where it is installed, compiles for a minute.
    patch.setattr("twhin_hf.evaluation.alignment.available_methods", lambda: ["t-SNE"])
    yield folder
    patch.undo()


def write_models(folder, tokenizer):
    import torch
    from transformers import BertConfig, BertForMaskedLM

    sizes = {name: int(value) for name, value in (pair.split("=") for pair in TINY_BERT)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(
            folder / "tiny"
        )
    tokenizer.save_pretrained(folder / "tiny")


def write_log(folder):
    """A network's posts and likes as Bluesky streams them, and as tables; gives texts."""
    config = SyntheticConfig(
        num_users=300, num_posts=1500, num_engagements=9000, languages=LANGUAGES
    )
    network = generate_network(config)
    network.save(folder)
    new = pa.table({"post_id": ["n1", "n2"], "text": ["a new post", "and another"]})
    pq.write_table(new, folder / "new.parquet")
    (folder / "today.csv").write_text("user_id,post_id\nnew,p1\nnew,p2\n")
    (folder / "evening.csv").write_text("user_id,post_id\ndid:plc:new,did:plc:author/p1\n")
    (folder / "leaving.csv").write_text("user_id\ndid:plc:u1\n")
    posts = pq.read_table(folder / "posts.parquet").to_pylist()
    likes = pq.read_table(folder / "engagements.parquet").to_pylist()
    time, day = 1_725_911_162_000_000, "2024-09-09T19:46:02.102Z"
    lines = []

    def add(user, collection, key, record):
        record = {"$type": collection, "createdAt": day, **record}
        commit = {"rev": "3l3qo2vut", "operation": "create", "collection": collection, "rkey": key}
        commit |= {"record": record, "cid": "bafyreid"}
        did = f"did:plc:{user}"
        event = {"did": did, "time_us": time + len(lines), "kind": "commit", "commit": commit}
        lines.append(json.dumps(event))

    uris = {}
    for number, post in enumerate(posts):
        key = f"p{number}"
        uris[post["post_id"]] = f"at://did:plc:author/app.bsky.feed.post/{key}"
        record = {"text": post["text"], "langs": [post["lang"]]}
        add("author", "app.bsky.feed.post", key, record)
    for number, like in enumerate(likes):
        subject = {"uri": uris[like["post_id"]], "cid": "bafyreid"}
        add(like["user_id"], "app.bsky.feed.like", f"l{number}", {"subject": subject})
    (folder / "jetstream").mkdir()
    (folder / "jetstream" / "log.jsonl").write_text("\n".join(lines) + "\n")
    texts = {language: [] for language in LANGUAGES}
    for post in posts:
        texts[post["lang"]].append(post["text"])
    return texts


def write_translations(folder, texts):
    sentences, links = [], []
    for number, row in enumerate(zip(*(texts[code][:300] for code in LANGUAGES), strict=True)):
        for code, text in zip(("eng", "ara", "hin"), row, strict=True):
            links.append(f"{3 * number}\t{len(sentences)}")
            sentences.append(f"{len(sentences)}\t{code}\t{text}")
    (folder / "tatoeba").mkdir()
    (folder / "tatoeba" / "sentences.csv").write_text("\n".join(sentences) + "\n")
    (folder / "tatoeba" / "links.csv").write_text("\n".join(links) + "\n")
    for code in LANGUAGES[1:]:
        pairs = zip(texts["en"][300:330], texts[code][300:330], strict=True)
        (folder / f"en-{code}.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs))
    for code in LANGUAGES:
        write_labelled(folder, code, texts[code][:30])


def write_labelled(folder, name, texts):
    """Texts with three labels, as UMSAB and TweetEval have them."""
    (folder / f"{name}_text.txt").write_text("\n".join(texts) + "\n")
    (folder / f"{name}_labels.txt").write_text("".join(f"{i % 3}\n" for i in range(len(texts))))


def write_benchmarks(folder, texts):
    for place, code in (("umsab/arabic", "ar"), ("benchmarks/umsab-en", "en")):
        (folder / place).mkdir(parents=True)
        for part, split in enumerate(("train", "val", "test")):
            write_labelled(folder / place, split, texts[code][part * 20 : part * 20 + 20])
    (folder / "benchmarks" / "umsab-en").rename(folder / "benchmarks" / "asad")
    published = folder / "published" / "hashtag-classification-id" / "en"
    published.mkdir(parents=True)
    tweets = []
    for split in ("train", "dev", "test"):
        rows = []
        for text in texts["en"][:24]:
            tag = ("cats", "dogs")[len(rows) % 2]
            rows.append(f"{len(tweets)}\t{tag}")
            tweets.append({"id_str": str(len(tweets)), "full_text": f"{split} {text} #{tag}"})
        (published / f"{split}.tsv").write_text("ID\tlabel\n" + "\n".join(rows) + "\n")
    archive = folder / "hashtag-classification-id"
    shutil.make_archive(str(archive), "zip", folder / "published")
    (folder / "tweets.jsonl").write_text("".join(json.dumps(tweet) + "\n" for tweet in tweets))
    own = ["post_id,text,lang"]
    own += [f'p{i},"{text} #{"ab"[i % 2]}x",en' for i, text in enumerate(texts["en"][:100])]
    (folder / "hashtag_posts.csv").write_text("\n".join(own) + "\n")


@pytest.fixture(scope="module")
def ran(folder):
    """The commands of the pages in order, which ran."""
    return {page: run_page(PAGES[page]) for page in IN_ORDER}


def test_the_pages_in_order(ran, folder):
    assert ran == IN_ORDER
    for name in (
        "runs/mine", "runs/time", "runs/bluesky", "results", "results/hashtag", "results/umsab",
    ):  # fmt: skip
        assert (folder / name / "results.json").is_file(), name
    for name in (
        "map.html",
        "runs/mine/report/index.html",
        "report/index.html",
        "recommender/reliability.png",
        "audience.csv",
        "made/pairs.parquet",
    ):
        assert (folder / name).is_file(), name


def test_the_page_on_random_poolers(folder):
    from transformers import AutoModel, AutoTokenizer

    from twhin_hf import TwhinBertModel

    page = PAGES["examples/fix_random_pooler.md"]
    tokens = AutoTokenizer.from_pretrained("tiny")(
        ["a post", "another"], padding=True, return_tensors="pt"
    )
    names = {"AutoModel": AutoModel, "TwhinBertModel": TwhinBertModel, "tokens": tokens}
    before, after = (run_block(code, **names) for code in blocks(page, "python"))
    assert (before["vectors"].shape, after["vectors"].shape) == ((2, 16), (2, 32))


def test_the_page_on_serving(ran, folder):
    pytest.importorskip("onnxruntime")
    page = PAGES["examples/serving.md"]
    shown = "twhin-hf export --model stage2 --format onnx --output stage2-onnx"
    assert f"    {shown}\n" in page
    assert main(shlex.split(shown)[1:]) == 0
    own, others, _ = blocks(page, "python")
    ours, plain = (run_block(code)["vectors"] for code in (own, others))
    assert ours.shape == plain.shape == (2, 32)
    assert abs(ours - plain).max() < 1e-5


def test_the_page_on_indexes(ran, folder):
    pytest.importorskip("lance")
    pytest.importorskip("qdrant_client")
    page = PAGES["examples/serving.md"]
    code = blocks(page, "python")[2]
    ran = [run_line(words) for block in blocks(page, "sh") for words in sh_lines(block)]
    assert ran == ["embed", "index", "search", "store", "store"]
    found = run_block(code)
    assert not set(found["first"].post_ids[0]) & set(found["hits"].post_ids[0])
    assert found["hits"].scores.shape == (2, 5)


def test_the_page_on_clusters(ran, folder, spark):
    (code,) = blocks(PAGES["examples/cluster.md"], "python")
    for name in ("posts.parquet", "stage2", "vectors"):  # Spark began in another folder
        code = code.replace(f'"{name}"', repr(str(Path(name).absolute())))
    run_block(code)
    rows = pq.read_table("vectors").to_pylist()
    assert len(rows) == pq.read_metadata("posts.parquet").num_rows
    assert {len(row["embedding"]) for row in rows} == {32}


def test_the_card_of_a_model(ran, folder):
    found = [run_block(code) for code in blocks(card_of("stage2"), "python")]
    shapes = [names["vectors"].shape for names in found if "vectors" in names]
    assert len(found) >= 3
    assert set(shapes) == {(2, 32)}


def card_of(model):
    return model_card(read_facts(Path(model)), "me/name")


def test_the_family_that_contributors_are_shown_is_ours():
    (shown,) = blocks(PAGES["CONTRIBUTING.md"], "python")
    path = ROOT / re.match(r"# (\S+)\n", shown)[1]

    def classes(source):
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
                node.body = node.body[1:]
        return [ast.unparse(node) for node in tree.body if isinstance(node, ast.ClassDef)]

    assert classes(shown) == classes(path.read_text(encoding="utf-8"))


def test_no_page_has_blocks_that_nothing_runs():
    found = {page for page, text in PAGES.items() if blocks(text, "(?:python|sh)")}
    assert found == {
        *IN_ORDER, "CONTRIBUTING.md", "examples/cluster.md", "examples/fix_random_pooler.md",
        "examples/serving.md",
    }  # fmt: skip
    lines = [
        words for text in PAGES.values() for code in blocks(text, "sh") for words in sh_lines(code)
    ]
    left_out = {" ".join(words) for words in lines if words[0] != "twhin-hf"}
    assert left_out == NOT_RUN.keys()
