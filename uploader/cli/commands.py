"""The commands. Each reads its settings, does one thing, prints one result, exits with a code."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from uploader import __version__
from uploader.cli import running, screen
from uploader.cli.demo import show_demo
from uploader.cli.options import (
    FILE,
    common_options,
    mapping_options,
    route_options,
    sending_options,
    setting,
)
from uploader.emulator import EmulatorSettings, serve
from uploader.pipeline import Pipeline
from uploader.planning.plan import Plan
from uploader.preparing import make_plan, read_exports, read_letters
from uploader.progress import Progress
from uploader.runs import refuse_stale, unfinished_run
from uploader.settings import Settings
from uploader.stops import stop_on_signals
from uploader.storage.journal import Journal
from uploader.storage.ledger import BULK, SINGLE, Ledger
from uploader.workplace import Scratch, home

_EXPORTS = click.argument("exports", nargs=-1, required=True, metavar="EXPORT...")

_GROUP_HELP = """Bring CRM and point-of-sale exports into Adobe Target's visitor profiles.

An EXPORT is a CSV or JSON Lines file, a pattern such as 'exports/*.csv', or - for
standard input. Every record is delivered exactly as the file has it, or kept as a dead
letter with its reason. A run that is killed goes on where it was: start it again.

\b
First upload, step by step:
  uploader demo                                     see it work; no account needed
  export UPLOADER_CLIENT_CODE=yourcode              the account's client code
  uploader plan crm.csv --id-column customer_id     look at what would be sent
  uploader run  crm.csv --id-column customer_id     send it

\b
More examples:
  uploader run crm.csv --id-column id --attribute tier --attribute city=home_city
  uploader run 'till/*.csv' --id-column loyalty_id --latest-by sold_at
  zcat big.csv.gz | uploader run - --id-column id
  uploader run crm.csv --id-column id --via bulk --deadline 06:00 --report report.json
  uploader plan backfill.csv --id-column id -o backfill.plan
  uploader send backfill.plan
  uploader retry dead-letters.jsonl
  uploader resume
  uploader status --json

\b
Exit codes:
  0  all delivered        3  finished, with dead letters, rejected or not applied
  1  a fault of ours      4  stopped early, can go on: start it again
  2  wrong usage, settings or export; nothing was sent
