import gzip
import io
from contextlib import suppress
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from throughtime._errors import DataError
from throughtime.interfaces import columns, files


def read(text, time=None, target=None, id=None):
    data = text.encode() if isinstance(text, str) else text
    return columns.choose(files.read("-", io.BytesIO(data)), time, target, id)


def pairs(reading):
    return list(zip(reading.table["ds"].to_pylist(), reading.table["y"].to_pylist(), strict=True))


JAN, FEB, MAR = datetime(2024, 1, 1), datetime(2024, 2, 1), datetime(2024, 3, 1)
TWO = [(JAN, 1.5), (FEB, 2)]
SAME = {
    "plain": "ds,y\n2024-01-01,1.5\n2024-02-01,2\n",
    "windows line ends": "ds,y\r\n2024-01-01,1.5\r\n2024-02-01,2\r\n",
    "no newline at the end": "ds,y\n2024-01-01,1.5\n2024-02-01,2",
    "byte order mark": "\ufeffds,y\n2024-01-01,1.5\n2024-02-01,2\n",
    "semicolons, decimal comma": "ds;y\n2024-01-01;1,5\n2024-02-01;2\n",
    "semicolons, no header": "2024-01-01;1,5\n2024-02-01;2,0\n",
    "tabs": "ds\ty\n2024-01-01\t1.5\n2024-02-01\t2\n",
    "bars": "ds|y\n2024-01-01|1.5\n2024-02-01|2\n",
    "spaces": " ds , y\n 2024-01-01 , 1.5 \n2024-02-01, 2\n",
    "quotes": '"ds","y"\n"2024-01-01","1.5"\n"2024-02-01","2"\n',
    "quoted decimal comma": 'ds,y\n2024-01-01,"1,5"\n2024-02-01,"2"\n',
    "blank lines": "\n\nds,y\n\n2024-01-01,1.5\n\n\n2024-02-01,2\n\n\n",
    "lines of spaces": "ds,y\n2024-01-01,1.5\n   \n2024-02-01,2\n  \n",
    "empty cells only": "ds,y\n2024-01-01,1.5\n,\n2024-02-01,2\n,\n",
    "trailing delimiters": "ds,y,\n2024-01-01,1.5,\n2024-02-01,2,\n",
    "trailing delimiters, not in the header": "ds,y\n2024-01-01,1.5,\n2024-02-01,2,\n",
    "trailing delimiters, in the header only": "ds,y,\n2024-01-01,1.5\n2024-02-01,2\n",
    "no header": "2024-01-01,1.5\n2024-02-01,2\n",
    "values first": "y,ds\n1.5,2024-01-01\n2,2024-02-01\n",
    "comments": "# source: me\n# licence: mine\nds,y\n2024-01-01,1.5\n2024-02-01,2\n",
    "a header behind a hash": "# ds,y\n2024-01-01,1.5\n2024-02-01,2\n",
    "excel's first line": "sep=;\nds;y\n2024-01-01;1,5\n2024-02-01;2\n",
    "days first": "ds,y\n01.01.2024,1.5\n01.02.2024,2\n",
    "slashes": "ds,y\n2024/01/01,1.5\n2024/02/01,2\n",
    "months": "ds,y\n2024-01,1.5\n2024-02,2\n",
    "names of months": "ds,y\nJan 2024,1.5\nFeb 2024,2\n",
    "compact": "ds,y\n20240101,1.5\n20240201,2\n",
    "compact months": "month,y\n202401,1.5\n202402,2\n",
    "a plus": "ds,y\n2024-01-01,+1.5\n2024-02-01,+2\n",
    "exponents": "ds,y\n2024-01-01,15e-1\n2024-02-01,2E0\n",
    "midnight": "ds,y\n2024-01-01 00:00:00,1.5\n2024-02-01T00:00:00,2\n",
    "offsets": "ds,y\n2024-01-01T01:00:00+01:00,1.5\n2024-02-01T00:00:00Z,2\n",
    "offsets without a colon": "ds,y\n2024-01-01 01:00:00+0100,1.5\n2024-02-01T00:00:00Z,2\n",
    "other columns of text": "note,ds,remark,y\na,2024-01-01,b,1.5\nc,2024-02-01,d,2\n",
    "a newline in a cell": 'ds,note,y\n2024-01-01,"two\nlines",1.5\n2024-02-01,b,2\n',
    "unnamed column": ",y\n2024-01-01,1.5\n2024-02-01,2\n",
    "a series column that says nothing": "id,ds,y\n1,2024-01-01,1.5\n2,2024-02-01,2\n",
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME.keys())
def test_many_spellings_of_one_series_are_read_alike(text):
    assert pairs(read(text)) == TWO


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_other_encodings_are_read_and_said(encoding):
    text = "Datum;Größe\n2024-01-01;1,5\n2024-02-01;2\n"
    data = ("\ufeff" + text).encode(encoding) if encoding == "utf-16-le" else text.encode(encoding)
    reading = read(data)
    assert reading.targets == ("Größe",)
    assert pairs(reading) == TWO
    assert any("UTF-16" in note or "Latin-1" in note for note in reading.notes)


