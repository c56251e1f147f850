"""A command is a function, and its options are what the function takes.

A parameter that is a dataclass gives an option for each of its fields; any other parameter is an
option itself, and one before `/` needs no name on the command line (a list of them stands anywhere
behind the value of another option, or first). Names, types, choices, defaults
and help (the docstrings' `Args:`) are those of the Python API, so nothing is declared twice.
Options take precedence over a YAML file (`--config`), and the file over the defaults.

On the command line, lists are written `--languages en ja`, mappings `--columns user_id=uid`, flags
`--int8` or `--no_int8`; dashes in names are read as underscores.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from twhin_hf.commands.declared import (
    SHORT_NAMES,
    Command,
    GivenOptions,
    Option,
    choices_of,
    description_of,
    field_options,
    init_fields,
    members_of,
    options_of,
    parameters_of,
    positional_only,
    shown_default,
)
from twhin_hf.commands.spelling import nearest, spell_out
from twhin_hf.errors import InputError
from twhin_hf.files import read_text, read_yaml
from twhin_hf.value_checks import check_memory_limit

_KINDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "NAME=VALUE pairs",
}

_OUTPUTS = ("output", "output_dir")
"""Options that name where to write: an empty name would be the folder that one works in."""

_KEY_IN_ERROR = re.compile(r'Parser key "([\w.]+)"')

_VALUE_IN_ERROR = re.compile(r"(?:Got value|Given value): (.*)")

_UNKNOWN_IN_ERROR = re.compile(r"Option '([\w.]+)' is not accepted|unrecognized arguments: (.*)")


def run_command(command: Command, arguments: Sequence[str], program: str) -> Any:
    """Calls a command with what the command line says.

    Args:
        command: The function; see `parse_command`.
        arguments: The options.
        program: What to call it in usage and errors, such as `twhin-hf split`.

    Raises:
        InputError: An option that is unknown, missing or of another type.
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
        InputError: An option that is unknown, missing or of another type, or that a dataclass
            refuses.
        FileNotFoundError: There is no such config.
        SystemExit: `--help` was among the options.
    """
    options = list(options_of(command))
    parser = command_parser(command, program)
    arguments = list(arguments)
    kinds = {option.name: option.kind for option in options}
    several = [name for name in positional_only(command) if list in members_of(kinds[name])]
    for name in positional_only(command):
        if name not in several and arguments and not arguments[0].startswith("-"):
            arguments[0] = f"--{name}={arguments[0]}"
    arguments = spell_out(arguments, options)
    for name in several:
        if given_ones := [argument for argument in arguments if not argument.startswith("-")]:
            rest = [argument for argument in arguments if argument.startswith("-")]
            arguments = spell_out([f"--{name}", *given_ones], options) + rest
    for argument in arguments:
        if argument.startswith("--config="):
            _check_config(Path(argument.partition("=")[2]), options)
    try:
        parsed = parser.parse_args(arguments)
    except argparse.ArgumentError as error:
        raise InputError(_in_words(error, options, program)) from error
    for option in options:
        is_needed = option.default is dataclasses.MISSING or option.name in _OUTPUTS
        if is_needed and parsed.get(option.name) == "":
            raise InputError(f"--{option.name} is empty: a name or path is needed")
        for key in _keys_that_are_no_text(parsed.get(option.name)):
            raise InputError(
                f"{option.name} has the key {key!r}, which YAML does not take for text; write it "
                "in quotes"
            )
    if limit := parsed.get("memory_limit"):
        check_memory_limit(limit)
    try:
        values = parser.instantiate(parsed)
    except InputError:
        raise
    except ValueError:
        _tell_refusal(parsed, options)
        raise
    given = GivenOptions(
        argument[2:].partition("=")[0] for argument in arguments if argument.startswith("--")
    )
    return {
        name: _value(name, kind, values, given) for name, kind in parameters_of(command).items()
    }


def command_parser(command: Command, program: str) -> ArgumentParser:
    """Makes the parser of a command; `parser.print_help()` shows all its options, grouped."""
    options = list(options_of(command))
    required = [f"--{o.name} {o.name.upper()}" for o in options if o.default is dataclasses.MISSING]
    parser = ArgumentParser(
        prog=program,
        usage=" ".join([program, *required, "[OPTIONS]"]),
        description=description_of(command),
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


def updated(groups: Sequence[Any], values: Mapping[str, Any], where: str) -> list[Any]:
    """Dataclasses with some of their fields changed, and checked as options are.

    Args:
        groups: Dataclass objects; each value belongs to one of them.
        values: New values by field.
        where: What holds the values, for the message.

    Raises:
        InputError: A field that none of them has, or a value of another type.
    """
    options = {o.name: o for group in groups for o, _ in field_options(type(group), "")}
    _check_keys(values, list(options), where)
    parser = ArgumentParser(exit_on_error=False)
    for name, value in values.items():
        _check_not_empty(value, options[name], where)
        parser.add_argument(f"--{name}", type=options[name].kind)
    try:
        parsed = parser.parse_object(dict(values))
    except argparse.ArgumentError as error:
        message = _in_words(error, list(options.values()), where)
        raise InputError(f"{where}: {message}") from error
    names = [{field.name for field in init_fields(group)} & set(values) for group in groups]
    return [
        dataclasses.replace(group, **{name: parsed[name] for name in own}) if own else group
        for group, own in zip(groups, names, strict=True)
    ]


class _HelpFormatter(DefaultHelpFormatter):
    """One name and a metavar for each option; required ones and defaults are said in the help."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        names = [name for name in action.option_strings if not name.endswith("+")]
        return " ".join(filter(None, [", ".join(names), str(action.metavar or "")]))

    def _expand_help(self, action: argparse.Action) -> str:
        text = action.help or ""
        # Options of a dataclass inside another are not made here.
        inside = "." in action.dest and action.default not in (None, False, argparse.SUPPRESS)
        return f"{text} (default: {shown_default(action.default)})" if inside else text


