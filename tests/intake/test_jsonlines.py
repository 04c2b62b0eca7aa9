"""JSON Lines: every value's text as it was written."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uploader.errors import MappingError
from uploader.intake.jsonlines import JsonLinesReader, Record, read_object
from uploader.model import Mapping

from .exports import read_export


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ('{"a": {"b": {"c": 1}, "d": "x"}}', {"a.b.c": "1", "a.d": "x"}),
        (
            '{"a": 7.0e3, "b": -0, "c": 1E+2, "d": 12.50}',
            {"a": "7.0e3", "b": "-0", "c": "1E+2", "d": "12.50"},
        ),
        ('{"a": 1234567890123456789012}', {"a": "1234567890123456789012"}),
        ('{"a": [1.0,  2.50 , [ 1e2 ], {"k" : "v, w"}]}', {"a": '[1.0,2.50,[1e2],{"k":"v, w"}]'}),
        ('{"a": [ "x \\" ] y", "\\u00e9" ] , "b": 1}', {"a": '["x \\" ] y","\\u00e9"]', "b": "1"}),
        ('{"a": true, "b": false, "c": null}', {"a": "true", "b": "false", "c": ""}),
        ('{"a": "\\u00e9\\n\\ud83d\\ude00", "b": {}, "c": []}', {"a": "é\n😀", "c": "[]"}),
        (' {"a" : "[" , "b.c" : 1} ', {"a": "[", "b.c": "1"}),
        ("{}", {}),
    ],
)
def test_values_keep_their_text(text: str, fields: dict[str, str]) -> None:
    """Numbers, words and arrays as written, compact; strings as what they spell."""
    assert read_object(text.encode()) == fields


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": 1, "x": 1, "x": 2}', "bad_json"),
        (b'{"id": 1, "x": {"y": 1, "y": 2}}', "bad_json"),
        (b'{"id": 1, "x": [{"y": 1, "y": 2}]}', "bad_json"),
        (b'{"id": 1, "a": 1, "\\u0061": 2}', "bad_json"),
        (b'{"id": 1, "x": NaN}', "bad_json"),
        (b'{"id": 1, "x": [-Infinity]}', "bad_json"),
        (b'{"id": 1, "x": "\\ud800"}', "bad_json"),
        (b'{"id": 1, "x": ["\\udc00"]}', "bad_json"),
        (b'{"id": 1, "\\ud800": 2}', "bad_json"),
        (b'{"id": 1, "x": 2', "bad_json"),
        (b'{"id": 1} {"id": 2}', "bad_json"),
        (b'{"id": 1, "x": 007}', "bad_json"),
        (b'["id", 1]', "bad_json"),
        (b"7", "bad_json"),
        (b"id,x", "bad_json"),
        (b'{"id": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "bad_json"),
        (b'{"id": 1, "x": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}", "bad_json"),
        (b'{"id": 1, "x": "M\xfcnchen"}', "bad_encoding"),
        (b'{"id": 1, "x": "\xed\xa0\x80"}', "bad_encoding"),
        (b'{"id": 1, "a.b": 1, "a": {"b": 2}}', "name_collision"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[:40].decode("latin-1"),
)
def test_a_line_without_one_reading_is_rejected_with_its_raw_text(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    """The lines around it are used; number, line and bytes are told."""
    got = read_export(tmp_path, b'{"id": 0}\r\n\r\n' + line + b'\r\n{"id": 9}')
    assert got.reasons == [(reason, 2, 3, line)]
    assert got.places == [(1, 1), (3, 4)]


def test_a_late_key_is_an_attribute_of_its_record(tmp_path: Path) -> None:
    """Nothing depends on the first line's keys."""
    got = read_export(tmp_path, b'\xef\xbb\xbf{"id": 1, "x": 2}\n{"id": 2, "y": 3}\n')
    assert got.used == [
        (1, 1, "1", {"x": "2", "y": ""}),
        (2, 2, "2", {"x": "", "y": "3"}),
    ]


