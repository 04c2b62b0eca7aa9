"""Real files for the tests, and what intake makes of them in a form that is easy to compare."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from uploader.intake.delimited import DelimitedReader
from uploader.intake.locations import inspect
from uploader.intake.reading import Reading
from uploader.model import IntakeBlock, Mapping, Rejected


@dataclass
class Read:
    """Everything that came of some exports."""

    reading: Reading
    read: int = 0
    skipped: int = 0
    used: list[tuple[int, int | None, str, dict[str, str]]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    orders: list[str | None] = field(default_factory=list)

    def add(self, blocks: Iterable[IntakeBlock]) -> Read:
        """Take the blocks apart into records."""
        for block in blocks:
            self.read += block.read
            self.skipped += block.skipped
            self.rejected += block.rejected
            records = block.records
            if records is None:
                continue
            columns = [values.to_pylist() for values in records.values]
            order = records.order.to_pylist() if records.order is not None else None
            for row, identity in enumerate(records.ids.to_pylist()):
                cells = [column[row] for column in columns]
                attributes = dict(zip(records.names, cells, strict=True))
                number, line = records.numbers[row].as_py(), records.lines[row].as_py()
                self.used.append((number, line, identity, attributes))
                self.orders.append(order[row] if order else None)
        return self

    @property
    def places(self) -> list[tuple[int, int | None]]:
        """Number and line of the used records."""
        return [(number, line) for number, line, _, _ in self.used]

    @property
    def reasons(self) -> list[tuple[str, int, int | None, bytes | None]]:
        """Reason, number, line and raw text of the rejected ones."""
        return [(r.reason.value, r.record_number, r.line, r.raw) for r in self.rejected]


def read_export(
    folder: Path,
    *contents: bytes,
    mapping: Mapping | None = None,
    delimiter: str = ",",
    strict: bool = False,
) -> Read:
    """Read exports with these contents, called ``0.txt``, ``1.txt`` and so on."""
    exports = []
    for number, content in enumerate(contents):
        path = folder / f"{number}.txt"
        path.write_bytes(content)
        exports.append(inspect(path.name, path))
    reading = Reading(mapping or Mapping("id"), delimiter, strict=strict)
    return Read(reading).add(reading.blocks(exports))


def outcomes(data: bytes, stretch_bytes: int, delimiter: str = ",") -> list[tuple[object, ...]]:
    """Every record of *data*, as the reader of whole exports sees it, by number."""
    reader = DelimitedReader(io.BytesIO(data), "x.csv", delimiter, stretch_bytes=stretch_bytes)
    found: list[tuple[object, ...]] = []
    for table in reader.tables():
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        for number, line, row in zip(table.numbers, table.lines, rows, strict=True):
            found.append((int(number), int(line), row))
        found += [
            (r.record_number, r.line, r.reason.value, r.detail, r.raw) for r in table.rejected
        ]
    return sorted(found, key=lambda item: item[:1])
