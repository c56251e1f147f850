"""Translation Pair Prediction (TPP): are two texts translations of each other?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset, concatenate_datasets
from torch.utils.data import Dataset as TorchDataset
from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase

from twhin_hf.data.posts import UNKNOWN_LANGUAGE
from twhin_hf.data.translation.pairs import translation_items
from twhin_hf.errors import InputError
from twhin_hf.training.batches import LanguageSampler, PostBatch, PostBatches
from twhin_hf.training.mixing import BatchSource
from twhin_hf.training.negatives import NegativeSampler
from twhin_hf.training.pair_metrics import pair_metrics
from twhin_hf.training.pretraining import (
    PretrainingConfig,
    PretrainingTrainer,
    check_model,
    tokenize,
)

logger = logging.getLogger(__name__)

COLUMNS = ("text_a", "text_b", "lang_a", "lang_b")


@dataclass
class TPPConfig(PretrainingConfig):
    """Options of `TPPTrainer`.

    The loss, the margin and the head belong to the model, and so to its config
    (`twhin_hf.modeling.apply_settings`). `per_device_train_batch_size` counts labelled pairs,
    translations and negatives alike. Negatives are drawn anew in every epoch. Defaults that differ
    from `TrainingArguments`' are the paper's, with its 3 epochs.

    Args:
        learning_rate: Peak learning rate (linear decay; paper: 1e-6).
        warmup_steps: Warm-up steps (paper: 500).
        per_device_train_batch_size: Labelled pairs per batch and device (paper: 32).
        per_device_eval_batch_size: Labelled pairs per batch in evaluation.
        mlm_probability: Share of the tokens to predict (default: 0.15 if the model's mlm_weight is
            above 0, else 0).
    """

    learning_rate: float = 1e-6
    warmup_steps: float = 500
    per_device_train_batch_size: int = 32
    per_device_eval_batch_size: int = 32
    mlm_probability: float | None = None


class TranslationPairs(TorchDataset):
    """Translation pairs and their negatives, fetched a batch at a time.

    Its keys are `draw · len + row`, as in `PostBatches`; row `pair · (1 + num_negatives)` is a
    translation, and the rows after it are its negatives.

    Args:
        texts: Of the pairs, first all sides a, then all sides b.
        languages: Integers `[2 · num_pairs]`, the language of each text.
        items: int64 `[num_pairs]`; pairs of one item hold translations of the same text.
        num_negatives: Of each pair; 0 for translations alone.
        negatives: Finds them; none is needed for translations alone.
    """

    def __init__(
        self,
        texts: PostBatches,
        languages: np.ndarray,
        items: np.ndarray,
        num_negatives: int,
        negatives: NegativeSampler | None,
    ):
        self.texts, self.languages, self.items = texts, languages, items
        self.num_negatives, self.negatives = num_negatives, negatives

    def __len__(self) -> int:
        return len(self.items) * (1 + self.num_negatives)

    def __getitem__(self, key: int) -> PostBatch:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[int]) -> PostBatch:
        draws, texts, negative = self._texts_of(np.asarray(keys, np.int64))
        texts = texts.reshape(-1)
        # The sides of a pair are two draws.
        batch = self.texts.batch(texts, np.concatenate([2 * draws, 2 * draws + 1]))
        batch.pair_labels = (~negative).astype(np.int64)
        batch.item_ids = self.items[texts % len(self.items)]
        return batch

    def num_tokens(self, keys: np.ndarray) -> np.ndarray:
        """Tokens that some keys bring, `[len(keys)]`."""
        return self.texts.lengths[self._texts_of(keys)[1]].sum(axis=0)

    def _texts_of(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draws, texts of both sides `[2, len(keys)]`, and which pairs are negatives."""
        draws, rows = np.divmod(keys, len(self))
        pairs, turns = np.divmod(rows, 1 + self.num_negatives)
        texts = np.stack([pairs, pairs + len(self.items)])
        negative = turns > 0
        if self.negatives is not None and negative.any():
            texts[:, negative] = self.negatives.replace(
                pairs[negative], draws[negative], rows[negative]
            )
        return draws, texts, negative

    def language_pairs(self) -> np.ndarray:
        """The pair of languages of each row, integers `[len]`; en-ar and ar-en are one."""
        sides = np.sort(self.languages.reshape(2, -1).astype(np.int64), axis=0)
        codes = sides[0] * (int(sides.max()) + 1) + sides[1]
        return np.repeat(np.unique(codes, return_inverse=True)[1], 1 + self.num_negatives)


