"""The options that a function declares by its parameters, dataclasses and docstrings."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import docstring_parser

Command = Callable[..., Any]

SHORT_NAMES = {"k": "-k", "output": "-o"}
"""Options that have a short name too."""


class GivenOptions(frozenset):
    """Names of the options that stand on the command line, for a command that asks for them."""


NOTHING_GIVEN = GivenOptions()


class Option(NamedTuple):
    """An option of a command.

    Args:
        name: In snake_case.
        kind: Its type hint.
        default: `dataclasses.MISSING` where it must be given.
        help: From the docstring.
        group: The title it is listed under; empty for the command's own.
    """

    name: str
    kind: Any
    default: Any
    help: str
    group: str = ""


def options_of(command: Command) -> Iterator[Option]:
    """The options of a command: its own, then those of each dataclass, ours before others'.

    Fields of one name are one option, whose value each of their dataclasses gets.
    """
    seen: set[str] = set()
    for option in _all_options(command):
        if option.name not in seen:
            yield option
        seen.add(option.name)


def _all_options(command: Command) -> Iterator[Option]:
    helps = argument_help(command)
    parameters = inspect.signature(command).parameters
    groups = []
    for name, kind in parameters_of(command).items():
        if dataclasses.is_dataclass(kind):
            groups.append(kind)
        if dataclasses.is_dataclass(kind) or kind is GivenOptions:
            continue
        default = parameters[name].default
        missing = default is inspect.Parameter.empty
        yield Option(name, kind, dataclasses.MISSING if missing else default, helps.get(name, ""))
    inherited = []
    for kind in groups:
        title = description_of(kind).splitlines()[0].rstrip(".")
        for option, owner in field_options(kind, title):
            if owner.__module__.partition(".")[0] == kind.__module__.partition(".")[0]:
                yield option
            else:
                inherited.append(option._replace(group=f"{owner.__module__}.{owner.__name__}"))
    yield from inherited


def positional_only(command: Command) -> list[str]:
    """Parameters before `/`, whose values may stand on the command line without a name."""
    parameters = inspect.signature(command).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY]


def optional_fields(kind: type, title: str, otherwise: str) -> Any:
    """A dataclass whose fields may all be left out: they are None then.

    Args:
        kind: The dataclass whose fields, types and help it takes.
        title: Title of the options.
        otherwise: What holds where an option is left out, such as `the checkpoint's`.
    """
    hints, helps = typing.get_type_hints(kind), argument_help(kind)
    fields = init_fields(kind)
    made = dataclasses.make_dataclass(
        f"Optional{kind.__name__}",
        [(f.name, hints[f.name] | None, dataclasses.field(default=None)) for f in fields],
        namespace={"given": _given},
    )
    lines = []
    for field in fields:
        text = helps[field.name].rstrip(".")
        if "(default: " not in text:
            or_else = "" if field.default is None else f", or {shown_default(field.default)}"
            text += f" (default: {otherwise}{or_else})"
        lines.append(f"    {field.name}: {text}.")
    made.__doc__ = "\n".join([f"{title}.\n\nArgs:", *lines])
    made.__module__ = kind.__module__
    return made


def _given(self: Any) -> dict[str, Any]:
    """The fields that were given."""
    return {name: value for name, value in vars(self).items() if value is not None}


def parameters_of(command: Command) -> dict[str, Any]:
    """The type hint of each parameter."""
    hints = typing.get_type_hints(command)
    return {name: hints[name] for name in inspect.signature(command).parameters}


def init_fields(kind: Any) -> list[dataclasses.Field]:
    """The fields that are given when an object is made."""
    return [field for field in dataclasses.fields(kind) if field.init]


def field_options(kind: Any, title: str) -> Iterator[tuple[Option, type]]:
    """The option of each field, and the class that declares it."""
    hints = _field_hints(kind)
    helps = {
        name: text
        for owner in reversed(kind.__mro__)
        for name, text in argument_help(owner).items()
    }
    for field in init_fields(kind):
        owner = next(o for o in kind.__mro__ if field.name in vars(o).get("__annotations__", ()))
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        # Others write the help beside the field.
        text = helps.get(field.name) or field.metadata.get("help", "")
        yield Option(field.name, hints[field.name], default, text, title), owner


@functools.cache
def _field_hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@functools.cache
def argument_help(documented: Any) -> dict[str, str]:
    """What a docstring says under `Args:`."""
    parameters = docstring_parser.parse(documented.__doc__ or "").params
    return {p.arg_name: " ".join((p.description or "").split()) for p in parameters}


def description_of(documented: Any) -> str:
    """A docstring before its first section."""
    parsed = docstring_parser.parse(inspect.getdoc(documented) or "")
    return "\n\n".join(filter(None, [parsed.short_description, parsed.long_description]))


def shown_default(default: Any) -> str:
    """A default as it would be written on the command line."""
    if isinstance(default, (list, tuple)):
        return " ".join(map(str, default))
    return str(getattr(default, "value", default))


def choices_of(kind: Any) -> list[str]:
    """The values that a hint names, in itself or as items of a list."""
    members = members_of(kind)
    literals = [m for m in members if typing.get_origin(m) is typing.Literal]
    literals += [m for m in members.get(list, ()) if typing.get_origin(m) is typing.Literal]
    return [str(value) for literal in literals for value in typing.get_args(literal)]


def members_of(kind: Any) -> dict[Any, tuple[Any, ...]]:
    """The types that a hint allows, and what each is of."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return {key: value for part in arguments for key, value in members_of(part).items()}
    if origin in (list, tuple, Sequence):
        return {list: tuple(a for a in arguments if a is not Ellipsis)}
    if origin in (dict, Mapping):
        return {dict: arguments}
    return {kind: ()}
