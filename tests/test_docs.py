"""Every command that the documentation shows is one that the command line takes."""

import re
import shlex
from pathlib import Path

import pytest

from twhin_hf.commands.cli import COMMANDS, find_command, load_command, main
from twhin_hf.commands.declared import options_of
from twhin_hf.commands.parsing import command_parser
from twhin_hf.commands.spelling import spell_out
from twhin_hf.data.synthetic import generate_network
from twhin_hf.data.synthetic_config import SyntheticConfig

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "examples").rglob("*.md")),
    *sorted((ROOT / "model_cards").glob("*.md")),
    *sorted((ROOT / "examples").glob("run_*.py")),
]
SCRIPTS = {"run_social_pretraining.py": "pretrain", "run_tpp.py": "tpp"}


def shown_commands(text: str) -> list[list[str]]:
    """Commands of code blocks, whole: continued lines are joined."""
    lines = re.sub(r"\s*\\\\?\n\s*", " ", text).splitlines()
    found = []
    for line in lines:
        match = re.search(
            r"(?:^|\s|`)(twhin-hf|accelerate launch examples/run_\w+\.py) ([^`]*)", line
        )
        is_block = line.startswith(("    ", "twhin-hf", "accelerate")) or line.startswith("| `")
        if match and is_block and not line.lstrip().startswith("#"):
            words = shlex.split(match[2], comments=True)
            script = match[1].rpartition("/")[2]
            found.append([SCRIPTS[script], *words] if script in SCRIPTS else words)
            if script.startswith("run_") and script not in SCRIPTS:
                found.pop()
    return found


SHOWN = [
    (page.relative_to(ROOT), words)
    for page in PAGES
    for words in shown_commands(page.read_text(encoding="utf-8"))
]


def test_there_are_many():
    assert len(SHOWN) > 40
    assert {find_command(words)[0] for page, words in SHOWN if page.name == "README.md"} > {
        "split", "network embed", "pretrain", "evaluate engagement", "embed", "search",
    }  # fmt: skip


@pytest.mark.parametrize(("page", "words"), SHOWN, ids=lambda value: str(value)[:60])
def test_a_shown_command_parses(page, words, monkeypatch):
    monkeypatch.chdir(ROOT)
    name, rest = find_command(words)
    assert name in COMMANDS, words
    if "…" in " ".join(rest):
        return
    rest = [word if not word.startswith("$") else "bce" for word in rest]
    command = load_command(name)
    rest = spell_out(rest, list(options_of(command)))
    # A config that another page tells how to make is not there.
    rest = [w for w in rest if not w.startswith("--config=") or Path(w[9:]).is_file()]
    command_parser(command, name).parse_args(rest)


TINY_TRAINING = [
    "--max_steps=2", "--per_device_train_batch_size=8", "--gradient_accumulation_steps=1",
    "--no_bf16", "--use_cpu", "--dataloader_num_workers=0", "--max_length=32", "--warmup_steps=0",
    "--save_strategy=no", "--report_to=none", "--disable_tqdm",
]  # fmt: skip
TINY_BERT = [
    "hidden_size=16", "num_hidden_layers=1", "num_attention_heads=2", "intermediate_size=16",
    "max_position_embeddings=64",
]  # fmt: skip
SMALLER = {
    "split": [],
    "network embed": ["--dimension=16", "--epochs=1", "--threads=1", "--no_progress"],
    "network mine": ["--threads=1", "--no_progress"],
    "tokenizer": ["--vocab_size=500"],
    "pretrain": TINY_TRAINING,
    "evaluate engagement": [
        "--seeds", "0", "--max_epochs=1", "--max_length=32", "--records_per_user=all",
    ],
    "embed": ["--device=cpu", "--no_progress"],
    "search": ["--device=cpu"],
}  # fmt: skip
"""What makes the README's commands small; what follows a name takes precedence."""


def test_the_readmes_way_from_a_log_to_a_search(tmp_path, monkeypatch, capsys):
    network = SyntheticConfig(
        num_users=200, num_posts=500, num_engagements=5000, languages=("en", "ja")
    )
    generate_network(network).save(tmp_path)
    (tmp_path / "log").mkdir()
    (tmp_path / "engagements.parquet").rename(tmp_path / "log" / "engagements.parquet")
    monkeypatch.chdir(tmp_path)
    shown = shown_commands((ROOT / "README.md").read_text(encoding="utf-8"))
    ran = []
    for words in shown:
        name, rest = find_command(words)
        if name not in SMALLER or (name == "evaluate engagement" and ran.count(name)):
            continue
        smaller = list(SMALLER[name])
        if "--config_name" in rest:
            smaller += ["--config_overrides", *TINY_BERT]
        assert main([*name.split(), *rest, *smaller]) == 0, (words, capsys.readouterr().err)
        ran.append(name)
    assert ran == [
        "split", "network embed", "network mine", "tokenizer", "pretrain", "pretrain", "pretrain",
        "evaluate engagement", "embed", "search",
    ]  # fmt: skip
    assert (tmp_path / "results" / "results.json").is_file()
    assert "new volcano photos" in capsys.readouterr().out
