"""How people write options: lists, mappings, flags, names of recipes; and what they mistype."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from twhin_hf.commands.declared import SHORT_NAMES, Option, field_options, members_of
from twhin_hf.errors import InputError

RECIPES = Path(__file__).parents[1] / "recipes"
"""Configs that are part of the package."""

_YES_OR_NO = {"true", "false", "yes", "no"}


def spell_out(arguments: Sequence[str], options: Sequence[Option]) -> list[str]:
    """Writes lists, mappings and flags of a command line as JSON, and names in snake_case.

    Example:
        >>> options = [Option("languages", list[str], None, ""), Option("int8", bool, False, "")]
        >>> spell_out(["--languages", "en", "ja", "--int8"], options)
        ['--int8=true', '--languages=["en", "ja"]']
    """
    kinds = {name: kind for option in options for name, kind in _kinds_of(option)}
    short = {SHORT_NAMES[long]: long for long in SHORT_NAMES if long in kinds}
    waiting = list(arguments)
    spelled: list[str] = []
    configs: list[str] = []
    several: dict[str, list[str]] = {}
    while waiting:
        token = waiting.pop(0)
        if token in short:
            token = f"--{short[token]}"
        if not token.startswith("--"):
            spelled.append(token)
            continue
        name, equals, value = token[2:].partition("=")
        name = name.replace("-", "_")
        if name.startswith("no_") and name[3:] in kinds and name not in kinds and not equals:
            name, equals, value = name[3:], "=", "false"
        if name == "config":
            value = value if equals or not waiting else waiting.pop(0)
            configs.append(f"--config={find_config(value)}")
            continue
        if name not in kinds:
            spelled.append(f"--{name}{equals}{value}")
            continue
        values = [value] if equals else []
        while not equals and waiting and not _is_option(waiting[0], short):
            values.append(waiting.pop(0))
        if {list, dict} & members_of(kinds[name]).keys():
            # Given again, it adds to what stands before.
            several.setdefault(name, []).extend(values)
        else:
            spelled += _written(name, kinds[name], values)
    spelled += [part for name in several for part in _written(name, kinds[name], several[name])]
    # Whatever comes later takes precedence.
    return configs + spelled


def _kinds_of(option: Option) -> Iterator[tuple[str, Any]]:
    """What an option takes, and what each field of a config takes, as in `--log.columns`."""
    yield option.name, option.kind
    for member in members_of(option.kind):
        if dataclasses.is_dataclass(member):
            for field, _ in field_options(member, ""):
                yield f"{option.name}.{field.name}", field.kind


def find_config(name: str) -> Path:
    """A config by its path, or a recipe of the package by its name.

    Raises:
        FileNotFoundError: Neither is there; the nearest recipe is named.
    """
    path = Path(name)
    if path.is_file():
        return path
    recipes = {recipe.stem: recipe for recipe in RECIPES.glob("*.yaml")}
    if name in recipes:
        return recipes[name]
    hint = nearest(path.stem, recipes) or f"; recipes of the package are {', '.join(recipes)}"
    raise FileNotFoundError(f"there is no config file {name}{hint}")


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?`, or nothing where nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _is_option(token: str, short: Mapping[str, str]) -> bool:
    return token.startswith("--") or token in short or token == "-h"


def _written(name: str, kind: Any, values: list[str]) -> list[str]:
    """An option's values as one argument that the parser reads."""
    kinds = members_of(kind)
    if bool in kinds and (not values or values[0].lower() not in _YES_OR_NO):
        # What follows a flag is not its own.
        return [f"--{name}=true", *values]
    as_json = (len(values) == 1 and values[0].startswith(("[", "{"))) or "null" in values
    if dict in kinds and not as_json and all(re.fullmatch("[^=]+=.+", v) for v in values):
        names = [value.partition("=")[0] for value in values]
        if len(set(names)) < len(names):
            raise InputError(f"--{name} names one thing twice: {', '.join(names)}")
        pairs = dict(value.split("=", 1) for value in values)
        if kinds[dict][-1] is not str:
            pairs = {key: yaml.safe_load(value) for key, value in pairs.items()}
        return [f"--{name}={_json(pairs)}"]
    if list in kinds and not as_json and (str not in kinds or len(values) > 1):
        items = [item for member in kinds[list] for item in members_of(member)]
        if dict in items and len(values) == 1:
            return [f"--{name}={_json(yaml.safe_load(values[0]))}"]
        text = any(item is str or typing.get_origin(item) is typing.Literal for item in items)
        return [f"--{name}=" + (_json(values) if text else f"[{', '.join(values)}]")]
    return [f"--{name}={values[0]}", *values[1:]] if values else [f"--{name}"]


def _json(value: Any) -> str:
    """JSON that YAML reads too: it takes no halves of a character that is beyond `\\uffff`."""
    return json.dumps(value, ensure_ascii=False)
