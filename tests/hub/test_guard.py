"""What must not leave the house, by every way in which it is written."""

import json
import struct
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from markdown_it import MarkdownIt
from safetensors.numpy import save_file

from twhin_hf.errors import InputError
from twhin_hf.hub.cards import CardFacts, model_card, read_facts
from twhin_hf.hub.folder import CODE
from twhin_hf.hub.guard import check_files, check_text
from twhin_hf.hub.markdown import as_code, as_text
from twhin_hf.hub.public_results import DETAILS, OPTIONS
from twhin_hf.hub.push import plan_push, push_model
from twhin_hf.hub.sections import read_card
from twhin_hf.results import Result, Results

PLACES = [
    "/home/me/model",
    "/Users/me/x",
    "/lustre/group/x",
    "/gpfs/u/x",
    "/scratch/run7/x",
    "/scratch2/run7",
    "/Volumes/Disk/x",
    "/mnt/data1",
    "/data/posts.parquet",
    "/opt/models/x",
    "/workspace/runs",
    "/proj/nlp/x",
    "/nfs/home/x",
    "/tmp/x",
    "C:/Users/me",
    "C:\\Users\\me",
    "d:\\runs",
    "\\\\server\\share\\runs",
    "file:///home/me/x",
    "file:/x",
    "~/models/x",
    "~me/models",
    "../stage1",
    "a/../../b",
    "..\\stage1",
    "s3://our-bucket/x",
    "gs://our-bucket/x",
    "hdfs://node/x",
    "/raid/ana",
    "/beegfs/group/x",
    "/p/scratch/ana/x",
    "/pscratch/sd/a",
    "/eos/user/a",
    "/archive/x",
    "/nethome/ana",
    "/teamspace/studios/this_studio",
    "/1tb/ana/data",
    "$HOME/x",
    "${HOME}/x",
    "%USERPROFILE%\\x",
]
WITH_TYPOGRAPHY = [
    "//nas01/share",
    "**/home/me/x**",
    "*/raid/me/x*",
    "_/home/me/x_",
    "__/raid/me__",
    "“/home/me/x”",
    "‘/raid/me’",
    "»/raid/me«",
    "—/home/me/x",
    "→/raid/me",
]
SENTENCES = ["{}", "Trained from {}.", "See ({}) or `{}`", "<{}>", "path={}", "path:{}", '"{}"']
FINE = [
    "https://huggingface.co/me/data/home/x",
    "http://localhost:8080/data/x",
    "and/or",
    "/r/name and /u/somebody",
    "2026/01/31 or 31/01/2026",
    "24 hours/day, 7 km/h",
    "owner/name",
    "[a link](https://example.org/mnt/x)",
    "~5 % of it, ~ 1/3",
    "he/she/they",
    "...and so on: a/b/c .../d",
    "Option A: yes",
    "[CLS] </s> <s> // -- \\alpha \\n",
    "the secret of it is patience; a token: [CLS]; the password policy",
    "Bearer authentication, an access token, private keys",
    "sk-learn-like-interfaces-of-old",
    "asiapacificcountries hf_hub_download_everything",
    "and/or/not, 1/2/3, TCP/IP, /s, text/html",
    "/datasets/imdb, /wiki/Twitter_hashtag, happy /joy/sadness, //div/span, `/generate/stream`",
    "[1]: /docs/foo/bar [x](</img/a/x.png>) <a href=/me/x/y>",
    "token = tokenizer2, token=model_inputs1, token=self.tok2, | token=bert-base-v2 |",
    "public.api.bsky.social, api.bsky.social, it did:so:well",
    "the /s/z/ contrast, /p/t/k/, /kæt/ and /dɒg/, /m/02mjmr",
    "(s)he/she/they, “he”/she/they, 'he'/she/they, 5 €/month/person",
    "`train`/valid/test, <owner>/name/file, {folder}/model/x, [MASK]/a/b, ./a/b, …/users/name",
    "[a model](/me/model) <img src='/me/x.png'>",
    "POST /anything/else, GET /predict/one and `/v1/recommend/me`",
    "**/tests/*.py, */data/train-*, data/**/x.parquet",
    "https://example.org//a/b //cdn.example.org/x.js",
    "#!/usr/bin/env python or /bin/sh, a // b / c",
    "NLL per token = 2.34567, token=token, num_tokens=1000000",
    "token=os.environ['HF_TOKEN'], unk_token='<unk>', token='hf_xxxxxxxxxxxxxxxxxxxx'",
    "Authorization: Basic authentication over HTTPS, https://me:***@example.org",
    "@torch.no_grad, @article{x, thanks @user, @user@example.org",
    "ana@example.org, https://bsky.app/profile/ana.bsky.social, https://mastodon.social/@ana",
    "candid: x, did: y, `did:plc:...`, bsky.social",
]
TOKENS = [
    "hf_" + "aB3" * 11,
    "ghp_" + "aB3" * 12,
    "glpat-" + "aB3_" * 5,
    "sk-proj-" + "aB3-" * 10,
    "sk_live_" + "aB3" * 8,
    "dckr_pat_" + "aB3-_" * 5,
    "ya29." + "a0Af_b" * 6,
    "gsk_" + "aB3" * 12,
    "nvapi-" + "aB3_" * 10,
    "r8_" + "aB3" * 12,
    "AKIA" + "A1B2" * 4,
    "xoxb-" + "1234567890-ab",
    "https://hooks.slack.com/services/T0000/B0000/" + "aB3" * 8,
    "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "-----BEGIN OPENSSH PRIVATE KEY-----",
]
"""Which are found in posts, too."""

