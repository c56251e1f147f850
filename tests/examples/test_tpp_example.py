import importlib.util
import sys
from pathlib import Path

import pytest

from twhin_hf.commands.parsing import parse_command
from twhin_hf.commands.pretrain import pretrain
from twhin_hf.commands.tpp import tpp
from twhin_hf.errors import InputError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "tpp"
DATA = ROOT.parent / "shared" / "data"

spec = importlib.util.spec_from_file_location("tpp_prepare", EXAMPLE / "prepare.py")
prepare = importlib.util.module_from_spec(spec)
spec.loader.exec_module(prepare)


@pytest.fixture
def folder(tmp_path):
    for name in prepare.TWEETS:
        (tmp_path / "umsab" / name).mkdir(parents=True)
        (tmp_path / "umsab" / name / "train_text.txt").write_text(f"a tweet in {name}\n")
    (tmp_path / "tatoeba_train").mkdir()
    (tmp_path / "tatoeba_train" / "en-hi.tsv").write_text("Hello.\tनमस्ते।\nHello.\tहैलो।\n")
    (tmp_path / "ud").mkdir()
    sentence = "# text = {}\n1\t{}\t_\tNOUN\t_\t_\t0\troot\t_\t_\n\n"
    for name in ("ja_gsd-ud-dev", "ja_gsd-ud-test", "en_gumreddit-ud-dev"):
        text = sentence.format(f"word {name}", "word")
        (tmp_path / "ud" / f"{name}.conllu").write_text(text)
    return tmp_path


def test_prepare_takes_each_text_once_and_no_test_set(folder):
    posts = prepare.prepare(folder).to_pydict()
    assert dict(zip(posts["text"], posts["lang"], strict=True)) == {
        "a tweet in english": "en",
        "a tweet in arabic": "ar",
        "a tweet in hindi": "hi",
        "a tweet in spanish": "es",
        "Hello.": "en",
        "नमस्ते।": "hi",
        "हैलो।": "hi",
        "word ja_gsd-ud-dev": "ja",
    }
    assert len(set(posts["post_id"])) == len(posts["text"]) == 8


def test_what_was_prepared_is_kept(folder, monkeypatch, capsys):
    output = folder / "posts.parquet"
    monkeypatch.setattr(sys, "argv", ["prepare.py", "--data", str(folder), "--output", str(output)])
    prepare.main()
    assert "8 texts, saved in" in capsys.readouterr().out
    before = output.stat().st_ino
    prepare.main()
    assert output.stat().st_ino == before
    (folder / "tatoeba_train" / "en-hi.tsv").write_text("Bye.\tअलविदा।\n")
    with pytest.raises(InputError, match="the content of tatoeba_train has changed"):
        prepare.main()


def test_prepare_says_what_is_missing(tmp_path):
    (tmp_path / "ud").mkdir()
    with pytest.raises(FileNotFoundError, match=r"umsab.*tatoeba_train"):
        prepare.prepare(tmp_path)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the public data beside the checkout")
def test_prepare_reads_the_published_files():
    languages = prepare.prepare(DATA)["lang"].value_counts().to_pylist()
    counts = {row["values"]: row["counts"] for row in languages}
    assert counts == {"en": 15319, "ar": 12459, "hi": 4359, "es": 1839, "ja": 507}


def test_configs_hold_known_keys():
    start = ["--model_name_or_path", "m", "--use_cpu"]
    data = {"mlm": [], "joint": ["--pairs", ".", "--translation_pairs", "."]}
    for name, files in data.items():
        options = ["--config", str(EXAMPLE / f"{name}.yaml"), "--posts", ".", *files]
        options += ["--validation_translation_pairs", "."] if files else []
        if name == "mlm":
            parse_command(pretrain, [*options, "--use_cpu"], "twhin-hf pretrain")
        else:
            parse_command(pretrain, [*options, *start], "twhin-hf pretrain")
    options = ["--config", str(EXAMPLE / "tpp.yaml"), "--output_dir", "runs/tpp/bce", *start]
    config = parse_command(tpp, options, "twhin-hf tpp")["config"]
    assert config.max_steps == 1000
