"""Cutting a plan into calls: single updates, or batch files below both limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uploader.limits import (
    MAX_BATCH_BYTES,
    MAX_BATCH_ROWS,
    MAX_BODY_BYTES,
    MAX_PROFILE_BYTES,
    MAX_URL_BYTES,
)
from uploader.model import (
    BatchCall,
    IdType,
    Method,
    Reason,
    Route,
    SingleCall,
    Unsendable,
    Via,
)
from uploader.planning.encoding import percent_encoded
from uploader.planning.plan import Contents, Updates, joined_bytes

_Positions = np.ndarray[Any, np.dtype[np.int64]]

PIECE_BYTES: Final = 256 * 1024


@dataclass(frozen=True)
class Wire:
    """How a plan's updates look on the wire: encoded names, id type, route."""

    names: tuple[str, ...]
    id_type: IdType
    route: Route

    @staticmethod
    def of(names: tuple[str, ...], id_type: IdType, route: Route) -> Wire:
        """The wire form for attributes called *names*."""
        return Wire(tuple(map(percent_encoded, names)), id_type, route)

    @property
    def batch_header(self) -> bytes:
        """A batch file's first line."""
        return f"batch={','.join((self.id_type.value, *self.names))}\n".encode()

    def unsendable(self, identity: str, attributes: str) -> tuple[Reason, str] | None:
        """Why no call of this route can carry an update, or None where one can."""
        if not attributes:
            return Reason.NO_ATTRIBUTES, "every attribute is empty, and empty values change nothing"
        if self.never_too_large(len(identity) + len(attributes)):
            return None
        size = attribute_bytes(self.names, attributes)
        if size > MAX_PROFILE_BYTES:
            detail = f"{size:,} bytes of encoded attributes; a profile holds {MAX_PROFILE_BYTES:,}"
            return Reason.BODY_TOO_LARGE, detail
        if self.route.via is Via.SINGLE:
            size, most, what = len(self.form(identity, attributes)), MAX_BODY_BYTES, "a body"
        else:
            size = len(self.batch_header) + len(identity) + len(attributes) + len(",\n")
            most, what = MAX_BATCH_BYTES, "a batch file for it alone"
        if size <= most:
            return None
        return Reason.BODY_TOO_LARGE, f"{what} of {size:,} bytes; at most {most:,} are taken"

    def never_too_large(self, encoded_bytes: int) -> bool:
        """Whether an update of so many encoded bytes fits, whichever attributes it has."""
        return encoded_bytes + self._overhead <= MAX_BODY_BYTES

    @cached_property
    def _overhead(self) -> int:
        """The most that a form adds to an update's own bytes."""
        return sum(map(len, self.names)) + len("&profile.=") * len(self.names) + 64

    def form(self, identity: str, attributes: str) -> bytes:
        """A single update's parameters, form-encoded."""
        pairs = [f"{self.id_type.single_parameter}={identity}"]
        pairs += [
            f"profile.{name}={value}"
            for name, value in zip(self.names, attributes.split(","), strict=False)
            if value
        ]
        return "&".join(pairs).encode()


def attribute_bytes(names: tuple[str, ...], attributes: str) -> int:
    """The encoded length of an update's names and values."""
    return sum(
        len(name) + len(value)
        for name, value in zip(names, attributes.split(","), strict=False)
        if value
    )


@dataclass(frozen=True)
class Survey:
    """What sending would take by one route."""

    sendable: int
    batches: int
    total_bytes: int
    unsendable: dict[Reason, int]


def survey(updates: Updates, wire: Wire, contents: Contents) -> Survey:
    """Count what :func:`single_calls` or :func:`batch_calls` will make of *updates*.

    Reads them once more only where a limit may be touched.
    """
    header = len(wire.batch_header)
    longest_row = contents.longest_row
    if (
        wire.never_too_large(longest_row)
        and contents.updates <= MAX_BATCH_ROWS
        and header + contents.row_bytes <= MAX_BATCH_BYTES
    ):
        empty = contents.without_attributes
        sendable = contents.updates - empty
        return Survey(
            sendable,
            min(sendable, 1),
            header + contents.row_bytes if sendable else 0,
            {Reason.NO_ATTRIBUTES: empty} if empty else {},
        )
    unsendable: Counter[Reason] = Counter()
    batches = total_bytes = 0
    for item in batch_calls(updates, wire, with_bodies=False):
        if isinstance(item, Unsendable):
            unsendable[item.reason] += 1
        else:
            batches += 1
            total_bytes += item.size_bytes
    sendable = contents.updates - unsendable.total()
    return Survey(sendable, batches, total_bytes, dict(unsendable))


