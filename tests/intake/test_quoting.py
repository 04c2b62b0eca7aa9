"""Quotes: one reading or none. The design's ambiguous cases, and properties of any bytes."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uploader.errors import ExportError
from uploader.intake.delimited import DelimitedReader
from uploader.intake.quoting import CarefulReader, Odd, Row
from uploader.limits import MAX_RECORD_BYTES

from .exports import outcomes

_PIECES = [
    b'"',
    b'"',
    b",",
    b",",
    b"\n",
    b"\n",
    b"\r\n",
    b"\r",
    b"a",
    b" ",
    b'""',
    b'"x"',
    b',"',
    b'",',
    b'"\n',
    b'\n"',
    b'"\r\n',
    b"\xc3\xa9",
    b"\xff",
    b"\xef\xbb\xbf",
    b"1,b\n",
    b'1,"b"\n',
    b'x","\n',
    b'1,"b\nc"\n',
    b"\x00",
    b"\t",
]
_cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters='\r\n"'), max_size=5)
soups = st.lists(st.sampled_from(_PIECES), max_size=40).map(b"".join) | st.binary(max_size=60)


def read(text: str, width: int = 2) -> list[Row | Odd]:
    """All records of *text*, of which line 1 is the first."""
    return list(CarefulReader(b",", width).rows(text.encode(), 1, final=True))


def told(text: str, width: int = 2) -> list[tuple[int, object]]:
    """Lines, each with a good record's fields or the raw text of a bad_quoting one."""
    found: list[tuple[int, object]] = []
    for item in read(text, width):
        if isinstance(item, Row):
            found.append((item.line, [field.decode() for field in item.fields]))
        else:
            assert item.reason.value == "bad_quoting"
            found.append((item.line, item.raw.decode()))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('1,"a"b\n2,c\n', [(1, '1,"a"b'), (2, ["2", "c"])]),
        ('1,"a\n2,c\n3,d\n', [(1, '1,"a'), (2, ["2", "c"]), (3, ["3", "d"])]),
        ('1,"a\n2,c\n3,d"\n4,e\n', [(1, '1,"a'), (2, "2,c"), (3, '3,d"'), (4, ["4", "e"])]),
        ('1,"a\n2,b"\n3,c\n', [(1, '1,"a'), (2, '2,b"'), (3, ["3", "c"])]),
        ('1,"a\nb\nc"\n', [(1, ["1", "a\nb\nc"])]),
        ('1,"a\nb,c\nd\ne"\n', [(1, ["1", "a\nb,c\nd\ne"])]),
        ('1,"a\n2,b\n3,"c"\n', [(1, '1,"a'), (2, ["2", "b"]), (3, ["3", "c"])]),
        ('1,"a\nb\n3,"c"\n', [(1, '1,"a'), (2, "b"), (3, ["3", "c"])]),
        (
            '1,"a\n2,b\n3,c" d\n4,e\n',
            [(1, '1,"a'), (2, ["2", "b"]), (3, '3,c" d'), (4, ["4", "e"])],
        ),
        ('1, "a"\n2,b\n', [(1, '1, "a"'), (2, ["2", "b"])]),
        ('1,5" pipe\n', [(1, ["1", '5" pipe'])]),
        (
            '1,"x"y\n2,5" pipe\n3,a\n4,5" pipe\n',
            [(1, '1,"x"y'), (2, '2,5" pipe'), (3, ["3", "a"]), (4, ["4", '5" pipe'])],
        ),
        ('1,""""\n2,"a""b"\n3,""\n', [(1, ["1", '"']), (2, ["2", 'a"b']), (3, ["3", ""])]),
        ('1,"a\n\nb"\n', [(1, ["1", "a\n\nb"])]),
    ],
    ids=[
        "text after the quote",
        "never closed",
        "inner line reads as a record",
        "both lines read as records",
        "plain multi-line",
        "one inner line reads as a record",
        "closed by the next opening",
        "closed badly, inner line no record",
        "text on a later line",
        "space before the quote",
        "a quote in mid-field",
        "a quote in mid-field after trouble",
        "doubled quotes",
        "a blank line inside",
    ],
)
def test_a_quote_has_one_reading_or_its_lines_are_rejected(
    text: str, expected: list[tuple[int, object]]
) -> None:
    """The rule of the house, case by case."""
    assert told(text) == expected


def test_a_multi_line_record_of_the_wrong_width_is_one_rejected_record() -> None:
    """Its raw text is all of its lines, without the last line's end."""
    (item,) = read('1,"a\r\nb",c,d\r\n')
    assert isinstance(item, Odd)
    assert (item.line, item.reason.value, item.raw) == (1, "too_many_columns", b'1,"a\r\nb",c,d')