class TPPTrainer(PretrainingTrainer):
    """Trains a `Twhin…ForPreTraining` to tell translations from other pairs of texts.

    Args:
        model: With a `tpp_weight` above 0 in its config.
        args: The configuration.
        train_dataset: Translation pairs, with the columns `text_a`, `text_b`, `lang_a`, `lang_b`.
        eval_dataset: Held-out pairs. Beside the losses, evaluation gives the area under the ROC
            curve, with negatives that stay the same, and bitext retrieval both ways
            (`pair_metrics`), of texts without masks. Pairs in a language that has no other text to
            stand in their negatives are left out, with a warning.
        processing_class: The tokenizer.
        **kwargs: As `Trainer` takes.

    Raises:
        InputError: A model whose objectives do not fit the data, a tokenizer that does not fit the
            model, a missing column, pairs in one language, a language whose texts cannot be
            replaced, or fewer pairs than a batch holds.
    """

    args: TPPConfig

    def __init__(
        self,
        model: PreTrainedModel,
        args: TPPConfig,
        train_dataset: Dataset,
        eval_dataset: Dataset | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        **kwargs: Any,
    ):
        tokenizer = check_model(
            model, args, processing_class, has_pairs=False, has_translation_pairs=True
        )
        tpp_loss = model.config.tpp_loss
        source = translation_source(train_dataset, tokenizer, args, tpp_loss)
        held_out = None
        if eval_dataset is not None:
            held_out = eval_translations(eval_dataset, tokenizer, args, tpp_loss)
            kwargs["compute_metrics"] = partial(eval_metrics, held_out, tpp_loss)
        super().__init__(model, args, [source], held_out, tokenizer, **kwargs)


def translation_source(
    pairs: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    args: PretrainingConfig,
    tpp_loss: str,
    proportion: float = 1.0,
) -> BatchSource:
    """Batches of translation pairs to train on.

    Args:
        pairs: Columns `text_a`, `text_b`, `lang_a`, `lang_b`.
        tokenizer: The model's.
        args: Says how many negatives, and whether languages are up-sampled.
        tpp_loss: Of the model; `contrastive` takes translations alone.
        proportion: Of the run's batches.

    Raises:
        InputError: As `TPPTrainer`.
    """
    batches = _batches(pairs, tokenizer, args, tpp_loss, can_replace=tpp_loss != "contrastive")
    languages, size = batches.language_pairs(), None
    if args.upsample_languages:
        counts = np.bincount(languages)
        size = int(len(counts) * counts.max())
    exponent = 0.0 if args.upsample_languages else 1.0
    sampler = LanguageSampler(languages, exponent, args.seed, size)
    return BatchSource("labelled translation pairs", batches, sampler, proportion)


def eval_translations(
    pairs: Dataset, tokenizer: PreTrainedTokenizerBase, args: PretrainingConfig, tpp_loss: str
) -> TranslationPairs:
    """Held-out translation pairs, less those that nothing can be told from.

    A pair is left out, with a warning, where all texts of one of its languages are translations of
    one another: no other text can stand in its negative, and nothing else could be retrieved.

    Args:
        pairs: Columns `text_a`, `text_b`, `lang_a`, `lang_b`.
        tokenizer: The model's.
        args: Says how many negatives.
        tpp_loss: Of the model.

    Raises:
        InputError: As `TPPTrainer`, naming the held-out pairs; or none is left.
    """
    names, languages = text_languages(pairs, "held-out translation pairs")
    sides, items = languages.reshape(2, -1), translation_items(pairs)
    kept = np.ones(len(items), bool)
    alone = np.ones_like(kept)
    while alone.any():
        own = np.stack([sides[:, kept].reshape(-1), np.tile(items[kept], 2)])
        counts = np.bincount(np.unique(own, axis=1)[0], minlength=len(names))
        alone = kept & (counts[sides] == 1).any(axis=0)
        kept &= ~alone
    if not kept.all():
        lone = sorted({names[code] for code in np.setdiff1d(languages, sides[:, kept])})
        told = (
            f"{(~kept).sum():,} of {len(kept):,} held-out translation pairs cannot be judged: all "
            f"texts in {lone} are translations of one another, and no other can stand in a negative"
        )
        if not kept.any():
            raise InputError(f"{told}; hold out more pairs, or none")
        logger.warning("%s; they are left out", told)
        pairs = pairs.select(np.flatnonzero(kept))
    return _batches(pairs, tokenizer, args, tpp_loss, can_replace=True)


