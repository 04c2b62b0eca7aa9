"""Sort and fold: the records of one profile become one update, in a total order.

DuckDB sorts by identity and input position and spills to disk when memory is short; what
comes out are neighbours, which are folded here: per attribute, the last value that isn't
empty wins. Lines too long for the sort's memory are laid beside it in a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uploader.planning.encoding import ENCODED, open_engine

# DuckDB sorts vectors of 2,048 rows: at 4 KB a row, one is 8 MB. Longer lines are laid aside.
LONG_LINE_BYTES: Final = 4_096
_SORTED_ROWS: Final = 16_384
_BLOCK_BYTES: Final = 16 << 20

UPDATES: Final = pa.schema(
    [
        ("identity", pa.string()),
        ("attributes", pa.string()),
        ("records", pa.int32()),
        ("source", pa.int32()),
        ("line", pa.int64()),
    ]
)


class LongLines:
    """Lines that would burst the sort, in a file; the sort carries ``@offset:length``.

    An encoded line never holds an ``@``, so that a pointer can't be taken for one.
    """

    def __init__(self, path: Path) -> None:
        """The file is made at once and taken away at the end."""
        self._path = path
        self._file = path.open("w+b")
        self._end = 0

    def __enter__(self) -> Self:
        """Usable at once."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close and remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def lay_aside(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """*batch* with its long lines replaced by pointers."""
        lines = batch.column("attributes")
        long = pc.greater(pc.binary_length(lines), LONG_LINE_BYTES)
        if not pc.any(long).as_py():
            return batch
        texts = lines.to_pylist()
        for index in pc.indices_nonzero(long).to_pylist():
            data = texts[index].encode()
            self._file.write(data)
            texts[index] = f"@{self._end}:{len(data)}"
            self._end += len(data)
        place = batch.schema.get_field_index("attributes")
        return batch.set_column(place, "attributes", pa.array(texts, pa.string()))

    def restore(self, text: str) -> str:
        """The line that *text* stands for."""
        if not text.startswith("@"):
            return text
        offset, length = map(int, text[1:].split(":"))
        self._file.seek(offset)
        return self._file.read(length).decode()

    @property
    def used(self) -> bool:
        """Whether any line was laid aside."""
        return self._end > 0


def sort(
    batches: Iterator[pa.RecordBatch], scratch: Path, memory_bytes: int
) -> Iterator[pa.RecordBatch]:
    """All of *batches* (:data:`~uploader.planning.encoding.ENCODED`) by identity, then
    ``--latest-by``, then input order; spilling into *scratch*.
    """
    engine = open_engine(
        {"threads": 2, "memory_limit": f"{memory_bytes}B", "temp_directory": str(scratch)}
    )
    try:
        source = pa.RecordBatchReader.from_batches(ENCODED, batches)
        # The order is total, so threads can't change it.
        ordered = engine.from_arrow(source).order('identity, "order" NULLS FIRST, sequence')
        yield from ordered.to_arrow_reader(_SORTED_ROWS)
    finally:
        engine.close()


@dataclass
class _Open:
    """The group at a batch's end, which the next batch may continue."""

    identity: str
    cells: list[str]
    records: int
    sequence: int
    source: int
    line: int | None