"""


@click.group(
    help=_GROUP_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="uploader")
def main() -> None:
    """Everything below; the umask holds for all that is written."""
    os.umask(0o077)


@main.command()
@_EXPORTS
@mapping_options
@route_options
@sending_options
@click.option("--dry-run", is_flag=True, help="Stop after the plan: the same as uploader plan.")
@common_options
def run(exports: tuple[str, ...], *, dry_run: bool, **flags: Any) -> None:
    """Plan, send and settle EXPORTs: the whole job.

    Started again with the same exports and mapping, an unfinished run goes on where it
    was, and a finished one is only reported again.

    \b
    Examples:
      uploader run crm.csv --id-column customer_id
      uploader run crm.csv --id-column id --attribute tier --attribute city=home_city
      uploader run a.csv b.jsonl --id-column id --via bulk --report report.json
      cat crm.csv | uploader run - --id-column id
    """
    start = running.Start.read(flags)

    async def work(settings: Settings, progress: Progress) -> dict[str, Any]:
        if dry_run:
            return await _plan_only(exports, None, settings, progress)
        async with Pipeline(settings, start.options, progress) as pipeline:
            with stop_on_signals(pipeline):
                spool = pipeline.scratch / "standard-input"
                given = await asyncio.to_thread(read_exports, exports, settings, spool)
                return await pipeline.run(given)

    start.go(work, screen.plan_text if dry_run else screen.report_text)


@main.command()
@_EXPORTS
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the plan in this new folder, for uploader send.",
)
@mapping_options
@route_options
@common_options
def plan(exports: tuple[str, ...], *, output: Path | None, **flags: Any) -> None:
    """Look at what would be sent, why so, and how long it will take. Nothing is sent.

    \b
    Examples:
      uploader plan crm.csv --id-column customer_id
      uploader plan backfill.csv --id-column id --via bulk -o backfill.plan
    """
    start = running.Start.read(flags)

    async def work(settings: Settings, progress: Progress) -> dict[str, Any]:
        return await _plan_only(exports, output, settings, progress)

    start.go(work, screen.plan_text)


async def _plan_only(
    exports: tuple[str, ...], output: Path | None, settings: Settings, progress: Progress
) -> dict[str, Any]:
    with Scratch(home(settings)) as scratch, running.interruptible() as stopped:
        spool = scratch.path / "standard-input"
        given = await asyncio.to_thread(read_exports, exports, settings, spool)
        made = await asyncio.to_thread(
            make_plan,
            given,
            settings,
            output or scratch.path / "plan",
            scratch.path,
            progress,
            stopped,
            datetime.now(UTC),
        )
        return plan_result(made, kept=output is not None)


def plan_result(made: Plan, *, kept: bool) -> dict[str, Any]:
    """What ``uploader plan`` prints, in the report's spelling."""
    about = made.description
    end = datetime.now(UTC) + timedelta(seconds=about["expected_seconds"])
    keys = (
        "records", "updates", "reasons", "unsendable", "route", "route_reason", "other_route",
        "calls_needed", "bytes", "expected_seconds", "warnings", "names", "sources",
    )
    flawed = about["records"]["rejected"] or about["unsendable"]
    return {key: about[key] for key in keys} | {
        "id_type": made.id_type.value,
        "expected_end_at": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "plan": str(made.folder) if kept else None,
        "plan_digest": made.digest,
        "exit_code": 3 if flawed else 0,
    }


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@sending_options
@common_options
def send(folder: Path, **flags: Any) -> None:
    """Send the plan in DIR, which uploader plan -o DIR has made.

    \b
    Example:
      uploader send backfill.plan --on-quota wait
    """
    start = running.Start.read(flags)

    async def work(settings: Settings, progress: Progress) -> dict[str, Any]:
        async with Pipeline(settings, start.options, progress) as pipeline:
            with stop_on_signals(pipeline):
                made = await asyncio.to_thread(Plan.open, folder, verify=True)
                return await pipeline.send(made)

    start.go(work, screen.report_text)


@main.command()
@click.argument("name", metavar="[RUN]", required=False)
@sending_options
@common_options
def resume(name: str | None, **flags: Any) -> None:
    """Go on with an unfinished run: the latest, or the one called RUN.

    \b
    Example:
      uploader resume --wait 3h
    """
    start = running.Start.read(flags)

    async def work(settings: Settings, progress: Progress) -> dict[str, Any]:
        async with Pipeline(settings, start.options, progress) as pipeline:
            with stop_on_signals(pipeline):
                found = await unfinished_run(pipeline.journal, name, pipeline.account)
                await refuse_stale(pipeline.journal, found, stale=start.options.stale)
                return await pipeline.resume(found)

    start.go(work, screen.report_text)


@main.command()
@click.argument("file", metavar="FILE", type=FILE)
@sending_options
@setting("max_rejected", metavar="N|N%")
@common_options
def retry(file: Path, **flags: Any) -> None:
    """Send the dead letters in FILE again, mended or as they are.

    The file knows the mapping and the route of the run that it came from. To mend a
    rejected record, write its columns into "record".

    \b
    Example:
      uploader retry dead-letters.jsonl --dead-letters still-dead.jsonl
    """
    start = running.Start.read(flags)

    async def work(settings: Settings, progress: Progress) -> dict[str, Any]:
        async with Pipeline(settings, start.options, progress) as pipeline:
            with stop_on_signals(pipeline):
                given = await asyncio.to_thread(read_letters, file, settings)
                assert given.letters is not None, "letters were just read"
                origin = await pipeline.journal.find(given.letters.run or "")
                if origin is not None:
                    await refuse_stale(pipeline.journal, origin, stale=start.options.stale)
                return await pipeline.run(given)

    start.go(work, screen.report_text)


