"""Exports for the benchmarks: the same bytes each time, of a shape that people have."""

from __future__ import annotations

import random
from pathlib import Path

HEADER = "customer_id,first,last,city,tier,points,last_store,last_date,segment,opt_in,basket\n"


def write_export(path: Path, rows: int) -> None:
    """*rows* records of 11 columns, about 80 bytes each; a fifth repeat an earlier id."""
    dice = random.Random(1)
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(HEADER)
        for row in range(rows):
            k = dice.randrange(rows) if row % 5 == 0 else row
            stream.write(
                f"C{k:09d},Anna{k % 977},Meier{k % 1231},Köln,gold,{k % 10007},store {k % 403},"
                f"2026-01-{k % 28 + 1:02d},seg{k % 17},yes,{k % 20011 / 100:.2f}\n"
            )


def write_wide(path: Path, rows: int, columns: int) -> None:
    """*rows* records of *columns* short columns besides the id."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write("id," + ",".join(f"a{column}" for column in range(columns)) + "\n")
        for row in range(rows):
            cells = ",".join(f"{(row * 31 + column) % 997}" for column in range(columns))
            stream.write(f"k{row},{cells}\n")


def write_large(path: Path, rows: int, cell_bytes: int) -> None:
    """*rows* records with two cells of *cell_bytes* each."""
    cell = "y" * cell_bytes
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write("id,a,b\n")
        for row in range(rows):
            stream.write(f"k{row},{cell},{cell}\n")
