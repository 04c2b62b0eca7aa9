"""CSV and its kin: a fast reader for the stretches in which nothing is odd.

pyarrow reads a stretch when a cheap look shows that it has only one reading; otherwise
:mod:`uploader.intake.quoting` reads it, line by line. Both give the same records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from uploader.errors import ExportError
from uploader.intake.locations import UTF8_BOM
from uploader.intake.quoting import QUOTE, CarefulReader, Odd, Row
from uploader.intake.stretches import (
    STRETCH_BYTES,
    OversizedLine,
    Stretch,
    StretchReader,
    is_utf8,
    reject_oversized,
)
from uploader.model import Reason, Rejected

_NEWLINE, _RETURN, _QUOTE_BYTE = b"\n"[0], b"\r"[0], QUOTE[0]


@dataclass(frozen=True)
class Table:
    """Some records as columns of text, in the header's order, and what was odd beside them."""

    columns: tuple[pa.Array, ...]
    numbers: np.ndarray[Any, np.dtype[np.int64]]
    lines: np.ndarray[Any, np.dtype[np.int64]]
    rejected: tuple[Rejected, ...] = ()


class DelimitedReader:
    """One export's header and records."""

    def __init__(
        self, stream: BinaryIO, name: str, delimiter: str, *, stretch_bytes: int = STRETCH_BYTES
    ) -> None:
        """Read the header of *stream*; ``columns`` is empty where the export is.

        Raises:
            ExportError: the header can't be read.
        """
        self._name = name
        self._delimiter = delimiter.encode()
        bom = stream.read(len(UTF8_BOM)) == UTF8_BOM
        stream.seek(0)
        self._reader = StretchReader(
            stream, name, skip_bytes=len(UTF8_BOM) if bom else 0, stretch_bytes=stretch_bytes
        )
        self._number = 0
        self.columns = self._read_header()
        self._careful = CarefulReader(self._delimiter, len(self.columns))

    @property
    def sha256(self) -> str:
        """The hash of what was read, to be compared with what was seen before."""
        return self._reader.sha256

    def tables(self) -> Iterator[Table]:
        """The records, in order, a stretch at a time."""
        if not self.columns:
            return
        for stretch in self._reader:
            if isinstance(stretch, OversizedLine):
                self._number += 1
                yield self._only_rejected([reject_oversized(stretch, self._name, self._number)])
                continue
            table = self._read_fast(stretch) if self._is_plain(stretch.data) else None
            if table is None:
                table = self._read_carefully(stretch)
            yield table

    def _read_header(self) -> tuple[str, ...]:
        careful = CarefulReader(self._delimiter, None)
        for stretch in self._reader:
            if isinstance(stretch, OversizedLine):
                message = f"{self._name}: the first line is {stretch.extent.length:,} bytes long"
                raise ExportError(f"{message}; this is not a header")
            for row in careful.rows(stretch.data, stretch.line, final=stretch.final):
                self._reader.consume(*_header_end(stretch, row))
                return self._header_cells(row)
            self._reader.consume(careful.consumed, careful.lines)
        return ()

    def _header_cells(self, row: Row | Odd) -> tuple[str, ...]:
        where = f"{self._name}, line {row.line}"
        if isinstance(row, Odd):
            raise ExportError(f"{where}: the header can't be read: {row.detail}")
        try:
            cells = tuple(field.decode() for field in row.fields)
        except UnicodeDecodeError as error:
            message = f"{where}: the header is not UTF-8; convert the export to UTF-8"
            raise ExportError(message) from error
        doubled = [place for place, cell in enumerate(cells, 1) if cells.count(cell) > 1]
        if doubled:
            # By place, not by name: a file without a header has somebody's data there.
            named = ", ".join(map(str, doubled))
            message = f"{where}: the header has one name for several columns (columns {named})"
            raise ExportError(f"{message}; rename them")
        return cells

    def _is_plain(self, data: bytes) -> bool:
        """Whether *data* has one reading only, and the fast reader finds it."""
        if data.startswith((b"\n", b"\r\n")) or b"\n\n" in data or b"\n\r\n" in data:
            return False  # blank lines: line numbers would have to be counted out
        if data.startswith(UTF8_BOM):
            return False  # data here (two exports in one file, say); pyarrow would drop it
        if data.count(b"\r") != data.count(b"\r\n") or not is_utf8(data):
            return False
        return QUOTE not in data or _quotes_are_regular(data, self._delimiter[0])

    def _read_fast(self, stretch: Stretch) -> Table | None:
        """All of *stretch* by pyarrow, or None where it finds something odd after all."""
        data = stretch.data
        parsed = _parse(data, self._delimiter.decode(), len(self.columns))
        if parsed is None:
            return None
        table, bad = parsed
        count = table.num_rows + len(bad)
        line_count = data.count(b"\n")
        if count != line_count + (not data.endswith(b"\n")):
            return None
        good = np.ones(count, dtype=bool)
        good[bad] = False
        rejected = self._bad_widths(data, stretch.line, bad)
        if len(rejected) != len(bad):
            return None
        indices = np.flatnonzero(good)
        numbers = self._number + 1 + indices
        self._number += count
        self._reader.consume(len(data), line_count)
        if len(indices):
            self._careful.forget_trouble()
        columns = tuple(column.combine_chunks() for column in table.columns)
        return Table(columns, numbers, stretch.line + indices, rejected)

    def _bad_widths(self, data: bytes, line: int, indices: list[int]) -> tuple[Rejected, ...]:
        """The reference reader's word on the lines that pyarrow found too wide or too narrow."""
        if not indices:
            return ()
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE)
        careful = CarefulReader(self._delimiter, len(self.columns))
        rejected = []
        for index in indices:
            start = int(ends[index - 1]) + 1 if index else 0
            stop = int(ends[index]) + 1 if index < len(ends) else len(data)
            rejected += [
                self._reject(odd, self._number + 1 + index)
                for odd in careful.rows(data[start:stop], line + index, final=True)
                if isinstance(odd, Odd)
            ]
        return tuple(rejected)

    def _read_carefully(self, stretch: Stretch) -> Table:
        rows: list[Row] = []
        numbers: list[int] = []
        rejected: list[Rejected] = []
        careful = self._careful
        for item in careful.rows(stretch.data, stretch.line, final=stretch.final):
            self._number += 1
            odd = item if isinstance(item, Odd) else _undecodable(item, self.columns)
            if odd is not None:
                rejected.append(self._reject(odd, self._number))
            elif isinstance(item, Row):
                rows.append(item)
                numbers.append(self._number)
        self._reader.consume(careful.consumed, careful.lines)
        if not rows:
            return self._only_rejected(rejected)
        columns = zip(*(row.fields for row in rows), strict=True)
        return Table(
            tuple(pa.array(column, pa.binary()).cast(pa.string()) for column in columns),
            np.array(numbers, np.int64),
            np.array([row.line for row in rows], np.int64),
            tuple(rejected),
        )

    def _reject(self, odd: Odd, number: int) -> Rejected:
        return Rejected(odd.reason, odd.detail, self._name, number, odd.line, raw=odd.raw)

    def _only_rejected(self, rejected: list[Rejected]) -> Table:
        none = np.array([], np.int64)
        columns = tuple(pa.array([], pa.string()) for _ in self.columns)
        return Table(columns, none, none, tuple(rejected))


