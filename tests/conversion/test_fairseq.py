"""Checkpoints of fairseq, made here in its format; their layers are computed beside ours."""

import argparse
import enum

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForMaskedLM

from twhin_hf.commands.cli import main
from twhin_hf.conversion.convert import convert_checkpoint
from twhin_hf.conversion.fairseq import TOKEN_TYPES, read_fairseq

HIDDEN, HEADS, LAYERS, INNER, POSITIONS = 32, 4, 2, 48, 132


def fairseq_weights(vocabulary, before="decoder.sentence_encoder.", joined=True):
    """The weights of a RoBERTa as fairseq names them, all of them random."""
    shapes = {
        "embed_tokens.weight": (vocabulary, HIDDEN),
        "embed_positions.weight": (POSITIONS, HIDDEN),
        "emb_layer_norm.weight": (HIDDEN,),
        "emb_layer_norm.bias": (HIDDEN,),
    }
    for layer in range(LAYERS):
        linear = {"self_attn.out_proj": (HIDDEN, HIDDEN)}
        linear |= {"fc1": (INNER, HIDDEN), "fc2": (HIDDEN, INNER)}
        if joined:
            shapes[f"layers.{layer}.self_attn.in_proj_weight"] = (3 * HIDDEN, HIDDEN)
            shapes[f"layers.{layer}.self_attn.in_proj_bias"] = (3 * HIDDEN,)
        else:
            linear |= {f"self_attn.{part}_proj": (HIDDEN, HIDDEN) for part in "qkv"}
        for name, shape in linear.items():
            shapes[f"layers.{layer}.{name}.weight"] = shape
            shapes[f"layers.{layer}.{name}.bias"] = shape[:1]
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            shapes |= {f"layers.{layer}.{name}.{kind}": (HIDDEN,) for kind in ("weight", "bias")}
    torch.manual_seed(0)
    weights = {before + name: torch.randn(shape) * 0.3 for name, shape in shapes.items()}
    head = before.split(".")[0] + ".lm_head."
    weights |= {
        head + "weight": weights[before + "embed_tokens.weight"],
        head + "bias": torch.randn(vocabulary),
        head + "dense.weight": torch.randn(HIDDEN, HIDDEN) * 0.3,
        head + "dense.bias": torch.randn(HIDDEN),
        head + "layer_norm.weight": torch.randn(HIDDEN),
        head + "layer_norm.bias": torch.randn(HIDDEN),
    }
    return weights


def fairseq_logits(weights, ids):
    """What fairseq's RobertaModel computes, by PyTorch's own attention."""
    w = {
        name.removeprefix("decoder.").removeprefix("sentence_encoder."): v
        for name, v in weights.items()
    }

    def norm(x, name):
        return F.layer_norm(x, (HIDDEN,), w[f"{name}.weight"], w[f"{name}.bias"])

    def linear(x, name):
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    positions = torch.arange(2, 2 + ids.shape[1])  # fairseq begins after its padding index, 1
    x = norm(
        w["embed_tokens.weight"][ids] + w["embed_positions.weight"][positions], "emb_layer_norm"
    )
    for layer in range(LAYERS):
        of = f"layers.{layer}."
        attention = torch.nn.MultiheadAttention(HIDDEN, HEADS, batch_first=True)
        attention.load_state_dict(
            {
                name.removeprefix(of + "self_attn."): value
                for name, value in w.items()
                if name.startswith(of + "self_attn.")
            }
        )
        x = norm(x + attention(x, x, x)[0], of + "self_attn_layer_norm")
        inner = F.gelu(linear(x, of + "fc1"))
        x = norm(x + linear(inner, of + "fc2"), of + "final_layer_norm")
    x = norm(F.gelu(linear(x, "lm_head.dense")), "lm_head.layer_norm")
    return linear(x, "lm_head")


@pytest.fixture
def write(tmp_path):
    """Writes a checkpoint of fairseq with a dictionary."""

    def write(weights, pieces, **content):
        folder = tmp_path / "fairseq"
        folder.mkdir(exist_ok=True)
        options = argparse.Namespace(encoder_attention_heads=HEADS, dropout=0.2, task="lm")
        torch.save({"args": options, "model": weights, **content}, folder / "model.pt")
        lines = "".join(f"{piece} {100 - i}\n" for i, piece in enumerate(pieces))
        (folder / "dict.txt").write_text(lines, encoding="utf-8")
        return folder

    return write


