"""Every route brings the same values to the same profiles."""

from __future__ import annotations

import csv
import random
import sys

import pytest

from tests.end_to_end.conftest import Shop, expected
from uploader.emulator import faults_from_json

ROUTES = {
    "single POST": ["--via", "single"],
    "single GET": ["--via", "single", "--method", "GET"],
    "bulk v1": ["--via", "bulk"],
    "bulk v2": ["--create-profiles"],
}


def awkward_rows(count: int, seed: int) -> list[dict[str, str]]:
    """Texts of all of Unicode, and of what trips programs over."""
    dice = random.Random(seed)
    pieces = [
        ",",
        '"',
        '""',
        "\n",
        "\r\n",
        "%",
        "%2C",
        "+",
        " ",
        "  ",
        "007",
        "12.50",
        "&",
        "=",
        "#",
        "?",
        "/",
        ";",
        "\t",
        "\\",
        "null",
        "NaN",
        "1e5",
        "é",
        "é",
        "İ",
        "ß",
        "\u200b",
        "\ufeff",
        "\U0001f600",
        "\x01",
        "\x7f",
        "profile.",
        "batch=",
        "'",
        "<b>",
        "-",
        "_",
        ".",
        "~",
        "@",
    ]
    for _ in range(300):
        point = dice.randrange(1, sys.maxunicode)
        if not 0xD800 <= point <= 0xDFFF:
            pieces.append(chr(point))
    rows = []
    for index in range(count):
        values = ["".join(dice.choices(pieces, k=dice.randrange(6))) for _ in range(4)]
        rows.append(
            {
                "id": f"k {index} é,%",
                "a": values[0],
                "b b": values[1],
                "ç": values[2],
                "last": values[3] or "x",
            }
        )
    return rows


def write_csv(shop: Shop, name: str, rows: list[dict[str, str]]) -> str:
    path = shop.folder / name
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_any_text_in_any_cell_arrives_as_it_was(shop: Shop, route: list[str]) -> None:
    """All of Unicode, delimiters, quotes, newlines, percent and plus signs, zeros and spaces."""
    rows = awkward_rows(400, seed=7)
    shop.emulator.add_known(third_party_ids=[row["id"] for row in rows])
    ended = shop("run", write_csv(shop, "crm.csv", rows), "--json", *route)
    assert ended.exit_code == 0, ended.stdout + ended.stderr
    arrived = {key: value for key, value in shop.profiles().items() if value}
    assert arrived == expected(rows)


def run_all_routes(shop: Shop, rows: int, *, known: bool) -> dict[str, dict[str, dict[str, str]]]:
    export = shop.csv("crm.csv", rows)
    left = {}
    for name, route in ROUTES.items():
        shop.emulator.reset()
        if known:
            shop.know(rows)
        ended = shop("run", export, "--json", *route)
        assert ended.exit_code == 0, ended.stdout + ended.stderr
        assert ended.json["updates"]["delivered"] == rows
        left[name] = {key: value for key, value in shop.profiles().items() if value}
    return left


@pytest.mark.parametrize("rows", [1_000, pytest.param(20_000, marks=pytest.mark.heavy)])
def test_all_routes_leave_the_same_profiles_at_an_edge_that_knows_them(
    shop: Shop, rows: int
) -> None:
    """Single POST, single GET, bulk v1 and bulk v2 are four ways to one result."""
    left = run_all_routes(shop, rows, known=True)
    assert len(left["single POST"]) == rows
    assert left["single POST"]["c00001"] == {"tier": "gold1", "points": "1.50"}
    assert all(profiles == left["single POST"] for profiles in left.values())


def test_only_bulk_v2_creates_profiles(shop: Shop) -> None:
    """At an empty edge the other routes leave nothing, as the API has it."""
    left = run_all_routes(shop, 200, known=False)
    assert {name: len(profiles) for name, profiles in left.items()} == {
        "single POST": 0,
        "single GET": 0,
        "bulk v1": 0,
        "bulk v2": 200,
    }


def test_profiles_that_the_edge_does_not_know_are_reported(shop: Shop) -> None:
    """They count as delivered, and the report says how many were not found."""
    shop.know(60)
    report = shop("run", shop.csv("crm.csv", 100), "--via", "bulk", "--json").json
    assert report["updates"]["delivered"] == 100
    assert report["not_found"] == 40
    assert report["batches"][0]["not_found"] == 40


def test_a_long_url_goes_by_post(shop: Shop) -> None:
    """A GET is for what fits into 8,000 bytes; the rest is carried as a body."""
    shop.emulator.add_known(third_party_ids=["short", "long"])
    export = shop.write("crm.csv", f"id,note\nshort,x\nlong,{'y' * 9_000}\n")
    ended = shop("run", export, "--via", "single", "--method", "GET", "--json")
    assert ended.exit_code == 0
    assert len(shop.profiles()["long"]["note"]) == 9_000


def test_rows_that_the_edge_could_not_apply_are_not_called_delivered(shop: Shop) -> None:
    """A batch's failedUpdates are not_applied, and the exit code says so."""
    shop.know(10)
    shop.emulator.set_faults(faults_from_json({"fail_row_ids": ["c00003", "c00004"]}))
    ended = shop("run", shop.csv("crm.csv", 10), "--via", "bulk", "--json")
    assert ended.exit_code == 3
    assert ended.json["updates"] == {
        "planned": 10,
        "delivered": 8,
        "not_applied": 2,
        "dead_lettered": 0,
        "pending": 0,
    }
    assert ended.json["balanced"]