def _parse(data: bytes, delimiter: str, width: int) -> tuple[pa.Table, list[int]] | None:
    """*data* as a table, and the indices of the lines that haven't *width* fields."""
    bad: list[int | None] = []

    def note(row: pacsv.InvalidRow) -> str:
        bad.append(row.number)
        return "skip"

    names = [f"c{index}" for index in range(width)]
    try:
        table = pacsv.read_csv(
            pa.BufferReader(data),
            read_options=pacsv.ReadOptions(
                column_names=names, block_size=len(data) + 1, use_threads=False
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=delimiter,
                quote_char=QUOTE.decode() if QUOTE in data else False,
                invalid_row_handler=note,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return None  # the reference reader will say what it is
    numbers = [number for number in bad if number is not None]
    if len(numbers) != len(bad):
        return None
    return table, [number - 1 for number in numbers]


def _header_end(stretch: Stretch, row: Row | Odd) -> tuple[int, int]:
    """How many bytes and line ends of *stretch* the header and what is before it take."""
    data = stretch.data
    start = 0
    for _ in range(row.line - stretch.line):
        start = data.index(b"\n", start) + 1
    end = data.find(b"\n", start + len(row.raw)) + 1 or len(data)
    return end, data.count(b"\n", 0, end)


def _undecodable(row: Row, columns: tuple[str, ...]) -> Odd | None:
    for column, field in zip(columns, row.fields, strict=True):
        if not is_utf8(field):
            detail = f"bytes in column {column!r} that are not UTF-8"
            return Odd(row.line, row.raw, Reason.BAD_ENCODING, detail)
    return None


def _quotes_are_regular(data: bytes, delimiter: int) -> bool:
    """Whether every quote opens, closes or is doubled where it may, and none spans lines.

    Counted from the start, quotes open and close in turn, a doubled one doing both at
    once. So each odd one must stand at a field's beginning (or right after a quote that
    closes), and each even one at its end (or right before one that opens).
    """
    text = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(text == _QUOTE_BYTE)
    if len(quotes) % 2:
        return False
    opening, closing = quotes[0::2], quotes[1::2]
    before = text[np.maximum(opening - 1, 0)]
    begins = (before == delimiter) | (before == _NEWLINE) | (before == _QUOTE_BYTE)
    begins[0] |= opening[0] == 0
    after = text[np.minimum(closing + 1, len(text) - 1)]
    ends = (after == delimiter) | (after == _NEWLINE) | (after == _RETURN) | (after == _QUOTE_BYTE)
    ends[-1] |= closing[-1] == len(text) - 1
    if not (begins.all() and ends.all()):
        return False
    newlines = np.flatnonzero(text == _NEWLINE)
    return not (np.searchsorted(quotes, newlines) % 2).any()