SECRETS = [
    "github_pat_" + "aB3_" * 8,
    "sk-" + "aB3" * 10,
    "AIza" + "aB3-" * 9,
    "Bearer " + "a1b2c3d4e5f6g7",
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----",
    "api_key=abcdef",
    "API-KEY: abc123def",
    "WANDB_API_KEY=0123456789",
    "secret = hushhush",
    "password: hunter22",
    "https://me:letmein@example.org/x",
    *TOKENS,
    "Authorization: Basic dXNlcjpwYXNz",
    "https://a.blob.core.windows.net/c?sv=2022&sig=abc%2Bdef123456789012%3D",
    "wandb: " + "0123456789" * 4,
    "token=abc123def456ghi789jkl",
    "pwd=hunter22",
    "passphrase: hunter22",
    "wandb_key=abcdef",
]
PEOPLE = [
    "did:plc:abcdefghijklmnopqrst",
    "at://ana.example.org/app.bsky.feed.post/3k",
    "@ana.bsky.social",
    "ana.bsky.social",
    "@ana@mastodon.social",
    "作者did:plc:abcdefghijklmnopqrst",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("sentence", SENTENCES)
def test_places_of_a_machine(place, sentence):
    text = sentence.format(place, place)
    with pytest.raises(InputError, match=r"README\.md, line 2, names a path of this machine"):
        check_text("README.md", f"# Card\n{text}\n")
    for value in (text, [{"a": text}], {text: 1}):
        with pytest.raises(InputError, match=r"config\.json, at key.* names a path of"):
            check_files({"config.json": json.dumps({"key": value}).encode()})


@pytest.mark.parametrize("place", WITH_TYPOGRAPHY)
@pytest.mark.parametrize("sentence", ["{}", "See {} now"])
def test_places_between_marks(place, sentence):
    with pytest.raises(InputError, match="names a path of this machine"):
        check_text("README.md", sentence.format(place))


@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize("sentence", ["{}", "Made by {}.", "({})", '"{}"'])
def test_accounts_of_people(person, sentence):
    text = sentence.format(person)
    with pytest.raises(InputError, match=r"README\.md, line 2, names a person"):
        check_text("README.md", f"# Card\n{text}\n")
    for value in ({"id2label": {"0": text}}, {"label2id": {text: 0}}, [text]):
        with pytest.raises(InputError, match=r"config\.json, at a.* names a person"):
            check_files({"config.json": json.dumps({"a": value}).encode()})


def test_whole_values_that_are_paths():
    with pytest.raises(InputError, match="names a path of this machine: '/anything/else'"):
        check_files({"config.json": b'{"a": "/anything/else"}'})
    check_text("README.md", "POST /anything/else")
    with pytest.raises(InputError, match="names a path of this machine"):
        check_text("README.md", "We post /anything/else/here")


@pytest.mark.parametrize("text", FINE)
def test_what_only_looks_like_it(text):
    check_text("README.md", text)
    check_files({"config.json": json.dumps({"a": text, "b": [text]}).encode()})


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets(secret):
    for name, content in (
        ("README.md", f"Run it with {secret} here"),
        ("config.json", json.dumps({"a": {"b": f"with {secret}"}})),
        ("settings.py", f"x = '{secret}'"),
    ):
        with pytest.raises(InputError, match="looks like a token, key or password") as error:
            check_files({name: content.encode()})
        assert secret not in str(error.value)


@pytest.mark.parametrize(
    "key",
    [
        "api_key",
        "hub_token",
        "wandb_api_key",
        "password",
        "AccessKey",
        "pwd",
        "passphrase",
        "wandb_key",
    ],
)
def test_members_that_are_named_as_secrets(key):
    with pytest.raises(InputError, match="looks like a token, key or password"):
        check_files({"config.json": json.dumps({"a": {key: "correcthorse"}}).encode()})
    check_files({"config.json": json.dumps({key: None, "cls_token": "[CLS]"}).encode()})


def test_a_member_called_token_may_be_a_words():
    check_files({"config.json": json.dumps({"token": "<s>"}).encode()})
    with pytest.raises(InputError, match="looks like a token, key or password"):
        check_files({"config.json": json.dumps({"token": "abc123def456ghi7"}).encode()})


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_has_no_word_for(number, trained):
    with pytest.raises(InputError, match=f"results.json holds {number}"):
        check_files({"results.json": f'{{"value": {number}}}'.encode()})
    path = trained / "results.json"
    path.write_text(path.read_text().replace("0.123456", number))
    with pytest.raises(InputError, match=f"holds {number}|is no number"):
        plan_push(trained, "me/never")


def test_baselines_that_are_called_by_their_folders(trained):
    path = trained / "results.json"
    results = json.loads(path.read_text())
    row = {"language": "en", "metric": "HITS@10", "value": 0.1}
    folders = ("/home/me/a/stage1", "/home/me/b/stage1")
    results["baselines"] = {folder: [row] for folder in folders}
    results["options"]["pooling_of_baselines"] = dict.fromkeys(folders, "mean")
    path.write_text(json.dumps(results))
    done = plan_push(trained, "me/fine")
    content = json.loads(done.files["results.json"])
    assert list(content["baselines"]) == ["stage1", "stage1 (2)"]
    assert list(content["options"]["pooling_of_baselines"]) == ["stage1", "stage1 (2)"]
    assert "| stage1 | en |" in done.files["README.md"].decode()


def test_headers_of_weights(tmp_path):
    def saved(metadata):
        path = tmp_path / "model.safetensors"
        save_file({"a": np.zeros(2, np.float32)}, path, metadata=metadata)
        return {"model.safetensors": path}

    check_files(saved({"format": "pt"}))
    check_files(saved(None))
    with pytest.raises(InputError, match=r"the header of model\.safetensors holds \['from'\]"):
        check_files(saved({"format": "pt", "from": "/home/me"}))
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2) + b"[]")
    with pytest.raises(InputError, match="no safetensors file"):
        check_files({"model.safetensors": path})