@pytest.fixture
def xlmr_tokenizer(texts, tmp_path):
    """A tokenizer with fairseq's special tokens where fairseq has them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({f"▁{word}" for text in texts for word in text.split()})[:95]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *words, "<mask>"]
    own = Tokenizer(models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="<unk>"))
    own.pre_tokenizer = pre_tokenizers.Metaspace()
    own.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    special = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}
    special |= {"cls": "<s>", "sep": "</s>"}
    PreTrainedTokenizerFast(
        tokenizer_object=own, **{f"{name}_token": token for name, token in special.items()}
    ).save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer", words


@pytest.mark.parametrize("joined", [True, False])
def test_our_model_computes_what_fairseqs_does(joined, xlmr_tokenizer, write, tmp_path, capsys):
    folder, words = xlmr_tokenizer
    weights = fairseq_weights(100, joined=joined)
    bookkeeping = {"decoder.sentence_encoder.version": torch.ones(1)}
    task = {"classification_heads.mnli.dense.weight": torch.ones(2, 2)}
    source = write(weights | bookkeeping | task, words)
    command = ["convert", "--checkpoint", str(source), "--tokenizer", str(folder)]
    assert main([*command, "--output", str(tmp_path / "ours")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "TwhinXLMRobertaForPreTraining: " in printed
    assert "largest difference 0;" in printed
    left_out = "decoder.sentence_encoder.version, classification_heads.mnli.dense.weight"
    assert f"Left out: {left_out}" in printed
    assert f"Added: {TOKEN_TYPES}" in printed
    assert "RANDOM" in printed
    stock = AutoModelForMaskedLM.from_pretrained(tmp_path / "ours").eval()
    assert stock.config.hidden_dropout_prob == 0.2
    ids = torch.randint(3, 100, (3, 9))
    with torch.no_grad():
        found = stock(ids, attention_mask=torch.ones_like(ids)).logits
        if joined:
            expected = fairseq_logits(weights, ids)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    query = stock.base_model.encoder.layer[1].attention.self.query.weight
    before = "decoder.sentence_encoder.layers.1.self_attn."
    name = before + ("in_proj_weight" if joined else "q_proj.weight")
    assert query.equal(weights[name][:HIDDEN])


def test_roberta_of_newer_fairseq(xlmr_tokenizer, write, tmp_path):
    """Options in `cfg`, another prefix, and a dictionary of GPT-2's numbers."""
    folder, _ = xlmr_tokenizer
    weights = fairseq_weights(100, before="encoder.sentence_encoder.", joined=False)
    weights = {n.replace("emb_layer_norm", "layernorm_embedding"): v for n, v in weights.items()}
    numbers = [*map(str, range(93)), "madeupword0000", "madeupword0001"]
    options = {"model": {"encoder_attention_heads": HEADS, "activation_fn": "gelu"}}
    source = write(weights, numbers, args=None, cfg=options)
    done = convert_checkpoint(str(source), tmp_path / "ours", tokenizer=str(folder))
    assert done.model == "TwhinRobertaForPreTraining"
    assert (done.max_difference, done.dropped, done.added) == (0, [], [TOKEN_TYPES])
    assert len(done.renamed) == done.compared - 5  # the MLM head has another prefix alone


class Choice(enum.Enum):
    """Something that only fairseq knows."""

    ONE = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra_state": Choice.ONE}, r"holds a pickle with .*Choice in it"),
        ({"args": argparse.Namespace()}, "does not say how many attention heads"),
        (
            {"args": argparse.Namespace(encoder_attention_heads=4, activation_fn="relu")},
            "has the activation 'relu'",
        ),
        ({"model": {"decoder.sentence_encoder.layer_norm.weight": torch.ones(1)}}, "is no RoBERTa"),
    ],
)
def test_what_cannot_be_read(change, message, write):
    source = write(fairseq_weights(100), map(str, range(95)), **change)
    with pytest.raises(ValueError, match=message):
        read_fairseq(source / "model.pt")


def test_vocabularies_that_do_not_fit(xlmr_tokenizer, write, tmp_path):
    folder, words = xlmr_tokenizer
    source = write(fairseq_weights(100), [*words[1:], words[0]])
    for tokenizer, message in ((str(folder), "token 4 is"), (None, "name one as --tokenizer")):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            convert_checkpoint(str(source), tmp_path / "ours", tokenizer=tokenizer)
    write(fairseq_weights(100), words[:-1])
    with pytest.raises(ValueError, match=r"makes 99 tokens .* embeds 100"):
        read_fairseq(source / "model.pt")
    (source / "dict.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"dict\.txt; it came with the checkpoint"):
        read_fairseq(source / "model.pt")