def _keys_that_are_no_text(value: Any) -> Iterator[Any]:
    """Those of mappings, also inside others and in lists."""
    if isinstance(value, dict):
        yield from (key for key in value if not isinstance(key, str))
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _keys_that_are_no_text(item)


def _value(name: str, kind: Any, values: Any, given: GivenOptions) -> Any:
    if kind is GivenOptions:
        return given
    if not dataclasses.is_dataclass(kind):
        return values[name]
    return cast(Any, kind)(**{field.name: values[field.name] for field in init_fields(kind)})


def _metavar(option: Option) -> str:
    kinds = members_of(option.kind)
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
    return f"{option.help} (default: {shown_default(default)})"


def _check_config(path: Path, options: Sequence[Option]) -> None:
    """Checks each line of a config before anything is done.

    Raises:
        InputError: Another thing than YAML, an unknown key (the nearest is named), or a value of
            another type; the line is told.
    """
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no `key: value` lines")
    _check_values(values, yaml.compose(read_text(path)), options, path, "")


def _check_values(
    values: Mapping[Any, Any], node: Any, options: Sequence[Option], path: Path, above: str
) -> None:
    """Checks the keys and values of a config, and of the dataclasses in it."""
    by_name = {option.name: option for option in options}
    lines = {key.value: key.start_mark.line + 1 for key, _ in node.value}
    nodes = {key.value: value for key, value in node.value}
    names = [key.value for key, _ in node.value]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{path}, line {lines[twice]}: {above}{twice} stands there twice")
    for key, value in values.items():
        where = f"{path}, line {lines.get(str(key), node.start_mark.line + 1)}"
        option = by_name.get(key)
        if option is None:
            hint = nearest(str(key), by_name)
            raise InputError(f"{where}: there is an unknown key {above + str(key)!r}{hint}")
        _check_not_empty(value, option, where, above)
        owner = next(filter(dataclasses.is_dataclass, members_of(option.kind)), None)
        if owner is None:
            parser = ArgumentParser(exit_on_error=False)
            parser.add_argument(f"--{key}", type=option.kind)
            try:
                parser.parse_object({key: value})
            except argparse.ArgumentError as error:
                message = _in_words(error, [option], "").removeprefix("--")
                raise InputError(f"{where}: {above}{message}") from error
        elif isinstance(value, dict):
            inner = [inner for inner, _ in field_options(owner, "")]
            _check_values(value, nodes[str(key)], inner, path, f"{above}{key}.")
        elif value is not None or type(None) not in members_of(option.kind):
            known = ", ".join(field.name for field in init_fields(owner))
            raise InputError(
                f"{where}: {above}{key} is {value!r}; needed are `key: value` lines of {known}"
            )


def _check_not_empty(value: Any, option: Option, where: str, above: str = "") -> None:
    may_be_null = type(None) in members_of(option.kind) or option.default is dataclasses.MISSING
    if value is None and not may_be_null:
        raise InputError(
            f"{where}: {above}{option.name} is empty; needed is {_kind_in_words(option.kind)}. "
            "Leave the line out for the default"
        )


def _check_keys(values: Iterable[Any], known: Sequence[str], where: str) -> None:
    for key in values:
        if key not in known:
            raise InputError(f"{where} has an unknown key {key!r}{nearest(str(key), known)}")


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
            numbers = ["a whole number"] * (int in members_of(option.kind))
            allowed = ", ".join([*numbers, *choices])
            return f"--{option.name} is {value!r}; choose from {allowed}"
        return f"--{option.name}{inner} takes {_kind_in_words(option.kind)}, not {value!r}"
    return " ".join(text.split())


def _tell_refusal(parsed: Namespace, options: Sequence[Option]) -> None:
    """What a dataclass that may be left out says of its values: a union hides it among types.

    Raises:
        InputError: That, with the name of the option.
    """
    for option in options:
        owner = next(filter(dataclasses.is_dataclass, members_of(option.kind)), None)
        value = parsed[option.name]
        if owner is None or value is None or option.kind is owner:
            continue
        alone = ArgumentParser(exit_on_error=False)
        alone.add_argument(f"--{option.name}", type=owner)
        try:
            alone.instantiate(Namespace({option.name: value}))
        except InputError as refused:
            raise InputError(f"--{option.name}: {refused}") from None


def _kind_in_words(kind: Any) -> str:
    names = []
    for member, inner in members_of(kind).items():
        if member is list:
            names.append(f"a list ({' or '.join(map(_kind_in_words, inner))} each)")
        elif member is dict and set(inner[1:]) & {int, float}:
            names.append(f"{_KINDS[dict]} ({_KINDS[inner[1]]} each)")
        elif member is not type(None):
            names.append(_KINDS.get(member, getattr(member, "__name__", str(member))))
    return " or ".join(names)