@pytest.mark.parametrize("key", ["profile.x", "pcId", "thirdPartyId", "mboxSession", ""])
def test_a_late_key_that_cannot_be_sent_rejects_its_record(tmp_path: Path, key: str) -> None:
    """The record is kept as texts by its keys; records without the key are used."""
    lines = [{"id": "1", "x": "a"}, {"id": "2", key: "b"}, {"id": "3", "x": "c"}]
    got = read_export(tmp_path, "\n".join(map(json.dumps, lines)).encode())
    assert got.reasons == [("name_collision", 2, 2, None)]
    assert got.rejected[0].record == lines[1]
    assert got.places == [(1, 1), (3, 3)]


@pytest.mark.parametrize("key", ["pcId", "mboxPC"])
def test_a_key_of_the_first_record_that_cannot_be_sent_stops_the_run(
    tmp_path: Path, key: str
) -> None:
    """The first record is judged like a header."""
    with pytest.raises(MappingError, match=f"key '{key}' can't be sent"):
        read_export(tmp_path, json.dumps({"id": "1", key: "x"}).encode())


def test_an_id_key_that_no_record_has_is_a_missing_column(tmp_path: Path) -> None:
    """As with a CSV header; the message tells which keys there are."""
    with pytest.raises(MappingError, match=r"0.txt: there is no column 'id', .* there is 'ID'"):
        read_export(tmp_path, b'{"ID": 1}\n', mapping=Mapping("id"))


def test_an_id_may_lie_deep_and_be_sent_as_well(tmp_path: Path) -> None:
    """Dotted names serve as columns; one key may be sent under two names."""
    mapping = Mapping("who.id", attributes=(("who.id", "crm"), ("v", "a"), ("v", "b")))
    got = read_export(tmp_path, b'{"who": {"id": 7}, "v": 1.0, "w": 2}', mapping=mapping)
    assert got.used == [(1, 1, "7", {"crm": "7", "a": "1.0", "b": "1.0"})]


def test_a_record_rejected_by_a_check_keeps_its_flattened_texts(tmp_path: Path) -> None:
    """Null is the empty text, numbers are as written."""
    got = read_export(tmp_path, b'{"id": null, "x": {"y": 1.50}}')
    assert got.reasons == [("missing_id", 1, 1, None)]
    assert got.rejected[0].record == {"id": "", "x.y": "1.50"}


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(value=_values, ascii_only=st.booleans())
def test_any_array_comes_out_as_it_was_written(value: object, ascii_only: bool) -> None:
    """Compact, and otherwise its own text; JSON reads the same from it."""
    line = json.dumps({"a": [value], "b": 1}, ensure_ascii=ascii_only)
    text = read_object(line.encode())["a"]
    assert text == json.dumps([value], ensure_ascii=ascii_only, separators=(",", ":"))


@settings(max_examples=150, deadline=None)
@given(
    soup=st.lists(
        st.sampled_from(
            [b'{"a":1}', b"{", b"}", b'"', b"\n", b"\r", b"[", b"1", b"\xff", b",", b":"]
        ),
        max_size=30,
    ).map(b"".join),
    stretch_bytes=st.integers(1, 30),
)
def test_every_line_of_any_bytes_is_one_record_or_blank(soup: bytes, stretch_bytes: int) -> None:
    """Cut anywhere; nothing crashes, nothing is lost."""

    def found(size: int) -> list[tuple[int, int | None]]:
        reader = JsonLinesReader(io.BytesIO(soup), "x", stretch_bytes=size)
        items = [item for stretch in reader.stretches() for item in stretch]
        return [
            (item.number if isinstance(item, Record) else item.record_number, item.line)
            for item in items
        ]

    lines = [n for n, line in enumerate(soup.split(b"\n"), 1) if line.strip(b" \t\r")]
    assert found(stretch_bytes) == found(1 << 20) == list(enumerate(lines, 1))