def test_gzip_is_unpacked():
    assert pairs(read(gzip.compress(SAME["plain"].encode()))) == TWO


@pytest.mark.parametrize(
    ("cells", "kind", "first"),
    [
        (["1700.0", "1701.0"], "int64", 1700),
        (["1700", "1701"], "int64", 1700),
        (["1", "2"], "int64", 1),
        (["2024Q1", "2024Q2"], "timestamp[us]", JAN),
        (["2024 Q1", "2024 Q2"], "timestamp[us]", JAN),
        (["13/01/2024", "14/01/2024"], "timestamp[us]", datetime(2024, 1, 13)),
        (["01/13/2024", "01/14/2024"], "timestamp[us]", datetime(2024, 1, 13)),
        (["1/1/2024", "2/1/2024", "3/1/2024"], "timestamp[us]", JAN),
        (["0900-01-01", "0901-01-01"], "timestamp[us]", datetime(900, 1, 1)),
        (["2024-01-01 05:30", "2024-01-01 06:00"], "timestamp[us]", datetime(2024, 1, 1, 5, 30)),
        (["1.1.2024 5:30", "1.1.2024 6:00"], "timestamp[us]", datetime(2024, 1, 1, 5, 30)),
    ],
)
def test_dates_keep_their_kind(cells, kind, first):
    reading = read("when,y\n" + "".join(f"{cell},1\n" for cell in cells))
    assert str(reading.table["ds"].type) == kind
    assert reading.table["ds"][0].as_py() == first


@pytest.mark.parametrize("word", ["", "NA", "nan", "NaN", "null", "None", "N/A", "-", "?"])
def test_words_for_a_missing_value_are_missing(word):
    assert read(f"ds,y\n2024-01-01,1\n2024-02-01,{word}\n").table["y"].to_pylist() == [1, None]


def test_whole_values_stay_whole():
    assert read("ds,y\n2024-01-01,1\n2024-02-01,2\n").table["y"].type == pa.int64()


def test_signs_in_numbers_are_read_as_the_whole_column_has_them():
    thousands = read('ds,y\n2024-01-01,"1,234"\n2024-02-01,"12,345.5"\n')
    assert thousands.table["y"].to_pylist() == [1234, 12345.5]
    comma = read("ds;y\n2024-01-01;1.234,5\n2024-02-01;7\n")
    assert comma.table["y"].to_pylist() == [1234.5, 7]
    assert any("decimal comma" in note for note in comma.notes)


def test_commas_between_semicolons_are_decimal_wherever_they_can_be():
    assert read("ds;y\n2024-01;1,599\n2024-02;12,345\n").table["y"].to_pylist() == [1.599, 12.345]
    thousands = read("ds;y\n2024-01;1,234.5\n2024-02;1,234,567\n")
    assert thousands.table["y"].to_pylist() == [1234.5, 1234567]
    nought = read('ds,y\n2024-01,"0,123"\n2024-02,"7,345"\n')
    assert nought.table["y"].to_pylist() == [0.123, 7.345]


LONG = "unique_id,ds,y\na,1,10\na,2,11\nb,1,20\nb,2,21\n"


def test_series_are_told_apart_by_a_column_that_is_named_so():
    reading = read(LONG)
    assert (reading.id, reading.table["unique_id"].to_pylist()) == ("unique_id", list("aabb"))
    shop = read(LONG.replace("unique_id", "shop"), id="shop")
    assert shop.table.equals(reading.table)