class Folder:
    """Folds neighbours; ``merged`` counts the records that went into another's update."""

    def __init__(self, lines: LongLines) -> None:
        """*lines* holds what the sort couldn't carry."""
        self._lines = lines
        self._open: _Open | None = None
        self.merged = 0

    def fold(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Updates (:data:`UPDATES`) in the order of their identities, each identity once."""
        for batch in batches:
            if batch.num_rows:
                yield from self._fold_batch(batch)
        if self._open is not None:
            yield self._block([self._close(self._open)])
            self._open = None

    def _fold_batch(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        identities = batch.column("identity")
        changes = pc.not_equal(identities.slice(1), identities.slice(0, len(identities) - 1))
        starts = np.concatenate(([0], np.flatnonzero(changes.to_numpy(zero_copy_only=False)) + 1))
        sizes = np.diff(np.append(starts, batch.num_rows))
        self.merged += int((sizes - 1).sum())
        first = 0
        if self._open is not None:
            if self._open.identity == identities[0].as_py():
                self.merged += 1
                self._open = self._joined(self._open, self._group(batch, 0, int(sizes[0])))
                first = 1
            if first < len(starts):
                yield self._block([self._close(self._open)])
                self._open = None
        if first == len(starts):
            return
        last = len(starts) - 1
        yield from self._whole_groups(batch, starts[first:last], sizes[first:last])
        self._open = self._group(batch, int(starts[last]), int(sizes[last]))

    def _whole_groups(
        self, batch: pa.RecordBatch, starts: np.ndarray, sizes: np.ndarray
    ) -> Iterator[pa.RecordBatch]:
        if not len(starts):
            return
        if not self._lines.used and (sizes == 1).all():
            start, count = int(starts[0]), len(starts)
            yield pa.RecordBatch.from_arrays(
                [
                    batch.column("identity").slice(start, count),
                    batch.column("attributes").slice(start, count),
                    pa.repeat(pa.scalar(1, pa.int32()), count),
                    batch.column("source").slice(start, count),
                    batch.column("line").slice(start, count),
                ],
                schema=UPDATES,
            )
            return
        held: list[tuple[str, str, int, int, int | None]] = []
        held_bytes = 0
        for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
            row = self._close(self._group(batch, start, size))
            held.append(row)
            held_bytes += len(row[1])
            if held_bytes > _BLOCK_BYTES:
                yield self._block(held)
                held, held_bytes = [], 0
        if held:
            yield self._block(held)

    def _group(self, batch: pa.RecordBatch, start: int, size: int) -> _Open:
        part = batch.slice(start, size)
        sequences = part.column("sequence")
        first = int(pc.index(sequences, pc.min(sequences)).as_py()) if size > 1 else 0
        lines = [self._lines.restore(text) for text in part.column("attributes").to_pylist()]
        return _Open(
            part.column("identity")[0].as_py(),
            fold_lines(lines),
            size,
            sequences[first].as_py(),
            part.column("source")[first].as_py(),
            part.column("line")[first].as_py(),
        )

    @staticmethod
    def _joined(earlier: _Open, later: _Open) -> _Open:
        first = min(earlier, later, key=lambda group: group.sequence)
        return _Open(
            earlier.identity,
            _overlaid(later.cells, earlier.cells),
            earlier.records + later.records,
            first.sequence,
            first.source,
            first.line,
        )

    @staticmethod
    def _close(group: _Open) -> tuple[str, str, int, int, int | None]:
        line = ",".join(group.cells).rstrip(",")
        return group.identity, line, group.records, group.source, group.line

    @staticmethod
    def _block(rows: list[tuple[str, str, int, int, int | None]]) -> pa.RecordBatch:
        columns = list(zip(*rows, strict=True))
        return pa.RecordBatch.from_arrays(
            [pa.array(column, field.type) for column, field in zip(columns, UPDATES, strict=True)],
            schema=UPDATES,
        )


def fold_lines(lines: list[str]) -> list[str]:
    """The cells of *lines* (in order), each the last one that isn't empty."""
    merged = lines[-1].split(",")
    gaps = "" in merged
    for line in reversed(lines[:-1]):
        if gaps or line.count(",") >= len(merged):
            merged = _overlaid(merged, line.split(","))
            gaps = "" in merged
    return merged


def _overlaid(upper: list[str], lower: list[str]) -> list[str]:
    """*upper*'s cells, and *lower*'s where *upper* has none."""
    if len(upper) < len(lower):
        upper = upper + [""] * (len(lower) - len(upper))
    else:
        lower = lower + [""] * (len(upper) - len(lower))
    return [a or b for a, b in zip(upper, lower, strict=True)]
