"""The demo's data: a grocer's 1,469,307 transactions and 801 households."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Shop
from uploader.cli.demo import ID_COLUMN, households, write_exports


def last_values(transactions: Path, demographics: Path) -> dict[str, dict[str, str]]:
    """What each household's profile should hold, in a few lines of plain Python."""
    profiles: dict[str, dict[str, str]] = {}
    with transactions.open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            profile = profiles.setdefault(row.pop(ID_COLUMN), {})
            profile.update({name: value for name, value in row.items() if value})
    for line in demographics.read_text("utf-8").splitlines():
        row = {name: value for name, value in json.loads(line).items() if value is not None}
        profiles.setdefault(str(row.pop(ID_COLUMN)), {}).update(row)
    return profiles


@pytest.mark.parametrize("via", ["single", pytest.param("bulk", marks=pytest.mark.heavy)])
def test_a_grocers_year_becomes_one_update_a_household(shop: Shop, via: str) -> None:
    """1,470,108 records, 2,469 updates, balanced books, and every value is right."""
    transactions, demographics = write_exports(shop.folder)
    shop.emulator.add_known(third_party_ids=sorted(households(transactions, demographics)))
    ended = shop(
        "run", transactions, demographics, "--id-column", ID_COLUMN, "--via", via, "--json"
    )
    assert ended.exit_code == 0, ended.stderr
    report = ended.json
    assert report["records"] == {
        "read": 1_470_108,
        "rejected": 0,
        "skipped": 0,
        "merged": 1_467_639,
    }
    assert report["updates"]["planned"] == report["updates"]["delivered"] == 2_469
    assert report["balanced"]
    assert shop.profiles() == last_values(transactions, demographics)