def test_numbers_may_name_series():
    reading = read("id,year,y\n1,1990,5\n1,1991,6\n2,1990,7\n2,1991,8\n")
    assert (reading.time, reading.id) == ("year", "id")
    assert reading.table["unique_id"].to_pylist() == ["1", "1", "2", "2"]


def test_what_is_told_goes_before_what_is_found():
    text = "date,other,a,b\n2024-01-01,2023-01-01,1,3\n2024-02-01,2023-02-01,2,4\n"
    reading = read(text, time="other", target="b")
    assert pairs(reading) == [(datetime(2023, 1, 1), 3), (datetime(2023, 2, 1), 4)]


def test_a_value_column_of_years_and_a_rising_one_are_not_taken_for_time():
    assert read("ds,y\n2024-01-01,1900\n2024-02-01,1950\n").targets == ("y",)
    assert read("sold,year\n1,1990\n2,1991\n").time == "year"
    assert read("a,b\n1990,7\n1991,3\n").time == "a"


def test_decimal_numbers_are_never_dates():
    with pytest.raises(DataError, match="none among 'a', 'b'"):
        read("a,b\n1.1999,2020.1\n2.2001,2020.2\n1.2002,2020.1\n")


def test_a_date_column_without_repeats_is_preferred():
    text = "Date,Time,y\n" + "".join(f"2024-01-01,2024-01-01 0{k}:00,{k}\n" for k in range(4))
    assert read(text).time == "Time"


REFUSED = {
    "empty": ("", ["an empty file"]),
    "blank": ("\n \n", ["an empty file"]),
    "header only": ("ds,y\n", ["rows under the header", "none"]),
    "one column": ("y\n1\n2\n", ["one column, 'y'", "column of dates"]),
    "text in values": ("ds,y\n2024-01-01,1\n2024-02-01,abc\n", ["'y'", "'abc'", "line 3"]),
    "text, blank lines before": ("ds,y\n\n2024-01-01,1\n\n2024-02-01,abc\n", ["line 5"]),
    "text, after a cell of two lines": (
        'ds,note,y\n2024-01-01,"a\nb",1\n2024-02-01,c,2\n2024-03-01,d,x\n',
        ["'x'", "line 5"],
    ),
    "text, in a row of two lines": (
        'ds,note,y\n2024-01-01,"a\nb",1\n2024-02-01,"c\nd",x\n',
        ["'x'", "line 4"],
    ),
    "text, after empty rows": ("ds,y\n2024-01-01,1\n,\n2024-02-01,abc\n", ["line 4"]),
    "text, after comments": ("#a\n#b\nds,y\n2024-01-01,1\n2024-02-01,abc\n", ["line 5"]),
    "units": ("ds,y\n2024-01-01,5 kg\n2024-02-01,6 kg\n", ["'5 kg'", "line 2"]),
    "no dates": ("a,b\nx,1.5\ny,2.5\n", ["'a', 'b'", "--time"]),
    "a bad date": ("ds,y\n2024-01-01,1\n2024-02-31,2\n", ["'ds'", "'2024-02-31'", "line 3"]),
    "a bad date, in a column of any name": (
        "when,sold\n2024-01-01,1\n2024-02-01,2\nlast,3\n",
        ["'when'", "'last'", "line 4"],
    ),
    "an empty date": ("ds,y\n2024-01-01,1\n,2\n", ["'ds'", "none in line 3"]),
    "two ways to read": ("ds,y\n01/02/2024,1\n03/05/2024,2\n", ["day first or month first"]),
    "several values": ("ds,a,b\n2024-01-01,1,2\n2024-02-01,3,4\n", ["'a', 'b'", "--target a"]),
    "dates only": ("ds,note\n2024-01-01,a\n2024-02-01,b\n", ["'a'", "'note'"]),
    "repeated dates": ("ds,y\n2024-01-01,1\n2024-01-01,2\n", ["2024-01-01", "line 2", "line 3"]),
    "repeated dates, a likely id": (
        "ds,shop,y\n2024-01-01,a,1\n2024-01-01,b,2\n",
        ["--id", "'shop'"],
    ),
    "too many cells": ("ds,y\n2024-01-01,1\n2024-02-01,2,3\n", ["line 3", "found 3"]),
    "too few cells": ("ds,y\n2024-01-01,1\n2024-02-01\n", ["line 3", "found 1"]),
    "decimal commas that part cells": ("ds,y\n2024-01-01,1,5\n", ["line 2", "decimal comma"]),
    "an open quote": ('ds,y\n2024-01-01,"1\n2024-02-01,2\n', ["line"]),
    "values all missing": ("ds,y\n2024-01-01,\n2024-02-01,\n", ["'y'", "missing values only"]),
    "a nameless series": (
        "id,ds,y\na,2024-01-01,1\n,2024-01-01,1\n",
        ["'id'", "none in line 3"],
    ),
    "binary": (bytes(range(256)), ["binary data"]),
    "spreadsheet": (b"PK\x03\x04" + bytes(40), ["spreadsheet", "export it as CSV"]),
    "damaged gzip": (gzip.compress(b"ds,y\n" * 99)[:20], ["whole gzip"]),
    "damaged parquet": (b"PAR1" + b"x" * 50, ["whole Parquet file"]),
}


