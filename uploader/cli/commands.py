"""The commands. Each reads its settings, does one thing, prints one result, exits with a code."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from uploader import __version__
from uploader.cli import running, screen
from uploader.cli.looking import quota, status
from uploader.cli.options import (
    FILE,
    common_options,
    mapping_options,
    route_options,
    sending_options,
    setting,
)
from uploader.cli.rehearsing import demo, emulate
from uploader.inputs import read_exports, read_letters
from uploader.pipeline import Pipeline
from uploader.planning.plan import Plan
from uploader.preparing import make_plan
from uploader.progress import Progress
from uploader.runs import refuse_stale, unfinished_run
from uploader.sending.stopping import Stop
from uploader.settings import Settings
from uploader.stops import stop_on_signals
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
The account, in the environment (or in config/uploader.toml, or in /run/secrets):
  UPLOADER_CLIENT_CODE   the client code, always needed
  UPLOADER_TOKEN         the access token, where the account requires one
  UPLOADER_EDGE_URL      another address than https://CLIENT_CODE.tt.omtrdc.net
Settings without a flag, such as the pace and the caps, are named in each option's way:
UPLOADER_CALLS_PER_SECOND, UPLOADER_DAILY_CAP; config/uploader.sample.toml has all of them.

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
            with stop_on_signals(pipeline.stop, pipeline.hurry):
                spool = pipeline.scratch / "standard-input"
                given = await asyncio.to_thread(
                    read_exports, exports, settings, spool, lambda: pipeline.stop.requested
                )
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

    Exits 3 when records would be rejected, 0 otherwise.

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
    stop = Stop()
    with Scratch(home(settings)) as scratch, stop_on_signals(stop):
        spool = scratch.path / "standard-input"
        given = await asyncio.to_thread(
            read_exports, exports, settings, spool, lambda: stop.requested
        )
        made = await asyncio.to_thread(
            make_plan,
            given,
            settings,
            output or scratch.path / "plan",
            scratch.path,
            progress,
            lambda: stop.requested,
            datetime.now(UTC),
        )
        return plan_result(made, kept=output is not None)


def plan_result(made: Plan, *, kept: bool) -> dict[str, Any]:
    """What ``uploader plan`` prints, in the report's spelling."""
    about = made.description
    end = datetime.now(UTC) + timedelta(seconds=about["expected_seconds"])
    keys = (
        "records",
        "updates",
        "reasons",
        "examples",
        "unsendable",
        "route",
        "route_reason",
        "other_route",
        "calls_needed",
        "bytes",
        "expected_seconds",
        "warnings",
        "names",
        "sources",
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
            with stop_on_signals(pipeline.stop, pipeline.hurry):
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
            with stop_on_signals(pipeline.stop, pipeline.hurry):
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
            with stop_on_signals(pipeline.stop, pipeline.hurry):
                given = await asyncio.to_thread(read_letters, file)
                origin = await pipeline.journal.find(given.origin_run or "")
                if origin is not None:
                    await refuse_stale(pipeline.journal, origin, stale=start.options.stale)
                return await pipeline.run(given)

    start.go(work, screen.report_text)


for _command in (status, quota, emulate, demo):
    main.add_command(_command)
