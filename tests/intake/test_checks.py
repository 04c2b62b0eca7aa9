"""The API's rules, record by record."""

from __future__ import annotations

import string
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.intake.checks import encoded_length
from uploader.model import IdType, Mapping

from .exports import read_export


def test_a_record_without_an_id_is_rejected_with_its_columns(tmp_path: Path) -> None:
    """An id of one space is an id: nothing is trimmed."""
    got = read_export(tmp_path, b"id,x\n,a\n ,b\n")
    assert got.reasons == [("missing_id", 1, 2, None)]
    assert got.rejected[0].record == {"id": "", "x": "a"}
    assert got.rejected[0].source == "0.txt"
    assert [row[2] for row in got.used] == [" "]


@pytest.mark.parametrize("identity", ["a+b", "/", "+"])
def test_a_third_party_id_with_a_forbidden_character_is_rejected(
    tmp_path: Path, identity: str
) -> None:
    """Plus and slash can't be sent; for a pcId nothing is said against them."""
    data = f"id,x\n{identity},1\nok%2B,2\n".encode()
    got = read_export(tmp_path, data)
    assert got.reasons == [("id_forbidden_character", 1, 2, None)]
    assert [row[2] for row in got.used] == ["ok%2B"]
    assert not read_export(tmp_path, data, mapping=Mapping("id", IdType.PC_ID)).rejected


def test_an_id_that_no_call_could_carry_is_rejected(tmp_path: Path) -> None:
    """20,000 bytes may become 60,000 encoded; one more is too long, whatever the id's type."""
    data = f"id,x\n{'i' * 20_000},a\n{'i' * 20_001},b\n".encode()
    got = read_export(tmp_path, data, mapping=Mapping("id", IdType.PC_ID))
    assert got.reasons == [("id_too_long", 2, 3, None)]
    assert len(got.used) == 1


def test_page_limits_are_counted_and_told_once_without_values(tmp_path: Path) -> None:
    """Characters, not bytes; the limit itself is no word worth."""
    data = f"id,x\n1,{'é' * 256}\n2,{'é' * 257}\n3,{'s' * 300}\n{'i' * 257},y\n".encode()
    got = read_export(tmp_path, data)
    assert not got.rejected
    assert got.reading.checks.cautions.lines() == [
        "id over 256 characters: 1 (first at 0.txt, line 5)",
        "value over 256 characters in attribute 'x': 2 (first at 0.txt, line 3)",
    ]


def test_page_limits_are_reasons_when_strict(tmp_path: Path) -> None:
    """On demand only; then there is nothing left to warn about."""
    data = f"id,x\n1,{'s' * 257}\n{'i' * 257},y\n2,z\n".encode()
    got = read_export(tmp_path, data, strict=True)
    assert got.reasons == [("value_too_long", 1, 2, None), ("id_too_long", 2, 3, None)]
    assert got.places == [(3, 4)]
    assert not got.reading.checks.cautions.lines()


def test_a_long_attribute_name_is_worth_a_word(tmp_path: Path) -> None:
    """128 characters are fine."""
    got = read_export(tmp_path, f"id,{'n' * 128},{'m' * 129}\n1,2,3\n".encode())
    assert got.reading.checks.cautions.lines() == [
        "attribute name over 128 characters: 1 (first at 0.txt)"
    ]


@pytest.mark.parametrize(
    ("cells", "fits"),
    [
        (("a" * 63_996, ""), True),
        (("a" * 63_997, ""), False),
        (("é" * 10_666, ""), True),
        (("é" * 10_667, ""), False),
        (("a" * 31_994, "a" * 31_998), True),
        (("a" * 31_994, "a" * 31_999), False),
        ((" " * 21_332, ""), True),
        ((" " * 21_333, ""), False),
    ],
)
def test_a_record_over_what_a_profile_holds_is_rejected(
    tmp_path: Path, cells: tuple[str, str], fits: bool
) -> None:
    """64,000 bytes of encoded names ("y%" is 4 long) and values; empty values count nothing."""
    data = f"id,long,y%20\n1,{cells[0]},{cells[1]}\n2,a,b\n".encode()
    got = read_export(
        tmp_path, data, mapping=Mapping("id", attributes=(("long", "name"), ("y%20", "y%")))
    )
    if fits:
        assert got.places == [(1, 2), (2, 3)]
    else:
        assert got.reasons == [("body_too_large", 1, 2, None)]
        assert got.rejected[0].record == {"id": "1", "long": cells[0], "y%20": cells[1]}
        assert got.places == [(2, 3)]


def test_the_first_reason_found_is_the_one_told(tmp_path: Path) -> None:
    """One record, one reason."""
    got = read_export(tmp_path, f"id,x\n,{'s' * 70_000}\n".encode(), strict=True)
    assert [reason for reason, *_ in got.reasons] == ["missing_id"]


def test_constants_count_towards_the_size(tmp_path: Path) -> None:
    """They are sent with every update."""
    mapping = Mapping("id", constants=(("c", "k" * 40_000),))
    got = read_export(tmp_path, f"id,x\n1,{'s' * 30_000}\n2,b\n".encode(), mapping=mapping)
    assert got.reasons == [("body_too_large", 1, 2, None)]


@given(st.text(string.printable + "é漢😀"))
def test_the_encoded_length_is_known_without_encoding(text: str) -> None:
    """As the standard library's quoting has it."""
    assert encoded_length(text.encode()) == len(quote(text, safe=""))
