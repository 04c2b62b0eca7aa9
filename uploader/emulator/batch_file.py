"""Batch files: the header, the rows, and slices of them that don't hold up the loop.

Documented: ``batch=`` and the columns on the first line, ``pcId`` or
``thirdPartyId`` first; a row has the id and values, and may be short.
Assumptions: lines end with LF or CRLF, blank ones are no rows, and every refusal's
wording except "Batch is empty".
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import NamedTuple

from .profiles import ID_TYPES
from .text import decode_form
from .wire import Body

BEGINNING = b"batch="
SLICE_BYTES = 65_536  # ours: two or three milliseconds of work
COUNT_SLICE_BYTES = 1_048_576  # ours: counting is faster than parsing
_ROW_BEGINS = re.compile(rb"\n[^\r\n]")


class BatchFileError(ValueError):
    """The file is refused as a whole; the message is what the edge says."""


class Header(NamedTuple):
    """The first line of a batch file."""

    id_type: str
    names: tuple[str, ...]
    end: int
    """Where the line ends in the file."""


def read_header(body: Body) -> Header:
    """Read the first line.

    Raises:
        BatchFileError: no ``batch=``, or the first column is not an id.
    """
    if not body.startswith(BEGINNING):
        message = "Batch is empty"
        raise BatchFileError(message)
    end = body.find(b"\n")
    end = len(body) if end < 0 else end
    line = bytes(body[len(BEGINNING) : end]).removesuffix(b"\r")
    id_type, *names = [decode_form(column) for column in line.split(b",")]
    if id_type not in ID_TYPES:
        message = "The first column has to be pcId or thirdPartyId"
        raise BatchFileError(message)
    return Header(id_type, tuple(names), end)


async def count_rows(body: Body, header: Header) -> int:
    """Number of rows, blank lines left out."""
    rows = 0
    for start in range(header.end, len(body), COUNT_SLICE_BYTES):
        # One byte more, since a pair may begin with the last byte of the slice.
        rows += len(_ROW_BEGINS.findall(body, start, start + COUNT_SLICE_BYTES + 1))
        await asyncio.sleep(0)
    return rows


def row_slices(body: Body, header: Header) -> Iterator[list[bytes]]:
    """The rows, some hundred at a time; blank lines come along as ``b""``."""
    start = header.end + 1
    while start < len(body):
        end = body.find(b"\n", start + SLICE_BYTES)
        end = len(body) if end < 0 else end
        piece = bytes(body[start:end])
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").removesuffix(b"\r")
        yield piece.split(b"\n")
        start = end + 1


def row_id(row: bytes) -> str:
    """The decoded id of a row."""
    return decode_form(row.partition(b",")[0])


async def marked_ids(body: Body, header: Header, marks: frozenset[str]) -> frozenset[str]:
    """Those of *marks* that are ids in the file."""
    found: set[str] = set()
    if marks:
        for rows in row_slices(body, header):
            found.update(marks.intersection(row_id(row) for row in rows if row))
            await asyncio.sleep(0)
    return frozenset(found)
