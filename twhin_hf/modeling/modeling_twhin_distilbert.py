"""DistilBERT backbones: DistilBERT, of one language or of many."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import DistilBertConfig, DistilBertModel
from transformers.activations import get_activation
from transformers.models.distilbert.modeling_distilbert import DistilBertPreTrainedModel

from .post_encoder import HEAD_KEYS, PostEncoderMixin
from .pretraining import PreTrainingMixin
from .settings import apply_settings


class TwhinDistilBertModel(PostEncoderMixin, DistilBertModel):
    """DistilBERT that gives an embedding of each post: `model.encode(texts)`."""

    _auto_class = "AutoModel"

    # A pretraining checkpoint holds heads: not ours to load.
    _keys_to_ignore_on_load_unexpected = [  # noqa: RUF012
        r"^vocab_(transform|layer_norm|projector)\.",
        HEAD_KEYS,
    ]

    def __init__(self, config: DistilBertConfig, **settings: Any):
        super().__init__(apply_settings(config, **settings))


class TwhinDistilBertForPreTraining(PreTrainingMixin, DistilBertPreTrainedModel):
    """DistilBERT with a masked-language-modelling head and the heads of the objectives it has.

    Loads any DistilBERT checkpoint, and adds the heads it lacks; what it saves loads as
    `DistilBertModel` and `DistilBertForMaskedLM` too.
    """

    _auto_class = "AutoModelForPreTraining"

    _tied_weights_keys = {  # noqa: RUF012
        "vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"
    }

    def __init__(self, config: DistilBertConfig, **settings: Any):
        super().__init__(apply_settings(config, **settings))
        self.distilbert = TwhinDistilBertModel(config)
        self.activation = get_activation(config.activation)
        self.vocab_transform = nn.Linear(config.dim, config.dim)
        self.vocab_layer_norm = nn.LayerNorm(config.dim, eps=1e-12)
        self.vocab_projector = nn.Linear(config.dim, config.vocab_size)
        self.add_heads()
        self.post_init()

    def mlm_transform(self, hidden_states: Tensor) -> Tensor:
        """`[num_masked, hidden]` → the input of the decoder, as in the stock MLM head."""
        return self.vocab_layer_norm(self.activation(self.vocab_transform(hidden_states)))

    def get_output_embeddings(self):
        """The decoder of the MLM head."""
        return self.vocab_projector

    def set_output_embeddings(self, new_embeddings):
        """Replaces the decoder of the MLM head."""
        self.vocab_projector = new_embeddings
