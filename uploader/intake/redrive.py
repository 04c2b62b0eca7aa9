"""Dead letters read back as records: mended ones, raw ones, and updates as they were."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
_BYTES_AT_ONCE: Final = 8 << 20


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
            raise ValueError("of a version that is not known here")
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
    for chunk in _chunks(letters):
        for (source, _), run in groupby(chunk, key=_source_and_kind):
            yield source, [letter for _, letter in run]


def _source_and_kind(pair: tuple[str, Letter]) -> tuple[str, bool]:
    return pair[0], isinstance(pair[1], Undelivered)


def _chunks(letters: Letters) -> Iterator[list[tuple[str, Letter]]]:
    """The letters, as many at a time as memory may hold."""
    chunk: list[tuple[str, Letter]] = []
    held_bytes = 0
    with letters.path.open("rb") as lines:
        next(lines)
        for number, line in enumerate(lines, 1):
            if line.strip():
                chunk.append(_one(letters, line, number))
                held_bytes += len(line)
            if len(chunk) >= _LETTERS_AT_ONCE or held_bytes >= _BYTES_AT_ONCE:
                yield chunk
                chunk, held_bytes = [], 0
    yield chunk


def _one(letters: Letters, line: bytes, number: int) -> tuple[str, Letter]:
    try:
        data = json.loads(line.decode(), parse_int=JsonText, parse_float=JsonText)
        if b"\\u" in line:
            json.dumps(data, ensure_ascii=False).encode()  # half a surrogate pair raises here
        source = str(data["source"])
        place = None if data["line"] is None else int(data["line"])
        if data["kind"] == "undelivered":
            fields = {str(key): text_of(value) for key, value in data["attributes"].items()}
            identity = text_of(data["identity"]["value"])
            return source, Undelivered(number, place, identity, fields)
        return source, _rejected(letters, data, source, place)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        # Only the kind of error: its text may hold a value.
        message = f"{letters.path}, line {number + 1:,}: this letter can't be read"
        raise ExportError(f"{message} ({type(error).__name__}); mend or remove it") from error


def _rejected(
    letters: Letters, data: dict[str, Any], source: str, line: int | None
) -> Record | Rejected:
    number = int(data["record_number"])
    if data["record"] is not None:
        record = {str(key): text_of(value) for key, value in data["record"].items()}
        return Record(number, line, record)
    reason = Reason(data["reason"])
    again = Rejected(reason, str(data["detail"]), source, number, line)
    if data["raw"] is not None:
        again = replace(again, raw=str(data["raw"]).encode())
    elif "raw_base64" in data:
        again = replace(again, raw=base64.b64decode(data["raw_base64"], validate=True))
    else:
        extent = Extent(int(data["offset"]), int(data["length"]), str(data["sha256"]))
        return replace(again, extent=extent)
    about = letters.sources[source]
    if about.form is Form.JSON_LINES:
        return _object(again)
    return _row(about.columns, letters.delimiter, again)


def _object(letter: Rejected) -> Record | Rejected:
    """The letter's raw text read as JSON; rejected anew where that fails."""
    try:
        return Record(letter.record_number, letter.line, read_object(letter.raw or b""))
    except UnreadableObjectError as error:
        return replace(letter, reason=error.reason, detail=error.detail)


def _row(columns: Sequence[str], delimiter: str, letter: Rejected) -> Record | Rejected:
    """The letter's raw text read as a row; rejected anew where that fails.

    Raw text that was ambiguous stays so: what made it ambiguous were the lines around it,
    which are not here. Only a ``record`` written by hand settles it.
    """
    careful = CarefulReader(delimiter.encode(), len(columns))
    rows = list(careful.rows(letter.raw or b"", letter.line or 1, final=True))
    if len(rows) != 1:
        detail = f"the raw text holds {len(rows)} records"
        return replace(letter, reason=Reason.BAD_QUOTING, detail=detail)
    row = rows[0]
    if isinstance(row, Odd):
        return replace(letter, reason=row.reason, detail=row.detail)
    if letter.reason is Reason.BAD_QUOTING:
        return letter
    try:
        cells = [field.decode() for field in row.fields]
    except UnicodeDecodeError:
        return replace(letter, reason=Reason.BAD_ENCODING, detail="bytes that are not UTF-8")
    return Record(letter.record_number, letter.line, dict(zip(columns, cells, strict=True)))