@pytest.mark.parametrize(("data", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_read_is_refused_with_its_place(data, said):
    with pytest.raises(DataError) as caught:
        read(data)
    for words in said:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["time", "target", "id"])
def test_an_unknown_column_is_refused_with_a_list(option):
    with pytest.raises(
        DataError, match=f"--{option} to name a column of standard input, found 'x'.*'ds', 'y'"
    ):
        read("ds,y\n2024-01-01,1\n", **{option: "x"})


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        files.read(str(tmp_path / "none.csv"))
    with pytest.raises(DataError, match=r"a folder|ermission"):
        files.read(str(tmp_path))


def parquet(table, path):
    pq.write_table(table, path)
    return columns.choose(files.read(str(path)))


def test_parquet_keeps_its_types(tmp_path):
    ids = pa.array(["a", "a", "b", "b"]).dictionary_encode()
    table = pa.table({"unique_id": ids, "ds": [1, 2, 1, 2], "y": [1.0, 2.0, None, 4.0]})
    reading = parquet(table, tmp_path / "t.parquet")
    assert reading.table["ds"].type == pa.int64()
    assert reading.table["y"].to_pylist() == [1.0, 2.0, None, 4.0]
    assert reading.place(2) == "row 3"


@pytest.mark.parametrize(
    "kind",
    [pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("ms", "UTC")],
)
def test_parquet_dates_of_any_unit(tmp_path, kind):
    table = pa.table({"day": pa.array([JAN, FEB]).cast(kind), "sold": [1.5, 2.0]})
    assert pairs(parquet(table, tmp_path / "t.parquet")) == TWO


def test_a_table_without_rows_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"rows in t\.parquet, found none"):
        parquet(
            pa.table({"ds": pa.array([], pa.int64()), "y": pa.array([], pa.float64())}),
            tmp_path / "t.parquet",
        )


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=30))
def test_written_numbers_come_back_exactly(values):
    text = "ds,y\n" + "".join(f"{1900 + k},{value!r}\n" for k, value in enumerate(values))
    assert read(text).table["y"].cast(pa.float64(), safe=False).to_pylist() == values


@given(st.binary(max_size=200))
def test_rubbish_is_refused_or_read_but_never_crashes(data):
    with suppress(DataError):
        assert read(data).table.column_names == ["unique_id", "ds", "y"]


TEXT = st.text(st.sampled_from(list('0123456789-.,;:/ "\n\tabTy#')), max_size=80)


@given(TEXT)
def test_texts_near_a_table_are_refused_or_read_but_never_crash(text):
    with suppress(DataError):
        assert read("ds,y\n" + text).table.column_names == ["unique_id", "ds", "y"]


@given(st.integers(0, 6), st.integers(0, 3), st.booleans())
def test_places_are_lines_of_the_file(rows, blank, quoted):
    note = '"two\nlines"' if quoted else "one"
    lines = ["ds,note,y"] + [f"{1900 + k},{note},{k}" + "\n" * blank for k in range(rows)]
    lines += [f"{1900 + rows},n,oops"]
    text = (
        "\n".join(lines) + "\n1990,n,1\n1991,n,2\n" + "".join(f"{2000 + k},n,1\n" for k in range(9))
    )
    line = next(k for k, each in enumerate(text.split("\n"), 1) if "oops" in each)
    with pytest.raises(DataError, match=f"'oops' in line {line}:"):
        read(text)
