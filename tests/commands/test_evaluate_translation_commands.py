import csv
import json
from pathlib import Path

import pytest
import torch

from twhin_hf.benchmarks.zero_shot.labels import read_label_map
from twhin_hf.benchmarks.zero_shot.readers import read_bitext, read_entities
from twhin_hf.commands.cli import load_command
from twhin_hf.commands.parsing import run_command
from twhin_hf.evaluation.alignment import pair_distances
from twhin_hf.evaluation.retrieval import evaluate_retrieval
from twhin_hf.loading.auto import load_post_encoder, load_with_heads
from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings
from twhin_hf.results import Result, Results, read_results, write_results

pytestmark = pytest.mark.filterwarnings("ignore")
ROOT = Path(__file__).parents[2]
TATOEBA = ROOT.parent / "shared" / "data" / "tatoeba_test"


def run(name, *arguments):
    arguments = [str(argument) for argument in arguments]
    run_command(load_command(f"evaluate {name}"), arguments, f"twhin-hf evaluate {name}")


@pytest.fixture
def folder(tmp_path, tokenizer, tiny_config, texts):
    """Tiny checkpoints of masked language modelling, translation pairs, and sentences."""
    from transformers import BertForMaskedLM

    torch.manual_seed(0)
    for name, pooling in (("model", "mean"), ("after", "cls")):
        tiny_config.pooling = pooling
        BertForMaskedLM(tiny_config).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    for language, shift in (("es", 1), ("ar", 2)):
        rows = [f"{texts[i]}\t{texts[i + shift]}\n" for i in range(0, 48, 4)]
        (pairs / f"en-{language}.tsv").write_text("".join(rows), encoding="utf-8")
    for name in ("en", "xx"):
        words = [texts[i].split()[:5] for i in range(0, 48, 4)]
        lines = [
            "".join(f"{word}\t{'B-person' if word[0] in 'abcde' else 'O'}\n" for word in sentence)
            for sentence in words
        ]
        (tmp_path / f"{name}.conll").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def test_retrieval(folder, capsys):
    arguments = ("retrieval", "--model", folder / "model", "--device", "cpu")
    run(*arguments, "--pairs", folder / "pairs", "--output", folder / "out", "--pooling", "mean")
    results = read_results(folder / "out")
    found = {(row.language, row.metric): row for row in results.results}
    assert len(found) == 5 * 6
    assert found["ar→en", "margin accuracy@10"].details == {"queries": 12, "candidates": 12}
    assert 0 < found["average", "MRR"].value <= 1
    assert list(results.baselines) == ["chance", "characters"]
    assert all(len(rows) == 5 * 6 for rows in results.baselines.values())
    assert results.baselines["chance"][0].value == pytest.approx(1 / 12)
    assert results.options["pooling"] == "mean"
    assert "Translations found" in capsys.readouterr().out


def test_retrieval_by_the_head(folder, tiny_config):
    config = apply_settings(tiny_config, tpp_weight=1.0, tpp_pooling="mean", pooling="mean")
    TwhinBertForPreTraining(config).save_pretrained(folder / "model")
    arguments = ("retrieval", "--model", folder / "model", "--device", "cpu", "--projected")
    arguments += ("--pairs", folder / "pairs", "--output", folder / "out")
    run(*arguments)
    results = read_results(folder / "out")
    assert results.options["projected"]
    assert results.options["pooling"] == "mean"
    pairs = read_bitext(folder / "pairs")
    model = load_with_heads(folder / "model")
    expected = evaluate_retrieval(model, pairs, objective="tpp")["ar→en"].mrr
    rows = {(row.language, row.metric): row.value for row in results.results}
    assert rows["ar→en", "MRR"] == expected
    assert expected != evaluate_retrieval(model.bert, pairs)["ar→en"].mrr
    with pytest.raises(ValueError, match="exclude each other"):
        run(*arguments, "--pooling", "mean")


def test_alignment(folder, capsys, caplog, monkeypatch):
    # UMAP, where it is installed, compiles for a minute.
    monkeypatch.setattr("twhin_hf.evaluation.alignment.available_methods", lambda: ["t-SNE"])
    run(
        *("alignment", "--before", folder / "model", "--after", folder / "after", "--device"),
        *("cpu", "--pairs", folder / "pairs" / "en-ar.tsv", "--output", folder / "out"),
    )
    results = read_results(folder / "out")
    assert {row.language for row in results.results} == {"en-ar"}
    assert results.options["before"] == str(folder / "model")
    # One way to read a text for both, whose own differ: that of the encoder after.
    assert (results.options["pooling"], results.options["max_length"]) == ("cls", 128)
    assert "pooling: cls for both encoders, as the second has it; the first has mean" in caplog.text
    distances = {row.metric: row.value for row in results.results}
    texts = [line.split("\t") for line in (folder / "pairs" / "en-ar.tsv").read_text().splitlines()]
    for when, name in (("before", "model"), ("after", "after")):
        encoder = load_post_encoder(str(folder / name))
        vectors = [encoder.encode(side, pooling="cls").numpy() for side in zip(*texts, strict=True)]
        cosine = pair_distances(*vectors).cosine
        assert distances[f"cosine distance {when}"] == pytest.approx(cosine, abs=1e-5)
    with (folder / "out" / "distances.csv").open() as file:
        assert [row["lang_b"] for row in csv.DictReader(file)] == ["ar"] * 4
    assert (folder / "out" / "distances.png").stat().st_size > 1000
    assert (folder / "out" / "en-ar.png").stat().st_size > 1000
    assert "Distance between translations" in capsys.readouterr().out


