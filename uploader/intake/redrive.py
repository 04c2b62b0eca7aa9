"""Dead letters read back as records: mended ones, raw ones, and updates as they were."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from uploader.errors import ExportError
from uploader.intake.jsonlines import (
    JsonText,
    Record,
    UnreadableObjectError,
    read_object,
    text_of,
)
from uploader.intake.locations import Form
from uploader.intake.quoting import CarefulReader, Odd
from uploader.model import Extent, Mapping, Reason, Rejected

_LETTERS_AT_ONCE: Final = 5_000


@dataclass(frozen=True)
class Undelivered:
    """An update as its letter has it: final names, nothing left to map."""

    number: int
    line: int | None
    identity: str
    attributes: dict[str, str]


@dataclass(frozen=True)
class LetterSource:
    """An export that letters came from: how its raw text is to be read."""

    form: Form
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Letters:
    """A dead-letter file: its first line, read and checked."""

    path: Path
    run: str | None
    mapping: Mapping
    delimiter: str
    route: dict[str, Any]
    sources: dict[str, LetterSource]


Letter = Record | Rejected | Undelivered


def open_letters(path: Path) -> Letters:
    """Read the first line of a dead-letter file.

    Raises:
        ExportError: it can't be read, or isn't a dead-letter file.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            head = json.loads(lines.readline())
        if head["dead_letters"] != 1:
            raise ValueError("of a version that is not known here")  # noqa: TRY301
        return Letters(
            path,
            head["run"],
            Mapping.from_json(head["mapping"]),
            str(head["dialect"]["delimiter"]),
            dict(head["route"]),
            {
                str(source["name"]): LetterSource(Form(source["form"]), tuple(source["columns"]))
                for source in head["sources"]
            },
        )
    except OSError as error:
        raise ExportError(f"{path}: can't be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        message = f"{path}: not a dead-letter file of this program (first line: {error})"
        raise ExportError(message) from error


def letter_runs(letters: Letters) -> Iterator[tuple[str, list[Letter]]]:
    """The letters in order, in runs of one source and one kind, each with its source."""
    for chunk in _chunks(_read(letters)):
        for key, run in groupby(chunk, key=lambda pair: (pair[0], isinstance(pair[1], Undelivered))):
            yield key[0], [letter for _, letter in run]


def _chunks(letters: Iterator[tuple[str, Letter]]) -> Iterator[list[tuple[str, Letter]]]:
    chunk = []
    for letter in letters:
        chunk.append(letter)
        if len(chunk) >= _LETTERS_AT_ONCE:
            yield chunk
            chunk = []
    yield chunk


def _read(letters: Letters) -> Iterator[tuple[str, Letter]]:
    with letters.path.open("rb") as lines:
        next(lines)
        for number, line in enumerate(lines, 2):
            if line.strip():
                where = f"{letters.path}, line {number:,}"
                yield _one(letters, line, number - 1, where)


def _one(letters: Letters, line: bytes, number: int, where: str) -> tuple[str, Letter]:
    try:
        data = json.loads(line, parse_int=JsonText, parse_float=JsonText)
        source = str(data["source"])
        place = None if data["line"] is None else int(data["line"])
        if data["kind"] == "undelivered":
            fields = {str(key): text_of(value) for key, value in data["attributes"].items()}
            identity = text_of(data["identity"]["value"])
            return source, Undelivered(number, place, identity, fields)
        number = int(data["record_number"])
        return source, _rejected(letters, data, source, number, place)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        message = f"{where}: this letter can't be read ({type(error).__name__}: {error}); mend or remove it"
        raise ExportError(message) from error


def _rejected(
    letters: Letters, data: dict[str, Any], source: str, number: int, line: int | None
) -> Record | Rejected:
    if data["record"] is not None:
        record = {str(key): text_of(value) for key, value in data["record"].items()}
        return Record(number, line, record)
    if data["raw"] is not None:
        raw = str(data["raw"]).encode()
    elif "raw_base64" in data:
        raw = base64.b64decode(data["raw_base64"], validate=True)
    else:
        extent = Extent(int(data["offset"]), int(data["length"]), str(data["sha256"]))
        return Rejected(Reason(data["reason"]), data["detail"], source, number, line, extent=extent)
    about = letters.sources[source]
    if about.form is Form.JSON_LINES:
        try:
            return Record(number, line, read_object(raw))
        except UnreadableObjectError as error:
            return Rejected(error.reason, error.detail, source, number, line, raw=raw)
    return _row(about.columns, letters.delimiter, raw, source, number, line)


def _row(
    columns: Sequence[str],
    delimiter: str,
    raw: bytes,
    source: str,
    number: int,
    line: int | None,
) -> Record | Rejected:
    careful = CarefulReader(delimiter.encode(), len(columns))
    rows = list(careful.rows(raw, line or 1, final=True))
    if len(rows) != 1:
        detail = f"the raw text holds {len(rows)} records"
        return Rejected(Reason.BAD_QUOTING, detail, source, number, line, raw=raw)
    row = rows[0]
    if isinstance(row, Odd):
        return Rejected(row.reason, row.detail, source, number, line, raw=raw)
    try:
        cells = [field.decode() for field in row.fields]
    except UnicodeDecodeError:
        detail = "bytes that are not UTF-8"
        return Rejected(Reason.BAD_ENCODING, detail, source, number, line, raw=raw)
    return Record(number, line, dict(zip(columns, cells, strict=True)))
