"""Showing where a run stands: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bar,
)

from uploader import telemetry
from uploader.progress import Progress, Stage

_LOOK_SECONDS: Final = 0.2
_LINE_SECONDS: Final = 30.0

_UNITS: Final = {
    Stage.STARTING: "",
    Stage.PLANNING: "records read",
    Stage.SENDING: "updates sent",
    Stage.FOLLOWING: "rows settled",
    Stage.ENDED: "",
}


def on_terminal() -> bool:
    """Whether somebody is looking."""
    return sys.stderr.isatty()


@contextlib.contextmanager
def watched(progress: Progress) -> Iterator[None]:
    """Show *progress* while the block runs; needs a running event loop."""
    watch = _draw(progress) if on_terminal() else _log(progress)
    task = asyncio.ensure_future(watch)
    try:
        yield
    finally:
        task.cancel()


async def _draw(progress: Progress) -> None:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[done]} {task.fields[unit]}, {task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", done="", unit="", rate=0.0, total=None)
        while True:
            bar.update(
                task,
                description=progress.stage.value,
                completed=progress.done,
                total=progress.total,
                done=_done(progress),
                unit=_UNITS[progress.stage],
                rate=progress.rate,
            )
            await asyncio.sleep(_LOOK_SECONDS)


def _done(progress: Progress) -> str:
    of_total = "" if progress.total is None else f" of {progress.total:,}"
    return f"{progress.done:,}{of_total}"


async def _log(progress: Progress) -> None:
    while True:
        await asyncio.sleep(_LINE_SECONDS)
        telemetry.progressed(progress.stage.value, progress.done, progress.total, progress.rate)
