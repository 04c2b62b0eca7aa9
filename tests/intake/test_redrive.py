"""Dead letters of every kind, read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from uploader.errors import ExportError
from uploader.intake.reading import Reading
from uploader.intake.redrive import open_letters
from uploader.model import Mapping

from .exports import Read

HEAD = {
    "dead_letters": 1,
    "run": "r1",
    "dialect": {"delimiter": ";"},
    "mapping": Mapping("id", attributes=(("x", "ex"),), constants=(("src", "crm"),)).as_json(),
    "route": {},
    "sources": [
        {"name": "crm.csv", "form": "csv", "columns": ["id", "x"]},
        {"name": "pos.jsonl", "form": "jsonl", "columns": []},
    ],
}


def letter(**changes: Any) -> dict[str, Any]:
    """A rejected record's letter."""
    return {
        "kind": "rejected",
        "reason": "too_few_columns",
        "detail": "d",
        "source": "crm.csv",
        "record_number": 16,
        "line": 17,
        "record": None,
        "raw": None,
    } | changes


def redrive(folder: Path, *letters: dict[str, Any] | str) -> tuple[Read, list[str]]:
    """What comes of a dead-letter file with these letters, and the sources it names."""
    path = folder / "dead.jsonl"
    lines = [item if isinstance(item, str) else json.dumps(item) for item in (HEAD, *letters)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    opened = open_letters(path)
    sources: list[str] = []
    reading = Reading(opened.mapping, opened.delimiter)
    return Read(reading).add(reading.letters(opened, sources)), sources


def test_a_record_mended_by_hand_wins_over_its_raw_text(tmp_path: Path) -> None:
    """It is mapped like any record; numbers keep their text; place and source are the old ones."""
    mended = json.dumps(letter(raw="1", reason="bad_quoting"))
    mended = mended.replace('"record": null', '"record": {"id": "7", "x": 1.50, "y": "z"}')
    got, sources = redrive(tmp_path, mended)
    assert got.used == [(16, 17, "7", {"ex": "1.50", "src": "crm"})]
    assert sources == ["crm.csv"]


def test_raw_text_is_read_by_its_own_export_s_dialect(tmp_path: Path) -> None:
    """CSV by delimiter and columns, JSON Lines as an object; each in its own source's name."""
    got, sources = redrive(
        tmp_path,
        letter(raw='1;"a\nb,"'),
        letter(source="pos.jsonl", raw='{"id": 2, "x": [1.0]}', reason="bad_json"),
    )
    assert got.used == [
        (16, 17, "1", {"ex": "a\nb,", "src": "crm"}),
        (16, 17, "2", {"ex": "[1.0]", "src": "crm"}),
    ]
    assert sources == ["crm.csv", "pos.jsonl"]


@pytest.mark.parametrize(
    ("changes", "reason", "raw"),
    [
        ({"raw": "1"}, "too_few_columns", b"1"),
        ({"raw": "1;2;3"}, "too_many_columns", b"1;2;3"),
        ({"raw": '1;"a"b'}, "bad_quoting", b'1;"a"b'),
        ({"raw": "1;a\n2;b"}, "bad_quoting", b"1;a\n2;b"),
        ({"raw": "2;b", "reason": "bad_quoting"}, "bad_quoting", b"2;b"),
        ({"raw_base64": "MTv/"}, "bad_encoding", b"1;\xff"),
        ({"raw": '{"id"', "source": "pos.jsonl"}, "bad_json", b'{"id"'),
    ],
)
def test_what_still_cannot_be_used_is_rejected_again(
    tmp_path: Path, changes: dict[str, Any], reason: str, raw: bytes
) -> None:
    """With the same place and text; what was ambiguous among its lines stays so alone."""
    got, _ = redrive(tmp_path, letter(**changes))
    assert got.reasons == [(reason, 16, 17, raw)]
    assert not got.used


def test_bytes_that_were_no_text_can_be_raw_text_again(tmp_path: Path) -> None:
    """Base64 is read as the bytes it stands for."""
    got, _ = redrive(tmp_path, letter(raw_base64="MTthYg=="))
    assert got.used[0][2:] == ("1", {"ex": "ab", "src": "crm"})


def test_a_record_too_large_stays_a_letter(tmp_path: Path) -> None:
    """Its text isn't here; its extent is kept."""
    got, _ = redrive(
        tmp_path, letter(reason="record_too_large", offset=5, length=6_000_000, sha256="ab")
    )
    assert [r[0] for r in got.reasons] == ["record_too_large"]
    extent = got.rejected[0].extent
    assert extent is not None
    assert (extent.offset, extent.length, extent.sha256) == (5, 6_000_000, "ab")


def test_an_undelivered_update_goes_out_as_it_was(tmp_path: Path) -> None:
    """Final names: nothing is mapped, stripped or added; checks hold again."""
    undelivered = {
        "kind": "undelivered",
        "reason": "refused",
        "source": "gone.csv",
        "line": 5,
        "records": 3,
        "identity": {"type": "thirdPartyId", "value": "A 1"},
        "attributes": {"profile.x": "1", "ex": "2"},
    }
    bad = undelivered | {"identity": {"type": "thirdPartyId", "value": "a+b"}, "line": None}
    got, sources = redrive(tmp_path, undelivered, bad)
    assert got.used == [(1, 5, "A 1", {"profile.x": "1", "ex": "2"})]
    assert got.reasons == [("id_forbidden_character", 2, None, None)]
    assert got.rejected[0].record == {"id": "a+b", "profile.x": "1", "x": "2"}
    assert sources == ["gone.csv"]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        json.dumps(letter()),
        json.dumps(letter(record={"id": [1]})),
        json.dumps(letter(record={"id": "\ud800"})),
        json.dumps(letter(raw="1;2", source="unknown.csv")),
        json.dumps(letter(reason="no_such_reason", raw="1;2")),
        '{"kind": "undelivered", "source": "secret-value", "line": 1}',
    ],
)
def test_a_letter_that_cannot_be_read_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    """The message says where and what to do, and holds nothing of the letter."""
    with pytest.raises(ExportError, match=r"dead.jsonl, line 3: .*; mend or remove it") as caught:
        redrive(tmp_path, letter(raw="1;2"), line)
    assert "secret" not in str(caught.value)


def test_a_mended_record_of_an_unknown_source_is_read(tmp_path: Path) -> None:
    """Only raw text needs its source's columns."""
    got, sources = redrive(tmp_path, letter(record={"id": "1", "x": "a"}, source="by hand"))
    assert got.places == [(16, 17)]
    assert sources == ["by hand"]


@pytest.mark.parametrize("head", ["", "id,x", "[]", '{"dead_letters": 2}'])
def test_another_file_is_no_dead_letter_file(tmp_path: Path, head: str) -> None:
    """Told by its first line."""
    path = tmp_path / "x"
    path.write_text(head)
    with pytest.raises(ExportError, match="not a dead-letter file"):
        open_letters(path)
