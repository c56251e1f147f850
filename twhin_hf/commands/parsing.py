"""A command is a function, and its options are what the function takes.

A parameter that is a dataclass gives an option for each of its fields; any other parameter is an
option itself, and one before `/` needs no name on the command line. Names, types, choices, defaults
and help (the docstrings' `Args:`) are those of the Python API, so nothing is declared twice.
Options take precedence over a YAML file (`--config`), and the file over the defaults.

On the command line, lists are written `--languages en ja`, mappings `--columns user_id=uid`, flags
`--int8` or `--no_int8`; dashes in names are read as underscores.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import docstring_parser
import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter

Command = Callable[..., Any]

RECIPES = Path(__file__).parents[1] / "recipes"
"""Configs that are part of the package."""

SHORT_NAMES = {"k": "-k", "output": "-o"}
"""Options that have a short name too."""

_KINDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "NAME=VALUE pairs",
}
_YES_OR_NO = {"true", "false", "yes", "no"}
_KEY_IN_ERROR = re.compile(r'Parser key "([\w.]+)"')
_VALUE_IN_ERROR = re.compile(r"(?:Got value|Given value): (.*)", re.DOTALL)
_UNKNOWN_IN_ERROR = re.compile(r"Option '([\w.]+)' is not accepted|unrecognized arguments: (.*)")


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


def run_command(command: Command, arguments: Sequence[str], program: str) -> Any:
    """Calls a command with what the command line says.

    Args:
        command: The function; see `parse_command`.
        arguments: The options.
        program: What to call it in usage and errors, such as `twhin-hf split`.

    Raises:
        ValueError: An option that is unknown, missing or of another type.
        SystemExit: `--help` was among the options.
    """
    return call(command, parse_command(command, arguments, program))


def call(command: Command, values: dict[str, Any]) -> Any:
    """Calls a command with the values of `parse_command`."""
    values = dict(values)
    return command(*[values.pop(name) for name in positional_only(command)], **values)


def parse_command(command: Command, arguments: Sequence[str], program: str) -> dict[str, Any]:
    """Reads what to call a command with.

    Args:
        command: A function whose docstring describes it, and its parameters under `Args:`.
        arguments: The options.
        program: What to call it in usage and errors.

    Returns:
        A value for each parameter, dataclasses made.

    Raises:
        ValueError: An option that is unknown, missing or of another type, or that a dataclass
            refuses.
        FileNotFoundError: There is no such config.
        SystemExit: `--help` was among the options.
    """
    options = list(options_of(command))
    parser = command_parser(command, program)
    arguments = list(arguments)
    for name in positional_only(command):
        if arguments and not arguments[0].startswith("-"):
            arguments[0] = f"--{name}={arguments[0]}"
    arguments = spell_out(arguments, options)
    for argument in arguments:
        if argument.startswith("--config="):
            _check_config(Path(argument.partition("=")[2]), [option.name for option in options])
    try:
        parsed = parser.parse_args(arguments)
    except argparse.ArgumentError as error:
        raise ValueError(_in_words(error, options, program)) from error
    values = parser.instantiate(parsed)
    given = GivenOptions(
        argument[2:].partition("=")[0] for argument in arguments if argument.startswith("--")
    )
    return {name: _value(name, kind, values, given) for name, kind in _parameters(command).items()}


def command_parser(command: Command, program: str) -> ArgumentParser:
    """Makes the parser of a command; `parser.print_help()` shows all its options, grouped."""
    options = list(options_of(command))
    required = [f"--{o.name} {o.name.upper()}" for o in options if o.default is dataclasses.MISSING]
    parser = ArgumentParser(
        prog=program,
        usage=" ".join([program, *required, "[OPTIONS]"]),
        description=_description(command),
        formatter_class=_HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    groups: dict[str, Any] = {"": parser}
    for option in options:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        names = [f"--{option.name}"]
        if option.name in SHORT_NAMES:
            names.insert(0, SHORT_NAMES[option.name])
        given: dict[str, Any] = {"required": True}
        if option.default is not dataclasses.MISSING:
            given = {"default": option.default}
        if not dataclasses.is_dataclass(option.kind):
            given["metavar"] = _metavar(option)
        groups[option.group].add_argument(*names, type=option.kind, help=_help(option), **given)
    parser.add_argument(
        "--config",
        action="config",
        metavar="FILE",
        help="YAML config, or the name of a recipe; command-line options take precedence.",
    )
    for action in parser._actions:
        if "--print_config" in action.option_strings:
            action.help, action.metavar = "Print all options as YAML and exit.", ""
    return parser


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
    for name, kind in _parameters(command).items():
        if dataclasses.is_dataclass(kind):
            groups.append(kind)
        if dataclasses.is_dataclass(kind) or kind is GivenOptions:
            continue
        default = parameters[name].default
        missing = default is inspect.Parameter.empty
        yield Option(name, kind, dataclasses.MISSING if missing else default, helps.get(name, ""))
    inherited = []
    for kind in groups:
        title = _description(kind).splitlines()[0].rstrip(".")
        for option, owner in _field_options(kind, title):
            if owner.__module__.partition(".")[0] == kind.__module__.partition(".")[0]:
                yield option
            else:
                inherited.append(option._replace(group=f"{owner.__module__}.{owner.__name__}"))
    yield from inherited


def positional_only(command: Command) -> list[str]:
    """Parameters before `/`, whose values may stand on the command line without a name."""
    parameters = inspect.signature(command).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY]


def spell_out(arguments: Sequence[str], options: Sequence[Option]) -> list[str]:
    """Writes lists, mappings and flags of a command line as JSON, and names in snake_case.

    Example:
        >>> options = [Option("languages", list[str], None, ""), Option("int8", bool, False, "")]
        >>> spell_out(["--languages", "en", "ja", "--int8"], options)
        ['--int8=true', '--languages=["en", "ja"]']
    """
    kinds = {option.name: option.kind for option in options}
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
        if {list, dict} & _members(kinds[name]).keys():
            # Given again, it adds to what stands before.
            several.setdefault(name, []).extend(values)
        else:
            spelled += _written(name, kinds[name], values)
    spelled += [part for name in several for part in _written(name, kinds[name], several[name])]
    # Whatever comes later takes precedence.
    return configs + spelled


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


def updated(groups: Sequence[Any], values: Mapping[str, Any], where: str) -> list[Any]:
    """Dataclasses with some of their fields changed, and checked as options are.

    Args:
        groups: Dataclass objects; each value belongs to one of them.
        values: New values by field.
        where: What holds the values, for the message.

    Raises:
        ValueError: A field that none of them has, or a value of another type.
    """
    options = {o.name: o for group in groups for o, _ in _field_options(type(group), "")}
    _check_keys(values, list(options), where)
    parser = ArgumentParser(exit_on_error=False)
    for name in values:
        parser.add_argument(f"--{name}", type=options[name].kind)
    try:
        parsed = parser.parse_object(dict(values))
    except argparse.ArgumentError as error:
        message = _in_words(error, list(options.values()), where)
        raise ValueError(f"{where}: {message}") from error
    names = [{field.name for field in _fields(group)} & set(values) for group in groups]
    return [
        dataclasses.replace(group, **{name: parsed[name] for name in own}) if own else group
        for group, own in zip(groups, names, strict=True)
    ]


def optional_fields(kind: type, title: str, otherwise: str) -> Any:
    """A dataclass whose fields may all be left out: they are None then.

    Args:
        kind: The dataclass whose fields, types and help it takes.
        title: Title of the options.
        otherwise: What holds where an option is left out, such as `the checkpoint's`.
    """
    hints, helps = typing.get_type_hints(kind), argument_help(kind)
    fields = _fields(kind)
    made = dataclasses.make_dataclass(
        f"Optional{kind.__name__}",
        [(f.name, hints[f.name] | None, dataclasses.field(default=None)) for f in fields],
        namespace={"given": _given},
    )
    lines = []
    for field in fields:
        text = helps[field.name].rstrip(".")
        if "(default: " not in text:
            or_else = "" if field.default is None else f", or {_shown(field.default)}"
            text += f" (default: {otherwise}{or_else})"
        lines.append(f"    {field.name}: {text}.")
    made.__doc__ = "\n".join([f"{title}.\n\nArgs:", *lines])
    made.__module__ = kind.__module__
    return made


def _given(self: Any) -> dict[str, Any]:
    """The fields that were given."""
    return {name: value for name, value in vars(self).items() if value is not None}


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?`, or nothing where nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


class _HelpFormatter(DefaultHelpFormatter):
    """One name and a metavar for each option; required ones and defaults are said in the help."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        names = [name for name in action.option_strings if not name.endswith("+")]
        return " ".join(filter(None, [", ".join(names), str(action.metavar or "")]))

    def _expand_help(self, action: argparse.Action) -> str:
        text = action.help or ""
        # Options of a dataclass inside another are not made here.
        inside = "." in action.dest and action.default not in (None, False, argparse.SUPPRESS)
        return f"{text} (default: {_shown(action.default)})" if inside else text