def test_a_quote_open_for_longer_than_a_record_may_be_was_never_closed() -> None:
    """A stray quote doesn't join records that are megabytes apart."""
    line = "2," + "b" * 998 + "\n"
    count = MAX_RECORD_BYTES // len(line) + 1
    got = told('1,"a\n' + line * count + '3,c"\n')
    assert got[0] == (1, '1,"a')
    assert len(got) == count + 2
    assert got[-1] == (count + 2, ["3", 'c"'])


def test_many_lines_that_each_leave_a_quote_open_are_walked_once() -> None:
    """Each is rejected by itself; a reader that starts anew from each would take hours."""
    count = 60_000
    got = told('x","\n' * count + '"x"y\n')
    assert got == [(n, 'x","') for n in range(1, count + 1)] + [(count + 1, '"x"y')]


def test_a_clean_stretch_ends_suspicion_as_clean_lines_do() -> None:
    """The fast reader's lines count, too: cutting differently changes nothing."""
    data = b'id,x\n1,"x"y\n2,a\n3,b\n4,5" pipe\n'
    whole = outcomes(data, 1 << 20)
    assert whole[-1] == (4, 5, ("4", '5" pipe'))
    for size in range(1, len(data)):
        assert outcomes(data, size) == whole


@settings(max_examples=400, deadline=None)
@given(soup=soups)
def test_every_line_belongs_to_exactly_one_record(soup: bytes) -> None:
    """Raw texts, in order, are the lines that aren't blank; each begins where it says."""
    lines = soup.split(b"\n")
    ended = [line.removesuffix(b"\r") for line in lines[:-1]]
    ended += lines[-1:]  # no line end, so a carriage return there is text
    expected = [(number, text) for number, text in enumerate(ended, 1) if text]
    found = []
    for item in CarefulReader(b",", 2).rows(soup, 1, final=True):
        parts = item.raw.split(b"\n")
        inner = [part.removesuffix(b"\r") for part in parts[:-1]] + parts[-1:]
        found += [(item.line + offset, text) for offset, text in enumerate(inner) if text]
    assert found == expected


@settings(max_examples=400, deadline=None)
@given(soup=soups, stretch_bytes=st.integers(1, 80), delimiter=st.sampled_from(",; \t|"))
def test_the_fast_reader_finds_what_the_careful_one_finds(
    soup: bytes, stretch_bytes: int, delimiter: str
) -> None:
    """On any bytes, cut anywhere: the same records, numbers, lines, reasons and texts."""
    soup = soup.replace(b",", delimiter.encode())
    data = f"id{delimiter}x\n".encode() + soup
    expected: list[tuple[object, ...]] = []
    for number, item in enumerate(
        CarefulReader(delimiter.encode(), 2).rows(soup, 2, final=True), 1
    ):
        if isinstance(item, Odd):
            expected.append((number, item.line, item.reason.value, item.detail, item.raw))
            continue
        try:
            row = tuple(field.decode() for field in item.fields)
            expected.append((number, item.line, row))
        except UnicodeDecodeError:
            expected.append((number, item.line, "bad_encoding", item.raw))
    for size in (stretch_bytes, 1 << 20):
        got = outcomes(data, size, delimiter)
        assert [
            (*item[:3], item[4]) if item[2] == "bad_encoding" else item for item in got
        ] == expected


@settings(max_examples=200, deadline=None)
@given(
    cells=st.lists(st.tuples(_cells, _cells, _cells), max_size=20),
    quoted=st.booleans(),
    stretch_bytes=st.integers(1, 200),
)
def test_plain_files_of_any_width_read_alike(
    cells: list[tuple[str, str, str]], quoted: bool, stretch_bytes: int
) -> None:
    """Files that the fast reader takes whole, so that it is what is compared."""
    mark = '"' if quoted else ""
    rows = [[cell if quoted else cell.replace(",", ";") for cell in row] for row in cells]
    lines = [",".join(f"{mark}{cell}{mark}" for cell in row) for row in rows]
    data = ("a,b,c\n" + "".join(f"{line}\n" for line in lines)).encode()
    expected = [(n, n + 1, tuple(row)) for n, row in enumerate(rows, 1)]
    assert outcomes(data, stretch_bytes) == outcomes(data, 1 << 20) == expected


@settings(max_examples=200, deadline=None)
@given(soup=soups, stretch_bytes=st.integers(1, 50))
def test_a_header_is_found_or_refused_wherever_the_file_is_cut(
    soup: bytes, stretch_bytes: int
) -> None:
    """Bytes without any known header, too: the same answer for every cut."""

    def answer(size: int) -> object:
        try:
            return DelimitedReader(io.BytesIO(soup), "x", ",", stretch_bytes=size).columns
        except ExportError as error:
            return str(error)

    assert answer(stretch_bytes) == answer(1 << 20)