def test_headers_of_tables(tmp_path):
    path = tmp_path / "posts.parquet"
    table = pa.table({"post_id": ["a"]})
    for given in ({}, {"made_with": "twhin_hf"}):
        pq.write_table(table.replace_schema_metadata(given), path)
        check_files({"posts.parquet": path, "sub/posts.parquet": path.read_bytes()})
    pq.write_table(table.replace_schema_metadata({"from": "x --posts /home/me/x"}), path)
    for content in (path, path.read_bytes()):
        with pytest.raises(InputError, match=r"in its metadata 'from', line 1, names a path"):
            check_files({"posts.parquet": content})
    with pytest.raises(InputError, match=r"posts\.parquet is no Parquet file"):
        check_files({"posts.parquet": b"PAR1"})


def test_code_of_ours_and_cards_pass():
    check_files({path.name: path for path in CODE.glob("*.py")})
    cards = CODE.parents[1] / "model_cards"
    check_files({path.name: path for path in cards.glob("*.md")})


class TestLinks:
    @pytest.mark.parametrize(
        "name", ["model.safetensors", "results.json", "config.json", "training_record.json"]
    )
    def test_out_of_the_folder(self, hub, trained, tmp_path, name):
        (trained / name).rename(tmp_path / "elsewhere")
        (trained / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(InputError, match=f"{name} is a link to a file outside"):
            push_model(trained, "me/never")
        assert hub.requests == []

    def test_a_folder_out_of_the_folder(self, trained, tmp_path):
        (trained / "1_Pooling").rename(tmp_path / "elsewhere")
        (trained / "1_Pooling").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(InputError, match="is a link to a file outside"):
            check_files({"1_Pooling/config.json": trained / "1_Pooling" / "config.json"})

    def test_inside_of_it(self, trained):
        (trained / "results_again.json").symlink_to("results.json")
        assert "results_again.json" in plan_push(trained, "me/fine").files


class TestUnknownFiles:
    def test_they_stay(self, trained):
        for name in ("notes.md", "posts.jsonl", "sub.model/x.json", "deep/er/vocab.txt", "a.py"):
            (trained / name).parent.mkdir(parents=True, exist_ok=True)
            (trained / name).write_text("mine")
        done = plan_push(trained, "me/fine")
        mine = {"notes.md", "posts.jsonl", "sub.model/x.json", "deep/er/vocab.txt", "a.py"}
        assert not mine & done.files.keys()
        assert mine <= set(done.left_behind)

    def test_they_go_where_they_are_named(self, trained):
        (trained / "notes.md").write_text("mine")
        done = plan_push(trained, "me/fine", files=["notes.md"])
        assert done.files["notes.md"] == trained / "notes.md"
        assert "notes.md" not in done.left_behind
        (trained / "notes.md").write_text("mine, in /home/me")
        with pytest.raises(InputError, match="names a path of this machine"):
            plan_push(trained, "me/fine", files=["notes.md"])

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("optimizer.pt", "is no text"),
            ("users.parquet", "is no text"),
            ("../model.md", "it may leave the folder"),
            ("gone.md", "there is no"),
        ],
    )
    def test_but_not_all(self, trained, name, message):
        with pytest.raises((InputError, FileNotFoundError), match=message):
            plan_push(trained, "me/fine", files=[name])


