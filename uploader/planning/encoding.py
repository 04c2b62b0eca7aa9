"""Records to lines of a batch file: percent-encoded values by position, comma-joined."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import duckdb
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


def percent_encoded(text: str) -> str:
    """*text* as UTF-8, everything but letters, digits and ``-._~`` as ``%XX``."""
    return quote(text, safe="")


class AttributeNames:
    """Every attribute's name and its position in a line, in the order of first sight."""

    def __init__(self) -> None:
        """None is known yet."""
        self._positions: dict[str, int] = {}

    def __iter__(self) -> object:
        """The names, by position."""
        return iter(self._positions)

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
    """Encodes blocks of records with a DuckDB of its own, in memory and shut off."""

    def __init__(self, names: AttributeNames) -> None:
        """*names* grows as blocks bring new ones."""
        self._names = names
        self._database = open_engine({"threads": 2})
        self._sequence = 0

    def close(self) -> None:
        """Let the engine go."""
        self._database.close()

    def encode(self, block: RecordBlock) -> pa.RecordBatch:
        """One row of :data:`ENCODED` a record.

        ``sequence`` counts records over the whole input, so that an order by it is total.
        """
        count = len(block.ids)
        places = {self._names.position(name): i for i, name in enumerate(block.names)}
        columns = {"id": block.ids} | {
            f"c{index}": values for index, values in enumerate(block.values)
        }
        # Empty places between the columns stay; those at the end are trimmed. An encoded
        # value holds no comma, so that nothing else can be trimmed with them.
        cells = [
            f"url_encode(c{places[position]})" if position in places else "''"
            for position in range(max(places, default=-1) + 1)
        ]
        line = f"rtrim(concat_ws(',', {', '.join(cells)}), ',')" if cells else "''"
        table = pa.table(columns)
        encoded = (
            self._database.from_arrow(table)
            .project(f"url_encode(id) AS identity, {line} AS attributes")
            .to_arrow_table()
            .combine_chunks()
        )
        order = block.order if block.order is not None else pa.nulls(count, pa.string())
        start = self._sequence
        self._sequence += count
        return pa.RecordBatch.from_arrays(
            [
                _one_array(encoded.column("identity")),
                order,
                pa.array(range(start, start + count), pa.int64()),
                pa.repeat(pa.scalar(block.source, pa.int32()), count),
                pc.cast(block.lines, pa.int64()),
                _one_array(encoded.column("attributes")),
            ],
            schema=ENCODED,
        )


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


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
