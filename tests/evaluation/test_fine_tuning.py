import pytest
import torch
from datasets import Dataset

from twhin_hf.evaluation import fine_tuning
from twhin_hf.evaluation.fine_tuning_config import FineTuningConfig
from twhin_hf.evaluation.sentiment import encode_texts
from twhin_hf.evaluation.token_classification import encode_words

pytestmark = pytest.mark.filterwarnings("ignore")
CONFIG = FineTuningConfig(seeds=(0,), device="cpu")


@pytest.mark.parametrize("is_sequence", [True, False])
def test_the_loss_of_held_out_rows_is_a_mean_over_labels(
    is_sequence, checkpoint, texts, tmp_path, monkeypatch
):
    labels = ["a", "b", "c"]
    numbers = {label: number for number, label in enumerate(labels)}
    rows = texts[:7]
    if is_sequence:
        plain = {"text": rows, "label": [labels[i % 3] for i in range(7)]}
        encode = encode_texts
    else:
        words = [text.split() for text in rows]
        plain = {"tokens": words, "tags": [[labels[i % 3]] * len(w) for i, w in enumerate(words)]}
        encode = encode_words
    found = []
    for size in (1, 3, 64):
        monkeypatch.setattr(fine_tuning, "_EVAL_BATCH_SIZE", size)
        classifier = fine_tuning.load_classifier(checkpoint, labels, is_sequence, 0)
        held_out = encode(Dataset.from_dict(plain), classifier.tokenizer, numbers, 40)
        trainer = fine_tuning._make_trainer(
            classifier, held_out, held_out, CONFIG, 0, lambda gold, best: 0.5, str(tmp_path)
        )
        metrics = trainer.evaluate()
        assert metrics["eval_figure"] == 0.5
        found.append(metrics["eval_loss"])
    # One row after the other, without any padding.
    losses = []
    for row in held_out:
        inputs = {name: torch.tensor([row[name]]) for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            logits = classifier.model.eval()(**inputs).logits.view(-1, 3)
        gold = torch.tensor(row["labels"]).view(-1)
        kept = gold != -100
        losses.append(torch.nn.functional.cross_entropy(logits[kept], gold[kept], reduction="none"))
    assert found == pytest.approx([torch.cat(losses).mean().item()] * 3, abs=1e-5)
