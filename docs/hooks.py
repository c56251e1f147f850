"""What the site is made of beside the pages of this folder.

Pages of the repository (examples, CONTRIBUTING, …) stand in the site as they are, so that nothing
is said twice. Links in all pages are those of the repository, which people follow there too; here
they become those of the site. The table of commands is read from the commands themselves.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
SHOWN = ("examples", "model_cards", "twhin_hf/recipes")
SHOWN_FILES = ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "SECURITY.md")
SUFFIXES = (".ipynb", ".md", ".png", ".py", ".yaml")
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^(```.*?^```[^\n]*$)", re.MULTILINE | re.DOTALL)


def on_files(files, config):
    """Adds the pages and files of the repository that are not below `docs`."""
    for name in repository_files():
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links of the repository into those of the site, and fills in the tables."""
    place = Path(page.file.abs_src_path).relative_to(ROOT)
    if "<!-- commands -->" in markdown:
        markdown = markdown.replace("<!-- commands -->", commands_table())

    def of_the_site(link: re.Match) -> str:
        target, anchor = link[1], link[2] or ""
        path = Path(os.path.normpath(place.parent / target))
        if not (ROOT / path).exists():
            return link[0]  # MkDocs says that it is missing.
        name = site_name(path)
        return posixpath.relpath(name, posixpath.dirname(page.file.src_uri) or ".") + anchor

    parts = FENCE.split(markdown)
    return "".join(p if p.startswith("```") else LINK.sub(of_the_site, p) for p in parts)


def repository_files() -> list[str]:
    """What the site shows of the repository."""
    inside = (path for folder in SHOWN for path in sorted((ROOT / folder).rglob("*")))
    wanted = [path.relative_to(ROOT).as_posix() for path in inside if path.suffix in SUFFIXES]
    return [*SHOWN_FILES, *wanted]


def site_name(path: Path) -> str:
    """Where a file of the repository stands in the site.

    Example:
        >>> site_name(Path("docs/faq.md")), site_name(Path("examples"))
        ('faq.md', 'examples/README.md')
    """
    if path == Path("README.md"):
        return "index.md"
    if (ROOT / path).is_dir():
        path = path / "README.md"
    return path.as_posix().removeprefix("docs/")


def commands_table() -> str:
    """Each command with its options, as `--help` tells them."""
    from twhin_hf.commands.cli import COMMANDS

    lines = ["| command | what it does |", "| --- | --- |"]
    lines += [
        f"| [`{name}`](#{anchor_of(name)}) | {text} |" for name, (_, text) in COMMANDS.items()
    ]
    return "\n".join([*lines, *(options_table(name) for name in COMMANDS)])


def anchor_of(name: str) -> str:
    """The anchor of a command's options."""
    return f"twhin-hf-{name.replace(' ', '-')}"


def options_table(name: str) -> str:
    """The options of a command; those of transformers are told by their number alone."""
    import dataclasses

    from twhin_hf.commands.cli import load_command
    from twhin_hf.commands.declared import description_of, options_of

    command = load_command(name)
    own, foreign = [], 0
    for option in options_of(command):
        if option.group.startswith("transformers."):
            foreign += 1
            continue
        is_needed = option.default is dataclasses.MISSING
        default = "needed" if is_needed else escaped(shown(option.default))
        own.append(f"| `--{option.name}` | {default} | {escaped(option.help)} |")
    lines = [f"\n## `twhin-hf {name}` {{#{anchor_of(name)}}}\n", description_of(command), ""]
    if own:
        lines += ["| option | default | |", "| --- | --- | --- |", *own]
    if foreign:
        lines.append(f"\nAnd {foreign} options of transformers' `TrainingArguments`.")
    return "\n".join(lines)


def shown(default: object) -> str:
    """A default as the table has it: nothing where the help tells what holds."""
    from twhin_hf.commands.declared import shown_default

    return "" if default is None else shown_default(default)


def escaped(text: str) -> str:
    """Text for a cell of a table.

    Example:
        >>> escaped("a | b")
        'a \\\\| b'
    """
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
