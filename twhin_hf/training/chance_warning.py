"""A warning where a contrastive objective learns nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from transformers import TrainerState

from twhin_hf.errors import InputError
from twhin_hf.training.settled_log import SettledLog

logger = logging.getLogger(__name__)

TIMES_CHANCE = 3
"""An accuracy of no more than this many times chance counts as nothing learnt."""


class ChanceWarning(SettledLog):
    """Warns, once per metric, where an accuracy is within three times chance after warm-up.

    Batches of so few keys that three times chance is more than one half are not judged.

    Args:
        num_keys: Keys among which the right one is to be found in a batch, by the metric's name in
            the log, such as `{"social_accuracy": 511}`; chance is 1 / keys.

    Raises:
        InputError: A number of keys below 1.
    """

    def __init__(self, num_keys: Mapping[str, int]):
        for name, keys in num_keys.items():
            if keys < 1:
                raise InputError(f"{name} is found among {keys} keys; it takes 1 or more")
        self._limits = {
            name: TIMES_CHANCE / keys for name, keys in num_keys.items() if keys >= 2 * TIMES_CHANCE
        }

    def judge(self, state: TrainerState, logs: dict[str, Any]) -> None:
        """Warns of what is no better than guessing."""
        for name in [name for name, limit in self._limits.items() if logs.get(name, 1) <= limit]:
            limit = self._limits.pop(name)
            logger.warning(
                "%s is %.2f%% at step %d, after warm-up, and guessing gives %.2f%%: nothing is "
                "learnt yet. Try the pooling mean for this objective, a higher learning_rate, or "
                "more steps",
                name,
                100 * logs[name],
                state.global_step,
                100 * limit / TIMES_CHANCE,
            )


def keys_of_batch(config: Any, num_pairs: int) -> dict[str, int]:
    """Among how many keys the right one is to be found, by the accuracy of an objective.

    Args:
        config: Of the model.
        num_pairs: Pairs or posts of a batch, those of all processes together.

    Returns:
        The social loss compares a post with all others, the engagement objective a user with all
        posts, distillation a post with all vectors; the contrastive loss of Translation Pair
        Prediction compares a text with the other side's. The other losses of TPP have two answers.

    Example:
        >>> from transformers import BertConfig
        >>> from twhin_hf.modeling import apply_settings
        >>> config = apply_settings(BertConfig(), tpp_weight=1.0, tpp_loss="contrastive")
        >>> keys_of_batch(config, 256)
        {'social_accuracy': 511, 'tpp_accuracy': 256}
    """
    keys = {}
    if config.social_weight > 0:
        keys["social_accuracy"] = 2 * num_pairs - 1
    for name in ("engagement", "distillation"):
        if getattr(config, f"{name}_weight") > 0:
            keys[f"{name}_accuracy"] = num_pairs
    if config.tpp_weight > 0 and config.tpp_loss == "contrastive":
        keys["tpp_accuracy"] = num_pairs
    return keys
