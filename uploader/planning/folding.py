"""Sort and fold: the records of one profile become one update, in a total order.

DuckDB sorts by identity and input position and spills to disk when memory is short; what
comes out are neighbours, which are folded here: per attribute, the last value that isn't
empty wins. Lines too long for the sort's memory are laid beside it in a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uploader.planning.encoding import ENCODED, AttributeNames, open_engine

# DuckDB sorts vectors of 2,048 rows: at 4 KB a row, one is 8 MB. Longer lines are laid aside.
LONG_LINE_BYTES: Final = 4_096
_SORTED_ROWS: Final = 16_384
# Laid-aside lines come back in blocks of so many updates: at 64 KB each, 16 MB.
_LONG_LINES_AT_ONCE: Final = 256

_Indices = np.ndarray[Any, np.dtype[np.int64]]
_Mask = np.ndarray[Any, np.dtype[np.bool_]]

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
        pointers = []
        for index in pc.indices_nonzero(long).to_pylist():
            data = lines[index].as_buffer()
            self._file.write(data)
            pointers.append(f"@{self._end}:{data.size}")
            self._end += data.size
        place = batch.schema.get_field_index("attributes")
        texts = pc.replace_with_mask(lines, long, pa.array(pointers, pa.string()))
        return batch.set_column(place, "attributes", texts)

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
    """All of *batches* by identity, then ``--latest-by``, then input order.

    They are of :data:`~uploader.planning.encoding.ENCODED`; what memory can't hold goes
    into *scratch*.
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

    def block(self) -> pa.RecordBatch:
        """Its update, as a block of one."""
        row = (
            self.identity,
            ",".join(self.cells).rstrip(","),
            self.records,
            self.source,
            self.line,
        )
        columns = [pa.array([cell], place.type) for cell, place in zip(row, UPDATES, strict=True)]
        return pa.RecordBatch.from_arrays(columns, schema=UPDATES)


class Folder:
    """Folds neighbours; ``merged`` counts the records that went into another's update."""

    def __init__(self, lines: LongLines, names: AttributeNames) -> None:
        """*lines* holds what the sort couldn't carry; *names* tells how wide lines are."""
        self._lines = lines
        self._names = names
        self._open: _Open | None = None
        self.merged = 0

    def fold(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Updates (:data:`UPDATES`) in the order of their identities, each identity once."""
        for batch in batches:
            if batch.num_rows:
                yield from self._fold_batch(batch)
        if self._open is not None:
            yield self._open.block()
            self._open = None

    def _fold_batch(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        identities = batch.column("identity")
        changes = pc.not_equal(identities.slice(1), identities.slice(0, len(identities) - 1))
        starts = np.concatenate(([0], np.flatnonzero(changes.to_numpy(zero_copy_only=False)) + 1))
        sizes = np.diff(np.append(starts, batch.num_rows))
        self.merged += int((sizes - 1).sum())
        firsts = _firsts(batch.column("sequence").to_numpy(), starts, sizes)
        first = 0
        if self._open is not None:
            if self._open.identity == identities[0].as_py():
                self.merged += 1
                group = self._group(batch, 0, int(sizes[0]), int(firsts[0]))
                self._open = _continued(self._open, group)
                first = 1
            if first < len(starts):
                yield self._open.block()
                self._open = None
        if first == len(starts):
            return
        last = len(starts) - 1
        yield from self._whole_groups(
            batch, starts[first:last], sizes[first:last], firsts[first:last]
        )
        self._open = self._group(batch, int(starts[last]), int(sizes[last]), int(firsts[last]))

    def _whole_groups(
        self, batch: pa.RecordBatch, starts: _Indices, sizes: _Indices, firsts: _Indices
    ) -> Iterator[pa.RecordBatch]:
        """The updates of groups that lie in *batch* from beginning to end.

        Most groups are their last line, as it stands: those of one record, and those whose
        last record has every attribute. Only the others are taken apart.
        """
        lines = batch.column("attributes")
        aside = _is_pointer(lines) if self._lines.used else np.zeros(len(lines), dtype=bool)
        step = _LONG_LINES_AT_ONCE if aside.any() else batch.num_rows
        for begin in range(0, len(starts), step):
            part = slice(begin, begin + step)
            last = starts[part] + sizes[part] - 1
            texts = lines.take(pa.array(last))
            folded = np.flatnonzero(((sizes[part] > 1) & ~self._is_complete(texts)) | aside[last])
            if len(folded):
                told = [
                    ",".join(self._folded(lines, int(starts[part][i]), int(sizes[part][i])))
                    for i in folded
                ]
                mask = np.zeros(len(texts), dtype=bool)
                mask[folded] = True
                texts = pc.replace_with_mask(texts, pa.array(mask), pa.array(told, pa.string()))
            first = pa.array(firsts[part])
            yield pa.RecordBatch.from_arrays(
                [
                    batch.column("identity").take(first),
                    texts,
                    pa.array(sizes[part], pa.int32()),
                    batch.column("source").take(first),
                    batch.column("line").take(first),
                ],
                schema=UPDATES,
            )

    def _is_complete(self, lines: pa.Array) -> _Mask:
        """Which lines have a value for every attribute there is: nothing can be added."""
        full = pc.equal(pc.count_substring(lines, ","), len(self._names) - 1)
        gap = pc.or_(pc.match_substring(lines, ",,"), pc.starts_with(lines, ","))
        found: _Mask = pc.and_(full, pc.invert(gap)).to_numpy(zero_copy_only=False)
        return found

    def _group(self, batch: pa.RecordBatch, start: int, size: int, first: int) -> _Open:
        return _Open(
            batch.column("identity")[start].as_py(),
            self._folded(batch.column("attributes"), start, size),
            size,
            batch.column("sequence")[first].as_py(),
            batch.column("source")[first].as_py(),
            batch.column("line")[first].as_py(),
        )

    def _folded(self, lines: pa.Array, start: int, size: int) -> list[str]:
        return fold_lines(
            self._lines.restore(lines[index].as_py())
            for index in range(start + size - 1, start - 1, -1)
        )


def fold_lines(latest_first: Iterable[str]) -> list[str]:
    """The cells of some lines, each the last one that isn't empty."""
    merged: list[str] = []
    gaps = True
    for line in latest_first:
        if gaps or line.count(",") >= len(merged):
            merged = _overlaid(merged, line.split(","))
            gaps = "" in merged
    return merged


def _continued(earlier: _Open, later: _Open) -> _Open:
    """One group of two that stand one behind the other."""
    first = min(earlier, later, key=lambda group: group.sequence)
    return _Open(
        earlier.identity,
        _overlaid(later.cells, earlier.cells),
        earlier.records + later.records,
        first.sequence,
        first.source,
        first.line,
    )


def _overlaid(upper: list[str], lower: list[str]) -> list[str]:
    """*upper*'s cells, and *lower*'s where *upper* has none."""
    return [a or b for a, b in zip_longest(upper, lower, fillvalue="")]


def _firsts(sequences: _Indices, starts: _Indices, sizes: _Indices) -> _Indices:
    """For each group, the index of the record that came first in the input."""
    if len(starts) == len(sequences):
        return starts
    groups = np.repeat(np.arange(len(starts)), sizes)
    found: _Indices = np.lexsort((sequences, groups))[starts]
    return found


def _is_pointer(lines: pa.Array) -> _Mask:
    found: _Mask = pc.starts_with(lines, "@").to_numpy(zero_copy_only=False)
    return found
