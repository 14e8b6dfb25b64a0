"""Files to cells: CSV or Parquet, from a path or from standard input.

Nothing here knows what a column means (that is `columns.py`); this file knows bytes, encodings,
delimiters and line numbers. The fast reader goes first; where it refuses, a slow one that knows
lines repairs what is harmless (a delimiter at the end of each line) and names what is not.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from throughtime._errors import DataError

MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "-", "?", ".")
HEAD = 2**15  # rows of a long Parquet file, by which its columns are found
_DELIMITERS = {"\t": "tab", ";": "semicolon", "|": "bar", ",": "comma"}
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)*|[.,]\d+)([eE][+-]?\d+)?")
_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T ].*)?|\d{4}-\d{1,2}")
_NEEDED = "a column of dates (or years, or running numbers) and a column of values"


@dataclass(frozen=True)
class Sheet:
    """The cells of a file: one pyarrow array a column, text for CSV, typed for Parquet.

    `place(row)` says where a row stands in the file, in words. `first_of` is the number of rows in
    the file where these are but the first of them.
    """

    source: str
    columns: dict[str, Any]
    notes: tuple[str, ...] = ()
    text: str | None = None
    delimiter: str = ","
    header_rows: int = 0
    first_of: int | None = None

    def place(self, row: int) -> str:
        """Return 'line 17' for a row of a CSV file, 'row 16' for one of a Parquet file."""
        return f"row {row + 1}" if self.text is None else f"line {self._lines[row]}"

    @cached_property
    def _lines(self) -> list[int]:
        # worked out only when an error needs it
        numbers = [number for number, _ in _records(self.text or "", self.delimiter)]
        return numbers[self.header_rows :]


def read(source: str, stdin: io.BufferedIOBase | None = None) -> Sheet:
    """Read the cells of a CSV or Parquet file; `-` stands for standard input.

    Raises DataError where there is no such file, or it is empty, damaged, or neither of the two.
    """
    data, name = _bytes(source, stdin)
    if data[:2] == b"\x1f\x8b":
        data = _unpacked(data, name)
    if not data.strip():
        raise DataError(f"a table in {name}", "an empty file", "fill it or name another")
    sheet = _parquet(data, name) if data[:4] == b"PAR1" else _csv(data, name)
    if len(sheet.columns) < 2:
        (only,) = sheet.columns
        raise DataError(
            f"{_NEEDED} in {name}", f"one column, {only!r}", "add the column that is missing"
        )
    return sheet


def begin(source: str) -> Sheet:
    """Read the cells of a file, but only the first `HEAD` rows of a Parquet file with more of them.

    Raises DataError as `read`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open(source, "rb") as file:
            if file.read(4) != b"PAR1":
                return read(source)
        with pq.ParquetFile(source, pre_buffer=False, buffer_size=2**16) as parquet:
            rows = parquet.metadata.num_rows
            if rows <= HEAD:
                return read(source)
            first = next(parquet.iter_batches(HEAD, use_threads=False))
            return replace(
                _of_table(pa.Table.from_batches([first]), Path(source).name), first_of=rows
            )
    except (OSError, ValueError, pa.ArrowException):
        return read(source)  # which says what is wrong


def _bytes(source: str, stdin: io.BufferedIOBase | None) -> tuple[bytes, str]:
    if source == "-":
        return (stdin or sys.stdin.buffer).read(), "standard input"
    path = Path(source)
    try:
        return path.read_bytes(), path.name
    except FileNotFoundError:
        found, remedy = "no such file", "check the spelling and the folder"
    except IsADirectoryError:
        found, remedy = "a folder", "name one of its files"
    except (OSError, ValueError) as error:
        found = getattr(error, "strerror", None) or str(error)
        remedy = "name a file that can be read"
    raise DataError(f"a CSV or Parquet file at {source!r}", found, remedy)