def test_zero_shot(folder, capsys):
    before = Results("zero-shot ner", "base", [Result("xx", "micro F1", 0.5)])
    write_results(before, folder / "before")
    run(
        *("zero-shot", "--task", "ner", "--model", folder / "model", "--device", "cpu"),
        *("--train", f"en={folder / 'en.conll'}", "--test", f"xx={folder / 'xx.conll'}"),
        *("--validation", f"en={folder / 'en.conll'}", "--label-map", "person=PER"),
        *("--epochs", 1, "--warmup-steps", 0, "--seeds", 0, 1, "--before", folder / "before"),
        *("--output", folder / "out"),
    )
    results = read_results(folder / "out")
    assert [(row.language, row.metric, row.seeds) for row in results.results] == [
        ("xx", "micro F1", [0, 1]),
        ("validation", "micro F1", [0, 1]),
    ]
    assert results.options["labels"] == ["O", "B-PER", "I-PER"]
    assert results.options["new_weights"] == ["classifier.bias", "classifier.weight"]
    assert results.options["label_map"] == {"person": "PER"}
    screen = capsys.readouterr().out
    assert "Zero-shot transfer from en" in screen
    assert "Δ%" in screen


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--train", "file", "--test", "hi=x"), "--train takes NAME=VALUE pairs, not 'file'"),
        (("--train", "en=x", "--test", "=x"), "--test takes NAME=VALUE pairs, not '=x'"),
        (("--train", "en=x", "hi=y", "--test", "hi=x"), "give one file, such as --train en=FILE"),
        (("--train", "en=x", "--test", "hi=x", "--task", "x"), "--task is 'x'; choose from ner"),
    ],
)
def test_odd_options(arguments, message):
    with pytest.raises(ValueError, match=message):
        run("zero-shot", "--model", "m", "--output", "o", "--task", "ner", *arguments)


def test_results_of_another_task_are_refused_before_training(folder):
    write_results(Results("zero-shot pos", "base", [Result("xx", "accuracy", 0.5)]), folder / "pos")
    with pytest.raises(
        ValueError, match=r"results of 'zero-shot pos'; needed are .* 'zero-shot ner'"
    ):
        run(
            *("zero-shot", "--model", "no/model", "--output", "o", "--task", "ner"),
            *("--train", "en=x", "--test", "hi=x", "--before", folder / "pos"),
        )


@pytest.mark.parametrize("device", ["cuda:1", "gpu"])
def test_a_device_that_cannot_be_had(folder, device):
    with pytest.raises(ValueError, match=f"device is '{device}'; .* CUDA_VISIBLE_DEVICES=1"):
        run(
            *("zero-shot", "--model", "no/model", "--output", "o", "--task", "ner"),
            *("--train", "en=x", "--test", "hi=x", "--device", device),
        )


def test_a_language_twice(folder):
    with pytest.raises(ValueError, match="--test names one thing twice: hi, hi"):
        run(
            *("zero-shot", "--model", "m", "--output", "o", "--task", "ner"),
            *("--train", "en=x", "--test", "hi=x", "hi=y"),
        )


def test_label_maps(tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text("a: PER\n2: good\n")
    assert read_label_map([str(path), "a=LOC"]) == {"a": "LOC", "2": "good"}
    path.write_text("- a\n")
    for entry, error, message in (
        (str(path), ValueError, "holds no `OLD: NEW` lines"),
        ("x", ValueError, "needed is OLD=NEW or a YAML file"),
        (str(tmp_path / "no.yaml"), FileNotFoundError, "there is no"),
    ):
        with pytest.raises(error, match=message):
            read_label_map([entry])


def test_the_shipped_label_map_covers_both_tag_sets(tmp_path):
    types = "person location corporation group product creative-work"
    ssea = "NEP NED NEO NEA NEB NETP NETO NEL NETI NEN NEM NETE"
    path = tmp_path / "a.conll"
    path.write_text("".join(f"x\tB-{kind}\n" for kind in f"{types} {ssea}".split()))
    label_map = read_label_map([str(ROOT / "examples" / "tpp" / "entity_labels.yaml")])
    tags = set(read_entities(path, label_map)[0]["tags"])
    assert tags == {"O", "B-PER", "B-LOC", "B-ORG", "B-MISC"}


# --- translation pairs ----------------------------------------------------------------------------


def test_pairs_of_every_kind(tmp_path):
    (tmp_path / "en-hi.tsv").write_text("a\tक\n b \tख\r\n", encoding="utf-8")
    expected = {
        "text_a": ["a", " b "],
        "text_b": ["क", "ख"],
        "lang_a": ["en", "en"],
        "lang_b": ["hi", "hi"],
        "source": ["en-hi.tsv", "en-hi.tsv"],
    }
    assert read_bitext(tmp_path / "en-hi.tsv").to_dict() == expected
    assert read_bitext(tmp_path).to_dict() == expected
    rows = [{"text_a": "a", "text_b": "b", "lang_a": "en", "lang_b": "de", "source": "x"}]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_bitext(path).to_list() == rows


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("en-hi.tsv", "a\tb\nc\n", "line 2 is 'c'; needed is a text, a tab and its translation"),
        ("en-hi.tsv", "a\tb\tc\n", "line 1 is"),
        ("en-hi.tsv", "a\t \n", "line 1 is"),
        ("en-hi.tsv", "", "holds no pair"),
        ("pairs.tsv", "a\tb\n", "which languages are these"),
    ],
)
def test_odd_pairs(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_bitext(tmp_path / name)


@pytest.mark.skipif(not TATOEBA.is_dir(), reason=f"the real data are not in {TATOEBA}")
def test_real_pairs():
    found = read_bitext(TATOEBA)
    assert len(found) == 8000
    assert set(found["lang_b"]) == {"ar", "de", "es", "fr", "hi", "it", "ja", "pt"}
    assert set(found["lang_a"]) == {"en"}
