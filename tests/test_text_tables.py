"""Text tables: late columns, ids, many files, and files that are odd, cut or damaged."""

import codecs
import gzip
import itertools
import json
import logging
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.data.posts import read_posts
from twhin_hf.errors import InputError
from twhin_hf.network.log import read_log
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import column_names, open_engine, read_errors, read_table


def read(path, columns=None, names=("post_id", "text"), optional=("lang",), **table_format):
    """The rows of a table of posts."""
    with open_engine("600MB") as engine, read_errors(path):
        table = read_table(
            path,
            names,
            optional,
            connection=engine,
            columns=columns,
            table_format=TableFormat(**table_format),
        )
        return table.to_pyarrow().to_pylist()


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_column_that_begins_late_is_read(tmp_path):
    rows = [{"user_id": f"u{row}", "post_id": row} for row in range(30_000)]
    late = [row | {"relation": "like"} for row in rows[20_480:]]
    path = write(tmp_path / "log.jsonl", lines(rows[:20_480] + late))
    assert read_log(path).report.edges_per_relation == {"engage": 20_480, "like": 9_520}
    assert column_names(path) == ["user_id", "post_id", "relation"]


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_a_column_of_the_last_of_many_files_is_read_in_little_memory(tmp_path, ending):
    for number in range(200):
        row = {"post_id": number, "text": f"post {number}"} | (
            {"lang": "de"} if number > 190 else {}
        )
        as_csv = f"{','.join(row)}\n{','.join(map(str, row.values()))}\n"
        write(tmp_path / f"{number:03}.{ending}", lines([row]) if ending == "jsonl" else as_csv)
    posts, report = read_posts(tmp_path, memory_limit="100MB")
    assert report.num_posts == 200
    assert sorted(posts["lang"][:]) == ["de"] * 9 + ["und"] * 191


def test_a_text_of_three_megabytes(tmp_path):
    long = "x" * 3_000_000
    json_lines = write(tmp_path / "a.jsonl", lines([{"post_id": 1, "text": long}]))
    as_csv = write(tmp_path / "a.csv", f"post_id,text\n1,{long}\n2,b\n")
    assert [row["text"] for row in read(json_lines)] == [long]
    assert [row["text"] for row in read(as_csv)] == [long, "b"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("123.0", r"a\.jsonl, line 2: the id 'post_id' is a float, '123.0'.*dtype="),
        ("1.05e+18", r"is a float, '1.05e\+18'"),
        ("NaN", "is a float, 'nan'"),
        ("true", r"is true or false, 'true'; needed are strings or integers"),
        ("[7]", r"is a list, '\[7\]'"),
        ('{"id": 7}', r"is an object; .* what is inside \(post_id.id\): `--columns post_id="),
    ],
)
def test_json_ids_are_strings_or_integers(tmp_path, value, message):
    first = '{"post_id": 12345678901234567890123, "text": "x"}\n'
    path = write(tmp_path / "a.jsonl", f'{first}{{"post_id": {value}, "text": "y"}}\n')
    with pytest.raises(ValueError, match=message):
        read(path)
    # It is an id that may not be so; no column may be a list or an object.
    if value[0] not in "[{":
        assert len(read(path, {"text": "post_id"}, names=["text"], optional=())) == 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('{"de": "x"}', r"line 2: the column 'text' is an object; .* inside \(text.de\)"),
        ('["x"]', r"line 2: the column 'text' is a list, "),
    ],
)
def test_json_texts_are_no_lists_or_objects(tmp_path, value, message):
    content = f'{{"post_id": 1, "text": 1.5}}\n{{"post_id": 2, "text": {value}}}\n'
    path = write(tmp_path / "a.jsonl", content)
    with pytest.raises(ValueError, match=message):
        read(path)
    assert len(read(path, names=["post_id"], optional=())) == 2


