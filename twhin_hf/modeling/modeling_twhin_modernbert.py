"""ModernBERT backbones: ModernBERT and mmBERT."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import ModernBertConfig, ModernBertModel
from transformers.models.modernbert.modeling_modernbert import (
    ModernBertPredictionHead,
    ModernBertPreTrainedModel,
)

from .post_encoder import HEAD_KEYS, PostEncoderMixin
from .pretraining import PreTrainingMixin
from .settings import apply_settings


class TwhinModernBertModel(PostEncoderMixin, ModernBertModel):
    """ModernBERT that gives an embedding of each post: `model.encode(texts)`."""

    _auto_class = "AutoModel"

    # A pretraining checkpoint holds heads: not ours to load.
    _keys_to_ignore_on_load_unexpected = [  # noqa: RUF012
        r"^head\.",
        r"^decoder\.",
        HEAD_KEYS,
    ]

    def __init__(self, config: ModernBertConfig, **settings: Any):
        super().__init__(apply_settings(config, **settings))


class TwhinModernBertForPreTraining(PreTrainingMixin, ModernBertPreTrainedModel):
    """ModernBERT with a masked-language-modelling head and the heads of the objectives it has.

    Loads any ModernBERT checkpoint, and adds the heads it lacks; what it saves loads as
    `ModernBertModel` and `ModernBertForMaskedLM` too.
    """

    _auto_class = "AutoModelForPreTraining"

    _tied_weights_keys = {  # noqa: RUF012
        "decoder.weight": "model.embeddings.tok_embeddings.weight"
    }

    def __init__(self, config: ModernBertConfig, **settings: Any):
        super().__init__(apply_settings(config, **settings))
        self.model = TwhinModernBertModel(config)
        self.head = ModernBertPredictionHead(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size, bias=config.decoder_bias)
        self.add_heads()
        self.post_init()

    def mlm_transform(self, hidden_states: Tensor) -> Tensor:
        """`[num_masked, hidden]` → the input of the decoder, as in the stock MLM head."""
        return self.head(hidden_states)

    def get_output_embeddings(self):
        """The decoder of the MLM head."""
        return self.decoder

    def set_output_embeddings(self, new_embeddings):
        """Replaces the decoder of the MLM head."""
        self.decoder = new_embeddings
