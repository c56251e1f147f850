"""From an engagement log to user and post vectors, and to pairs of socially similar posts."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Loaded when first asked for: the command line must not wait for torch, faiss and ibis.
_MODULES = {
    "Network": "folder",
    "save_network": "folder",
    "load_network": "folder",
    "EngagementGraph": "log",
    "LogReport": "log",
    "read_log": "log",
    "NetworkEmbeddingConfig": "embedding_config",
    "embed_network": "embedding",
    "NetworkUpdateConfig": "update_config",
    "update_network": "updating",
    "MiningConfig": "mining_config",
    "MiningReport": "mining",
    "mine_pairs": "mining",
    "ImportReport": "sources",
    "import_log": "sources",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