def test_nan_in_json_is_null(tmp_path):
    rows = '{"post_id": 1, "text": NaN, "lang": "NaN"}\n{"post_id": 2, "text": "NaN"}\n'
    assert read(write(tmp_path / "a.jsonl", rows)) == [
        {"post_id": "1", "text": None, "lang": "NaN"},
        {"post_id": "2", "text": "NaN", "lang": None},
    ]


@pytest.mark.parametrize("offset", range(4))
def test_what_the_engine_cannot_read_may_be_of_any_script(tmp_path, offset):
    """Its message quotes the beginning, which may end within a character."""
    text = "x" * offset + "ラーメン" * 30
    rows = f'{{"text": "{text}", "post_id": 1, "x": NaN}}\n'
    path = write(tmp_path / "a.jsonl", rows)
    assert read(path) == [{"post_id": "1", "text": text}]
    with pytest.raises(InputError, match=r"a\.jsonl is not JSON lines \(line 2: "):
        read(write(path, rows + rows[:-20]))
    row = f"{text},1\n"
    path = write(tmp_path / "a.csv", f"text,post_id\n{row * 30_000}{text},1,2\n")
    with pytest.raises(InputError, match=r"a\.csv, line 30,002 has 3 columns"):
        read(path)


def test_a_column_that_is_there_twice(tmp_path):
    path = write(tmp_path / "a.csv", "post_id,text,tag,tag,text\n1,a,b,c,d\n")
    with pytest.raises(ValueError, match=r"a\.csv has 2 columns 'text', and nobody can tell"):
        read(path)
    assert read(path, names=["post_id"], optional=()) == [{"post_id": "1"}]


def test_a_first_row_that_is_no_header(tmp_path):
    path = write(tmp_path / "a.tsv", "1\tgood morning\n2\tgood night\n")
    with pytest.raises(ValueError, match=r"found are 1, good morning\. .* no header: `--header n"):
        read(path)


@pytest.mark.parametrize(
    ("last", "message"),
    [('"a\r\nb"\r\n', None), ("a,b\n", r"a\.csv, line 40,002 has 3 columns, the first line 2")],
)
def test_what_only_python_reads_far_down_in_a_file(tmp_path, last, message):
    rows = "".join(f"{row},text {row}\n" for row in range(40_000))
    path = write(tmp_path / "a.csv", f"post_id,text\n{rows}x,{last}")
    if message:
        with pytest.raises(ValueError, match=message):
            read(path)
    else:
        found = read(path)
        assert [row["text"] for row in found[-2:]] == ["text 39999", "a\r\nb"]
        assert len({row["post_id"] for row in found}) == len(found) == 40_001


def test_json_ids_of_all_lengths_stay_exact(tmp_path):
    ids = [12345678901234567890123, 2**64, 2**63, -5, "1.0", "007", None]
    path = write(tmp_path / "a.jsonl", lines({"post_id": own, "text": "x"} for own in ids))
    assert [row["post_id"] for row in read(path)] == [
        *("12345678901234567890123", "18446744073709551616", "9223372036854775808"),
        *("-5", "1.0", "007", None),
    ]


@pytest.mark.parametrize("value", ["123.0", "123.", "1.05E+18", "1e+18", "-2.5e-7", "1.05E18"])
def test_csv_ids_that_were_floats_are_refused(tmp_path, value):
    path = write(tmp_path / "a.csv", f"post_id,text\n7,1.5\n{value},2.0\n")
    with pytest.raises(ValueError, match=r"a\.csv: the id 'post_id' is a float, .*read the column"):
        read(path)


def test_ids_that_a_spreadsheet_wrote_with_a_decimal_comma(tmp_path):
    path = write(tmp_path / "a.csv", "post_id;text\n7;x\n1,23457E+17;y\n")
    with pytest.raises(ValueError, match=r"the id 'post_id' is a float, '1,23457E\+17'"):
        read(path, separator=";")


