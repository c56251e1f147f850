"""Results as they may be seen: keys that are known to hold nothing else, places by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from twhin_hf.hub.guard import read_public_json
from twhin_hf.results import LIBRARIES, Result, Results

_OPTIONS = """
    allow_unseen_labels at batch_size before benchmark candidate_seed class classifier_reads
    compared_with_baselines data_dir device dimension engagements epochs filled_weights hits_at
    inverse_penalties known_posts label_map labels learning_rate left_out max_epochs max_iterations
    max_length max_pairs max_posts max_users methods mixed_by negative_power neighbours neutral
    new_users new_weights normalize notes num_candidates num_negatives pairs patience pooling
    pooling_of_baselines projected projection_size protocols reads recommended records_per_batch
    records_per_user seed seeds shots source split split_seed standardize steps test test_from train
    validation validation_from warmup_steps weight_decay
"""
OPTIONS = frozenset(_OPTIONS.split())
"""Options of the evaluations; files and folders among them are told by their names alone."""

_DETAILS = """
    best_epochs candidates class difference directions engagements features inverse_penalty labels
    languages left_out max_length model new_weights note p pairs pooling posts queries reads records
    rows sentences spread steps texts texts_cut train_texts unseen_labels users validation width
    words words_not_read
"""
DETAILS = frozenset(_DETAILS.split())
"""What a reader needs to judge a figure."""

_ABSOLUTE = re.compile(r"^(?:/|[A-Za-z]:[\\/]|~|\.\.?[\\/]|\\\\|file:)")


def public_results(path: Path, repo_id: str) -> tuple[dict[str, Any], list[str]]:
    """Results of a model under the name that it is published by.

    Args:
        path: Of a `results*.json`.
        repo_id: `owner/name`.

    Returns:
        The content, and what was left out of it: keys that are not known to be fit for all eyes.

    Raises:
        InputError: The file is no JSON, or holds NaN or infinity.
    """
    left_out: set[str] = set()
    results = read_public_json(path.name, path.read_bytes())

    def kept(value: Mapping[str, Any], known: Any, at: str) -> dict[str, Any]:
        left_out.update(f"{at}{key}" for key in value if key not in known)
        return {key: _by_name(item) for key, item in value.items() if key in known}

    def rows(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
        known = [item.name for item in fields(Result)]
        found = [kept(row, known, "results.") for row in values]
        for row in found:
            if "details" in row:
                row["details"] = kept(row["details"], DETAILS, "details.")
        return found

    results.pop("run", None)  # its command and data are the owner's
    content = kept(results, [item.name for item in fields(Results)], "")
    content["results"] = rows(content["results"])
    content["options"] = kept(content["options"], OPTIONS, "options.")
    content["versions"] = kept(content["versions"], ("python", *LIBRARIES), "versions.")
    if "baselines" in content:
        content["baselines"] = {name: rows(own) for name, own in content["baselines"].items()}
    return content | {"model": repo_id}, sorted(f"{name} of {path.name}" for name in left_out)


def _by_name(value: Any) -> Any:
    """A value with files and folders by the last part of their paths."""
    if isinstance(value, dict):
        # Baselines are called by their folders; two of one name are told apart.
        named: dict[str, Any] = {}
        for key, item in value.items():
            name = _by_name(key)
            named[name if name not in named else f"{name} ({len(named) + 1})"] = _by_name(item)
        return named
    if isinstance(value, list):
        return [_by_name(item) for item in value]
    if isinstance(value, str) and _ABSOLUTE.match(value):
        return re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return value
