"""RoBERTa backbones: RoBERTa, BERTweet and TimeLMs."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from transformers import RobertaConfig, RobertaModel
from transformers.models.roberta.modeling_roberta import (
    RobertaLMHead,
    RobertaPreTrainedModel,
)

from .post_encoder import HEAD_KEYS, PostEncoderMixin
from .pretraining import PreTrainingMixin
from .settings import apply_settings


class TwhinRobertaModel(PostEncoderMixin, RobertaModel):
    """RoBERTa that gives an embedding of each post: `model.encode(texts)`.

    It has no pooler: MLM checkpoints hold no trained one.
    """

    _auto_class = "AutoModel"

    # A pretraining checkpoint holds heads, and a stock one perhaps a pooler: not ours to load.
    _keys_to_ignore_on_load_unexpected = [  # noqa: RUF012
        r"^lm_head\.",
        HEAD_KEYS,
        r"pooler\.",
    ]

    def __init__(self, config: RobertaConfig, **settings: Any):
        super().__init__(apply_settings(config, **settings), add_pooling_layer=False)
        self.position_offset = self.embeddings.padding_idx + 1


class TwhinRobertaForPreTraining(PreTrainingMixin, RobertaPreTrainedModel):
    """RoBERTa with a masked-language-modelling head and the heads of the objectives that it has.

    Loads any RoBERTa checkpoint, and adds the heads it lacks; what it saves loads as
    `RobertaModel` and `RobertaForMaskedLM` too.
    """

    _auto_class = "AutoModelForPreTraining"

    _tied_weights_keys = {  # noqa: RUF012
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    }

    def __init__(self, config: RobertaConfig, **settings: Any):
        super().__init__(apply_settings(config, **settings))
        self.roberta = TwhinRobertaModel(config)
        self.lm_head = RobertaLMHead(config)
        self.add_heads()
        self.post_init()

    def mlm_transform(self, hidden_states: Tensor) -> Tensor:
        """`[num_masked, hidden]` → the input of the decoder, as in the stock MLM head."""
        return self.lm_head.layer_norm(F.gelu(self.lm_head.dense(hidden_states)))

    def get_output_embeddings(self):
        """The decoder of the MLM head."""
        return self.lm_head.decoder

    def set_output_embeddings(self, new_embeddings):
        """Replaces the decoder of the MLM head."""
        self.lm_head.decoder = new_embeddings
        self.lm_head.bias = new_embeddings.bias
