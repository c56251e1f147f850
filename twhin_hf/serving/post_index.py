"""An index of an engagement model's post vectors, checked to be of this model."""

from __future__ import annotations

from pathlib import Path

from twhin_hf.errors import InputError
from twhin_hf.recommendation.model import EngagementModel
from twhin_hf.serving.index.index import VectorIndex, load_index


def load_post_index(path: str | Path, model: EngagementModel) -> VectorIndex:
    """Opens an index for `EngagementModel.recommend`.

    Args:
        path: Folder of `twhin-hf index`, of the file that `twhin-hf recommend --write_vectors`
            writes.
        model: The model that is to be asked.

    Raises:
        FileNotFoundError: There is no index.
        InputError: It is not of this model's vectors, or not by inner product.
    """
    index = load_index(path)
    if index.config.metric != "inner_product":
        raise InputError(
            f"{path} is an index by {index.config.metric}, and scores are inner products; build it "
            "with --metric inner_product"
        )
    made_by = index.made_with.get("fingerprints") or []
    if model.fingerprint not in made_by:
        told = f"those of another fit ({made_by[0][:12]})" if made_by else "of no known model"
        raise InputError(
            f"{path} holds vectors that are {told}, and the model is {model.fingerprint[:12]}: "
            "write the model's (`twhin-hf recommend --write_vectors FILE`) and build the index "
            "anew",
            faq="vectors-of-another-model",
        )
    return index