def test_an_error_says_how_many_rows_have_such_ids(tmp_path):
    path = write(tmp_path / "a.csv", "post_id,text\n7,x\n7.9E+17,y\n8.0,z\n")
    with pytest.raises(InputError, match=r"a float, '7\.9E\+17' \(in 2 of 3 rows\); needed"):
        read(path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_cells_that_say_that_nothing_is_there(tmp_path, end):
    rows = ["post_id,text,lang", '1,"NA",es', "2,NAND,NA", "3,-,-", '4,"a\nb",en', "NA,x,y"]
    path = write(tmp_path / "a.csv", end.join(rows))
    assert read(path, missing=("NA", "-")) == [
        {"post_id": "1", "text": None, "lang": "es"},
        {"post_id": "2", "text": "NAND", "lang": None},
        {"post_id": "3", "text": None, "lang": None},
        {"post_id": "4", "text": "a\nb", "lang": "en"},
        {"post_id": None, "text": "x", "lang": "y"},
    ]
    assert [row["text"] for row in read(path)] == ["NA", "NAND", "-", "a\nb", "x"]


def test_csv_ids_that_only_look_like_numbers_are_read(tmp_path):
    ids = ["3.14", "1.2.3", "007", "5e12", "1e5f", "True", "10.1145/3580305"]
    rows = "".join(f"{own},2.0\n" for own in ids)
    found = read(write(tmp_path / "a.csv", f"post_id,text\n{rows}"))
    assert [row["post_id"] for row in found] == ids
    assert {row["text"] for row in found} == {"2.0"}


def test_dotted_names_reach_inside(tmp_path):
    rows = [{"user": {"id": 7, "name": "a"}, "text": "x", "x.y": 1, "post_id": 2}]
    path = write(tmp_path / "a.jsonl", lines(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for source in (path, tmp_path / "a.parquet"):
        assert read(source, {"post_id": "user.id"})[0]["post_id"] == "7"
        assert read(source, {"post_id": "x.y"})[0]["post_id"] == "1"
        with pytest.raises(ValueError, match=r"no column 'user.age'; found are user, text, x.y"):
            read(source, {"post_id": "user.age"})
        with pytest.raises(ValueError, match=r"what is inside.*user\.id"):
            read(source, {"post_id": "user"})


def test_quotes_in_csv_and_none_in_tsv(tmp_path):
    tsv = write(tmp_path / "a.tsv", 'post_id\ttext\n1\t"good morning\n2\tfine\n3\tgood night"\n')
    assert [row["text"] for row in read(tsv)] == ['"good morning', "fine", 'good night"']
    quoted = write(tmp_path / "b.tsv", 'post_id\ttext\n1\t"a\tb\n""c"""\n2\td\n')
    assert [row["text"] for row in read(quoted, quoting=True)] == ['a\tb\n"c"', "d"]
    as_csv = write(tmp_path / "a.csv", 'post_id,text\n1,"a, b"\n2,5" wide\n')
    assert [row["text"] for row in read(as_csv)] == ["a, b", '5" wide']
    unquoted = write(tmp_path / "b.csv", 'post_id,text\n1,"a\n2,b"\n')
    assert [row["text"] for row in read(unquoted, quoting=False)] == ['"a', 'b"']


@pytest.mark.parametrize(
    ("separator", "written"), [("::", "::"), (r"\x01", "\x01"), (r"\t", "\t"), ("|", "|")]
)
def test_separators_without_a_header_and_any_ending(tmp_path, separator, written):
    rows = [["1", 'one "two', "x"], ["2", "three", "y"]]
    path = write(tmp_path / "a.dat", "".join(written.join(row) + "\n" for row in rows))
    columns = {"post_id": "1", "text": "2"}
    found = read(path, columns, separator=separator, header="none")
    assert [(row["post_id"], row["text"]) for row in found] == [("1", 'one "two'), ("2", "three")]
    with pytest.raises(ValueError, match=r"a\.dat has none of the endings .*`--separator`"):
        read(path, columns, header="none")
    with pytest.raises(ValueError, match="no column '0'; found are 1, 2, 3"):
        read(path, {"post_id": "0", "text": "1"}, separator=separator, header="none")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "shift_jis"])
def test_encodings(tmp_path, encoding):
    text = "ラーメン" if encoding == "shift_jis" else "café"
    path = write(tmp_path / "a.csv", f"post_id,text\n1,{text}\n".encode(encoding))
    assert read(path, encoding=encoding)[0]["text"] == text
    with pytest.raises(ValueError, match=r"a\.csv is not UTF-8 .*--encoding latin-1"):
        read(path)
    if encoding != "utf-16":
        write(tmp_path / "b.csv", codecs.BOM_UTF8 + b"post_id,text\n1,x\n")
        assert read(tmp_path / "b.csv")[0] == {"post_id": "1", "text": "x"}


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_utf8_that_is_read_as_latin_1_is_told(tmp_path, caplog, ending):
    def content(text, encoding):
        data = f"post_id,text\n1,{text}\n".encode(encoding)
        return gzip.compress(data) if ending else data

    path = write(tmp_path / f"a.csv{ending}", content("öl" * 20_000, "utf-8"))
    assert read(path, encoding="latin-1")[0]["text"].startswith("Ã¶l")
    assert caplog.messages == [
        f"{path} is read as latin-1 and looks like UTF-8: if texts come out garbled, leave "
        "`--encoding` out."
    ]
    caplog.clear()
    for encoding, text in (("latin-1", "öl"), ("cp1252", "plain"), ("utf-16", "öl")):
        read(write(path, content(text, encoding)), encoding=encoding)
    read(write(path, content("öl", "utf-8")))
    read(write(path, content("öl", "utf-8-sig")), encoding="utf-8-sig")
    assert not caplog.messages


def test_a_cut_off_file_of_another_encoding_is_told(tmp_path):
    rows = "".join(f"{row},öl {random.random()}\n" for row in range(5_000))
    packed = gzip.compress(f"post_id,text\n{rows}".encode("latin-1"))
    path = write(tmp_path / "a.csv.gz", packed[: len(packed) // 50])
    with pytest.raises(InputError, match=r"a\.csv\.gz is cut off or damaged"):
        read(path, encoding="latin-1")


def test_a_format_that_cannot_be(tmp_path):
    for options, message in (
        ({"separator": ""}, "separator is ''"),
        ({"separator": r"\n"}, "none of them a line break"),
        ({"separator": "::", "quoting": True}, "one character, not with '::'"),
        ({"header": "second"}, "must be first or none"),
        ({"encoding": "klingon"}, "encoding is 'klingon', which is not known"),
    ):
        with pytest.raises(ValueError, match=message):
            TableFormat(**options)


def test_mixed_line_ends(tmp_path):
    path = write(tmp_path / "a.csv", 'post_id,text\r\n1,"a\nb"\r\n2,c\n3,d\r\n4,e\r5,f')
    assert [row["text"] for row in read(path)] == ["a\nb", "c", "d", "e", "f"]


def test_every_mixture_of_line_ends(tmp_path):
    path = tmp_path / "a.csv"
    with open_engine(threads=1) as engine:
        for ends in itertools.product(["\n", "\r\n", "\r"], repeat=3):
            for cell in ("x", '"x\r\ny"'):
                rows = zip(["post_id,text", f"1,{cell}", "2,b"], ends, strict=True)
                write(path, "".join(row + end for row, end in rows))
                table = read_table(path, ["post_id", "text"], connection=engine).to_pyarrow()
                assert table["text"].to_pylist() == [cell.strip('"'), "b"], ends


def test_another_separator_is_asked_for(tmp_path):
    for separator in (";", "\t", "|"):
        path = write(tmp_path / "a.csv", f"post_id{separator}text\n1{separator}x\n")
        with pytest.raises(ValueError, match=r"a\.csv has one column, .*`--separator ';'`"):
            read(path)
        assert read(path, separator=separator)[0]["text"] == "x"


GZIPPED = gzip.compress("".join(f"{row},text {row * 7919}\n" for row in range(5_000)).encode())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"\n\n", r"a\.csv is empty: not even the names of columns"),
        ("a.csv", b"post_id,text\n1,x,3\n", r"a\.csv, line 2 has 3 columns, the first line 2"),
        ("a.csv", b"post_id,text\n1,x\n2\n", r"a\.csv, line 3 has 1 columns, the first line 2"),
        (
            "a.csv",
            b'post_id,text\n1,x\n2,"y\n3,z\n',
            r"the row .* line 3 or later is no CSV",
        ),
        ("a.csv", b'post_id,text\n1,"x" y\n', r"is no CSV: .* after .*--no_quoting"),
        ("a.csv", b"\0" * 500, r"a\.csv, line 1 holds zero bytes"),
        ("a.csv", b"post_id,text\n1,a\n\0\0\0\0", r"a\.csv, line 3 holds zero bytes"),
        ("a.csv.gz", b"\0" * 500, r"a\.csv\.gz is not gzip, though its name ends in"),
        ("a.csv.gz", b"\x1f\x8b" + b"\0" * 500, r"a\.csv\.gz is cut off or damaged"),
        ("a.jsonl", b"\n \n", r"a\.jsonl is empty: it holds no JSON object"),
        ("a.jsonl", b'{"post_id": 1, "text": "a"}\n\n{"post_id": 2, "te', r"\(line 3: .*jq"),
        ("a.jsonl", b"\0" * 500, r"a\.jsonl is not JSON lines \(line 1: "),
        ("a.jsonl", b'[{"post_id": 1}]\n', r"\(line 1: it holds list, not an object\)"),
        ("a.jsonl", b'{"post_id": 3.5,}\n', r"\(line 1: (Expecting|Illegal trailing comma)"),
        ("a.jsonl.gz", gzip.compress(b"{}\n" * 99)[:-12], r"a\.jsonl\.gz is cut off or damaged"),
    ],
)
def test_empty_cut_and_damaged_files(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path / name, content))


