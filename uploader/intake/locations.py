"""Where exports lie: paths, globs and standard input, opened and looked at once."""

from __future__ import annotations

import glob
import hashlib
import os
import select
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from uploader.errors import ExportError, StoppedBy, StoppedError

STANDARD_INPUT = "-"

_READ_BYTES = 1 << 20
_LOOK_SECONDS = 0.2

# First bytes of forms that this version can't read: better a clear word than a
# million rejected records.
_FOREIGN_FORMS = (
    (b"\x1f\x8b", "gzip", "gunzip it first"),
    (b"\x28\xb5\x2f\xfd", "zstd", "decompress it first"),
    (b"BZh", "bzip2", "decompress it first"),
    (b"\xfd7zXZ\x00", "xz", "decompress it first"),
    (b"PK\x03\x04", "zip (or a spreadsheet)", "unpack it, or save it as CSV"),
    (b"PAR1", "Parquet", "write it as CSV or JSON Lines"),
    (b"\xff\xfe", "UTF-16", "convert it to UTF-8"),
    (b"\xfe\xff", "UTF-16", "convert it to UTF-8"),
)
UTF8_BOM = b"\xef\xbb\xbf"


class Form(StrEnum):
    """What an export is made of."""

    CSV = "csv"
    JSON_LINES = "jsonl"


@dataclass(frozen=True)
class Export:
    """One input file: its name as given, where its bytes are, what they are."""

    name: str
    path: Path
    form: Form
    sha256: str
    size_bytes: int


def expand(arguments: Sequence[str]) -> list[str]:
    """Replace each glob by the paths it matches, sorted by name; keep the order given.

    Raises:
        ExportError: a glob matches nothing, or ``-`` is given twice.
    """
    names: list[str] = []
    for argument in arguments:
        is_pattern = argument != STANDARD_INPUT and glob.has_magic(argument)
        if is_pattern and not os.path.lexists(argument):
            found = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 (absolute ones too)
            if not found:
                message = f"{argument}: no file matches this pattern"
                raise ExportError(message)
            names.extend(found)
        else:
            names.append(argument)
    if names.count(STANDARD_INPUT) > 1:
        message = "standard input (-) can be read once only; it was given twice"
        raise ExportError(message)
    return names


def open_exports(
    names: Sequence[str], spool: Path, stopped: Callable[[], bool] = lambda: False
) -> list[Export]:
    """Look at every export once: can it be read, which form, which hash.

    Standard input is copied to *spool* first, so that it can be read a second time; a
    wait for it ends when *stopped* says so.

    Raises:
        ExportError: an export is missing, unreadable, or of a form not read here.
        StoppedError: a stop was asked for (``signal``), or the disk is full (``disk``).
    """
    exports = []
    for name in names:
        path = Path(name)
        if name == STANDARD_INPUT:
            path = spool
            _spool(spool, stopped)
        # A name that is no UTF-8 can't stand in a report as it is.
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        exports.append(inspect(shown, path))
    return exports


def _spool(path: Path, stopped: Callable[[], bool]) -> None:
    source = sys.stdin.fileno()
    try:
        with path.open("wb") as copy:
            while True:
                if stopped():
                    raise StoppedError(StoppedBy.SIGNAL, "stopped while reading standard input")
                if select.select([source], [], [], _LOOK_SECONDS)[0]:
                    chunk = os.read(source, _READ_BYTES)
                    if not chunk:
                        return
                    copy.write(chunk)
    except OSError as error:
        message = f"{path}: standard input can't be kept there: {error.strerror or error}"
        raise StoppedError(StoppedBy.DISK, message) from error


def inspect(name: str, path: Path) -> Export:
    """Open *path*, tell its form by its first bytes, and hash the whole of it.

    Raises:
        ExportError: as :func:`open_exports`.
    """
    if path.is_dir():
        message = f"{name}: is a folder; name its files, or use a pattern such as {name}/*.csv"
        raise ExportError(message)
    if path.is_fifo():
        message = f"{name}: is a pipe, which can be read once only; feed it to standard input (-)"
        raise ExportError(message)
    digest = hashlib.sha256()
    size = 0
    head = b""
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_READ_BYTES):
                head = head or chunk
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        message = f"{name}: can't be read: {error.strerror or error}"
        raise ExportError(message) from error
    return Export(name, path, _form_of(name, head), digest.hexdigest(), size)


def reopen(export: Export) -> BinaryIO:
    """Open *export* for reading a second time.

    Raises:
        ExportError: it can't be opened any more.
    """
    try:
        return export.path.open("rb")
    except OSError as error:
        message = f"{export.name}: can't be read: {error.strerror or error}"
        raise ExportError(message) from error


def _form_of(name: str, head: bytes) -> Form:
    for magic, form, remedy in _FOREIGN_FORMS:
        if head.startswith(magic):
            message = f"{name}: this is {form}, which can't be read here; {remedy}"
            raise ExportError(message)
    text = head.removeprefix(UTF8_BOM).lstrip(b" \t\r\n")
    return Form.JSON_LINES if text.startswith(b"{") else Form.CSV
