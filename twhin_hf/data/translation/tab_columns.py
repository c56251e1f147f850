"""Columns of lines with tabs between, without quoting, as the data sets of translation pairs are.

No dialect of CSV applies to them; a wrong line is named by its number.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.lines import NumberedLines


def split_columns(
    block: NumberedLines, num_columns: int, names: str, dropped: Counter[str]
) -> tuple[NumberedLines, list[pa.Array]]:
    """Splits lines at tabs.

    A line with too few columns is an error. One with too many holds a tab in a text, where nobody
    can tell which: it is dropped and counted.

    Args:
        block: The lines.
        num_columns: How many there must be.
        names: What the columns are, for the message.
        dropped: Gets the count.

    Returns:
        The lines kept, and their columns: `num_columns` string arrays.

    Raises:
        InputError: A line has too few columns.
    """
    found = pc.count_substring(block.lines, "\t").to_numpy() + 1
    if (found < num_columns).any():
        row = int(np.argmax(found < num_columns))
        raise block.error(
            row,
            f"{found[row]} column{'s' * bool(found[row] > 1)}, where {num_columns} are needed, "
            f"with a tab between two: {names}.",
        )
    if (found > num_columns).any():
        kept = found == num_columns
        dropped["lines with too many columns"] += int((~kept).sum())
        block = block._replace(
            lines=block.lines.filter(pa.array(kept)), numbers=block.numbers[kept]
        )
    values = pc.split_pattern(block.lines, "\t").flatten()
    rows = np.arange(0, len(values), num_columns)
    return block, [values.take(pa.array(rows + column)) for column in range(num_columns)]


def numbers_of(block: NumberedLines, column: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    """A column of numbers.

    Raises:
        InputError: A value is none; tells the line.
    """
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        pattern = r"^-?\d+$" if pa.types.is_integer(kind) else r"^-?\d*\.?\d+([eE][-+]?\d+)?$"
        numeric = pc.match_substring_regex(column, pattern).to_numpy(zero_copy_only=False)
        row = int(np.argmin(numeric))
        raise block.error(row, f"{column[row].as_py()!r} is no {name}.") from None
