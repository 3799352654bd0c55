"""Tables of text from CSV files of any dialect and from Parquet, with the line of every row."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from iomt_core.scenario.errors import ScenarioError, shortened

LARGEST_TABLE = 200_000_000  # bytes
MOST_ROWS = 5_000_000
MOST_COLUMNS = 200
LONGEST_CELL = 10_000  # characters
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
LOOKED_AT = 60  # lines that decide on separator and header
OTHERS = {  # files that are no text, by their first bytes
    b"PK\x03\x04": "an Excel or ZIP file", b"\xd0\xcf\x11\xe0": "an Excel file", b"\x1f\x8b": "a gzip file", b"%PDF": "a PDF",
}  # fmt: skip
SEPARATOR_LINE = re.compile(r"""["']?sep=(.)["']?\s*""")  # Excel's first line that names the separator
LOOKS_LIKE_DATA = re.compile(r"[+-]?[0-9][0-9.,:/\s'+-]*(?:[eE][+-]?[0-9]+)?|")


@dataclass(frozen=True)
class Table:
    """A table as it was read: every cell is text without spaces around it.

    columns: one array of text a column; exact: columns whose numbers a program wrote, so that their point is a decimal one.
    format: how it was read, in words; changes: what had to be changed to read it.
    """

    name: str
    headers: tuple[str, ...]
    columns: tuple[pa.Array, ...]
    format: str
    changes: tuple[str, ...] = ()
    exact: frozenset[int] = frozenset()
    delimiter: str = ""  # between the columns; "" in Parquet
    short_rows: tuple[str, ...] = ()  # what is wrong with lines that have another number of cells, the first ones
    short_count: int = 0
    _text: str = field(default="", repr=False)  # below the header
    _first: int = 1  # line of that text's first line

    @property
    def rows(self) -> int:
        """Number of rows below the header."""
        return len(self.columns[0]) if self.columns else 0

    @cached_property
    def _lines(self) -> Sequence[int] | None:
        """The line of each row where rows and lines do not simply follow each other, else None."""
        breaks = self._text.count("\n") or self._text.count("\r")
        ended = self._text.endswith(("\n", "\r"))
        if not self._text or (breaks + (not ended) == self.rows and not self.short_count):
            return None
        found, before = [], 0
        reader = csv.reader(io.StringIO(self._text, newline=""), delimiter=self.delimiter)
        for cells in reader:
            if len(cells) == len(self.headers) and any(cell.strip() for cell in cells):
                found.append(self._first + before)
            before = reader.line_num
        return found

    def line(self, row: int) -> int:
        """The line in the file, from 1, of a row from 0; of a Parquet file the row from 1."""
        lines = self._lines
        return self._first + row if lines is None else lines[row] if row < len(lines) else 0

    def where(self, row: int, column: int | None = None) -> str:
        """The place of a row or cell as messages name it: "tasks.csv, line 3, column size"."""
        line = f"{self.name}, line {self.line(row)}"
        return line if column is None else f"{line}, column {self.headers[column][:40]}"

    def cell(self, row: int, column: int) -> str:
        """The text of a cell."""
        return str(self.columns[column][row].as_py())

    def example(self, column: int, count: int = 3) -> list[str]:
        """The first different cells of a column that are not empty."""
        cells = dict.fromkeys(cell[:40] for cell in self.columns[column].slice(0, 50).to_pylist() if cell)
        return list(islice(cells, count))


def read_table(content: bytes, name: str, encoding: str | None = None) -> Table:
    """Read a table from the content of a file. name: how messages call it. Raises `ScenarioError`."""
    if len(content) > LARGEST_TABLE:
        raise ScenarioError(f"{name} is too large: allowed is {LARGEST_TABLE / 1e6:g} MB.")
    if content[:4] == b"PAR1":
        return _parquet(content, name)
    for start, what in OTHERS.items():
        if content.startswith(start):
            raise ScenarioError(
                f"{name} is {what}: allowed is text (CSV) or Parquet. In a spreadsheet, save the sheet as CSV."
            )
    text, changes = _decode(content, name, encoding)
    if not text.strip():
        raise ScenarioError(f"{name} is empty: expected a line of column names and rows below it.")
    if text.lstrip()[:1] in ("{", "[", "<") and "\n" in text and text.lstrip()[:2] != "<,":
        raise ScenarioError(f"{name} looks like JSON or XML: allowed is text with one row a line (CSV) or Parquet.")
    return _text_table(text, name, changes)


def _decode(content: bytes, name: str, encoding: str | None) -> tuple[str, list[str]]:
    if encoding is None:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            encoding = "utf-16"
        else:
            try:
                text = content.decode("utf-8-sig")
            except UnicodeDecodeError:
                encoding = "cp1252"
            else:
                encoding = ""
    if encoding:
        try:
            text = content.decode(encoding)
        except (UnicodeDecodeError, LookupError) as error:
            raise ScenarioError(
                f"{name} cannot be read as {encoding[:40]}: {str(error)[:120]}. Save it as UTF-8."
            ) from None
    if "\x00" in text:
        raise ScenarioError(f"{name} is not text: it holds a zero byte. Save it as UTF-8.")
    words = {"": [], "utf-16": ["read as UTF-16"], "cp1252": ["not UTF-8: letters read as Windows-1252"]}
    return text, words.get(encoding, [f"read as {encoding}"])


def _text_table(text: str, name: str, changes: list[str]) -> Table:
    lines = list(islice(io.StringIO(text, newline=""), LOOKED_AT))
    first, delimiter = 0, None
    if sep := SEPARATOR_LINE.fullmatch(lines[0]):
        first, delimiter = 1, sep[1]
        if delimiter not in DELIMITERS:
            raise ScenarioError(
                f"{name}, line 1: {delimiter!r} separates no columns; allowed are {', '.join(DELIMITERS.values())}."
            )
        changes = [*changes, "separator named by its first line"]
    delimiter = delimiter or _delimiter(lines, name)
    records = []  # of the first lines: their cells, and the line after them
    reader = csv.reader(iter(lines[first:]), delimiter=delimiter)
    try:
        for cells in reader:
            records.append(([cell.strip() for cell in cells], first + reader.line_num))
    except csv.Error as error:
        raise ScenarioError(f"{name}, line {first + reader.line_num + 1}: {error}.") from None
    records = [record for record in records if any(record[0])]
    if not records:
        raise ScenarioError(f"{name} is empty: expected a line of column names and rows below it.")
    usual = Counter(len(cells) for cells, _ in records[1:] or records).most_common(1)[0][0]
    head = next((n for n, (cells, _) in enumerate(records) if len(cells) == usual), 0)
    for cells, after in records[:head]:
        if sum(map(bool, cells)) > 1 and not cells[0].startswith("#"):
            raise ScenarioError(
                f"{name}, line {after}: {len(cells)} cells, but most lines have {usual}. Every row needs a cell for each "
                f"column of the header; columns are separated by {DELIMITERS[delimiter]}."
            )
    if head:
        changes = [*changes, f"{head} {'line' if head == 1 else 'lines'} above the column names left out"]
    headers, start = records[head]
    if len(headers) > MOST_COLUMNS:
        raise ScenarioError(f"{name}: {len(headers)} columns; allowed are {MOST_COLUMNS}.")
    if sum(LOOKS_LIKE_DATA.fullmatch(cell) is not None for cell in headers) * 2 > len(headers):
        start = records[head - 1][1] if head else first
        changes = [*changes, "no line of column names: columns have numbers"]
        headers = [f"column {n}" for n in range(1, len(headers) + 1)]
    headers = [header or f"column {n}" for n, header in enumerate(headers, 1)]
    below = text[sum(map(len, lines[:start])) :]
    columns, short, count = _cells(below, len(headers), delimiter, name, start + 1)
    return Table(
        name, tuple(headers), columns, f"columns separated by {DELIMITERS[delimiter]}", tuple(changes), short_rows=short,
        short_count=count, _text=below, _first=start + 1, delimiter=delimiter,
    )  # fmt: skip


def _delimiter(lines: Sequence[str], name: str) -> str:
    """The separator that gives most lines the same number of cells, and most cells."""
    scores = {}
    for delimiter in DELIMITERS:
        try:
            widths = [len(cells) for cells in csv.reader(iter(lines), delimiter=delimiter) if cells]
        except csv.Error:
            continue
        width, agreeing = Counter(widths).most_common(1)[0]
        if width > 1:
            scores[delimiter] = (round(agreeing / len(widths), 1), width)
    if not scores:
        return ","
    best = max(scores, key=lambda d: scores[d])
    # A comma may be a decimal mark in every line: a separator that the header has as often as the rows wins.
    header = next((line for line in lines if line.strip()), "")
    for delimiter in (";", "\t", "|"):
        if best == "," and delimiter in scores and delimiter in header and scores[delimiter][0] >= 0.9:
            return delimiter
    return best


def _cells(
    text: str, width: int, delimiter: str, name: str, first: int
) -> tuple[tuple[pa.Array, ...], tuple[str, ...], int]:
    """All cells by column; what is wrong with the first lines of another width, and how many such lines there are."""
    count = 0

    def skip(row: pacsv.InvalidRow) -> str:
        nonlocal count
        count += 1
        return "skip"

    if not text.strip():
        raise ScenarioError(f"{name}: no rows below the header.")
    names = [str(n) for n in range(width)]
    try:
        table = pacsv.read_csv(
            pa.py_buffer(text.encode()),
            pacsv.ReadOptions(column_names=names, block_size=1 << 24),
            pacsv.ParseOptions(delimiter=delimiter, newlines_in_values='"' in text, invalid_row_handler=skip),
            pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        raise ScenarioError(
            f"{name} cannot be read: {_first_sentence(error)}. A quotation mark may be missing."
        ) from None
    if table.num_rows > MOST_ROWS:
        raise ScenarioError(f"{name}: {table.num_rows:,} rows; allowed are {MOST_ROWS:,}.")
    columns = tuple(_tidy(column) for column in table.columns)
    if table.num_rows == 0 and not count:
        raise ScenarioError(f"{name}: no rows below the header.")
    short = _short_rows(text, width, delimiter, name, first) if count else ()
    filled = np.zeros(table.num_rows, dtype=bool)
    for column in columns:
        filled |= pc.greater(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
        if filled.all():
            break
    else:  # spreadsheets write rows of separators only
        columns = tuple(column.filter(pa.array(filled)) for column in columns)
    return columns, short, count


def _tidy(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    whole = whole if isinstance(whole, pa.Array) else pa.concat_arrays(whole.chunks)
    if len(whole) and (pc.max(pc.binary_length(whole)).as_py() or 0) > LONGEST_CELL:
        raise ScenarioError(f"a cell has more than {LONGEST_CELL} characters: is a quotation mark missing?")
    return pc.utf8_trim_whitespace(whole)


def _short_rows(text: str, width: int, delimiter: str, name: str, first: int) -> tuple[str, ...]:
    found: list[str] = []
    before = 0
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for cells in reader:
            if cells and len(cells) != width:
                found.append(f"{name}, line {first + before}: {len(cells)} cells, but the header has {width}.")
            before = reader.line_num
            if len(found) >= 10:
                break
    except csv.Error as error:
        found.append(f"{name}, line {first + reader.line_num}: {error}.")
    return tuple(found)


def _first_sentence(error: Exception) -> str:
    return shortened(str(error).split(". ")[0], 160).strip("'\"")


def _parquet(content: bytes, name: str) -> Table:
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        meta = file.metadata
        size = sum(meta.row_group(n).total_byte_size for n in range(meta.num_row_groups))
        if meta.num_rows > MOST_ROWS or size > 10 * LARGEST_TABLE or meta.num_columns > MOST_COLUMNS:
            raise ScenarioError(
                f"{name}: {meta.num_rows:,} rows, {meta.num_columns} columns, {size / 1e6:,.0f} MB; allowed are "
                f"{MOST_ROWS:,} rows, {MOST_COLUMNS} columns, {10 * LARGEST_TABLE / 1e6:,.0f} MB."
            )
        table = file.read()
        columns, exact = [], set()
        for n, column in enumerate(table.columns):
            if not (
                pa.types.is_string(column.type)
                or pa.types.is_large_string(column.type)
                or pa.types.is_dictionary(column.type)
            ):
                exact.add(n)
            if not pa.types.is_nested(column.type) and not pa.types.is_binary(column.type):
                columns.append(pc.fill_null(column.cast(pa.string()), "").combine_chunks())
            else:
                columns.append(pa.array([""] * table.num_rows))
        if not table.num_rows:
            raise ScenarioError(f"{name}: no rows.")
        columns = [c if isinstance(c, pa.Array) else pa.concat_arrays(c.chunks) for c in columns]
    except (pa.ArrowException, OSError) as error:
        raise ScenarioError(f"{name} is a damaged Parquet file: {_first_sentence(error)}.") from None
    return Table(name, tuple(map(str, table.column_names)), tuple(columns), "Parquet", exact=frozenset(exact), _first=1)