def test_no_place_in_a_commit_message(hub, trained):
    with pytest.raises(InputError, match="the commit message, line 1, names a path"):
        push_model(trained, "me/never", message="From /home/me")
    assert hub.requests == []


@pytest.mark.parametrize("repo", ["me/a b", 'me/"x', "a/b/c", "../x", ""])
def test_names_of_repositories(trained, repo):
    with pytest.raises(InputError, match="no name of a repository"):
        plan_push(trained, repo)


EVIL = (
    "<script>alert(1)</script>`[click](javascript:alert(1))`![x](https://evil.example/x.png)|\n"
    "\n# Evil\n\n```\n<!-- twhin_hf:end model --> **bold** https://evil.example www.evil.example"
)


def evil(value, keep=()):
    """Every text of a JSON value made evil, but for what a card cannot do without."""
    if isinstance(value, str):
        return EVIL
    if isinstance(value, list):
        return [evil(item) for item in value]
    if isinstance(value, dict):
        return {key: item if key in keep else evil(item, keep) for key, item in value.items()}
    return value


def shown(text):
    """Everything of a card that is more than words: its HTML, links, pictures, headings."""
    found = []
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text.split("\n---\n", 1)[1]):
        for item in [token, *(token.children or ())]:
            if item.type in ("html_block", "html_inline"):
                found.append(("html", item.content))
            elif item.type in ("link_open", "image"):
                found.append((item.type, item.attrGet("href") or item.attrGet("src")))
            elif item.type == "heading_open":
                found.append(("heading", item.tag))
            elif item.type == "fence":
                found.append(("code", item.content))
    return found


