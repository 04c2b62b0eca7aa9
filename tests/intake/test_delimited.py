"""CSV and its kin: forms, places, reasons."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from uploader.errors import ExportError
from uploader.intake.delimited import DelimitedReader
from uploader.intake.locations import inspect
from uploader.intake.reading import Reading
from uploader.limits import MAX_RECORD_BYTES
from uploader.model import Mapping

from .exports import outcomes, read_export


@pytest.mark.parametrize("delimiter", [" ", "\t", ";", "|", ",", "\x1f", "a"])
def test_any_one_byte_delimiter_divides_columns(tmp_path: Path, delimiter: str) -> None:
    """Quoted cells may hold the delimiter itself."""
    text = 'id,x,y\n1,"p,q",r\n2,"",s\n'.replace(",", delimiter)
    got = read_export(tmp_path, text.encode(), delimiter=delimiter)
    assert [row[2:] for row in got.used] == [
        ("1", {"x": f"p{delimiter}q", "y": "r"}),
        ("2", {"x": "", "y": "s"}),
    ]
    assert not got.rejected


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_both_line_ends_are_read_with_and_without_the_last(
    tmp_path: Path, end: str, last: bool
) -> None:
    """LF and CRLF, with or without one at the end of the file."""
    text = end.join(["id,x", "1,a", "2,b"]) + (end if last else "")
    got = read_export(tmp_path, text.encode())
    assert got.used == [(1, 2, "1", {"x": "a"}), (2, 3, "2", {"x": "b"})]


def test_places_hold_across_blank_lines_multi_line_fields_and_crlf(tmp_path: Path) -> None:
    """Numbers count records, lines are physical, blank lines are not read."""
    data = (
        b"\xef\xbb\xbf\r\n"
        b'"id","note"\r\n'
        b"1,a\r\n"
        b"\r\n"
        b'2,"two\r\nlines here\r\n\r\nof ""it"""\r\n'
        b"3\r\n"
        b"\n"
        b"4,d,e\n"
        b"5,last"
    )
    got = read_export(tmp_path, data)
    assert got.used == [
        (1, 3, "1", {"note": "a"}),
        (2, 5, "2", {"note": 'two\r\nlines here\r\n\r\nof "it"'}),
        (5, 12, "5", {"note": "last"}),
    ]
    assert got.reasons == [("too_few_columns", 3, 9, b"3"), ("too_many_columns", 4, 11, b"4,d,e")]
    assert got.read == 5


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\n\r\n\n"])
def test_an_empty_export_holds_nothing_and_is_told(tmp_path: Path, data: bytes) -> None:
    """Not an error: nothing is read, and a word says so."""
    got = read_export(tmp_path, data)
    assert (got.read, got.used, got.rejected) == (0, [], [])
    assert got.reading.checks.cautions.lines() == [
        "export without a header or a record: 1 (first at 0.txt)"
    ]


def test_a_header_alone_holds_no_record(tmp_path: Path) -> None:
    """Read 0, and a word about it: a till that sold nothing, or an export gone wrong."""
    got = read_export(tmp_path, b"id,x\r\n")
    assert (got.read, got.used, got.rejected) == (0, [], [])
    assert got.reading.columns == {"0.txt": ("id", "x")}
    assert got.reading.checks.cautions.lines() == [
        "export with a header and no record: 1 (first at 0.txt)"
    ]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"id,x,x\n", "x.csv, line 1: the header has one name for several columns"),
        (b"\n\nid,\xff\n", "x.csv, line 3: the header is not UTF-8; convert the export to UTF-8"),
        (b'id,"x\n1,2\n', "x.csv, line 1: the header can't be read: a quote that is never closed"),
        (b"id,x\r1,2\r", "the header can't be read: a carriage return that doesn't end the line"),
        (b"x" * (MAX_RECORD_BYTES + 1), "the first line is 4,000,001 bytes long; this is not a h"),
    ],
    ids=["doubled", "encoding", "quote", "mac", "huge"],
)
def test_a_header_that_cannot_be_read_is_refused(header: bytes, message: str) -> None:
    """Everything hangs on the header: better no run than a wrong one."""
    with pytest.raises(ExportError) as caught:
        DelimitedReader(io.BytesIO(header), "x.csv", ",")
    assert message in str(caught.value)