def _value(name: str, kind: Any, values: Any, given: GivenOptions) -> Any:
    if kind is GivenOptions:
        return given
    if not dataclasses.is_dataclass(kind):
        return values[name]
    return cast(Any, kind)(**{field.name: values[field.name] for field in _fields(kind)})


def _parameters(command: Command) -> dict[str, Any]:
    """The type hint of each parameter."""
    hints = typing.get_type_hints(command)
    return {name: hints[name] for name in inspect.signature(command).parameters}


def _fields(kind: Any) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(kind) if field.init]


def _field_options(kind: Any, title: str) -> Iterator[tuple[Option, type]]:
    """The option of each field, and the class that declares it."""
    hints = typing.get_type_hints(kind)
    helps = {
        name: text
        for owner in reversed(kind.__mro__)
        for name, text in argument_help(owner).items()
    }
    for field in _fields(kind):
        owner = next(o for o in kind.__mro__ if field.name in vars(o).get("__annotations__", ()))
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        # Others write the help beside the field.
        text = helps.get(field.name) or field.metadata.get("help", "")
        yield Option(field.name, hints[field.name], default, text, title), owner


def argument_help(documented: Any) -> dict[str, str]:
    """What a docstring says under `Args:`."""
    parameters = docstring_parser.parse(documented.__doc__ or "").params
    return {p.arg_name: " ".join((p.description or "").split()) for p in parameters}