def single_calls(
    updates: Updates, wire: Wire, url_prefix_bytes: int, start: int = 0
) -> Iterator[SingleCall | Unsendable]:
    """One call an update, from position *start* on.

    *url_prefix_bytes* is the length of a GET's URL up to its query; a URL that would be
    over 8,000 bytes goes by POST.
    """
    by_get = wire.route.method is Method.GET
    for update in updates.each(start):
        problem = wire.unsendable(update.identity, update.attributes)
        if problem is not None:
            yield Unsendable(update.position, *problem)
            continue
        form = wire.form(update.identity, update.attributes)
        in_url = by_get and url_prefix_bytes + len(form) <= MAX_URL_BYTES
        yield SingleCall(update.position, form, in_url)


def batch_calls(
    updates: Updates, wire: Wire, *, with_bodies: bool = True
) -> Iterator[BatchCall | Unsendable]:
    """Batch files in order, each as full as the limits allow; the cut never varies.

    An update that can't be sent is left out of the batch whose positions enclose it, and
    comes as :class:`Unsendable` of its own. Without bodies, only sizes are counted.
    """
    cutter = _Cutter(wire.batch_header, with_bodies=with_bodies)
    for start, block in updates.blocks():
        identities, lines = block.column("identity"), block.column("attributes")
        rows = pc.binary_join_element_wise(
            pc.binary_join_element_wise(identities, lines, ","), "", "\n"
        )
        positions = np.arange(start, start + len(rows))
        keep = np.ones(len(rows), dtype=bool)
        for index in _suspects(wire, rows, lines):
            problem = wire.unsendable(identities[index].as_py(), lines[index].as_py())
            if problem is not None:
                keep[index] = False
                yield Unsendable(start + index, *problem)
        if not keep.all():
            rows, positions = rows.filter(pa.array(keep)), positions[keep]
        yield from cutter.add(rows, positions)
    yield from cutter.rest()


def _suspects(wire: Wire, rows: pa.Array, lines: pa.Array) -> list[int]:
    """Indices of the rows that :meth:`Wire.unsendable` has to look at."""
    lengths = pc.binary_length(rows).to_numpy()
    large = ~np.fromiter(map(wire.never_too_large, np.unique(lengths).tolist()), bool)
    longest_fitting = np.unique(lengths)[~large].max(initial=-1)
    empty = pc.equal(pc.binary_length(lines), 0).to_numpy(zero_copy_only=False)
    found: list[int] = np.flatnonzero((lengths > longest_fitting) | empty).tolist()
    return found


class _Cutter:
    """Fills one batch file after the other."""

    def __init__(self, header: bytes, *, with_bodies: bool) -> None:
        self._header = header
        self._with_bodies = with_bodies
        self._number = 0
        self._pieces = [header]
        self._size = len(header)
        self._rows = self._first = self._last = 0

    def add(self, rows: pa.Array, positions: _Positions) -> Iterator[BatchCall]:
        """Take *rows*; yield the batches that they fill."""
        lengths = pc.binary_length(rows).to_numpy()
        offset = 0
        while offset < len(rows):
            ends = np.cumsum(lengths[offset : offset + MAX_BATCH_ROWS - self._rows])
            fitting = int(np.searchsorted(ends, MAX_BATCH_BYTES - self._size, side="right"))
            if not fitting:
                yield self._end()
                continue
            if not self._rows:
                self._first = int(positions[offset])
            self._last = int(positions[offset + fitting - 1])
            self._rows += fitting
            self._size += int(ends[fitting - 1])
            if self._with_bodies:
                data = joined_bytes(rows.slice(offset, fitting))
                self._pieces += [
                    bytes(data[i : i + PIECE_BYTES]) for i in range(0, len(data), PIECE_BYTES)
                ]
            offset += fitting

    def rest(self) -> Iterator[BatchCall]:
        """The last batch, which nothing more fills."""
        if self._rows:
            yield self._end()

    def _end(self) -> BatchCall:
        self._number += 1
        batch = BatchCall(
            self._number, self._first, self._last, self._rows, self._size, tuple(self._pieces)
        )
        self._pieces = [self._header]
        self._size = len(self._header)
        self._rows = 0
        return batch
