"""Sort and fold: one update a profile, in a stable order."""

from __future__ import annotations

from pathlib import Path

import pytest

from uploader.model import Mapping

from .plans import plan_exports


def test_the_last_value_that_is_not_empty_wins(tmp_path: Path) -> None:
    """Per attribute; an empty value clears nothing; neighbours are not mixed up."""
    data = b"id,x,y,z\nb,1,,\na,1,2,3\nb,,5,\na,4,,\nb,6,,\n"
    plan = plan_exports(tmp_path, data)
    assert plan.profiles == {"a": {"x": "4", "y": "2", "z": "3"}, "b": {"x": "6", "y": "5"}}
    assert plan.contents.merged == 3
    assert [(u.position, u.identity, u.records, u.source, u.line) for u in plan.updates.each()] == [
        (0, "a", 2, 0, 3),
        (1, "b", 3, 0, 2),
    ]


def test_updates_stand_in_the_order_of_their_identities(tmp_path: Path) -> None:
    """By encoded bytes, whatever the order of the input."""
    ids = ["z", "Z", "é", "10", "9", "~", " ", "a b", "007"]
    plan = plan_exports(tmp_path, ("id,x\n" + "".join(f"{i},1\n" for i in ids)).encode())
    assert [u.identity for u in plan.updates.each()] == sorted(
        ["z", "Z", "%C3%A9", "10", "9", "~", "%20", "a%20b", "007"]
    )


def test_ids_and_names_compare_byte_for_byte(tmp_path: Path) -> None:
    """No case folding, no normalising, no trimming."""
    data = "id,Tier,tier\na,1,2\nA,3,4\na ,5,6\né,7,8\ne\u0301,9,10\n".encode()
    assert plan_exports(tmp_path, data).profiles == {
        "a": {"Tier": "1", "tier": "2"},
        "A": {"Tier": "3", "tier": "4"},
        "a ": {"Tier": "5", "tier": "6"},
        "é": {"Tier": "7", "tier": "8"},
        "e\u0301": {"Tier": "9", "tier": "10"},
    }


@pytest.mark.parametrize(
    ("rows", "last"),
    [
        (["10,a", "9,b", "1234567890123456789012,c", "1234567890123456789011,d"], "c"),
        (["-5,a", "-10,b"], "a"),
        (["0.10,a", "0.9,b", ".5,c"], "b"),
        (["2024-01-02,a", "2024-01-01T23:30:00-01:00,b", "2024-01-01,c"], "b"),
        (["5,a", "5.0,b"], "b"),
        (["5,a", ",b"], "a"),
        ([",a", ",b"], "b"),
    ],
    ids=["22 digits", "negative", "decimals", "offsets", "ties", "an empty one", "all empty"],
)
def test_latest_by_decides_which_record_is_last(tmp_path: Path, rows: list[str], last: str) -> None:
    """Numbers by value, dates by moment; ties and empties by input order."""
    data = "t,x,id\n" + "".join(f"{row},1\n" for row in rows)
    mapping = Mapping("id", attributes=(("x", "x"),), latest_by="t")
    plan = plan_exports(tmp_path, data.encode(), mapping=mapping)
    assert plan.profiles == {"1": {"x": last}}
    assert [(u.line, u.records) for u in plan.updates.each()] == [(2, len(rows))]


def test_late_keys_and_several_exports_fold_together(tmp_path: Path) -> None:
    """Names take their places as they are first seen; lines may be of any width."""
    plan = plan_exports(
        tmp_path, b"id,x\n1,a\n2,b\n", b'{"id": 1, "y": {"z": 1.0}}\n{"id": 3, "x": "c", "w": 2}\n'
    )
    assert plan.contents.names == ("x", "y.z", "w")
    assert plan.profiles == {
        "1": {"x": "a", "y.z": "1.0"},
        "2": {"x": "b"},
        "3": {"x": "c", "w": "2"},
    }
    assert [(u.source, u.line, u.attributes) for u in plan.updates.each()] == [
        (0, 2, "a,1.0"),
        (0, 3, "b"),
        (1, 2, "c,,2"),
    ]


def test_a_profile_with_more_records_than_a_block_holds_is_one_update(tmp_path: Path) -> None:
    """Groups go on across the sorted stream's blocks; the first and last keep their places."""
    rows = ["b,first,"] + [f"b,,{n}" for n in range(40_000)] + ["a,1,", "c,,2"]
    plan = plan_exports(tmp_path, ("id,x,y\n" + "\n".join(rows)).encode())
    assert plan.profiles == {"a": {"x": "1"}, "b": {"x": "first", "y": "39999"}, "c": {"y": "2"}}
    assert [u.records for u in plan.updates.each()] == [1, 40_001, 1]
    assert plan.contents.merged == 40_000


def test_long_lines_are_laid_aside_and_come_back(tmp_path: Path) -> None:
    """Whole, folded with short ones, in their order; the file is gone afterwards."""
    rows = []
    for number in range(700):
        rows.append(f"{number:04},{chr(97 + number % 26) * 5_000},")
        rows.append(f"{number:04},,y{number}")
        if number % 7 == 0:
            rows.append(f"{number:04},short,")
    plan = plan_exports(tmp_path, ("id,x,y\n" + "\n".join(rows)).encode())
    assert plan.profiles == {
        f"{n:04}": {"x": chr(97 + n % 26) * 5_000 if n % 7 else "short", "y": f"y{n}"}
        for n in range(700)
    }
    assert not (tmp_path / "long-lines").exists()


def test_three_hundred_columns_fold(tmp_path: Path) -> None:
    """Width doesn't matter."""
    names = [f"c{n}" for n in range(299)]
    rows = [",".join(["1", *(str(n) if n % 3 == k else "" for n in range(299))]) for k in range(3)]
    plan = plan_exports(tmp_path, "\n".join([",".join(["id", *names]), *rows]).encode())
    assert plan.profiles == {"1": {f"c{n}": str(n) for n in range(299)}}


def test_an_update_without_any_attribute_stays_in_the_plan(tmp_path: Path) -> None:
    """It becomes a dead letter when sent, so it has to be counted."""
    plan = plan_exports(tmp_path, b"id,x\n1,\n1,\n2,a\n")
    assert plan.profiles == {"1": {}, "2": {"x": "a"}}
    assert (plan.contents.without_attributes, plan.contents.updates) == (1, 2)