def _description(documented: Any) -> str:
    """A docstring before its first section."""
    parsed = docstring_parser.parse(inspect.getdoc(documented) or "")
    return "\n\n".join(filter(None, [parsed.short_description, parsed.long_description]))


def _metavar(option: Option) -> str:
    kinds = _members(option.kind)
    name = option.name.upper()
    if choices := choices_of(option.kind):
        name = f"{{{','.join(['N'] * (int in kinds) + choices)}}}"
    elif bool in kinds:
        return ""
    elif dict in kinds and str not in kinds:
        return f"{_pair_form(option)} [...]"
    return f"{name} [...]" if list in kinds else name


def _pair_form(option: Option) -> str:
    """How a pair of a mapping is written, as its help says: `LANGUAGE=FILE`."""
    stated = re.search("[A-Z]+=[A-Z]+", option.help)
    return stated[0] if stated else "NAME=VALUE"


def _help(option: Option) -> str:
    """The help with what is needed to use the option."""
    if option.default is dataclasses.MISSING:
        return f"{option.help} (required)"
    default = option.default
    nothing = any(default is value for value in (None, False)) or default in ([], (), {}, "")
    if nothing or dataclasses.is_dataclass(default):
        return option.help
    if default is True:
        return f"{option.help} (default: true; --no_{option.name} turns it off)"
    return f"{option.help} (default: {_shown(default)})"


def _shown(default: Any) -> str:
    """A default as it would be written on the command line."""
    if isinstance(default, (list, tuple)):
        return " ".join(map(str, default))
    return str(getattr(default, "value", default))


def choices_of(kind: Any) -> list[str]:
    """The values that a hint names, in itself or as items of a list."""
    members = _members(kind)
    literals = [m for m in members if typing.get_origin(m) is typing.Literal]
    literals += [m for m in members.get(list, ()) if typing.get_origin(m) is typing.Literal]
    return [str(value) for literal in literals for value in typing.get_args(literal)]


def _is_option(token: str, short: Mapping[str, str]) -> bool:
    return token.startswith("--") or token in short or token == "-h"


