"""Encoders with embeddings of posts and pretraining objectives.

The files of this folder are flat siblings that import only torch and transformers, so that they
can travel with a model as remote code.
"""

from .auto import MODELS, PRETRAINING_MODELS, load_post_encoder, load_with_heads, model_class
from .modeling_twhin_bert import TwhinBertForPreTraining, TwhinBertModel
from .modeling_twhin_modernbert import TwhinModernBertForPreTraining, TwhinModernBertModel
from .modeling_twhin_roberta import TwhinRobertaForPreTraining, TwhinRobertaModel
from .modeling_twhin_xlm_roberta import TwhinXLMRobertaForPreTraining, TwhinXLMRobertaModel
from .settings import apply_settings

__all__ = [
    "MODELS",
    "PRETRAINING_MODELS",
    "TwhinBertForPreTraining",
    "TwhinBertModel",
    "TwhinModernBertForPreTraining",
    "TwhinModernBertModel",
    "TwhinRobertaForPreTraining",
    "TwhinRobertaModel",
    "TwhinXLMRobertaForPreTraining",
    "TwhinXLMRobertaModel",
    "apply_settings",
    "load_post_encoder",
    "load_with_heads",
    "model_class",
]
