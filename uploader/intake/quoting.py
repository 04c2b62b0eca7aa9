"""The reference reader of delimited text: careful, line by line, and never guessing.

The fast reader (:mod:`uploader.intake.delimited`) takes the stretches in which nothing is
odd; whatever is odd comes here, and what this module says is what counts.

A quote opens a field only at the field's very beginning. Trouble begins where a quoted
field doesn't end as it should, and the rule is then to lose as few lines as possible
without ever delivering a record that might be made of pieces:

* text follows the closing quote on the same line: that line is rejected;
* it follows on a later line: the opening line is rejected; the lines between are judged
  on their own when each of them reads as a record of the header's width, else they are
  rejected too; the line with the text is judged on its own;
* the quote is never closed: the opening line is rejected, the others judged on their own
  (a quote that isn't closed within MAX_RECORD_BYTES counts as never closed);
* it is closed, but the lines it spans also read as records of their own: two readings, so
  all of them are rejected.

After such trouble, until a line reads without any oddness, and on the line on which the
failed field ended, a quote in mid-field is taken for a piece of it. Elsewhere such a quote
is data: ``5" pipe`` has one reading.

The time it takes is linear in the bytes, and nothing depends on how they are cut into
stretches.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from uploader.limits import MAX_RECORD_BYTES
from uploader.model import Reason

QUOTE = b'"'
_DOUBLED = b'""'
# Possessive, so that nothing is tried twice; a loop in Python would take a step a quote.
_CLOSING_QUOTE = re.compile(rb'[^"]*+(?:""[^"]*+)*+"')


@dataclass(frozen=True)
class Row:
    """A record of the right width: its line, its fields without their quotes."""

    line: int
    fields: list[bytes]
    raw: bytes


@dataclass(frozen=True)
class Odd:
    """Text that is no record."""

    line: int
    raw: bytes
    reason: Reason
    detail: str


class _End(Enum):
    CLEAN = auto()
    LOOSE_QUOTE = auto()  # a quote inside a field that didn't begin with one
    SPACED_QUOTE = auto()  # a field that begins with spaces and then a quote
    STRAY_RETURN = auto()  # a carriage return outside quotes that doesn't end the line
    TEXT_AFTER_QUOTE = auto()
    UNCLOSED = auto()


@dataclass(frozen=True)
class _Read:
    fields: list[bytes]
    end: int
    how: _End


class CarefulReader:
    """Reads rows of *width* fields out of stretches of whole lines."""

    def __init__(self, delimiter: bytes, width: int | None) -> None:
        """With *width* None, any width is right: the header itself is read so."""
        self._delimiter = delimiter
        self._width = width
        self._suspicious = False
        # Lines up to here are read alone: a failed quoted field spans them, and a quote
        # that one of them leaves open would meet the same bad end. To walk there again
        # from each of them would take quadratic time.
        self._alone_until = 0
        self.consumed = 0
        self.lines = 0

    def forget_trouble(self) -> None:
        """A line was read elsewhere, without any oddness: what comes next is judged afresh."""
        self._suspicious = False

    def rows(self, data: bytes, line: int, *, final: bool) -> Iterator[Row | Odd]:
        """Every record of *data*, good or odd, in order.

        Stops before a quoted field that may be closed by what comes after *data*, unless
        *final*. Afterwards ``consumed`` and ``lines`` tell how far it came.
        """
        position = 0
        first_line = line
        self._alone_until = 0
        self.consumed = self.lines = 0
        while position < len(data):
            newline = data.find(b"\n", position)
            line_end = len(data) if newline < 0 else newline + 1
            text = _without_line_end(data[position:line_end])
            if not text:
                position, line = line_end, line + 1
            elif QUOTE not in text:
                how = _End.STRAY_RETURN if b"\r" in text else _End.CLEAN
                yield self._judge(text, text.split(self._delimiter), line, how)
                position, line = line_end, line + 1
            else:
                if position == self._alone_until > 0:
                    self._suspicious = True  # here the failed field ended
                alone = line_end <= self._alone_until
                read = self._read(data, position, line_end if alone else len(data))
                if read.how is _End.UNCLOSED and not (
                    alone or final or len(data) - position > MAX_RECORD_BYTES
                ):
                    break
                stop = position
                for item, end in self._settle(data, position, line, line_end, read):
                    yield item
                    stop = end
                line += data.count(b"\n", position, stop)
                position = stop
            self.consumed, self.lines = position, line - first_line
        self.consumed, self.lines = position, line - first_line

    def _settle(
        self, data: bytes, start: int, line: int, line_end: int, read: _Read
    ) -> Iterator[tuple[Row | Odd, int]]:
        """What the lines from *start* are, each with where the next record begins."""
        if read.how is _End.UNCLOSED:
            self._alone_until = max(self._alone_until, min(start + MAX_RECORD_BYTES, read.end))
            first = _without_line_end(data[start:line_end])
            yield self._trouble(line, first, "a quote that is never closed"), line_end
        elif read.how is _End.TEXT_AFTER_QUOTE:
            first = _without_line_end(data[start:line_end])
            yield self._trouble(line, first, "text after a closing quote"), line_end
            inner = self._lines(data, line_end, read.end, line + 1)
            if all(self._reads_as_record(text) for _, text, _ in inner):
                self._alone_until = max(self._alone_until, read.end)
                return
            detail = f"inside the quotes that were opened on line {line:,} and ended badly"
            for number, text, end in inner:
                yield self._trouble(number, text, detail), end
        elif read.end > line_end and self._has_two_readings(data, start, read.end):
            detail = f"quoted text from line {line:,} on whose lines also read as records"
            for number, text, end in self._lines(data, start, read.end, line):
                yield self._trouble(number, text, detail), end
        else:
            raw = _without_line_end(data[start : read.end])
            yield self._judge(raw, read.fields, line, read.how), read.end

    def _judge(self, raw: bytes, fields: list[bytes], line: int, how: _End) -> Row | Odd:
        if how is _End.SPACED_QUOTE:
            return self._trouble(line, raw, "a quote after spaces at the start of a field")
        if how is _End.LOOSE_QUOTE and self._suspicious:
            return self._trouble(line, raw, "a quote in mid-field, right after other trouble")
        if how is _End.STRAY_RETURN:
            detail = "a carriage return that doesn't end the line"
            return Odd(line, raw, Reason.STRAY_CARRIAGE_RETURN, detail)
        if self._width is not None and len(fields) != self._width:
            many = len(fields) > self._width
            reason = Reason.TOO_MANY_COLUMNS if many else Reason.TOO_FEW_COLUMNS
            return Odd(line, raw, reason, f"expected {self._width} columns, found {len(fields)}")
        self._suspicious = False
        return Row(line, fields, raw)

    def _trouble(self, line: int, raw: bytes, detail: str) -> Odd:
        self._suspicious = True
        return Odd(line, raw, Reason.BAD_QUOTING, detail)

    def _read(self, data: bytes, start: int, limit: int) -> _Read:
        """Walk the fields of the record at *start*; ``end`` is where the next begins.

        Nothing from *limit* (a line's end) on is looked at. For text after a closing
        quote, ``end`` is where that line begins.
        """
        fields: list[bytes] = []
        position = start
        how = _End.CLEAN
        while True:
            if data.startswith(QUOTE, position, limit):
                reach = min(limit, start + MAX_RECORD_BYTES + 1)
                close = _closing_quote(data, position + 1, reach)
                if close < 0:
                    return _Read(fields, limit, _End.UNCLOSED)
                fields.append(data[position + 1 : close].replace(_DOUBLED, QUOTE))
                position = close + 1
                if ended := _line_end_at(data, position):
                    return _Read(fields, ended, how)
                if not data.startswith(self._delimiter, position):
                    line_start = data.rfind(b"\n", start, close) + 1
                    return _Read(fields, max(line_start, start), _End.TEXT_AFTER_QUOTE)
                position += 1
                continue
            field, position, ended = self._unquoted(data, position, limit)
            how = _worse(how, field)
            fields.append(field)
            if how is _End.SPACED_QUOTE or ended:
                newline = data.find(b"\n", position, limit)
                return _Read(fields, ended or (newline + 1 or limit), how)

    def _unquoted(self, data: bytes, start: int, limit: int) -> tuple[bytes, int, int]:
        """A field without quotes: its bytes, where the next begins, where the line ends if here."""
        newline = data.find(b"\n", start, limit)
        stop = limit if newline < 0 else newline
        delimiter = data.find(self._delimiter, start, stop)
        if delimiter >= 0:
            return data[start:delimiter], delimiter + 1, 0
        end = limit if newline < 0 else newline + 1
        return _without_line_end(data[start:end]), end, end

    def _has_two_readings(self, data: bytes, start: int, end: int) -> bool:
        lines = [text for _, text, _ in self._lines(data, start, end, 0)]
        inner = lines[1:-1] or lines
        return all(map(self._reads_as_record, inner))

    def _reads_as_record(self, text: bytes) -> bool:
        """Whether one line, taken alone, has the header's width."""
        read = self._read(text, 0, len(text))
        if read.how in (_End.CLEAN, _End.LOOSE_QUOTE):
            return len(read.fields) == self._width
        return text.count(self._delimiter) + 1 == self._width

    def _lines(self, data: bytes, start: int, end: int, line: int) -> list[tuple[int, bytes, int]]:
        """The lines from *start* to *end* that aren't blank: number, text, where it ends."""
        found = []
        while start < end:
            newline = data.find(b"\n", start, end)
            stop = end if newline < 0 else newline + 1
            if text := _without_line_end(data[start:stop]):
                found.append((line, text, stop))
            start, line = stop, line + 1
        return found


def _without_line_end(text: bytes) -> bytes:
    if text.endswith(b"\n"):
        return text[:-1].removesuffix(b"\r")
    return text


def _line_end_at(data: bytes, position: int) -> int:
    """Where the next line begins if the line ends at *position*, else 0."""
    if position == len(data):
        return position
    if data.startswith(b"\n", position):
        return position + 1
    if data.startswith(b"\r\n", position):
        return position + 2
    return 0


def _closing_quote(data: bytes, position: int, limit: int) -> int:
    """Find the next quote that isn't doubled, before *limit*; -1 if there is none."""
    found = _CLOSING_QUOTE.match(data, position, limit)
    if found is None or data.startswith(QUOTE, found.end()):
        return -1  # the second half of a doubled quote may lie behind the limit
    return found.end() - 1


def _worse(how: _End, field: bytes) -> _End:
    """What a record is that was *how* so far, now that *field* is read."""
    if how is _End.STRAY_RETURN or b"\r" in field:
        return _End.STRAY_RETURN
    if QUOTE not in field:
        return how
    return _End.SPACED_QUOTE if field.lstrip(b" \t").startswith(QUOTE) else _End.LOOSE_QUOTE
