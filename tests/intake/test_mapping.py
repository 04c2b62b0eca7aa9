"""Columns to an identity and attributes."""

from __future__ import annotations

from pathlib import Path

import pytest

from uploader.errors import MappingError
from uploader.model import Mapping

from .exports import read_export

DATA = b"id,profile.tier,Tier,city\n1,a,b,c\n"


@pytest.mark.parametrize(
    ("mapping", "attributes"),
    [
        (Mapping("id"), {"tier": "a", "Tier": "b", "city": "c"}),
        (Mapping("city"), {"id": "1", "tier": "a", "Tier": "b"}),
        (Mapping("id", attributes=(("city", "town"),)), {"town": "c"}),
        (Mapping("id", attributes=(("city", "x"), ("city", "y"))), {"x": "c", "y": "c"}),
        (Mapping("id", attributes=(("id", "crm"),)), {"crm": "1"}),
        (Mapping("id", leave_out=("city", "Tier")), {"tier": "a"}),
        (
            Mapping("id", attributes=(("city", "city"),), constants=(("src", "crm"),)),
            {"city": "c", "src": "crm"},
        ),
    ],
)
def test_a_mapping_says_what_is_sent_and_how_it_is_called(
    tmp_path: Path, mapping: Mapping, attributes: dict[str, str]
) -> None:
    """Names compare byte for byte; one leading ``profile.`` is stripped."""
    ((_, _, _, got),) = read_export(tmp_path, DATA, mapping=mapping).used
    assert got == attributes


@pytest.mark.parametrize(
    ("header", "mapping", "message"),
    [
        (
            "ID,x",
            Mapping("id"),
            "the id column (--id-column); there is 'ID': names compare letter by letter",
        ),
        ("id;x", Mapping("id"), "its cells seem to be divided by semicolons: use --delimiter ';'"),
        ("id,x", Mapping("id", latest_by="t"), "no column 't', the column that decides"),
        ("id,x", Mapping("id", attributes=(("y", "y"),)), "no column 'y', an attribute"),
        ("id,x", Mapping("id", leave_out=("y",)), "no column 'y', to be left out"),
        ("id,x,profile.x", Mapping("id"), "columns 'x' and 'profile.x' would both be sent as"),
        ("id,pcId", Mapping("id"), "column 'pcId' can't be sent as attribute 'pcId'"),
        ("id,thirdPartyId", Mapping("id"), "can't be sent as attribute 'thirdPartyId'"),
        ("id,mboxSession", Mapping("id"), "can't be sent as attribute 'mboxSession'"),
        ("id,profile.mbox", Mapping("id"), "can't be sent as attribute 'mbox'"),
        ("id,", Mapping("id"), "can't be sent as attribute '': it is empty"),
        ("id,x", Mapping("id", constants=(("x", "1"),)), "columns 'x' and 'constant x' would both"),
        ("id,x,y", Mapping("id", attributes=(("x", "a"), ("y", "a"))), "would both be sent as"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused_at_once(
    tmp_path: Path, header: str, mapping: Mapping, message: str
) -> None:
    """The message says what, where, and what to do."""
    with pytest.raises(MappingError) as caught:
        read_export(tmp_path, f"{header}\n".encode(), mapping=mapping)
    assert message in str(caught.value)


def test_a_chosen_column_may_lie_in_any_of_several_exports(tmp_path: Path) -> None:
    """Only a column that none of them has is missing."""
    exports = (b"id,x\n1,a\n", b"id,y\n2,b\n")
    mapping = Mapping("id", attributes=(("x", "x"), ("y", "y")))
    got = read_export(tmp_path, *exports, mapping=mapping)
    assert [row[3] for row in got.used] == [{"x": "a"}, {"y": "b"}]
    mapping = Mapping("id", attributes=(("x", "x"), ("z", "z")))
    with pytest.raises(MappingError, match=r"0.txt, 1.txt: there is no column 'z'"):
        read_export(tmp_path, *exports, mapping=mapping)
