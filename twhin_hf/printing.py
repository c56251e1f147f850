"""What a person reads on the screen: sentences, counts and tables of results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twhin_hf.results import Results, results_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def report(
    title: str,
    content: Mapping[str, Any] | Results | Table | None = None,
    *,
    console: Console | None = None,
) -> None:
    """Prints a sentence, or a title with a table under it.

    Args:
        title: The sentence or title.
        content: Counts by name, which are shown with thousands separators; results; or a table
            that is ready.
        console: Where to print; the screen by default.
    """
    from rich.console import Console
    from rich.text import Text

    console = console or Console(highlight=False)
    if content is None:
        console.print(title, markup=False, soft_wrap=True)
    elif isinstance(content, Results):
        console.print(results_table(content, title=title))
    elif isinstance(content, Mapping):
        # On its own line: a table breaks a long path in its title.
        console.print(title, markup=False, soft_wrap=True)
        console.print(counts_table(content))
    else:
        content.title = Text(title)
        console.print(content)


def counts_table(counts: Mapping[str, Any]) -> Table:
    """A table of two columns, one row for each count; what is None is left out.

    Mappings inside are told row by row: `{"dropped": {"empty": 2}}` is `dropped: empty`.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False)
    table.add_column(overflow="fold", max_width=48)
    table.add_column(justify="right", overflow="fold", max_width=26)
    for name, value in _flat(counts):
        table.add_row(Text(in_words(name)), Text(number(value)))
    return table


def counts_sentence(counts: Mapping[str, Any]) -> str:
    """Counts as part of a sentence; those of 0 are left out.

    Example:
        >>> counts_sentence({"rows": 1200, "blank_texts": 0, "num_posts": 1199})
        '1,200 rows, 1,199 posts'
    """
    return ", ".join(f"{number(value)} {in_words(name)}" for name, value in _flat(counts) if value)


def in_words(name: str) -> str:
    """The name of a count as people write it.

    Example:
        >>> in_words("num_pairs"), in_words("posts_without_text")
        ('pairs', 'posts without text')
    """
    return name.removeprefix("num_").replace("_", " ")


def number(value: Any) -> str:
    """A value as people write it: thousands apart, four digits behind the point at most.

    Example:
        >>> number(1234567), number(0.25), number(1e-5), number(True)
        ('1,234,567', '0.25', '1e-05', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        small = value and abs(value) < 1e-3
        return f"{value:.3g}" if small else f"{value:,.4f}".rstrip("0").rstrip(".")
    if isinstance(value, (list, tuple)):
        return ", ".join(map(number, value)) or "none"
    return str(value)


def _flat(counts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in counts.items():
        if isinstance(value, Mapping):
            rows += [(f"{name}: {inner}", item) for inner, item in _flat(value)]
        elif value is not None:
            rows.append((name, value))
    return rows
