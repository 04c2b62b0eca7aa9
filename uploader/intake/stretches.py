"""A file in stretches of whole lines, in bounded memory, whatever its lines are like."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from uploader.errors import ExportError
from uploader.limits import MAX_RECORD_BYTES
from uploader.model import Extent, Reason, Rejected

STRETCH_BYTES: Final = 8 << 20
# With more than this in hand, a reader comes on without another byte: it leaves at most one
# open record and one line's beginning.
_ENOUGH_BYTES: Final = 2 * MAX_RECORD_BYTES


@dataclass(frozen=True)
class Stretch:
    """Some whole lines. ``final`` tells that nothing which follows can belong to them."""

    data: bytes
    offset: int
    line: int
    final: bool


@dataclass(frozen=True)
class OversizedLine:
    """A line over :data:`~uploader.limits.MAX_RECORD_BYTES`: read past, not kept."""

    line: int
    extent: Extent


class StretchReader:
    """Hands out a file's lines, and takes back those its reader can't judge yet.

    After each stretch the reader calls :meth:`consume`; what it left comes again, with
    more behind it.
    """

    def __init__(
        self,
        stream: BinaryIO,
        name: str,
        *,
        skip_bytes: int = 0,
        stretch_bytes: int = STRETCH_BYTES,
    ) -> None:
        """Start after *skip_bytes* (a byte order mark)."""
        self._stream = stream
        self._name = name
        self._stretch_bytes = stretch_bytes
        self._digest = hashlib.sha256()
        self._held = b""
        self._ended = False
        self.offset = 0
        self.line = 1
        if skip_bytes:
            self._read(skip_bytes)
            self.offset = skip_bytes

    @property
    def sha256(self) -> str:
        """The hash of all bytes read so far."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[Stretch | OversizedLine]:
        """Stretch after stretch, to the end of the file."""
        while True:
            if not self._ended and len(self._held) <= _ENOUGH_BYTES:
                chunk = self._read(self._stretch_bytes)
                self._ended = not chunk
                self._held += chunk
            if not self._held:
                if self._ended:
                    return
                continue
            if len(self._held) > MAX_RECORD_BYTES and self._first_line_is_oversized():
                yield self._skip_line()
                continue
            cut, final = self._cut()
            if cut:
                yield Stretch(self._held[:cut], self.offset, self.line, final)

    def consume(self, size: int, lines: int) -> None:
        """Drop the first *size* bytes of what is held; they held *lines* line ends."""
        self._held = self._held[size:]
        self.offset += size
        self.line += lines

    def _cut(self) -> tuple[int, bool]:
        """Where the held lines end, and whether what follows is cut off from them."""
        position = 0
        while position + MAX_RECORD_BYTES < len(self._held):
            newline = self._held.rfind(b"\n", position, position + MAX_RECORD_BYTES + 1)
            if newline < 0:
                return position, True
            position = newline + 1
        if self._ended:
            return len(self._held), True
        return self._held.rfind(b"\n") + 1, False

    def _first_line_is_oversized(self) -> bool:
        return self._held.find(b"\n", 0, MAX_RECORD_BYTES + 1) < 0

    def _skip_line(self) -> OversizedLine:
        digest = hashlib.sha256()
        length = 0
        while True:
            newline = self._held.find(b"\n")
            part = self._held if newline < 0 else self._held[:newline]
            digest.update(part)
            length += len(part)
            if newline >= 0:
                self._held = self._held[newline + 1 :]
                break
            self._held = self._read(self._stretch_bytes)
            if not self._held:
                self._ended = True
                break
        skipped = OversizedLine(self.line, Extent(self.offset, length, digest.hexdigest()))
        self.offset += length + (newline >= 0)
        self.line += 1
        return skipped

    def _read(self, size: int) -> bytes:
        try:
            chunk = self._stream.read(size)
        except OSError as error:
            message = (
                f"{self._name}: reading failed after {self.offset:,} bytes: "
                f"{error.strerror or error}"
            )
            raise ExportError(message) from error
        self._digest.update(chunk)
        return chunk


def reject_oversized(skipped: OversizedLine, source: str, record_number: int) -> Rejected:
    """The one rejected record without its text: it is too long to be kept."""
    extent = skipped.extent
    return Rejected(
        Reason.RECORD_TOO_LARGE,
        f"one line of {extent.length:,} bytes; at most {MAX_RECORD_BYTES:,} are held",
        source,
        record_number,
        skipped.line,
        extent=extent,
    )


def is_utf8(data: bytes) -> bool:
    """Whether all of *data* decodes strictly."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
