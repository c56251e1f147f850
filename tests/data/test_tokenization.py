import json
import os
import subprocess
import sys

import pytest
from datasets import Dataset

from twhin_hf.data.tokenization import tokenize_posts, train_unigram_tokenizer
from twhin_hf.hub.guard import people_in_vocabulary


def test_tokenizer_is_framed_and_numbered_as_xlm_roberta(tokenizer, texts):
    assert tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>"]) == [0, 1, 2, 3]
    ids = tokenizer(texts[0])["input_ids"]
    assert (ids[0], ids[-1]) == (0, 2)
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == texts[0]
    assert len(tokenizer) <= 300


def test_compatibility_forms_and_spaces_are_folded(tokenizer, texts):
    word = texts[0].split()[0]
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in word)
    assert tokenizer(f" {wide}\n")["input_ids"] == tokenizer(word)["input_ids"]


def test_trainings_in_two_processes_give_one_tokenizer(texts, tmp_path):
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    program = (
        "import json, sys; from twhin_hf.data.tokenization import train_unigram_tokenizer; "
        "texts = json.load(open(sys.argv[1], encoding='utf-8')); "
        "train_unigram_tokenizer(texts, 200, progress=False).save_pretrained(sys.argv[2])"
    )
    folders = []
    for seed in ("1", "2"):  # sets of strings have another order in each
        folders.append(tmp_path / seed)
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "texts.json"), str(folders[-1])],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
        )
    one, two = ({file.name: file.read_bytes() for file in folder.iterdir()} for folder in folders)
    assert "tokenizer.json" in one
    assert one == two


def test_links_and_hashtags_are_not_spelt_out(texts):
    decorated = [
        f"{text} #sea https://t.co/{row * 7919:x}" if row % 2 else f"{text} #sea"
        for row, text in enumerate(texts)
    ]
    trained = train_unigram_tokenizer(decorated, 300, progress=False)
    assert trained.tokenize("#sea")[-1] == "▁#sea"
    assert trained.tokenize("https://t.co/77")[0].startswith("▁https://t.co/")


def test_names_of_people_are_no_tokens(texts):
    named = [f"RT @maria_92: {text}" for text in texts]
    trained = train_unigram_tokenizer(named, 300, progress=False)
    tokens = list(trained.get_vocab())
    assert not [token for token in tokens if "maria" in token or "92" in token]
    assert people_in_vocabulary(trained.backend_tokenizer.to_str().encode()) == []


def test_bad_vocabulary_and_no_text():
    with pytest.raises(ValueError, match="vocab_size is 5"):
        train_unigram_tokenizer(["a"], 5, progress=False)
    with pytest.raises(ValueError, match="no text to train"):
        train_unigram_tokenizer([], 100, progress=False)


def test_posts_are_cut_and_languages_filled_in(posts, tokenizer):
    rows = tokenize_posts(posts.remove_columns("lang"), tokenizer, max_length=10)
    assert rows.column_names == ["post_id", "lang", "input_ids"]
    assert set(rows["lang"]) == {"und"}
    assert max(map(len, rows["input_ids"])) == 10
    assert rows[0]["input_ids"][-1] == tokenizer.sep_token_id


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Dataset.from_dict({"id": ["1"]}), r"\['post_id', 'text'\] are needed"),
        (Dataset.from_dict({"post_id": [], "text": []}), "no posts to train on"),
    ],
)
def test_bad_posts(bad, message, tokenizer):
    with pytest.raises(ValueError, match=message):
        tokenize_posts(bad, tokenizer)
