"""Records to lines of a batch file: percent-encoded values by position, comma-joined."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uploader.model import RecordBlock

ENCODED: Final = pa.schema(
    [
        ("identity", pa.string()),
        ("order", pa.string()),
        ("sequence", pa.int64()),
        ("source", pa.int32()),
        ("line", pa.int64()),
        ("attributes", pa.string()),
    ]
)


_UNRESERVED: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_IS_RESERVED: Final = ~np.isin(np.arange(256), np.frombuffer(_UNRESERVED, np.uint8))
_HEX_DIGITS: Final = np.frombuffer(b"0123456789ABCDEF", np.uint8)
_ONCE: Final = np.int8(1)
_TRIPLE: Final = np.int8(3)


def percent_encoded(text: str) -> str:
    """*text* as UTF-8, everything but letters, digits and ``-._~`` as ``%XX``."""
    return quote(text, safe="")


class AttributeNames:
    """Every attribute's name and its position in a line, in the order of first sight."""

    def __init__(self) -> None:
        """None is known yet."""
        self._positions: dict[str, int] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._positions)

    def position(self, name: str) -> int:
        """Where *name* stands in a line; a name not seen before gets the next place."""
        return self._positions.setdefault(name, len(self._positions))

    def as_tuple(self) -> tuple[str, ...]:
        """The names, by position."""
        return tuple(self._positions)


class Encoder:
    """Encodes blocks of records; percent signs are put in by array, not by cell."""

    def __init__(self, names: AttributeNames) -> None:
        """*names* grows as blocks bring new ones."""
        self._names = names
        self._sequence = 0

    def encode(self, block: RecordBlock) -> pa.RecordBatch:
        """One row of :data:`ENCODED` a record.

        ``sequence`` counts records over the whole input, so that an order by it is total.
        """
        count = len(block.ids)
        cells = {
            self._names.position(name): values
            for name, values in zip(block.names, block.values, strict=True)
        }
        order = block.order if block.order is not None else pa.nulls(count, pa.string())
        start = self._sequence
        self._sequence += count
        return pa.RecordBatch.from_arrays(
            [
                encoded_texts(block.ids),
                order,
                pa.array(np.arange(start, start + count), pa.int64()),
                pa.repeat(pa.scalar(block.source, pa.int32()), count),
                pc.cast(block.lines, pa.int64()),
                _joined(cells, count),
            ],
            schema=ENCODED,
        )


def encoded_texts(texts: pa.Array) -> pa.Array:
    """Every text of *texts* (strings, none null) as :func:`percent_encoded` gives it.

    An array's texts lie one behind the other, so that all of them are encoded as one:
    each byte that needs it becomes three, and the ends of the texts move along.
    """
    _, offset_buffer, data_buffer = texts.buffers()
    if not len(texts) or data_buffer is None:
        return texts
    offsets = np.frombuffer(offset_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]]
    reserved = _IS_RESERVED[data]
    places = np.flatnonzero(reserved)
    if not len(places):
        return texts
    encoded = np.repeat(data, np.where(reserved, _TRIPLE, _ONCE))
    starts = places + 2 * np.arange(len(places))
    encoded[starts] = ord("%")
    encoded[starts + 1] = _HEX_DIGITS[data[places] >> 4]
    encoded[starts + 2] = _HEX_DIGITS[data[places] & 15]
    own_offsets = offsets - offsets[0]
    ends = own_offsets + 2 * np.searchsorted(places, own_offsets)
    return pa.StringArray.from_buffers(
        len(texts), pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(encoded)
    )


def _joined(cells: dict[int, pa.Array], count: int) -> pa.Array:
    """Values by position, comma-joined; the empty places at a line's end are trimmed.

    An encoded value holds no comma, so that nothing else can be trimmed with them.
    """
    if not cells:
        return pa.repeat(pa.scalar(""), count)
    columns = [
        encoded_texts(cells[position]) if position in cells else pa.scalar("")
        for position in range(max(cells) + 1)
    ]
    if len(columns) == 1:
        return columns[0]
    lines = pc.binary_join_element_wise(*columns, ",")
    return pc.ascii_rtrim(lines, ",")


def open_engine(config: dict[str, str | int]) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory that reads no files, loads no extensions, sees no Python names."""
    connection = duckdb.connect(
        ":memory:",
        config={
            **config,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        },
    )
    # After the rest, since it also forbids to set the folder for spilling.
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection
