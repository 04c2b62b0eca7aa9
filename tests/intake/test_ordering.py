"""``--latest-by``: keys that sort as numbers and dates do."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.intake.ordering import OrderKeys
from uploader.model import Mapping

from .exports import read_export


@pytest.mark.parametrize(
    "ascending",
    [
        [
            "",
            "-1234567890123456789012",
            "-10.5",
            "-10.25",
            "-9",
            "-.5",
            "0",
            "0.05",
            "5e-1",
            "9",
            "10",
            "1234567890123456789012",
            "1234567890123456789013",
            "1e30",
        ],
        [
            "",
            "2023-12-31",
            "2024-01-01T00:30:00+01:00",
            "2024-01-01",
            "2024-01-01T00:00:01Z",
            "2024-01-01 00:00:01.5",
            "2024-01-01T00:00:00-05:00",
        ],
    ],
    ids=["numbers", "dates"],
)
def test_keys_sort_as_their_values_do(ascending: list[str]) -> None:
    """Numbers by value, dates by moment (UTC where no offset is given), empties first."""
    keys = OrderKeys().keys(ascending)
    assert None not in keys
    assert sorted(set(keys), key=str) == keys


@pytest.mark.parametrize(
    "equal",
    [
        ["7", "7.0", "+7", "007", "70e-1"],
        ["0", "-0", "0e5", ".0"],
        ["2024-01-01T12:00:00Z", "2024-01-01T13:00:00+01:00", "2024-01-01 12:00:00"],
    ],
)
def test_equal_values_have_one_key(equal: list[str]) -> None:
    """So that ties are decided by input order."""
    assert len(set(OrderKeys().keys(equal))) == 1


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False), min_size=2, max_size=2))
def test_any_two_numbers_sort_rightly(pair: list[Decimal]) -> None:
    """Whatever their size and sign."""
    one, other = OrderKeys().keys(["1", *map(str, pair)])[1:]
    assert one is not None
    assert other is not None
    assert (one < other, one == other) == (pair[0] < pair[1], pair[0] == pair[1])


def test_a_value_that_is_neither_rejects_its_record(tmp_path: Path) -> None:
    """The first value decides which kind the column is of."""
    data = b"id,t\n1,soon\n2,2024-01-01\n3,5\n4,\n5,2024-13-01\n"
    got = read_export(tmp_path, data, mapping=Mapping("id", latest_by="t"))
    assert got.reasons == [
        ("bad_latest_by", 1, 2, None),
        ("bad_latest_by", 3, 4, None),
        ("bad_latest_by", 5, 6, None),
    ]
    assert got.rejected[1].detail == "an ISO date expected in the --latest-by column"
    assert got.orders == ["32024-01-01T00:00:00+00:00", ""]


def test_the_deciding_column_is_an_attribute_as_well(tmp_path: Path) -> None:
    """Unless it is left out."""
    got = read_export(tmp_path, b"id,t\n1,5\n", mapping=Mapping("id", latest_by="t"))
    assert got.used[0][3] == {"t": "5"}
    mapping = Mapping("id", latest_by="t", leave_out=("t",))
    assert read_export(tmp_path, b"id,t\n1,5\n", mapping=mapping).used[0][3] == {}


def test_fractions_finer_than_microseconds_decide(tmp_path: Path) -> None:
    """Databases write seven digits and more; a shorter fraction is padded with nothing."""
    times = [".1234568", ".1234561", ".12345681", "", ".2", ".1"]
    rows = "".join(f"{n},2024-01-01T00:00:00{time}\n" for n, time in enumerate(times))
    got = read_export(tmp_path, f"id,t\n{rows}".encode(), mapping=Mapping("id", latest_by="t"))
    order = sorted(range(len(times)), key=lambda n: str(got.orders[n]))
    assert [times[n] for n in order] == ["", ".1", ".1234561", ".1234568", ".12345681", ".2"]
