"""What an engagement model has learnt, beside its tables of users and posts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from twhin_hf.errors import reading
from twhin_hf.files import new_file
from twhin_hf.loading.text_encoders import length_normalized
from twhin_hf.recommendation.calibration import Calibration
from twhin_hf.recommendation.fold_in import FoldIn
from twhin_hf.recommendation.mixing import KNOTS, Mixing

ADVICE = "Fit the model again, or copy its folder again."


@dataclass(frozen=True)
class Parameters:
    """Everything is linear, so that any score is one inner product.

    Args:
        user_map: `h_u = user_map · e_u + user_bias`; float32 `[projection, dimension]`.
        user_bias: float32 `[projection]`.
        post_map: `h_t = post_map · f_t + post_bias`; float32 `[projection, features]`.
        post_bias: float32 `[projection]`.
        relation: Vector that the network adds to a user's, float32 `[dimension]`.
        text_to_network: Predicts a post's network vector from its features, float32
            `[features + 1, dimension]`, the intercept last.
        content_map: Main directions of the features, float32 `[features, content]`.
        fold_in_user: Vectors of users by their posts.
        fold_in_post: Vectors of posts by their users and what their texts predict.
        mixing: Weights of text, network and content by a post's engagements.
        calibration: From scores to probabilities.
    """

    user_map: np.ndarray
    user_bias: np.ndarray
    post_map: np.ndarray
    post_bias: np.ndarray
    relation: np.ndarray
    text_to_network: np.ndarray
    content_map: np.ndarray
    fold_in_user: FoldIn
    fold_in_post: FoldIn
    mixing: Mixing
    calibration: Calibration

    @property
    def dimension(self) -> int:
        """Of the network's vectors."""
        return len(self.relation)

    @property
    def projection_size(self) -> int:
        """Of `h_u` and `h_t`."""
        return len(self.user_bias)

    @property
    def content_size(self) -> int:
        """Of a post's content."""
        return self.content_map.shape[1]

    @property
    def num_features(self) -> int:
        """Width of a post's features."""
        return self.post_map.shape[1]

    def project_users(self, vectors: np.ndarray) -> np.ndarray:
        """`h_u` of network vectors, float32 `[users, projection]`."""
        return vectors @ self.user_map.T + self.user_bias

    def project_posts(self, features: np.ndarray) -> np.ndarray:
        """`h_t` of features, float32 `[posts, projection]`."""
        return features @ self.post_map.T + self.post_bias

    def predict_network(self, features: np.ndarray) -> np.ndarray:
        """What the texts predict of the posts' network vectors, float32 `[posts, dimension]`."""
        return features @ self.text_to_network[:-1] + self.text_to_network[-1]

    def content(self, features: np.ndarray) -> np.ndarray:
        """Features as they are compared with those of other posts, of length 1 or 0; float32."""
        return length_normalized(length_normalized(features) @ self.content_map)

    def fingerprint(self) -> str:
        """A hash of all tensors, 32 hexadecimal digits."""
        digest = hashlib.blake2b(digest_size=16)
        for name, values in self._tensors().items():
            digest.update(f"{name}\0{list(values.shape)}\0".encode())
            digest.update(values.tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Writes a safetensors file."""
        from safetensors.numpy import save_file

        with new_file(path) as partial:
            save_file(self._tensors(), partial)

    def _tensors(self) -> dict[str, np.ndarray]:
        """Everything by name, float32."""
        tensors: dict[str, np.ndarray] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, FoldIn | Mixing | Calibration):
                parts = value._asdict()
                tensors |= {f"{field.name}.{name}": part for name, part in parts.items()}
            else:
                tensors[field.name] = value
        return {name: np.ascontiguousarray(part, np.float32) for name, part in tensors.items()}

    @classmethod
    def load(cls, path: Path) -> Parameters:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: The file is missing.
            InputError: It is damaged, or its tensors do not fit each other.
        """
        from safetensors.numpy import load_file

        with reading(path, ADVICE, (Exception,)):
            tensors = load_file(path)
            found = cls(
                user_map=tensors["user_map"],
                user_bias=tensors["user_bias"],
                post_map=tensors["post_map"],
                post_bias=tensors["post_bias"],
                relation=tensors["relation"],
                text_to_network=tensors["text_to_network"],
                content_map=tensors["content_map"],
                fold_in_user=FoldIn(tensors["fold_in_user.weights"]),
                fold_in_post=FoldIn(tensors["fold_in_post.weights"]),
                mixing=Mixing(tensors["mixing.weights"]),
                calibration=Calibration(
                    tensors["calibration.scores"], tensors["calibration.logits"]
                ),
            )
            found.check()
        return found

    def check(self) -> None:
        """Raises a ValueError where the tensors do not fit each other, or are not finite."""
        size, dimension, width = self.projection_size, self.dimension, self.num_features
        knots = len(self.calibration.scores)
        wanted = {
            "user_map": (self.user_map, (size, dimension)),
            "post_map": (self.post_map, (size, width)),
            "post_bias": (self.post_bias, (size,)),
            "text_to_network": (self.text_to_network, (width + 1, dimension)),
            "content_map": (self.content_map, (width, self.content_size)),
            "fold_in_user": (self.fold_in_user.weights, (2 * dimension + 2, dimension)),
            "fold_in_post": (self.fold_in_post.weights, (4 * dimension + 2, dimension)),
            "mixing": (self.mixing.weights, (4, KNOTS)),
            "calibration": (self.calibration.logits, (knots,)),
        }
        for name, (values, shape) in wanted.items():
            if values.shape != shape:
                raise ValueError(f"{name} has shape {list(values.shape)}, needed is {list(shape)}")
            if not np.isfinite(values).all():
                raise ValueError(f"{name} holds NaN or infinity")
