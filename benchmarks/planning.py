"""Planning: records a second and peak memory, beside what others would do, as ratios.

``python benchmarks/planning.py [ROWS]``. Two others do the reading and grouping in the same run:
a plain script with Python's csv module and a dictionary, and DuckDB's own CSV reader with GROUP BY,
written as Parquet. Neither keeps what is wrong with a file, nor checks a limit.
Memory is the process's own peak, so that it holds everything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from exports import HEADER, write_export, write_large, write_wide

PLAIN = """
import csv, sys
from urllib.parse import quote
profiles = {}
with open(sys.argv[1], encoding="utf-8", newline="") as rows:
    for row in csv.DictReader(rows):
        key = row.pop("customer_id")
        profiles.setdefault(key, {}).update({k: quote(v, safe="") for k, v in row.items() if v})
print(len(profiles))
"""
DUCKDB = """
import duckdb, sys
duckdb.sql("SET threads = 2")
columns = ['"' + name + '"' for name in sys.argv[2].strip().split(",")]
lasts = ", ".join(f"last(url_encode({c})) FILTER ({c} <> '')" for c in columns[1:])
rows = f"read_csv('{sys.argv[1]}', all_varchar = true)"
profiles = f"SELECT customer_id, {lasts} FROM {rows} GROUP BY customer_id"
duckdb.sql(f"COPY ({profiles}) TO '{sys.argv[1]}.parquet' (FORMAT parquet, COMPRESSION zstd)")
"""


def measure(name: str, command: list[str], rows: int, folder: Path) -> dict[str, float]:
    """Run *command* once; print and return what it took."""
    environment = os.environ | {"UPLOADER_STATE_URL": f"sqlite:///{folder}/state.db"}
    begun = time.monotonic()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, out
    took = {
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss / (1 if sys.platform == "darwin" else 1024) / 1_000,
    }
    print(
        f"{name:<34} {rows:>9,} rows  {seconds:6.1f} s  {rows / seconds:>9,.0f} rows/s  "
        f"{took['cpu']:6.1f} CPU s  {took['peak']:.2f} GB peak"
    )
    return took


def plan(path: Path, id_column: str) -> list[str]:
    """Our command."""
    return [
        sys.executable,
        "-m",
        "uploader",
        "plan",
        str(path),
        "--id-column",
        id_column,
        "--via",
        "bulk",
        "--json",
        "--log-level",
        "error",
    ]


def main(rows: int) -> None:
    """Measure, and print ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        big, small = folder / "big.csv", folder / "small.csv"
        write_export(big, rows)
        write_export(small, rows // 10)
        less = measure("ours, a tenth of the rows", plan(small, "customer_id"), rows // 10, folder)
        ours = measure("ours", plan(big, "customer_id"), rows, folder)
        plain = measure(
            "csv module and a dict", [sys.executable, "-c", PLAIN, str(big)], rows, folder
        )
        duck = measure(
            "DuckDB read_csv, GROUP BY",
            [sys.executable, "-c", DUCKDB, str(big), HEADER],
            rows,
            folder,
        )
        wide, large = folder / "wide.csv", folder / "large.csv"
        write_wide(wide, rows // 20, 300)
        write_large(large, rows // 100, 25_000)
        measure("ours, 300 columns", plan(wide, "id"), rows // 20, folder)
        measure("ours, two cells of 25 KB", plan(large, "id"), rows // 100, folder)
        print(
            json.dumps(
                {
                    "seconds_ours_to_plain": round(ours["seconds"] / plain["seconds"], 2),
                    "seconds_ours_to_duckdb": round(ours["seconds"] / duck["seconds"], 2),
                    "peak_ours_to_plain": round(ours["peak"] / plain["peak"], 2),
                    "peak_ours_to_duckdb": round(ours["peak"] / duck["peak"], 2),
                    "peak_ten_times_the_rows": round(ours["peak"] / less["peak"], 2),
                }
            )
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000)
