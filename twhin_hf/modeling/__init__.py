"""Encoders with embeddings of posts and pretraining objectives.

The files of this folder are flat siblings that import only torch, transformers and each other, so
that they can travel with a model to the Hub as remote code. Nothing else lives here.
"""

from .modeling_twhin_bert import TwhinBertForPreTraining, TwhinBertModel
from .modeling_twhin_distilbert import TwhinDistilBertForPreTraining, TwhinDistilBertModel
from .modeling_twhin_modernbert import TwhinModernBertForPreTraining, TwhinModernBertModel
from .modeling_twhin_roberta import TwhinRobertaForPreTraining, TwhinRobertaModel
from .modeling_twhin_xlm_roberta import TwhinXLMRobertaForPreTraining, TwhinXLMRobertaModel
from .settings import apply_settings

__all__ = [
    "TwhinBertForPreTraining",
    "TwhinBertModel",
    "TwhinDistilBertForPreTraining",
    "TwhinDistilBertModel",
    "TwhinModernBertForPreTraining",
    "TwhinModernBertModel",
    "TwhinRobertaForPreTraining",
    "TwhinRobertaModel",
    "TwhinXLMRobertaForPreTraining",
    "TwhinXLMRobertaModel",
    "apply_settings",
]
