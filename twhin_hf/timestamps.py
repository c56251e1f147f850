"""Times of posts and engagements, in any usual form, as whole seconds since 1970.

Read are dates and times of ISO 8601 (with or without a zone, which is UTC then), those of e-mails
(RFC 2822) and of X's API v1.1, and seconds, milliseconds, microseconds or nanoseconds since 1970.
Which unit a number has is told by its size: no log is of the year 5138. Ids are no times, though
those of some networks hold one.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from twhin_hf.errors import InputError

if TYPE_CHECKING:
    import ibis.expr.types as ir

FORMS = (
    "Times are read as 2024-05-01, 2024-05-01T12:30:00Z (or +02:00), Wed May 01 12:30:00 +0000 "
    "2024, Wed, 01 May 2024 12:30:00 +0000, or seconds, milliseconds, microseconds or nanoseconds "
    "since 1970."
)
"""What a message says of the forms."""

_DAY = 86_400
_YEARS = (-62_135_596_800, 253_402_300_799)
"""The first second of the year 1 and the last one of 9999, which Python knows."""
_UNITS = {"seconds": 1e11, "milliseconds": 1e14, "microseconds": 1e17, "nanoseconds": 1e20}
"""Units of numbers, and the number from which they are of the next."""
_NUMBER = r"^[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?$"
_COMPACT = (  # 20240501, and with hours and minutes, and seconds
    r"^(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])"
    r"(T?([01][0-9]|2[0-3])[0-5][0-9]([0-5][0-9])?)?Z?$"
)
_X = (
    r"^[A-Za-z]{3} ([A-Za-z]{3}) +([0-9]{1,2}) ([0-9]{1,2}:[0-9]{2})(:[0-9]{2}) "
    r"(?:([+-][0-9]{4}|[A-Z]{1,4}) )?([0-9]{4})$"
)
_MAIL = (
    r"^(?:[A-Za-z]{3}, *)?([0-9]{1,2})[ -]([A-Za-z]{3})[ -]([0-9]{4}) "
    r"([0-9]{1,2}:[0-9]{2})(:[0-9]{2})? ?([+-][0-9]{4}|[A-Z]{1,4})?$"
)
_ISO = (
    r"^([0-9]{4,5}-[0-9]{1,2}-[0-9]{1,2})"
    r"(?:[T ]([0-9]{1,2}:[0-9]{2})(?:(:[0-9]{2})(?:\.[0-9]+)?)? ?"
    r"([Zz]|UTC|GMT|[+-][0-9]{2}:?(?:[0-9]{2})?)?)?$"
)
_LONGEST_DATE = 11
"""Characters of a date of ISO 8601 without a time, with a year of five digits."""
_ZONES = {
    "UTC": "+00:00",
    "GMT": "+00:00",
    "UT": "+00:00",
    "Z": "+00:00",
    "EST": "-05:00",
    "EDT": "-04:00",
    "CST": "-06:00",
    "CDT": "-05:00",
    "MST": "-07:00",
    "MDT": "-06:00",
    "PST": "-08:00",
    "PDT": "-07:00",
}
"""Those of RFC 2822; engines know others, but not the same."""
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec"


def with_time(table: ir.Table, source: str, *, is_needed: bool = True) -> ir.Table:
    """Reads the column `timestamp` of strings, all of whose rows are checked first.

    Args:
        table: A table of an open engine.
        source: What a message calls it.
        is_needed: Whether a row without a time is a mistake.

    Returns:
        The table with `time` in place of `timestamp`, int64 whole seconds since 1970; null where
        there is none.

    Raises:
        InputError: A time is missing that is needed, cannot be read or is more than a day in the
            future, or the column holds times of several units.
    """
    timed = with_seconds(table, "timestamp", "time")
    timed = timed.mutate(form=_form(timed.timestamp.strip()))
    _check(timed, source, is_needed)
    return timed.drop("timestamp", "form")


def read_time(text: int | str, option: str) -> int:
    """One time, as whole seconds since 1970.

    Args:
        text: In one of the forms of this module.
        option: What a message calls it.

    Raises:
        InputError: It cannot be read.

    Example:
        >>> read_time("2024-05-01T02:00+02:00", "before"), read_time("1714521600000", "before")
        (1714521600, 1714521600)
    """
    import ibis
    import pyarrow as pa

    engine = ibis.duckdb.connect()
    try:
        table = ibis.memtable(pa.table({"text": [str(text)]}))
        found = engine.to_pyarrow(with_seconds(table, "text", "time").time)[0].as_py()
    finally:
        engine.disconnect()
    if found is None:
        raise InputError(f"{option} is {text!r}, which is no time. {FORMS}")
    return found


def iso(seconds: int) -> str:
    """A time as ISO 8601 writes it, in UTC.

    Example:
        >>> iso(1714521600)
        '2024-05-01T00:00:00Z'
    """
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return f"{(epoch + datetime.timedelta(seconds=seconds)).isoformat()[:-6]}Z"


def with_seconds(table: ir.Table, column: str, name: str) -> ir.Table:
    """Reads a column of strings as times, and checks none.

    Args:
        table: A table of an open engine.
        column: Holds times in any of the forms of this module; white space around them is dropped.
        name: Of the column with the times.

    Returns:
        The table with one column more: int64 whole seconds since 1970; null where nobody can read
        the time, or there is none.
    """
    read = table.mutate(_seconds(table[column].strip()).name(name))
    # A step of its own: within one expression, SQL would hold all that it is made of twice.
    return read.mutate(read[name].between(*_YEARS).ifelse(read[name], None).name(name))


def _form(text: ir.StringColumn) -> ir.StringColumn:
    """The unit of numbers, or `dates`."""
    import ibis

    size: Any = text.try_cast("float64").abs()
    units = [(size < end, unit) for unit, end in _UNITS.items()]
    return _is_number(text).ifelse(ibis.cases(*units, else_="dates"), "dates")


def _seconds(text: ir.StringColumn) -> ir.IntegerColumn:
    """Seconds since 1970, of any year; each part is of the text itself, as SQL repeats it."""
    import ibis

    number: Any = text.try_cast("float64")
    of_unit = [
        (number.abs() < end, (number / 1000**power).floor())
        for power, end in enumerate(_UNITS.values())
    ]
    plain = text.replace(",", ".").replace("/", "-")
    written: Any = ibis.cases(
        (text.re_search(_COMPACT), _compact(text)),
        (text.re_search(_X), _english(text, _X, (6, 1, 2, 3, 4, 5))),
        (text.re_search(_MAIL), _english(text, _MAIL, (3, 2, 1, 4, 5, 6))),
        (plain.re_search(_ISO), _iso(plain)),
        else_=ibis.null("string"),
    )
    moment: Any = written.try_cast("timestamp('UTC')")
    return _is_number(text).ifelse(
        ibis.cases(*of_unit, else_=ibis.null("float64")).cast("int64"),
        moment.truncate("s").epoch_seconds().cast("int64"),
    )


def _is_number(text: ir.StringColumn) -> ir.BooleanColumn:
    return text.re_search(_NUMBER) & ~text.re_search(_COMPACT)


def _compact(text: ir.StringColumn) -> ir.StringColumn:
    digits = text.replace("T", "").replace("Z", "")
    date = digits[0:4] + "-" + digits[4:6] + "-" + digits[6:8]
    seconds = (digits.length() > 12).ifelse(digits[12:14], "00")
    time = digits[8:10] + ":" + digits[10:12] + ":" + seconds
    return (digits.length() > 8).ifelse(date + " " + time, date)


def _iso(text: Any) -> ir.StringValue:
    """A date, or one with hours, minutes, seconds and a zone; engines differ on anything else."""
    date, time, seconds, zone = (text.re_extract(_ISO, group) for group in range(1, 5))
    zone = zone.replace("UTC", "Z").replace("GMT", "Z")
    moment = date + " " + time + _whole(seconds) + zone
    return (text.length() > _LONGEST_DATE).ifelse(moment, text)


def _english(text: Any, pattern: str, groups: tuple[int, ...]) -> ir.StringValue:
    """ISO 8601 from the groups of year, month by name, day, hours, seconds and zone."""
    import ibis

    year, month, day, time, seconds, zone = (text.re_extract(pattern, group) for group in groups)
    number = ibis.literal(_MONTHS).find(month.lower()) // 4 + 1
    date = year + "-" + number.cast("string") + "-" + day
    for name, offset in _ZONES.items():
        zone = zone.replace(name, offset)
    return date + " " + time + _whole(seconds) + zone


def _whole(seconds: Any) -> Any:
    """Seconds such as `:59`, which may be empty."""
    return (seconds + ":00").left(3)


def _check(table: ir.Table, source: str, is_needed: bool) -> None:
    import ibis

    now = int(datetime.datetime.now(datetime.timezone.utc).timestamp())
    text = table.timestamp
    state = ibis.cases(
        (text.isnull() | (text.strip() == ""), "missing"),
        (table.time.isnull(), "unreadable"),
        (table.time > now + _DAY, "future"),
        else_=table.form,
    )
    counted = table.mutate(state=state).group_by("state")
    rows = counted.agg(rows=lambda t: t.count(), example=lambda t: t.timestamp.max()).to_pyarrow()
    found = {row["state"]: (row["rows"], row["example"]) for row in rows.to_pylist()}
    total = sum(count for count, _ in found.values())
    missing, _ = found.pop("missing", (0, None))
    if missing and is_needed:
        raise InputError(
            f"{source}: {missing:,} of {total:,} rows have no timestamp, so that nobody knows on "
            "which side of a split in time they are. Fill them in, or leave these rows out.",
            faq="times",
        )
    if "unreadable" in found:
        count, example = found["unreadable"]
        raise InputError(
            f"{source}: {count:,} of {total:,} timestamps cannot be read, {example!r} for one. "
            f"{FORMS}",
            faq="times",
        )
    if "future" in found:
        count, example = found["future"]
        raise InputError(
            f"{source}: {count:,} of {total:,} timestamps are in the future, {example!r} for one "
            f"(today is {iso(now)[:10]}). Correct them, or leave these rows out.",
            faq="times",
        )
    if len(found) > 1:
        forms = "; ".join(
            f"{count:,} are {form}, such as {example!r}"
            for form, (count, example) in sorted(found.items())
        )
        raise InputError(
            f"{source}: the column of timestamps mixes units: {forms}. Write all of them in one.",
            faq="times",
        )
