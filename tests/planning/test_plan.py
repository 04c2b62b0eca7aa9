"""What goes in comes out: whole plans, on any text and any bytes."""

from __future__ import annotations

import csv
import io
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from uploader.errors import ExportError, MappingError
from uploader.model import IdType, Mapping, Route, Via
from uploader.planning.encoding import encoded_texts
from uploader.planning.plan import digest_of

from .plans import Planned, plan_exports

CHARACTERS = [chr(n) for n in range(sys.maxunicode + 1) if not 0xD800 <= n <= 0xDFFF]
ODD_CELLS = ["", " ", " a ", "007", "12.50", "+1", "1" * 22, "100%", "%41", '"', "a,b", "é\u0301"]
_cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(ODD_CELLS)
_PIECES = [
    b'"',
    b",",
    b"\n",
    b"\r\n",
    b"\r",
    b"a",
    b" ",
    b'""',
    b"1,b,c\n",
    b'1,"b\n",c\n',
    b"\xff",
    b"\xc3\xa9",
    b"+",
    b"%",
    b'{"id":1}\n',
    b"{",
    b"[1.0]",
    b"\x00",
    b"\xef\xbb\xbf",
]


def test_every_character_is_encoded_as_the_standard_library_does() -> None:
    """All of Unicode, in slices and among empties."""
    texts = pa.array(["", *CHARACTERS, ""], pa.string())
    expected = [quote(text, safe="") for text in texts.to_pylist()]
    assert encoded_texts(texts).to_pylist() == expected
    part = encoded_texts(texts.slice(100, 5_000))
    part.validate(full=True)
    assert part.to_pylist() == expected[100:5_100]
    assert encoded_texts(texts.slice(3, 0)).to_pylist() == []


def test_every_character_passes_through_a_whole_plan(tmp_path: Path) -> None:
    """In cells of 500 characters, quoted as any spreadsheet does."""
    cells = ["".join(CHARACTERS[n : n + 500]) for n in range(0, len(CHARACTERS), 500)]
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows(
        [["id", "x", "y", "z"], *([f"{n:05}", cell, "", ""] for n, cell in enumerate(cells))]
    )
    plan = plan_exports(tmp_path, text.getvalue().encode())
    assert not plan.rejected
    assert plan.profiles == {f"{n:05}": {"x": cell} for n, cell in enumerate(cells)}


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.lists(_cells, min_size=4, max_size=4), max_size=12))
def test_any_text_in_any_cell_comes_out_as_it_went_in(rows: list[list[str]]) -> None:
    """Or its record is rejected with all of its text, which only a line end in it can cause."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(["id", "a", "b", "c", "d"])
    lines = []
    for number, row in enumerate(rows):
        start = text.tell()
        writer.writerow([f"id{number}", *row])
        lines.append(text.getvalue()[start:].removesuffix("\r\n").encode())
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_exports(Path(folder), text.getvalue().encode())
        got = plan.profiles
    raw = b"\n".join(rejected.raw or b"" for rejected in plan.rejected)
    for number, row in enumerate(rows):
        if f"id{number}" in got:
            sent = {name: cell for name, cell in zip("abcd", row, strict=True) if cell}
            assert got[f"id{number}"] == sent
        else:
            assert "\n" in "".join(row)
            assert all(line.removesuffix(b"\r") in raw for line in lines[number].split(b"\n"))


def balanced(plan: Planned) -> bool:
    """Whether every record read is accounted for."""
    contents = plan.contents
    accounted = len(plan.rejected) + plan.skipped + contents.merged + contents.updates
    return plan.read == accounted and sum(u.records for u in plan.updates.each()) == (
        contents.merged + contents.updates
    )


@settings(max_examples=60, deadline=None)
@given(
    soup=st.lists(st.sampled_from(_PIECES), max_size=50).map(b"".join) | st.binary(max_size=80),
    head=st.sampled_from([b"", b"id,x,y\n", b'{"id":0}\n']),
    latest_by=st.sampled_from([None, "id"]),
)
def test_books_balance_on_any_bytes(soup: bytes, head: bytes, latest_by: str | None) -> None:
    """Whatever is read is planned, merged or rejected; no profile comes twice."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            plan = plan_exports(
                Path(folder), head + soup, mapping=Mapping("id", latest_by=latest_by)
            )
        except (ExportError, MappingError):
            assert not head.startswith(b"id,")  # with a good header, no bytes stop a run
            return
        assert balanced(plan)
        assert len(plan.profiles) == plan.contents.updates


def test_the_same_input_planned_twice_has_one_digest(tmp_path: Path) -> None:
    """And another input, id type or route another one."""
    rows = [f"{n * 7919 % 9_001},{n},{'x' * (n % 50)}" for n in range(30_000)]
    data = ("id,a,b\n" + "\n".join(rows)).encode()
    route = Route(Via.SINGLE)
    digests = []
    for name, content in (("1", data), ("2", data), ("3", data[:-1] + b"y")):
        folder = tmp_path / name
        folder.mkdir()
        contents = plan_exports(folder, content).contents
        names, rows_sha256 = contents.names, contents.rows_sha256
        digests.append(digest_of(names, IdType.PC_ID, route, rows_sha256))
    assert digests[0] == digests[1] != digests[2]
    assert digest_of(names, IdType.THIRD_PARTY_ID, route, rows_sha256) != digests[2]
    assert digest_of(names, IdType.PC_ID, Route(Via.BULK, 1), rows_sha256) != digests[2]
    assert digest_of(("b", "a"), IdType.PC_ID, route, rows_sha256) != digests[2]
