"""`twhin-hf completion`."""

from __future__ import annotations

from typing import Literal


def completion(shell: Literal["bash", "zsh", "tcsh"] = "bash", /) -> None:
    """Print the script that completes commands and options in a shell.

    In bash: `source <(twhin-hf completion bash)`, best in ~/.bashrc.

    Args:
        shell: Shell to complete in.
    """
    import argparse

    import shtab

    from twhin_hf.commands.cli import COMMANDS, PROGRAM, load_command
    from twhin_hf.commands.declared import choices_of, options_of

    root = argparse.ArgumentParser(prog=PROGRAM)
    groups = {"": root.add_subparsers()}
    for name, (_, text) in COMMANDS.items():
        group, _, command = name.rpartition(" ")
        if group not in groups:
            groups[group] = groups[""].add_parser(group, help=f"{group} commands").add_subparsers()
        parser = groups[group].add_parser(command, help=text)
        for option in options_of(load_command(name)):
            added = parser.add_argument(
                f"--{option.name}", choices=choices_of(option.kind) or None, help=option.help
            )
            if not added.choices:
                added.complete = shtab.FILE  # type: ignore[attr-defined]
        config = parser.add_argument("--config", help="YAML config.")
        config.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(root, shell))
