"""The plan: a folder that holds all that a run would send, made whole or not at all.

``plan.json`` tells what it is, ``updates.parquet`` holds the updates in their order, and
``dead-letters.jsonl`` the records that were rejected. Parquet and JSON only: a plan from
somebody else is safe to open.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from uploader.errors import PlanError
from uploader.model import IdType, Mapping, Method, Route, RouteWish, Update, Via
from uploader.planning.encoding import AttributeNames, Encoder
from uploader.planning.folding import UPDATES, Folder, LongLines, sort

FORMAT: Final = 1
PLAN_FILE: Final = "plan.json"
UPDATES_FILE: Final = "updates.parquet"
DEAD_LETTERS_FILE: Final = "dead-letters.jsonl"

_ROW_GROUP_ROWS: Final = 65_536
_ROW_GROUP_BYTES: Final = 32 << 20
_READ_BYTES: Final = 8 << 20


@dataclass(frozen=True)
class Contents:
    """What sorting and folding made: counts for the books, sizes for the route, the hash."""

    names: tuple[str, ...]
    updates: int
    merged: int
    row_bytes: int
    longest_row: int
    without_attributes: int
    rows_sha256: str


def write_updates(
    blocks: Iterator[Any], folder: Path, scratch: Path, memory_bytes: int
) -> Contents:
    """Encode, sort and fold *blocks* (records) into ``updates.parquet`` in *folder*.

    *scratch* takes what memory can't hold; *memory_bytes* bounds the sort, not all of the
    process (about 0.4 GB come on top).
    """
    names = AttributeNames()
    encoder = Encoder(names)
    with LongLines(scratch / "long-lines") as lines, _Writer(folder / UPDATES_FILE) as writer:
        folder_ = Folder(lines, names)
        encoded = _Carried(lines.lay_aside(encoder.encode(block)) for block in blocks)
        try:
            for block in folder_.fold(sort(iter(encoded), scratch, memory_bytes)):
                writer.write(block)
        except Exception:
            if encoded.failure is not None:
                raise encoded.failure from None
            raise
    return Contents(
        names.as_tuple(),
        writer.rows,
        folder_.merged,
        writer.row_bytes,
        writer.longest_row,
        writer.without_attributes,
        writer.digest.hexdigest(),
    )


class _Carried:
    """An iterator whose exception survives a C interface that keeps none: ``failure``."""

    def __init__(self, items: Iterator[pa.RecordBatch]) -> None:
        self._items = items
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._items
        except BaseException as error:
            self.failure = error
            raise


class _Writer:
    """Collects updates into row groups that are bounded in rows and bytes."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetWriter(path, UPDATES, compression="zstd")
        self._held: list[pa.RecordBatch] = []
        self._held_rows = self._held_bytes = 0
        self.digest = hashlib.sha256()
        self.rows = self.row_bytes = self.longest_row = self.without_attributes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._file.close()

    def write(self, block: pa.RecordBatch) -> None:
        attributes, text = block.column("attributes"), _rows(block)
        self.digest.update(joined_bytes(text))
        self.rows += block.num_rows
        lengths = pc.binary_length(text)
        self.row_bytes += pc.sum(lengths).as_py()
        self.longest_row = max(self.longest_row, pc.max(lengths).as_py())
        self.without_attributes += pc.sum(pc.equal(pc.binary_length(attributes), 0)).as_py()
        self._held.append(block)
        self._held_rows += block.num_rows
        self._held_bytes += block.nbytes
        if self._held_rows >= _ROW_GROUP_ROWS or self._held_bytes >= _ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            self._file.write_table(pa.Table.from_batches(self._held))
            self._held = []
            self._held_rows = self._held_bytes = 0


def _rows(block: pa.RecordBatch) -> pa.Array:
    """The lines of a batch file, each with its end."""
    identities, attributes = block.column("identity"), block.column("attributes")
    rows = pc.binary_join_element_wise(identities, attributes, ",")
    return pc.binary_join_element_wise(rows, "", "\n")


def joined_bytes(texts: pa.Array) -> memoryview:
    """All texts of an array, one behind the other, without a copy."""
    _, offsets, data = texts.buffers()
    ends = memoryview(offsets).cast("i")
    return memoryview(data)[ends[texts.offset] : ends[texts.offset + len(texts)]]