def _unpacked(data: bytes, name: str) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise DataError(f"a whole gzip file {name}", str(error), "fetch it again") from None


def _parquet(data: bytes, name: str) -> Sheet:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        found = "one that is cut off" if data[-4:] != b"PAR1" else _first_sentence(error)
        raise DataError(f"a whole Parquet file {name}", found, "write or fetch it again") from None
    return _of_table(table, name)


def _of_table(table: Any, name: str) -> Sheet:
    import pyarrow as pa

    if table.num_columns == 0 or table.num_rows == 0:
        raise DataError(f"rows in {name}", "none", "fill it or name another file")
    table = table.combine_chunks()
    columns = dict(zip(_names(table.column_names), table.columns, strict=True))
    nested = [k for k, v in columns.items() if pa.types.is_nested(v.type)]
    flat = {k: _flat(v) for k, v in columns.items() if k not in nested}
    listed = ", ".join(map(repr, nested))
    if nested and len(flat) < 2:
        raise DataError(f"{_NEEDED} in {name}", f"lists in {listed}", "put one value in each cell")
    notes = (f"left out, as they hold lists: {listed}",) if nested else ()
    return Sheet(name, flat, notes)


def _first_sentence(error: Exception) -> str:
    return re.split(r"[.\n]", str(error))[0][:120]


def _flat(column: Any) -> Any:
    import pyarrow as pa

    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # some releases of pyarrow leave an array of one chunk
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array.cast(pa.string()) if pa.types.is_large_string(array.type) else array


def _csv(data: bytes, name: str) -> Sheet:
    text, notes = _decoded(data, name)
    text, delimiter = _opening(text)
    delimiter = delimiter or _delimiter(text)
    first = next((cells for _, cells in _records(text, delimiter)), None)
    if first is None:
        raise DataError(f"a table in {name}", "blank lines only", "fill it or name another file")
    headed = not _holds_values(first)
    if headed:
        while len(first) > 1 and not first[-1].strip():
            first = first[:-1]  # a delimiter at the end of the line
        names = _names([cell.strip() for cell in first])
    else:
        names = [f"column {k + 1}" for k in range(len(first))]
        notes.append("no header line, so the columns are called 'column 1', 'column 2', ...")
    if delimiter != ",":
        notes.append(f"cells parted by {_DELIMITERS.get(delimiter, repr(delimiter))}")
    columns = _fast(text, delimiter, names, headed)
    if columns is None:
        columns = _careful(text, delimiter, names, headed, name)
    sheet = Sheet(name, columns, tuple(notes), text, delimiter, int(headed))
    if len(next(iter(columns.values()))) == 0:
        raise DataError(f"rows under the header of {name}", "none", "add dates and values")
    return sheet


def _decoded(data: bytes, name: str) -> tuple[str, list[str]]:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace"), ["read as UTF-16"]
    control = sum(data[:4096].count(bytes([b])) for b in range(32) if b not in (9, 10, 12, 13))
    if data[:4] == b"PK\x03\x04":
        raise DataError(
            f"a CSV or Parquet file {name}", "a spreadsheet or zip file", "export it as CSV"
        )
    if data.lstrip()[:1] in (b"<", b"{"):
        found = "a web page or XML" if data.lstrip()[:1] == b"<" else "JSON"
        raise DataError(f"a CSV or Parquet file {name}", found, "fetch or export it as CSV")
    if b"\x00" in data or control > 8:
        raise DataError(f"a CSV or Parquet file {name}", "binary data", "export it as CSV")
    try:
        return data.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        return data.decode("latin-1"), ["not UTF-8, so read as Latin-1"]


