"""Encoders with embeddings of posts and pretraining objectives.

The files of this folder are flat siblings that import only torch and transformers, so that they
can travel with a model as remote code.
"""

from .modeling_twhin_bert import TwhinBertForPreTraining, TwhinBertModel
from .settings import apply_settings

PRETRAINING_MODELS = {"bert": TwhinBertForPreTraining}
"""The class of each encoder family, by the `model_type` of its config."""

__all__ = ["PRETRAINING_MODELS", "TwhinBertForPreTraining", "TwhinBertModel", "apply_settings"]
