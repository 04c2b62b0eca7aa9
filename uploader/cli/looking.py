"""Commands that only look: runs, and what is left of the quota."""

from __future__ import annotations

from typing import Any

import click

from uploader.cli import running, screen
from uploader.cli.options import common_options
from uploader.pipeline import account_of
from uploader.progress import Progress
from uploader.settings import Settings
from uploader.storage.journal import Journal
from uploader.storage.ledger import BULK, BULK_ROWS, SINGLE, Ledger


@click.command()
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
                entries = [running.run_entry(run, settings) for run in runs]
                start.text = screen.runs_text(entries)
                return {"runs": entries}
            found = await journal.find(name)
            return running.found_report(found, name, settings)

    start.go(work, lambda report: start.text or screen.report_text(report), keep_code=False)


@click.command()
@common_options
def quota(**flags: Any) -> None:
    """Show what is used and left of the account's quota, and when it frees.

    \b
    Example:
      uploader quota --json
    """
    start = running.Start.read(flags)

    async def work(settings: Settings, _: Progress) -> dict[str, Any]:
        account = account_of(settings)
        with running.store(settings) as database:
            ledger = Ledger(database, account)
            caps = [(SINGLE, settings.daily_cap), (BULK, settings.bulk_calls_per_minute)]
            if settings.bulk_rows_per_day:
                caps.append((BULK_ROWS, settings.bulk_rows_per_day))
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