def test_undecodable_bytes_cost_their_record_only(tmp_path: Path) -> None:
    """The raw bytes are kept as they were; the detail names the column, not the value."""
    got = read_export(tmp_path, b"id,x\n1,a\n2,M\xfcnchen\n3,c\n")
    assert got.reasons == [("bad_encoding", 2, 3, b"2,M\xfcnchen")]
    assert got.rejected[0].detail == "bytes in column 'x' that are not UTF-8"
    assert got.places == [(1, 2), (3, 4)]


def test_a_carriage_return_within_a_line_is_no_line_end(tmp_path: Path) -> None:
    """Outside quotes it has two readings; inside it is data."""
    got = read_export(tmp_path, b'id,x\n1,a\rb\n2,"a\rb"\n3,c\r')
    assert got.reasons == [
        ("stray_carriage_return", 1, 2, b"1,a\rb"),
        ("stray_carriage_return", 3, 4, b"3,c\r"),
    ]
    assert got.used == [(2, 3, "2", {"x": "a\rb"})]


def test_a_line_too_long_to_hold_is_read_past(tmp_path: Path) -> None:
    """Its place in the file and its hash are kept; its neighbours are used."""
    long = b"2," + b"x" * MAX_RECORD_BYTES
    got = read_export(tmp_path, b"id,x\n1,a\n" + long + b"\n3,c\n")
    (rejected,) = got.rejected
    assert (rejected.reason.value, rejected.record_number, rejected.line) == (
        "record_too_large",
        2,
        3,
    )
    assert rejected.extent is not None
    assert (rejected.extent.offset, rejected.extent.length) == (9, len(long))
    assert rejected.extent.sha256 == hashlib.sha256(long).hexdigest()
    assert got.places == [(1, 2), (3, 4)]


def test_a_line_of_just_the_longest_length_is_kept(tmp_path: Path) -> None:
    """The limit itself is allowed."""
    value = b"x" * (MAX_RECORD_BYTES - 2)
    got = read_export(
        tmp_path, b"id,x\n1," + value + b"\n", mapping=Mapping("id", leave_out=("x",))
    )
    assert got.places == [(1, 2)]


def test_a_byte_order_mark_in_the_middle_is_data() -> None:
    """Two exports in one file: the second's mark belongs to its first cell, wherever cut."""
    mark = b"\xef\xbb\xbf"
    data = mark + b"id,x\n" + mark + b"1,a\n" + mark + b"2,b\n"
    for size in (1, 7, 1 << 20):
        assert outcomes(data, size) == [(1, 2, ("\ufeff1", "a")), (2, 3, ("\ufeff2", "b"))]


def test_spaces_leading_zeros_and_signs_stay(tmp_path: Path) -> None:
    """Nothing is trimmed, nothing is taken for a number."""
    cells = [" a ", "007", "12.50", "1" * 22, "+1", "100%", "NULL", "nan", "true", "", "\t"]
    data = "id,x\n" + "".join(f"{n},{cell}\n" for n, cell in enumerate(cells))
    got = read_export(tmp_path, data.encode())
    assert [row[3]["x"] for row in got.used] == cells


def test_three_hundred_columns_keep_their_places(tmp_path: Path) -> None:
    """Wide exports, a record too wide and one too narrow among them."""
    header = ",".join(["id", *(f"c{n}" for n in range(299))])
    good = ",".join(["1", *(f"v{n}" for n in range(299))])
    got = read_export(tmp_path, f"{header}\n{good}\n{good},x\n{good[:-5]}\n".encode())
    assert got.used == [(1, 2, "1", {f"c{n}": f"v{n}" for n in range(299)})]
    assert [(r[0], r[2]) for r in got.reasons] == [("too_many_columns", 3), ("too_few_columns", 4)]
    assert got.rejected[0].detail == "expected 300 columns, found 301"


def test_several_exports_are_one_input(tmp_path: Path) -> None:
    """Each has a header of its own; numbers and lines begin anew."""
    got = read_export(tmp_path, b"id,x\n1,a\n", b"y,id\nb,2\n", b'{"id": 3, "z": 4}\n')
    assert got.used == [
        (1, 2, "1", {"x": "a"}),
        (1, 2, "2", {"y": "b"}),
        (1, 1, "3", {"z": "4"}),
    ]


def test_an_export_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    """What was hashed at first has to be what was read."""
    path = tmp_path / "x.csv"
    path.write_bytes(b"id,x\n1,a\n")
    export = inspect("x.csv", path)
    path.write_bytes(b"id,x\n1,b\n")
    with pytest.raises(ExportError, match=r"x\.csv: changed while it was read"):
        list(Reading(Mapping("id")).blocks([export]))