@pytest.mark.parametrize("pooling", ["cls", "combined"])
def test_nothing_of_a_folder_is_more_than_words_in_a_card(trained, pooling):
    fine = read_facts(trained)
    config = fine.config | {"pooling": pooling}
    config |= {f"{name}_weight": 0.5 for name in ("mlm", "social", "tpp")}
    record = fine.record | {"objectives": ["mlm", "social", "tpp"]}
    record["hyper_parameters"] = {"optim": "adamw", EVIL: 1, "lr": EVIL}
    row = {"details": {"rows": "raw", "note": "few"}}

    def facts(change):
        results = [
            Results(
                change("engagement"),
                "m",
                [Result(change("en"), change("MRR"), 0.5, **change(row))],
                baselines={change("chance"): [Result(change("en"), change("MRR"), 0.1)]},
            )
        ]
        known = ("objectives",)
        changed = {
            key: change(value) if key.endswith(("pooling", "loss")) else value
            for key, value in config.items()
        }
        changed["pooling"] = pooling
        if pooling == "cls":
            changed["sentence_embedding"] = "social"
        given = {name: change(value) for name, value in record.items() if name not in known}
        given["data"] = {change("pairs"): 8}
        given["versions"] = {change("torch"): change("2")}
        given["hyper_parameters"] = record["hyper_parameters"]
        kept = {name: record[name] for name in known if name in record}
        return CardFacts(changed, record=given | kept, results=results)

    expected = shown(model_card(facts(lambda value: value), "me/x"))
    text = model_card(facts(evil), "me/x")
    assert shown(text) == expected
    assert text.count("evil.example") > 10  # it is there, as words
    card = read_card(text)
    assert card.text.count("<!-- twhin_hf:end model -->") == 1
    assert not {"base_model", "license", "language"} & card.data.to_dict().keys()


def test_a_head_that_there_is_not_is_refused(trained):
    facts = read_facts(trained)
    facts = replace(facts, config=facts.config | {"sentence_embedding": EVIL})
    with pytest.raises(InputError, match="it is one of pooled, social"):
        model_card(facts, "me/x")


def test_an_adapters_too(saved_adapters):
    fine = read_facts(saved_adapters["bert"])
    named = {"base_model_name_or_path": "me/base"}
    expected = shown(model_card(CardFacts(fine.config, adapter=fine.adapter | named), "me/x"))
    adapter = fine.adapter | named | {"r": EVIL, "lora_alpha": EVIL, "target_modules": [EVIL]}
    adapter |= {"modules_to_save": [EVIL]}
    assert shown(model_card(CardFacts(fine.config, adapter=adapter), "me/x")) == expected


def test_no_adapters_card_trusts_code_of_its_base(saved_adapters):
    """sentence-transformers would take the newest of the base, whatever commit is named."""
    fine = read_facts(saved_adapters["roberta"])
    assert fine.config["pooling"] == "combined"
    adapter = fine.adapter | {"base_model_name_or_path": "me/base"}
    text = model_card(CardFacts(fine.config, adapter=adapter), "me/x")
    assert "trust_remote_code" not in text
    assert text.count('load_post_encoder("me/x", revision="COMMIT")') == 2


def test_words_and_code():
    assert as_text("a_b <i>") == "a\\_b &lt;i&gt;"
    assert as_text("x@y.z www.a https://b") == "x&#64;y.z www&#46;a https&#58;//b"
    assert as_code("") == "` `"
    assert as_code("a\nb") == "`a b`"


def test_every_option_of_an_evaluation_is_known():
    """Else a push would leave it out."""
    from dataclasses import fields

    from twhin_hf.evaluation.classification import ClassificationConfig
    from twhin_hf.evaluation.frozen_features import FeatureConfig
    from twhin_hf.evaluation.zero_shot import ZeroShotConfig
    from twhin_hf.recommendation.engagement_config import EngagementConfig

    for config in (ClassificationConfig, EngagementConfig, FeatureConfig, ZeroShotConfig):
        assert {item.name for item in fields(config)} <= OPTIONS
    assert {"rows", "note"} <= DETAILS