def _batches(
    pairs: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    args: PretrainingConfig,
    tpp_loss: str,
    *,
    can_replace: bool,
) -> TranslationPairs:
    names, languages = text_languages(pairs)
    items = translation_items(pairs)
    num_negatives = 0 if tpp_loss == "contrastive" else args.num_negatives
    negatives = NegativeSampler(languages, items, args.seed, names) if can_replace else None
    sides = [
        pairs.select_columns([f"text_{side}", f"lang_{side}"]).rename_columns(
            {f"text_{side}": "text", f"lang_{side}": "lang"}
        )
        for side in "ab"
    ]
    texts = concatenate_datasets(sides)
    texts = texts.add_column("post_id", pa.array(np.arange(len(texts))).cast(pa.string()))
    tokenized = tokenize(texts, tokenizer, args)
    lengths = pc.list_value_length(tokenized.with_format("arrow")[:].column("input_ids"))
    if cut := pc.sum(pc.equal(lengths, args.max_length)).as_py():
        logger.warning(
            "%d of %d texts were cut to %d tokens, or are as long (max_length)",
            cut,
            len(texts),
            args.max_length,
        )
    return TranslationPairs(PostBatches(tokenized), languages, items, num_negatives, negatives)


def text_languages(pairs: Dataset, what: str = "translation pairs") -> tuple[list[str], np.ndarray]:
    """The languages' names, and the language of each text as an integer `[2 · num_pairs]`.

    Args:
        pairs: Columns `text_a`, `text_b`, `lang_a`, `lang_b`.
        what: They are; for messages.

    Raises:
        InputError: A missing column or value, no pairs, or pairs in one language.
    """
    missing = [name for name in COLUMNS if name not in pairs.column_names]
    if missing:
        raise InputError(f"{what} have the columns {pairs.column_names}; {missing} are needed")
    if len(pairs) == 0:
        raise InputError(f"there are no {what}")
    table = pairs.select_columns(list(COLUMNS)).with_format("arrow")[:]
    empty = {name: table.column(name).null_count for name in COLUMNS}
    if any(empty.values()):
        raise InputError(f"{what} lack values: {empty}; leave those pairs out")
    column = pa.chunked_array([*table.column("lang_a").chunks, *table.column("lang_b").chunks])
    encoded = column.combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    if len(names) < 2 and names != [UNKNOWN_LANGUAGE]:
        raise InputError(
            f"all texts are in {names[0]!r}; {what} need two languages, in lang_a and lang_b"
        )
    return names, encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def eval_metrics(
    held_out: TranslationPairs, tpp_loss: str, prediction: EvalPrediction
) -> dict[str, float]:
    """`pair_metrics` of the projections of held-out pairs, in their order.

    Args:
        held_out: Of `eval_translations`.
        tpp_loss: Of the model.
        prediction: Projections `[len(held_out), 2, size]` and labels.
    """
    projections: Any = prediction.predictions
    sides = torch.from_numpy(projections[np.asarray(prediction.label_ids) == 1])
    pairs = np.arange(len(held_out.items))
    assert held_out.negatives is not None
    # The first negative of each pair, as row and draw have it in the batches.
    rows = pairs * (1 + held_out.num_negatives) + 1
    negatives = held_out.negatives.replace(pairs, np.zeros_like(pairs), rows)
    languages = held_out.languages.reshape(2, -1)
    return pair_metrics(sides, held_out.items, languages, negatives, tpp_loss)
