"""BERT backbones: BERT, multilingual BERT and TwHIN-BERT."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import BertConfig, BertModel
from transformers.models.bert.modeling_bert import BertOnlyMLMHead, BertPreTrainedModel

from .post_encoder import HEAD_KEYS, PostEncoderMixin
from .pretraining import PreTrainingMixin
from .settings import apply_settings


class TwhinBertModel(PostEncoderMixin, BertModel):
    """BERT that gives an embedding of each post: `model.encode(texts)`.

    It has no pooler: released TwHIN-BERT checkpoints hold none, and a random one is noise.
    """

    _auto_class = "AutoModel"

    # A pretraining checkpoint holds heads, and a stock one perhaps a pooler: not ours to load.
    _keys_to_ignore_on_load_unexpected = [  # noqa: RUF012
        r"^cls\.",
        HEAD_KEYS,
        r"pooler\.",
    ]

    def __init__(self, config: BertConfig, **settings: Any):
        super().__init__(apply_settings(config, **settings), add_pooling_layer=False)


class TwhinBertForPreTraining(PreTrainingMixin, BertPreTrainedModel):
    """BERT with a masked-language-modelling head and the heads of the objectives that it has.

    Loads any BERT checkpoint, and adds the heads it lacks; what it saves loads as `BertModel`
    and `BertForMaskedLM` too.
    """

    _auto_class = "AutoModelForPreTraining"

    _tied_weights_keys = {  # noqa: RUF012
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }

    def __init__(self, config: BertConfig, **settings: Any):
        super().__init__(apply_settings(config, **settings))
        self.bert = TwhinBertModel(config)
        self.cls = BertOnlyMLMHead(config)
        self.add_heads()
        self.post_init()

    def mlm_transform(self, hidden_states: Tensor) -> Tensor:
        """`[num_masked, hidden]` → the input of the decoder, as in the stock MLM head."""
        return self.cls.predictions.transform(hidden_states)

    def get_output_embeddings(self):
        """The decoder of the MLM head."""
        return self.cls.predictions.decoder

    def set_output_embeddings(self, new_embeddings):
        """Replaces the decoder of the MLM head."""
        self.cls.predictions.decoder = new_embeddings
        self.cls.predictions.bias = new_embeddings.bias
