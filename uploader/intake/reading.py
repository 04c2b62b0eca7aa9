"""One export after the other: read, mapped and checked, as blocks of records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import pyarrow as pa

from uploader.errors import ExportError
from uploader.intake.checks import Checks, caution_names
from uploader.intake.delimited import DelimitedReader, Table
from uploader.intake.jsonlines import JsonLinesReader, Record
from uploader.intake.keys import Keys
from uploader.intake.locations import Export, Form, reopen
from uploader.intake.mapping import (
    ID_ROLE,
    Columns,
    chosen_columns,
    demand,
    resolve,
)
from uploader.intake.ordering import OrderKeys
from uploader.intake.redrive import Letters, Undelivered, letter_runs
from uploader.model import IntakeBlock, Mapping, RecordBlock, Rejected

# Texts held at once for JSON Lines, whose keys may differ from line to line.
_MAX_CELLS: Final = 1_000_000


@dataclass
class Reading:
    """How exports are read, and what was noticed on the way."""

    mapping: Mapping
    delimiter: str = ","
    strict: bool = False
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks and order keys hold for all exports of one input."""
        order = OrderKeys() if self.mapping.latest_by is not None else None
        self.checks = Checks(self.mapping.id_type, strict=self.strict, order=order)

    def blocks(self, exports: Sequence[Export]) -> Iterator[IntakeBlock]:
        """Every record of *exports*, in order, each used or rejected.

        Raises:
            ExportError: an export can't be read, or isn't what it was when first looked at.
            MappingError: a column is missing, or names collide.
        """
        for index, export in enumerate(exports):
            with reopen(export) as stream:
                if export.form is Form.CSV:
                    reader = DelimitedReader(stream, export.name, self.delimiter)
                    alone = len(exports) == 1  # what is chosen may lie in any export
                    yield from self._delimited(reader, export, index, alone=alone)
                    seen = reader.sha256
                else:
                    lines = JsonLinesReader(stream, export.name)
                    yield from self._json_lines(lines, export, index)
                    seen = lines.sha256
            if seen != export.sha256:
                message = f"{export.name}: changed while it was read; start again when it is whole"
                raise ExportError(message)
        there = tuple(dict.fromkeys(chain.from_iterable(self.columns.values())))
        if there:
            demand(there, chosen_columns(self.mapping), ", ".join(e.name for e in exports))

    def letters(self, letters: Letters, sources: list[str]) -> Iterator[IntakeBlock]:
        """Every letter of a dead-letter file as a record; *sources* learns where they came from.

        Raises:
            ExportError: a letter can't be read.
        """
        keys: dict[str, Keys] = {}
        for source, run in letter_runs(letters):
            if source not in sources:
                sources.append(source)
            index = sources.index(source)
            updates = [letter for letter in run if isinstance(letter, Undelivered)]
            if updates:
                yield self._judge_updates(updates, source, index)
            else:
                records = [letter for letter in run if not isinstance(letter, Undelivered)]
                known = keys.setdefault(source, Keys(self.mapping, source, lenient=True))
                for part in _parts(records):
                    yield self._judge_records(part, known, source, index)

    def _judge_updates(self, updates: list[Undelivered], source: str, index: int) -> IntakeBlock:
        names = tuple(dict.fromkeys(name for update in updates for name in update.attributes))
        block = RecordBlock(
            index,
            pa.array([update.identity for update in updates], pa.string()),
            pa.array([update.number for update in updates], pa.int64()),
            pa.array([update.line for update in updates], pa.int64()),
            names,
            tuple(
                pa.array([update.attributes.get(name, "") for update in updates], pa.string())
                for name in names
            ),
        )
        columns = {name: column for column, name in self.mapping.attributes}

        def original(row: int) -> dict[str, str]:
            update = updates[row]
            fields = {columns.get(name, name): value for name, value in update.attributes.items()}
            return {self.mapping.id_column: update.identity} | fields

        return self.checks.judge(block, source, original)

    def _delimited(
        self, reader: DelimitedReader, export: Export, source: int, *, alone: bool
    ) -> Iterator[IntakeBlock]:
        self.columns[export.name] = reader.columns
        if not reader.columns:
            self.checks.cautions.note("export without a header or a record", 1, export.name)
            return
        columns = resolve(self.mapping, reader.columns, export.name)
        if alone:
            demand(reader.columns, chosen_columns(self.mapping), export.name)
        names = tuple(name for _, name in columns.attributes)
        caution_names(self.checks.cautions, names, export.name)
        empty = True
        for table in reader.tables():
            empty = False
            yield self._judge_table(table, columns, names, export, source)
        if empty:
            self.checks.cautions.note("export with a header and no record", 1, export.name)

    def _judge_table(
        self, table: Table, columns: Columns, names: tuple[str, ...], export: Export, source: int
    ) -> IntakeBlock:
        block = RecordBlock(
            source,
            table.columns[columns.id_index],
            pa.array(table.numbers),
            pa.array(table.lines),
            *self._with_constants(
                names, [table.columns[index] for index, _ in columns.attributes], len(table.numbers)
            ),
        )
        header = self.columns[export.name]

        def original(row: int) -> dict[str, str]:
            cells = (column[row].as_py() for column in table.columns)
            return dict(zip(header, cells, strict=True))

        latest = None if columns.latest_index is None else table.columns[columns.latest_index]
        judged = self.checks.judge(block, export.name, original, latest)
        return _with_rejected(judged, table.rejected)

    def _json_lines(
        self, reader: JsonLinesReader, export: Export, source: int
    ) -> Iterator[IntakeBlock]:
        keys = Keys(self.mapping, export.name)
        for stretch in reader.stretches():
            for part in _parts(stretch):
                yield self._judge_records(part, keys, export.name, source)
        self.columns[export.name] = tuple(keys.seen)
        if keys.seen:
            mapping = self.mapping
            demand(tuple(keys.seen), [(mapping.id_column, ID_ROLE)], export.name)
        names = tuple(name for _, name in keys.pairs(keys.seen))
        caution_names(self.checks.cautions, names, export.name)

    def _judge_records(
        self, part: list[Record | Rejected], keys: Keys, name: str, source: int
    ) -> IntakeBlock:
        rejected = [item for item in part if isinstance(item, Rejected)]
        records: list[Record] = []
        for item in part:
            if isinstance(item, Record):
                collision = keys.admit(item)
                if collision is None:
                    records.append(item)
                else:
                    rejected.append(collision)
        pairs = keys.pairs(dict.fromkeys(key for record in records for key in record.fields))
        mapping = self.mapping
        block = RecordBlock(
            source,
            _texts(records, mapping.id_column),
            pa.array([record.number for record in records], pa.int64()),
            pa.array([record.line for record in records], pa.int64()),
            *self._with_constants(
                tuple(name for _, name in pairs),
                [_texts(records, key) for key, _ in pairs],
                len(records),
            ),
        )
        latest = None if mapping.latest_by is None else _texts(records, mapping.latest_by)
        judged = self.checks.judge(block, name, lambda row: records[row].fields, latest)
        return _with_rejected(judged, tuple(rejected))

    def _with_constants(
        self, names: tuple[str, ...], values: list[pa.Array], count: int
    ) -> tuple[tuple[str, ...], tuple[pa.Array, ...]]:
        constants = self.mapping.constants
        return (
            (*names, *(name for name, _ in constants)),
            (*values, *(pa.repeat(pa.scalar(value), count) for _, value in constants)),
        )


def _parts(stretch: list[Record | Rejected]) -> Iterator[list[Record | Rejected]]:
    """Cut *stretch* so that no part has more cells than memory should hold at once."""
    part: list[Record | Rejected] = []
    keys: set[str] = set()
    for item in stretch:
        if isinstance(item, Record):
            keys |= item.fields.keys()
            if part and len(keys) * (len(part) + 1) > _MAX_CELLS:
                yield part
                part, keys = [], set(item.fields)
        part.append(item)
    if part:
        yield part


def _texts(records: list[Record], key: str) -> pa.Array:
    return pa.array([record.fields.get(key, "") for record in records], pa.string())


def _with_rejected(block: IntakeBlock, rejected: tuple[Rejected, ...]) -> IntakeBlock:
    """*block* with what its reader had rejected before any check, in the file's order."""
    if not rejected:
        return block
    together = sorted((*block.rejected, *rejected), key=lambda item: item.record_number)
    return IntakeBlock(block.read + len(rejected), block.records, tuple(together), block.skipped)
