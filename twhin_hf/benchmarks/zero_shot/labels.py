"""New names of labels, so that several data sets have one set of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml


def read_label_map(entries: Iterable[str]) -> dict[str, str]:
    """New names of labels, by their old ones.

    Args:
        entries: `OLD=NEW`, and paths of YAML files with `OLD: NEW` lines.

    Raises:
        ValueError: An entry that is neither.
        FileNotFoundError: A YAML file that is not there.
    """
    found: dict[str, str] = {}
    for entry in entries:
        old, equals, new = entry.partition("=")
        if equals and old and new:
            found[old] = new
        elif not entry.endswith((".yaml", ".yml")):
            raise ValueError(f"--label_map {entry!r}: needed is OLD=NEW or a YAML file")
        elif not Path(entry).is_file():
            raise FileNotFoundError(f"--label_map: there is no {entry}")
        else:
            content = yaml.safe_load(Path(entry).read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError(f"{entry} holds no `OLD: NEW` lines")
            found |= {str(name): str(new_name) for name, new_name in content.items()}
    return found
