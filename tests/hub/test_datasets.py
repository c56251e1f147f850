"""Benchmarks on a Hub of this machine: the same checks, the same care, as for models."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard as HubCard
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from server import CUT
from test_guard import TOKENS

from twhin_hf.commands.cli import main
from twhin_hf.errors import InputError
from twhin_hf.hub.card_metadata import CardMetadata
from twhin_hf.hub.client import TRIES
from twhin_hf.hub.datasets import plan_dataset_push, push_dataset

CARDS = Path(__file__).parents[2] / "model_cards"


@pytest.fixture
def benchmark(tmp_path):
    """A folder that `twhin-hf data hashtag` has written, with what must stay behind."""
    source = tmp_path / "source" / "en"
    source.mkdir(parents=True)
    for start, split in ((0, "train"), (10, "dev"), (20, "test")):
        rows = "".join(f"{start + i}\t{'ab'[i % 2]}\n" for i in range(10))
        (source / f"{split}.tsv").write_text(f"ID\tlabel\n{rows}")
    posts = [{"id": str(i), "text": f"text {i} #A #B"} for i in range(30)]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, posts)))
    command = ["data", "hashtag", "--data-dir", str(source.parent)]
    command += ["--hydration", str(tmp_path / "texts.jsonl"), "--output", str(tmp_path / "set")]
    assert main(command) == 0
    (tmp_path / "set" / "users.csv").write_text("user_id\nu1\n")
    return tmp_path / "set"


def published(hub, repo):
    return hub.repos[f"datasets/{repo}"].commits[-1]


def test_one_commit_of_tables_and_card(hub, benchmark):
    done = push_dataset(benchmark, "me/tags")
    assert (
        done.url == f"{hub.endpoint}/datasets/me/tags/commit/{hub.repos['datasets/me/tags'].sha()}"
    )
    assert len(hub.repos["datasets/me/tags"].commits) == 2
    files = published(hub, "me/tags")
    assert files.keys() == done.files.keys()
    assert {name.rpartition("/")[2] for name in files} == {
        "README.md",
        "train.parquet",
        "validation.parquet",
        "test.parquet",
    }
    assert done.left_behind == ["run.json", "users.csv"]
    card = HubCard(files["README.md"].decode())
    assert [config["config_name"] for config in card.data.configs] == ["en"]
    assert 'load_dataset("me/tags", "en")' in card.content


def test_what_was_written_by_hand_survives(hub, benchmark):
    push_dataset(benchmark, "me/hand")
    text = published(hub, "me/hand")["README.md"].decode()
    edited = text.replace("license: cc-by-4.0", "license: mit") + "\nNot for ads.\n"
    edited = edited.replace("| `en` | 10 |", "| `en` | 99 |")
    stale = {"README.md": edited.encode(), "old/train.parquet": b"", "notes.md": b"mine"}
    commits = hub.repos["datasets/me/hand"].commits
    commits.append(commits[-1] | stale)
    assert push_dataset(benchmark, "me/hand").deleted == ["old/train.parquet"]
    files = published(hub, "me/hand")
    again = files["README.md"].decode()
    assert "Not for ads." in again
    assert "license: mit" in again
    assert "| `en` | 10 |" in again
    assert files["notes.md"] == b"mine"
    assert "old/train.parquet" not in files


def test_a_released_card_tells_the_rows_and_keeps_its_words(benchmark):
    own = (CARDS / "hashtag-prediction.md").read_text()
    text = plan_dataset_push(benchmark, "me/tags", own).files["README.md"].decode()
    assert "| `en` | 10 | 10 | 10 |" in text
    assert "Say here" not in text
    for line in own.partition("# Hashtag prediction")[2].splitlines():
        assert line in text, line
    assert [config["config_name"] for config in HubCard(text).data.configs] == ["en"]


def test_private_and_public(hub, benchmark, monkeypatch, capsys):
    command = ["push", "--dataset", str(benchmark), "--repo", "me/open"]
    assert main([*command, "--dry-run"]) == 0
    assert hub.requests == []
    assert "users.csv" in capsys.readouterr().out.partition("Left behind")[2]
    assert main(command) == 0
    assert main([*command, "--private"]) == 2
    assert "me/open is public already" in capsys.readouterr().err
    push_dataset(benchmark, "me/secret", private=True)
    assert HfApi().dataset_info("me/secret").private
    with pytest.raises(RepositoryNotFoundError):
        HfApi(token=False).dataset_info("me/secret")
    assert main([*command, "--base-model", "a/b"]) == 2
    assert "a benchmark has no base model" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(ValueError, match="the token may only read"):
        push_dataset(benchmark, "me/other")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ValueError, match="there is no token"):
        push_dataset(benchmark, "me/other")


def test_a_hub_that_stumbles_and_one_that_stays_down(hub, benchmark, waits):
    for method, part, status in (
        ("POST", "/preupload/", 500),
        ("PUT", "/lfs/", CUT),
        ("POST", "/commit/", 429),
    ):
        hub.fail(method, part, status)
    push_dataset(benchmark, "me/stumbles")
    assert len(hub.repos["datasets/me/stumbles"].commits) == 2
    sent = hub.count("PUT", "/lfs/")
    hub.large.clear()
    hub.fail("POST", "/commit/", 500, times=1000)
    with pytest.raises(ValueError, match=rf"did not answer in {TRIES} tries \(status 500\)"):
        push_dataset(benchmark, "me/down")
    assert len(hub.repos["datasets/me/down"].commits) == 1  # nothing half published
    assert hub.count("PUT", "/lfs/") == sent + 3  # three tables
    hub.faults.clear()
    push_dataset(benchmark, "me/down")
    assert hub.count("PUT", "/lfs/") == sent + 3  # they were there already
    assert published(hub, "me/down").keys() == published(hub, "me/stumbles").keys()


def spoil_with_users(folder):
    table = pa.table({"user_id": ["u1"], "label": [0]})
    pq.write_table(table, folder / "en" / "train.parquet")


def spoil_with(name, values):
    """Puts a column into a table of the benchmark."""

    def spoil(folder):
        path = folder / "en" / "test.parquet"
        table = pq.read_table(path)
        column = values if isinstance(values, list) else [values] * len(table)
        if name in table.column_names:
            table = table.drop_columns([name])
        pq.write_table(table.append_column(name, [column]), path)

    return spoil


def spoil_metadata(note, key="made_by"):
    """Puts a note into the header of a table."""

    def spoil(folder):
        path = folder / "en" / "test.parquet"
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata({key: note}), path)

    return spoil


def spoil_later_metadata(folder):
    path = folder / "en" / "test.parquet"
    table = pq.read_table(path)
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"made_in": "/home/me/x"})


def spoil_column_metadata(folder):
    path = folder / "en" / "test.parquet"
    table = pq.read_table(path)
    schema = pa.schema(
        [f.with_metadata({"author": "did:plc:abcdefghijklmnopqrst"}) for f in table.schema]
    )
    pq.write_table(table.cast(schema), path)


def spoil_item_metadata(folder):
    path = folder / "en" / "test.parquet"
    table = pq.read_table(path)
    item = pa.field("item", pa.float32(), metadata={"of": "/home/me/x"})
    vectors = pa.array([[0.0]] * len(table), pa.list_(item))
    pq.write_table(table.append_column(pa.field("user", vectors.type), vectors), path)


def link_elsewhere(name):
    """Makes a file of the folder a link to one beside the folder."""

    def spoil(folder):
        target = folder.parent / "elsewhere"
        source = folder / name if (folder / name).exists() else folder / "en" / "test.parquet"
        target.write_bytes(source.read_bytes())
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return spoil


def link_the_folder(folder):
    (folder / "en").rename(folder.parent / "elsewhere")
    (folder / "en").symlink_to(folder.parent / "elsewhere")
    (folder / "other.parquet").write_bytes((folder / "en" / "test.parquet").read_bytes())


def change_configs(configs):
    """Gives the card other configs, or none."""

    def spoil(folder):
        card = HubCard((folder / "README.md").read_text())
        card.data.configs = configs
        (folder / "README.md").write_text(str(card))

    return spoil


def spoil_card(folder):
    card = folder / "README.md"
    card.write_text(card.read_text() + "\nFrom /home/me/posts\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_with_users, r"en/train\.parquet holds ids of users in the column 'user_id'"),
        (spoil_with("text", [*"123456789", "@ana"]), r"the column 'text' \(the first in row 10\)"),
        (
            spoil_with("text", "by did:plc:abcdefghijklmnopqrst"),
            r"names or ids of people in the column 'text'",
        ),
        (spoil_with("id", "at://did:plc:abc/app.bsky.feed.post/3k"), r"in the column 'id' \(the"),
        (spoil_with("id", ["1"] * 9 + ["ana/1"]), r"neither keyed hashes nor .* row 10\)"),
        (spoil_with("user", "u1"), r"ids of users in the column 'user'"),
        (spoil_with("who", 17), r"has the column 'who', which no benchmark has"),
        (spoil_with("Author_ID", 17), r"ids of users in the column 'Author_ID'"),
        (
            spoil_metadata("did:plc:abcdefghijklmnopqrst"),
            r"in its metadata 'made_by', line 1, names a person: 'did:plc:abcdefghijklmnopqrst'",
        ),
        (spoil_metadata("thanks @ana"), r"in its metadata 'made_by', names a person"),
        (
            spoil_metadata('{"a": {"b": "x --posts /home/me/x"}}', "twhin_hf"),
            r"in its metadata 'twhin_hf', at a\.b, names a path of this machine",
        ),
        (spoil_metadata('{"hub_token": "mine"}'), r"at hub_token, holds what looks like a token"),
        (spoil_metadata("x", "/home/me/x"), r"in its metadata, line 1, names a path"),
        (spoil_metadata(b"\xff\xfe"), r"is no text in UTF-8"),
        (spoil_later_metadata, r"in its metadata 'made_in', line 1, names a path"),
        (spoil_column_metadata, r"in its metadata 'author', line 1, names a person"),
        (spoil_item_metadata, r"in its metadata 'of', line 1, names a path"),
        (link_elsewhere("README.md"), r"README\.md is a link to a file outside"),
        (link_elsewhere("en/test.parquet"), r"en/test\.parquet is a link to a file outside"),
        (link_elsewhere("en/linked.parquet"), r"en/linked\.parquet is a link to a file outside"),
        (link_the_folder, r"README\.md name en/train\.parquet, and .* holds no such Parquet file"),
        (
            lambda f: (f / "en" / "validation.parquet").unlink(),
            r"README\.md name en/validation\.parquet, and .* holds no such Parquet file",
        ),
        (change_configs("en"), r"README\.md cannot be used"),
        (spoil_card, r"README\.md, line \d+, names a path of this machine"),
        (lambda f: (f / "en" / "test.parquet").write_bytes(b"\x80\x04"), "is no Parquet file"),
        (lambda f: [path.unlink() for path in f.rglob("*.parquet")], "holds no Parquet file"),
        (lambda f: (f / "README.md").unlink(), "no finished data set"),
    ],
)
def test_what_must_not_go_is_refused_before_anything_is_asked(hub, benchmark, spoil, message):
    spoil(benchmark)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        plan_dataset_push(benchmark, "me/never")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        push_dataset(benchmark, "me/never")
    assert hub.requests == []


@pytest.mark.parametrize("secret", TOKENS)
def test_tokens_in_posts(benchmark, secret):
    spoil_with("text", ["a"] * 6 + [f"見て{secret} lol"] + ["c"] * 3)(benchmark)
    with pytest.raises(InputError, match=r"a token in the column 'text' \(row 7: ") as error:
        plan_dataset_push(benchmark, "me/never")
    assert secret not in str(error.value)


def test_posts_may_speak_of_folders_and_passwords(benchmark):
    said = ["see /home/ana/secret", "my password: hunter22", "token=abc123def", "a" * 40, None]
    spoil_with("text", said * 2)(benchmark)
    assert "en/test.parquet" in plan_dataset_push(benchmark, "me/tags").files


def test_tables_that_the_card_does_not_name_stay(benchmark):
    unrelated = benchmark / "unrelated.parquet"
    unrelated.write_bytes((benchmark / "en" / "test.parquet").read_bytes())
    done = plan_dataset_push(benchmark, "me/tags")
    assert "unrelated.parquet" not in done.files
    assert "unrelated.parquet" in done.left_behind
    change_configs(None)(benchmark)  # load_dataset reads all
    assert "unrelated.parquet" in plan_dataset_push(benchmark, "me/tags").files


@pytest.mark.parametrize(
    "said",
    [
        {"data_files": "en/*.parquet"},
        {"data_files": ["./en/t*.parquet", "en/validation.parquet"]},
        {"data_files": [{"split": "all", "path": ["en/t*.parquet", "en/v*"]}]},
        {"data_files": [{"split": "all", "path": "en/**"}]},
        {"data_dir": "en"},
        {"data_dir": "en", "data_files": "*.parquet"},
    ],
)
def test_each_form_of_configs(benchmark, said):
    (benchmark / "other.parquet").write_bytes((benchmark / "en" / "test.parquet").read_bytes())
    change_configs([{"config_name": "en", **said}])(benchmark)
    files = plan_dataset_push(benchmark, "me/tags").files.keys() - {"README.md"}
    assert files == {f"en/{split}.parquet" for split in ("train", "validation", "test")}


def test_a_star_stays_in_its_folder(benchmark):
    (benchmark / "other.parquet").write_bytes((benchmark / "en" / "test.parquet").read_bytes())
    change_configs([{"config_name": "en", "data_files": "*.parquet"}])(benchmark)
    files = plan_dataset_push(benchmark, "me/tags").files
    assert files.keys() == {"README.md", "other.parquet"}


def test_columns_that_are_named_go_out_unless_they_name_people(hub, benchmark, capsys):
    spoil_with("who", "crowd")(benchmark)
    spoil_with("id", ["ana/1", *map(str, range(9))])(benchmark)
    command = ["push", "--dataset", str(benchmark), "--repo", "me/odd", "--allow_columns", "who"]
    assert main(command) == 2
    assert "(`--allow_columns id`)" in capsys.readouterr().err
    assert main([*command, "id"]) == 0
    assert "en/test.parquet" in published(hub, "me/odd")
    spoil_with("who", "@crowd")(benchmark)
    assert main([*command, "id"]) == 2
    assert "names or ids of people in the column 'who'" in capsys.readouterr().err
    spoil_with("who", [["u1"]] * 10)(benchmark)
    with pytest.raises(ValueError, match="cannot be looked through"):
        plan_dataset_push(benchmark, "me/odd", allow_columns=["who", "id"])


def test_the_card_tells_the_licence_and_languages_that_are_given(benchmark):
    told = CardMetadata(license="cc-by-sa-4.0", languages=["en", "es"])
    card = HubCard(
        plan_dataset_push(benchmark, "me/tags", metadata=told).files["README.md"].decode()
    )
    assert (card.data.license, card.data.language) == ("cc-by-sa-4.0", ["en", "es"])
    assert [config["config_name"] for config in card.data.configs] == ["en"]
    assert 'load_dataset("me/tags", "en")' in card.content
    with pytest.raises(InputError, match="--datasets goes with --model"):
        plan_dataset_push(benchmark, "me/tags", metadata=CardMetadata(datasets=["me/posts"]))


def test_a_push_of_data_without_a_licence_says_so(benchmark, capsys):
    card = benchmark / "README.md"
    card.write_text(card.read_text().replace("license: cc-by-4.0\n", ""))
    command = ["push", "--dataset", str(benchmark), "--repo", "me/tags", "--dry_run"]
    assert main(command) == 0
    assert "names no licence: nobody may use it." in capsys.readouterr().out
    assert main([*command, "--license", "mit"]) == 0
    assert "names no licence" not in capsys.readouterr().out