def _written(name: str, kind: Any, values: list[str]) -> list[str]:
    """An option's values as one argument that the parser reads."""
    kinds = _members(kind)
    if bool in kinds and (not values or values[0].lower() not in _YES_OR_NO):
        # What follows a flag is not its own.
        return [f"--{name}=true", *values]
    as_json = (len(values) == 1 and values[0].startswith(("[", "{"))) or "null" in values
    if dict in kinds and not as_json and all(re.fullmatch("[^=]+=.+", v) for v in values):
        names = [value.partition("=")[0] for value in values]
        if len(set(names)) < len(names):
            raise ValueError(f"--{name} names one thing twice: {', '.join(names)}")
        pairs = dict(value.split("=", 1) for value in values)
        if kinds[dict][-1] is not str:
            pairs = {key: yaml.safe_load(value) for key, value in pairs.items()}
        return [f"--{name}={json.dumps(pairs)}"]
    if list in kinds and not as_json and (str not in kinds or len(values) > 1):
        items = [item for member in kinds[list] for item in _members(member)]
        if dict in items and len(values) == 1:
            return [f"--{name}={json.dumps(yaml.safe_load(values[0]))}"]
        text = any(item is str or typing.get_origin(item) is typing.Literal for item in items)
        return [f"--{name}=" + (json.dumps(values) if text else f"[{', '.join(values)}]")]
    return [f"--{name}={values[0]}", *values[1:]] if values else [f"--{name}"]


def _members(kind: Any) -> dict[Any, tuple[Any, ...]]:
    """The types that a hint allows, and what each is of."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return {key: value for part in arguments for key, value in _members(part).items()}
    if origin in (list, tuple, Sequence):
        return {list: tuple(a for a in arguments if a is not Ellipsis)}
    if origin in (dict, Mapping):
        return {dict: arguments}
    return {kind: ()}


def _check_config(path: Path, known: Sequence[str]) -> None:
    """Checks that a config is a mapping of options.

    Raises:
        ValueError: Another thing than YAML, or an unknown key; the nearest is named.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no `key: value` lines")
    _check_keys(values, known, str(path))


def _check_keys(values: Iterable[Any], known: Sequence[str], where: str) -> None:
    for key in values:
        if key not in known:
            raise ValueError(f"{where} has an unknown key {key!r}{nearest(str(key), known)}")


def _in_words(error: Exception, options: Sequence[Option], program: str) -> str:
    """What is wrong with an option, for a person."""
    text = str(error)
    names = [option.name for option in options]
    help_ = f"`{program} --help` lists the options"
    if found := _UNKNOWN_IN_ERROR.search(text):
        unknown = (found[1] or found[2]).split()[0]
        if not unknown.startswith("-") and not found[1]:
            return f"{unknown!r} belongs to no option; {help_}"
        name = unknown.lstrip("-").partition("=")[0]
        return f"there is no option --{name}{nearest(name, names)}; {help_}"
    if "arguments are required" in text:
        missing = text.rpartition(": ")[2].split(", ")
        needed = ", ".join(name if name.startswith("-") else f"--{name}" for name in missing)
        return f"missing: {needed}; {help_}"
    key = _KEY_IN_ERROR.search(text)
    option = next((o for o in options if key and o.name == key[1].split(".")[0]), None)
    if key and option:
        # The last: within a union it is what was given.
        value = (_VALUE_IN_ERROR.findall(text) or ["?"])[-1].strip()
        inner = "" if key[1] == option.name else f" ({key[1]})"
        if choices := choices_of(option.kind):
            numbers = ["a whole number"] * (int in _members(option.kind))
            allowed = ", ".join([*numbers, *choices])
            return f"--{option.name} is {value!r}; choose from {allowed}"
        return f"--{option.name}{inner} takes {_kind_in_words(option.kind)}, not {value!r}"
    return " ".join(text.split())


def _kind_in_words(kind: Any) -> str:
    names = []
    for member, inner in _members(kind).items():
        if member is list:
            names.append(f"a list ({' or '.join(map(_kind_in_words, inner))} each)")
        elif member is not type(None):
            names.append(_KINDS.get(member, getattr(member, "__name__", str(member))))
    return " or ".join(names)