def _opening(text: str) -> tuple[str, str | None]:
    """Blank out what some programs write above the header; line numbers stay what they were."""
    lines = text.splitlines(keepends=True)[:100]
    if lines and (named := re.fullmatch(r'"?sep=(.)"?\s*', lines[0])):
        return "\n" + text[len(lines[0]) :], named[1]
    comments = 0
    while comments < len(lines) and lines[comments].startswith("#"):
        comments += 1
    if comments == 0:
        return text, None
    last = lines[comments - 1]
    following = lines[comments] if comments < len(lines) else ""
    as_header = any(d in last and last.count(d) == following.count(d) for d in _DELIMITERS)
    kept = comments - 1 if as_header else comments
    rest = text[sum(map(len, lines[:kept])) :]
    return "\n" * kept + (rest.lstrip("#").lstrip(" ") if as_header else rest), None


def _delimiter(text: str) -> str:
    """Choose the delimiter that every line of the opening has, best in equal number."""
    best, best_score = ",", (0, False)
    for delimiter in _DELIMITERS:
        counts = []
        for _, cells in _records(text[:65536], delimiter):
            counts.append(len(cells) - 1)
            if len(counts) == 50:
                break
        everywhere = sum(count > 0 for count in counts) + (counts[:1] > [0])
        score = (everywhere, len(set(counts)) == 1)
        if everywhere and score > best_score:
            best, best_score = delimiter, score
    return best


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the first line and the cells of every record that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    before = 0
    try:
        for cells in reader:
            if cells and (len(cells) > 1 or cells[0].strip()):
                yield before + 1, cells
            before = reader.line_num
    except csv.Error as error:
        raise DataError(
            "cells that can be told apart",
            f"{error} after line {before}",
            "look for a quotation mark that is never closed",
        ) from None


def _holds_values(cells: list[str]) -> bool:
    filled = [cell.strip() for cell in cells if cell.strip()]
    dates = [bool(_DATE.fullmatch(cell)) for cell in filled]
    return any(dates) or all(_NUMBER.fullmatch(cell) for cell in filled)


def _names(found: list[str]) -> list[str]:
    """Give every column a name of its own."""
    names: list[str] = []
    for k, name in enumerate(found):
        name = name or f"column {k + 1}"
        twin = 2
        unique = name
        while unique in names:
            unique, twin = f"{name} ({twin})", twin + 1
        names.append(unique)
    return names


def _fast(text: str, delimiter: str, names: list[str], headed: bool) -> dict[str, Any] | None:
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    try:
        table = arrow_csv.read_csv(
            io.BytesIO(text.encode("utf-8", errors="replace")),
            read_options=arrow_csv.ReadOptions(autogenerate_column_names=True),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types={f"f{k}": pa.string() for k in range(len(names) + 2)}
            ),
        )
    except pa.ArrowInvalid:
        return None
    if table.num_columns != len(names):
        return None
    table = table.slice(int(headed)).combine_chunks()
    return {name: _clean(_flat(column)) for name, column in zip(names, table.columns, strict=True)}


def _careful(
    text: str, delimiter: str, names: list[str], headed: bool, source: str
) -> dict[str, Any]:
    import pyarrow as pa

    width, rows = len(names), []
    for k, (line, cells) in enumerate(_records(text, delimiter)):
        if k == 0 and headed:
            continue
        while len(cells) > width and not cells[-1].strip():
            cells.pop()
        if len(cells) != width:
            hint = ", or quote cells with a decimal comma" if len(cells) > width else ""
            raise DataError(
                f"{width} cells in line {line} of {source}, as in its first line",
                f"{len(cells)}",
                f"correct or remove that line{hint}",
            )
        rows.append(cells)
    columns = list(zip(*rows, strict=True)) if rows else [()] * width
    return {
        name: _clean(pa.array(column, pa.string()))
        for name, column in zip(names, columns, strict=True)
    }


def _clean(cells: Any) -> Any:
    """Trim each cell; the usual words for a missing one become null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = pc.utf8_trim_whitespace(cells)
    missing = pc.is_in(pc.utf8_lower(cells), value_set=pa.array(MISSING))
    return pc.if_else(missing, pa.scalar(None, pa.string()), cells)