@dataclass(frozen=True)
class Plan:
    """A plan on disk: its description, and its updates on demand."""

    folder: Path
    description: dict[str, Any]

    @staticmethod
    def open(folder: Path, *, verify: bool = False) -> Plan:
        """Read the plan in *folder*; with *verify*, check its updates against their hash.

        Raises:
            PlanError: there is none, it is damaged, or of a version not known here.
        """
        try:
            description = json.loads((folder / PLAN_FILE).read_text())
        except FileNotFoundError as error:
            message = f"{folder}: there is no plan here ({PLAN_FILE} is missing)"
            raise PlanError(message) from error
        except (OSError, ValueError) as error:
            message = f"{folder / PLAN_FILE}: can't be read as a plan: {error}"
            raise PlanError(message) from error
        if not isinstance(description, dict) or description.get("format") != FORMAT:
            message = f"{folder}: not a plan of format {FORMAT}, the one this version reads"
            raise PlanError(message)
        plan = Plan(folder, description)
        try:
            plan._check(verify=verify)
        except (OSError, KeyError, ValueError, TypeError) as error:
            message = f"{folder}: this plan is damaged ({error}); make it again"
            raise PlanError(message) from error
        return plan

    def _check(self, *, verify: bool) -> None:
        for needed in ("mapping", "route", "wish", "digest", "names", "sources", "made_at"):
            getattr(self, needed)
        rows = pq.read_metadata(self.folder / UPDATES_FILE).num_rows
        if rows != self.planned:
            message = f"{UPDATES_FILE} holds {rows:,} updates, {self.planned:,} are planned"
            raise ValueError(message)
        if not (self.folder / DEAD_LETTERS_FILE).exists():
            raise ValueError(f"{DEAD_LETTERS_FILE} is missing")
        if verify and self.digest != digest_of(
            self.names, self.id_type, self.route, self.updates.sha256()
        ):
            raise ValueError("it is not what was planned: its digest is another")

    @property
    def digest(self) -> str:
        """Tells this plan from every other: its names, rows, order and route."""
        return str(self.description["digest"])

    @property
    def input_identity(self) -> str:
        """Tells exports, mapping and the route asked for; with the account, a run."""
        return str(self.description["input_identity"])

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes' names, by position in an update's line."""
        return tuple(self.description["names"])

    @property
    def sources(self) -> tuple[str, ...]:
        """The exports' names as given, in order."""
        return tuple(self.description["sources"])

    @property
    def planned(self) -> int:
        """How many updates there are."""
        return int(self.description["updates"]["planned"])

    @property
    def made_at(self) -> datetime:
        """When the exports were read."""
        return datetime.fromisoformat(self.description["made_at"])

    @property
    def mapping(self) -> Mapping:
        """The mapping that made the plan."""
        return Mapping.from_json(self.description["mapping"])

    @property
    def id_type(self) -> IdType:
        """What the identities are."""
        return self.mapping.id_type

    @property
    def wish(self) -> RouteWish:
        """The route that was asked for."""
        return RouteWish.from_json(self.description["route_wish"])

    @property
    def route(self) -> Route:
        """The route that was chosen."""
        chosen = self.description["route_chosen"]
        return Route(Via(chosen["via"]), chosen["bulk_version"], Method(chosen["method"]))

    @property
    def updates(self) -> Updates:
        """The updates themselves."""
        return Updates(self.folder / UPDATES_FILE)


@dataclass(frozen=True)
class Updates:
    """A plan's updates, read in bounded memory, from any position on."""

    path: Path

    def sha256(self) -> str:
        """The hash of all rows, in order."""
        digest = hashlib.sha256()
        for _, block in self.blocks():
            digest.update(joined_bytes(_rows(block)))
        return digest.hexdigest()

    def blocks(self, start: int = 0) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The updates from position *start* on, as batches, each with its first position."""
        with pq.ParquetFile(self.path) as file:
            position = 0
            for group in range(file.num_row_groups):
                about = file.metadata.row_group(group)
                if position + about.num_rows <= start:
                    position += about.num_rows
                    continue
                row_bytes = max(about.total_byte_size // max(about.num_rows, 1), 1)
                size = max(64, min(8_192, _READ_BYTES // row_bytes))
                for batch in file.iter_batches(batch_size=size, row_groups=[group]):
                    skip = min(max(start - position, 0), batch.num_rows)
                    if skip < batch.num_rows:
                        yield position + skip, batch.slice(skip)
                    position += batch.num_rows

    def each(self, first: int = 0, last: int | None = None) -> Iterator[Update]:
        """The updates of positions *first* to *last* (both included), one by one."""
        for start, block in self.blocks(first):
            columns = (column.to_pylist() for column in block.columns)
            for offset, row in enumerate(zip(*columns, strict=True)):
                if last is not None and start + offset > last:
                    return
                yield Update(start + offset, *row)


def digest_of(names: tuple[str, ...], id_type: IdType, route: Route, rows_sha256: str) -> str:
    """The plan's digest: the same input planned twice gives the same."""
    head = json.dumps([FORMAT, id_type.value, names, str(route), route.method.value])
    return hashlib.sha256(f"{head}\n{rows_sha256}".encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """The hash of a file's bytes, as hexadecimal text."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
