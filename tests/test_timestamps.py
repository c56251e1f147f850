"""Times in every usual form, and those that are refused."""

import datetime

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.errors import InputError
from twhin_hf.tables import open_engine, read_table
from twhin_hf.timestamps import iso, read_time, with_time

TIME = 1_600_000_000  # 2020-09-13T12:26:40Z
FORMS = {
    "ISO": ["2020-09-13T12:26:40Z", "2020-09-13 12:26:40", "2020/09/13 12:26:40.999"],
    "offsets": ["2020-09-13T14:26:40+02:00", "2020-09-13 08:56:40 -0330", "2020-09-13 12:26:40+00"],
    "fractions": ["2020-09-13T12:26:40.123456789Z", "2020-09-13T12:26:40,5+00:00"],
    "compact": ["20200913122640", "20200913T122640Z"],
    "X": ["Sun Sep 13 12:26:40 +0000 2020", "Sun Sep 13 14:26:40 +0200 2020"],
    "mail": ["Sun, 13 Sep 2020 14:26:40 +0200", "13 Sep 2020 12:26:40 GMT"],
    "seconds": ["1600000000", "1600000000.9", "1.6e9", " 1600000000 "],
    "milliseconds": ["1600000000000", "1600000000999", "1600000000999.9"],
    "microseconds": ["1600000000000000", "1600000000999999"],
    "nanoseconds": ["1600000000000000000", "1600000000999999000"],
}


def seconds(column, is_needed=True):
    """What is read of a column, in its order."""
    rows = pa.table({"row": [str(row) for row in range(len(column))], "timestamp": column})
    with open_engine() as engine:
        path = engine.raw_sql("SELECT current_setting('temp_directory')").fetchone()[0]
        pq.write_table(rows, f"{path}/times.parquet")
        table = read_table(f"{path}/times.parquet", ["row", "timestamp"], connection=engine)
        timed = with_time(table, "The log", is_needed=is_needed)
        return timed.order_by(timed.row.cast("int64")).time.to_pyarrow().to_pylist()


@pytest.mark.parametrize("form", FORMS)
def test_every_form(form):
    assert seconds(FORMS[form]) == [TIME] * len(FORMS[form])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_columns_of_times(unit, zone):
    moments = pa.array([TIME], pa.timestamp("s")).cast(pa.timestamp(unit))
    assert seconds(moments.cast(pa.timestamp(unit, zone)) if zone else moments) == [TIME]


@pytest.mark.parametrize(
    "kind", [pa.int32(), pa.int64(), pa.uint64(), pa.float64(), pa.decimal128(12, 2)]
)
def test_columns_of_numbers(kind):
    assert seconds(pa.array([TIME, 0, 86_400], kind)) == [TIME, 0, 86_400]


def test_the_first_and_the_last_year():
    first, before = "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:01"
    assert iso(*seconds([first])) == first
    for text in (before, "9999-12-31T23:59:59-00:01"):
        with pytest.raises(InputError, match="1 of 1 timestamps cannot be read"):
            seconds([text])


def test_dates_begin_at_midnight_and_time_before_1970():
    assert seconds(pa.array([datetime.date(2020, 9, 13)])) == [TIME - 44_800]
    assert seconds(["20200913", "2020-09-13", "1969-12-31T23:59:59.5"]) == [
        *[TIME - 44_800] * 2,
        -1,
    ]
    assert seconds(["-5", "-0.5"]) == [-5, -1]


def test_each_month_by_its_name():
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    found = seconds([f"Mon, 01 {month} 2024 00:00:00 +0000" for month in months])
    assert [iso(time) for time in found] == [f"2024-{m:02}-01T00:00:00Z" for m in range(1, 13)]


@pytest.mark.parametrize(
    "text",
    [
        *("yesterday", "13.09.2020", "2020-13-01", "infinity", "epoch", "1e400", "9999999-01-01"),
        *("Sun, 13 Xyz 2020 14:26:40 +0200", "12345678901234567890123"),
        *("13 Ebm 2020 12:26:40 GMT", "0000-12-31", "12024-01-01T00:00:00Z", "-70000000000"),
    ],
)
def test_what_nobody_can_read_is_shown(text):
    with pytest.raises(InputError, match=r"The log: 1 of 2 timestamps cannot be read") as error:
        seconds([text, "2020-09-13"])
    assert repr(text) in str(error.value)
    assert "seconds, milliseconds, microseconds or nanoseconds since 1970" in str(error.value)


def test_mixed_units_show_one_of_each():
    with pytest.raises(InputError, match="mixes units") as error:
        seconds(["1600000000", "1600000000123", "1600000000456"])
    assert "2 are milliseconds, such as '1600000000456'" in str(error.value)
    assert "1 are seconds, such as '1600000000'" in str(error.value)
    with pytest.raises(InputError, match="1 are dates, such as '2020-09-13'; 1 are seconds"):
        seconds(["1600000000", "2020-09-13"])


def test_the_future():
    now = int(datetime.datetime.now(datetime.timezone.utc).timestamp())
    assert seconds([str(now + 3600)]) == [now + 3600]  # a clock that is fast
    with pytest.raises(InputError, match="1 of 2 timestamps are in the future, '4102444800'"):
        seconds(["1600000000", "4102444800"])


def test_missing_times():
    assert seconds(["1600000000", None, " "], is_needed=False) == [TIME, None, None]
    with pytest.raises(InputError, match=r"2 of 3 rows have no timestamp, .* Fill them in, or"):
        seconds(["1600000000", None, " "])


def test_one_time():
    assert read_time(" 2024-05-01 ", "before") == 1_714_521_600
    assert iso(read_time("1714521600123", "before")) == "2024-05-01T00:00:00Z"
    with pytest.raises(InputError, match=r"before is 'soon', which is no time. Times are read as"):
        read_time("soon", "before")
    assert ibis.options.default_backend is None
