"""Options of `embed_posts`; importing nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from twhin_hf.value_checks import check_least


@dataclass(frozen=True)
class PostVectorsConfig:
    """How posts are embedded.

    Args:
        model: Encoder: folder or Hub repository, an adapter, or a folder of `twhin-hf export`.
        revision: Revision of the repository.
        pooling: Pooling of the token vectors: cls, mean, mean_all or combined; or parts
            joined by plus, heads among them, as mean+engagement (default: the model's own,
            as it must be for an export).
        max_length: Maximum sequence length; longer posts are truncated (default: 128, or the
            model's if less).
        normalize: Scale vectors to length 1 (also done if the model's config says so).
        float16: Write float16 instead of float32.
        batch_size: Posts of `max_length` tokens per batch.
        processes: Number of processes, each with its own model; they share the GPUs.
        device: Device (default: GPU if available).

    Raises:
        InputError: A batch size, a number of processes or a length below 1.
    """

    model: str
    revision: str | None = None
    pooling: str | None = None
    max_length: int | None = None
    normalize: bool = False
    float16: bool = False
    batch_size: int = 64
    processes: int = 1
    device: str | None = None

    def __post_init__(self) -> None:
        check_least(self, 1, "batch_size", "processes", "max_length")

    def of_vectors(self) -> dict[str, Any]:
        """The options that the vectors depend on, as a file of them tells."""
        names = ("model", "revision", "pooling", "max_length", "normalize", "float16")
        return {name: asdict(self)[name] for name in names}