def test_a_cut_gzip_file_tells_how_far_it_can_be_read(tmp_path):
    header = gzip.compress(b"post_id,text\n")
    path = write(tmp_path / "a.csv.gz", header + GZIPPED[: len(GZIPPED) // 2])
    with pytest.raises(ValueError, match=r"cut off or damaged somewhere after line [1-9]"):
        read(path)


def test_a_gzip_file_cut_in_its_only_part_tells_it_too(tmp_path):
    rows = "".join(f"{i},{i * 7919}\n" for i in range(20_000))
    packed = gzip.compress(f"post_id,text\n{rows}".encode())
    path = write(tmp_path / "a.csv.gz", packed[: len(packed) // 2])
    with pytest.raises(ValueError, match=r"cut off or damaged somewhere after line [1-9]\d,\d{3}"):
        read(path)


def test_half_characters_are_replaced_and_counted(tmp_path, caplog):
    content = '{"post_id": 1, "text": "a\\ud83d"}\n{"post_id": 2, "text": "a\tb"}\n{"post_id": 3}\n'
    with caplog.at_level(logging.WARNING):
        found = read(write(tmp_path / "a.jsonl", content))
    assert [row["text"] for row in found] == ["a\ufffd", "a\tb", None]
    assert "2 lines hold half of a character" in caplog.text


def test_the_place_of_an_error_among_several_files(tmp_path):
    write(tmp_path / "a.jsonl", '{"post_id": 1, "text": "x"}\n')
    write(tmp_path / "b.jsonl", '\n{"post_id": 2, "text": "x"}\n{"post_id": 3.0, "text": "x"}\n')
    with pytest.raises(ValueError, match=r"b\.jsonl, line 3: the id 'post_id' is a float"):
        read(tmp_path)


def test_a_required_column_that_no_row_has(tmp_path):
    path = write(tmp_path / "a.jsonl", lines([{"id": 1, "text": "x"}, {"body": "y"}]))
    with pytest.raises(ValueError, match=r"no column 'post_id'; found are id, text, body\."):
        read(path)
    # One that is there and null is told by whoever counts.
    assert read(write(path, '{"post_id": null, "text": "x"}\n')) == [{"post_id": None, "text": "x"}]
