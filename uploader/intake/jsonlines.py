"""JSON Lines: one object a line, and every value's text as it was written.

Nested objects become dotted names. Numbers, booleans and arrays keep their text, without
the white space between an array's tokens; a string is what it spells; null is "no value".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from uploader.intake.locations import UTF8_BOM
from uploader.intake.stretches import (
    OversizedLine,
    StretchReader,
    reject_oversized,
)
from uploader.model import Reason, Rejected

# Small stretches: keys may differ from line to line, and a block has a column for each.
STRETCH_BYTES: Final = 1 << 20

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')


class JsonText(str):
    """A number or word of JSON, as it was written."""

    __slots__ = ()


@dataclass(frozen=True)
class Record:
    """One object, flattened: names to texts, in the order of the line."""

    number: int
    line: int | None
    fields: dict[str, str]


class JsonLinesReader:
    """One export's records."""

    def __init__(self, stream: BinaryIO, name: str, *, stretch_bytes: int = STRETCH_BYTES) -> None:
        """Start at the beginning of *stream*."""
        self._name = name
        bom = stream.read(len(UTF8_BOM)) == UTF8_BOM
        stream.seek(0)
        self._reader = StretchReader(
            stream, name, skip_bytes=len(UTF8_BOM) if bom else 0, stretch_bytes=stretch_bytes
        )
        self._number = 0

    @property
    def sha256(self) -> str:
        """The hash of what was read, to be compared with what was seen before."""
        return self._reader.sha256

    def stretches(self) -> Iterator[list[Record | Rejected]]:
        """The records, in order, a stretch at a time."""
        for stretch in self._reader:
            if isinstance(stretch, OversizedLine):
                self._number += 1
                yield [reject_oversized(stretch, self._name, self._number)]
                continue
            lines = stretch.data.split(b"\n")
            if not lines[-1]:
                lines.pop()
            yield list(self._records(lines, stretch.line))
            self._reader.consume(len(stretch.data), stretch.data.count(b"\n"))

    def _records(self, lines: list[bytes], first_line: int) -> Iterator[Record | Rejected]:
        for line, raw in enumerate(lines, first_line):
            if not raw.strip(b" \t\r"):
                continue
            self._number += 1
            try:
                fields = read_object(raw.removesuffix(b"\r"))
            except UnreadableObjectError as error:
                yield Rejected(
                    error.reason,
                    error.detail,
                    self._name,
                    self._number,
                    line,
                    raw=raw.removesuffix(b"\r"),
                )
            else:
                yield Record(self._number, line, fields)


class UnreadableObjectError(Exception):
    """A line that isn't one JSON object with one reading."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """*detail* holds nothing of the line's values."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def read_object(raw: bytes) -> dict[str, str]:
    """One line's object as names and texts.

    Raises:
        UnreadableObjectError: ``bad_encoding``, ``bad_json`` or ``name_collision``.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        detail = f"a byte that is not UTF-8, {error.start:,} bytes into the line"
        raise UnreadableObjectError(Reason.BAD_ENCODING, detail) from error
    try:
        return _read_text(text)
    except json.JSONDecodeError as error:
        detail = f"{error.msg}, at character {error.pos + 1:,}"
        raise UnreadableObjectError(Reason.BAD_JSON, detail) from error
    except UnicodeEncodeError as error:
        detail = "half of a surrogate pair, which no UTF-8 can carry"
        raise UnreadableObjectError(Reason.BAD_JSON, detail) from error
    except RecursionError as error:
        raise UnreadableObjectError(Reason.BAD_JSON, "nested too deeply") from error


def _read_text(text: str) -> dict[str, str]:
    parsed = _DECODER.decode(text)
    if not isinstance(parsed, _Pairs):
        detail = "not an object; each line has to be one object"
        raise UnreadableObjectError(Reason.BAD_JSON, detail)
    if "\\u" in text:
        json.dumps(parsed, ensure_ascii=False).encode()  # half a surrogate pair raises here
    if "[" in text:
        parsed = _with_arrays_as_written(text)
    fields: dict[str, str] = {}
    _flatten(parsed, "", fields)
    return fields


class _Pairs(list[tuple[str, Any]]):
    """An object's members in order; not a list of JSON."""


def _members(pairs: list[tuple[str, Any]]) -> _Pairs:
    if len({name for name, _ in pairs}) != len(pairs):
        raise UnreadableObjectError(Reason.BAD_JSON, "an object with the same key twice")
    return _Pairs(pairs)


def _no_constant(name: str) -> Any:
    raise UnreadableObjectError(Reason.BAD_JSON, f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members,
    parse_float=JsonText,
    parse_int=JsonText,
    parse_constant=_no_constant,
)


def _flatten(members: _Pairs, prefix: str, fields: dict[str, str]) -> None:
    for key, value in members:
        name = prefix + key
        if isinstance(value, _Pairs):
            _flatten(value, name + ".", fields)
            continue
        if name in fields:
            detail = "a dotted key and a nested one with the same name"
            raise UnreadableObjectError(Reason.NAME_COLLISION, detail)
        fields[name] = text_of(value)


def text_of(value: Any) -> str:
    """The text that a decoded value stands for; null is the empty one.

    Raises:
        TypeError: *value* is an array or an object.
    """
    match value:
        case str():
            return str(value)
        case None:
            return ""
        case True:
            return "true"
        case False:
            return "false"
    message = f"a decoded JSON value of type {type(value).__name__}"
    raise TypeError(message)


def _with_arrays_as_written(text: str) -> _Pairs:
    """The object once more, arrays as the text between their brackets.

    *text* is known to be one valid object, so its tokens can be walked without checks.
    """
    tokens = _TOKEN.findall(text)
    members, _ = _walk_object(tokens, 1)
    return members


def _walk_object(tokens: list[str], position: int) -> tuple[_Pairs, int]:
    """The members from after a ``{`` on, and where the object ends."""
    members = _Pairs()
    while tokens[position] != "}":
        if tokens[position] == ",":
            position += 1
        key = json.loads(tokens[position])
        position += 2
        start = tokens[position]
        value: Any
        if start == "{":
            value, position = _walk_object(tokens, position + 1)
        elif start == "[":
            end = _end_of_array(tokens, position)
            value = "".join(tokens[position:end])
            position = end
        else:
            value = _DECODER.decode(start)
            position += 1
        members.append((key, value))
    return members, position + 1


def _end_of_array(tokens: list[str], position: int) -> int:
    depth = 0
    while True:
        depth += {"[": 1, "]": -1}.get(tokens[position], 0)
        position += 1
        if not depth:
            return position