@main.command()
@click.argument("name", metavar="[RUN]", required=False)
@common_options
def status(name: str | None, **flags: Any) -> None:
    """List the latest runs of all accounts, or show the report of RUN.

    \b
    Example:
      uploader status --json
    """
    start = running.Start.read(flags)

    async def work(settings: Settings, _: Progress) -> dict[str, Any]:
        with running.store(settings) as database:
            journal = Journal(database)
            if name is None:
                runs = await journal.runs()
                start.text = screen.runs_text(runs)
                return {"runs": [running.run_entry(entry) for entry in runs]}
            found = await journal.find(name)
            return running.found_report(found, name)

    start.go(work, lambda report: start.text or screen.report_text(report), keep_code=False)


@main.command()
@common_options
def quota(**flags: Any) -> None:
    """Show what is used and left of the account's quota, and when it frees.

    \b
    Example:
      uploader quota --json
    """
    start = running.Start.read(flags)

    async def work(settings: Settings, _: Progress) -> dict[str, Any]:
        account = f"{settings.edge.rstrip('/')}/{settings.account_code}"
        with running.store(settings) as database:
            ledger = Ledger(database, account)
            caps = ((SINGLE, settings.daily_cap), (BULK, settings.bulk_calls_per_minute))
            windows = [(window, cap, await ledger.standing(window)) for window, cap in caps]
        start.text = screen.quota_text(windows)
        return {
            "account": account,
            "windows": [
                {
                    "window": window.name,
                    "seconds": window.seconds,
                    "cap": cap,
                    "used": standing.used,
                    "left": max(cap - standing.used, 0),
                    "frees": [
                        {"at": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "calls": calls}
                        for at, calls in standing.frees
                    ],
                }
                for window, cap, standing in windows
            ],
        }

    start.go(work, lambda _: start.text)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=int, default=8080, show_default=True, help="0 takes a free one.")
@click.option("--client-code", default="demo", show_default=True, help="The account to play.")
@click.option("--token", default=None, help="Require this token of every call.")
@click.option(
    "--known", type=FILE, help="A file of third-party ids, one a line, whose profiles exist."
)
@click.option(
    "--batch-delay", type=float, default=1.0, show_default=True, help="Seconds until a batch is complete."
)
@click.option(
    "--faults", type=FILE, help="A JSON file of faults to play; docs/emulator.md tells them."
)
@click.option("--ready-file", type=FILE, help="Write the address here once it listens.")
def emulate(
    host: str,
    port: int,
    client_code: str,
    token: str | None,
    known: Path | None,
    batch_delay: float,
    faults: Path | None,
    ready_file: Path | None,
) -> None:
    """Play Adobe Target's profile APIs on this machine, for rehearsals and tests.

    \b
    Example:
      uploader emulate --port 8080 --known ids.txt
      UPLOADER_EDGE_URL=http://127.0.0.1:8080 UPLOADER_CLIENT_CODE=demo uploader run …
    """
    with running.explained(as_json=False, report=None):
        settings = EmulatorSettings(
            client_code=client_code,
            token=token,
            known_third_party_ids=running.lines_of(known),
            batch_delay_seconds=batch_delay,
            faults=running.faults_of(faults),
        )

        def ready(url: str) -> None:
            if ready_file is not None:
                ready_file.write_text(url + "\n")
            click.echo(f"The emulator listens at {url} for client code {client_code}.")
            click.echo(f"What it received: {url}/_emulator/stats and /_emulator/profiles")

        asyncio.run(serve(settings, host, port, ready))


@main.command()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the exports and the state here. [default: a temporary folder, removed at the end]",
)
def demo(folder: Path | None) -> None:
    """Show a whole run with real retail data against the emulator; no account is needed."""
    with running.explained(as_json=False, report=None):
        sys.exit(show_demo(folder))
