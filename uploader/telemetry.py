"""Events: one function each, which writes the log line and moves the counter.

Never a line per row. Never a token, an id or an attribute's value.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TextIO, cast

import structlog

_log: Any = structlog.get_logger()

# What the process counted since it began; a door may expose it.
calls_by_verdict: Counter[str] = Counter()
call_seconds: Counter[str] = Counter()


class _StandardError:
    """Whatever ``sys.stderr`` is at the moment: a progress display puts itself there."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure(log_format: str, level: str) -> None:
    """Send events to stderr (stdout is for results), as lines or as JSON."""
    renderer: Any
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=24)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _StandardError())),
        cache_logger_on_first_use=False,
    )


def state_made(where: str) -> None:
    """A state store was made anew: a forgotten volume must not go unnoticed."""
    _log.warning("state_store_is_new", store=where)


def run_begun(run: str, account: str, folder: str, *, start: int) -> None:
    """A run starts, or goes on."""
    _log.info("run_begun", run=run, account=account, folder=folder, start=start)


def run_reported_again(run: str, exit_code: int) -> None:
    """The run is finished and the account's latest: nothing is sent."""
    _log.info("run_reported_again", run=run, exit_code=exit_code)


def planning_begun(exports: list[str]) -> None:
    """Reading starts."""
    _log.info("planning_begun", exports=exports)


def planned(records: Mapping[str, int], updates: int, route: str, reason: str) -> None:
    """The plan is whole."""
    _log.info("planned", **records, updates=updates, route=route, reason=reason)


def caution(text: str) -> None:
    """Something is worth a word."""
    _log.warning("caution", about=text)


def sending_begun(updates: int, route: str) -> None:
    """The first call is about to go."""
    _log.info("sending_begun", updates=updates, route=route)


def progressed(stage: str, done: int, total: int | None, rate: float) -> None:
    """Where the run stands, every half minute where nobody watches a display."""
    _log.info("progress", stage=stage, done=done, total=total, per_second=round(rate))


def call_ended(verdict: str, seconds: float) -> None:
    """A call came back, or didn't. Counted only: there may be a million."""
    calls_by_verdict[verdict] += 1
    call_seconds[verdict] += seconds  # type: ignore[assignment]


def calls_fail(cause: str) -> None:
    """So many calls failed in a row that only probes are made now and then."""
    _log.warning("calls_fail", last=cause, now="one probe at a time")


def calls_get_through_again() -> None:
    """A probe came through."""
    _log.info("calls_get_through_again")


def batch_accepted(batch: int, rows: int, size: int, attempt: int, seconds: float) -> None:
    """The edge took a batch file."""
    _log.info(
        "batch_accepted",
        batch=batch,
        rows=rows,
        bytes=size,
        attempt=attempt,
        seconds=round(seconds, 1),
    )


def batch_refused(batch: int, rows: int, detail: str) -> None:
    """The edge wants none of a batch file."""
    _log.warning("batch_refused", batch=batch, rows=rows, detail=detail)


def batch_ended(batch: int, status: str, rows: int, failed: int, not_found: int) -> None:
    """A batch is complete or stuck."""
    write = _log.info if status == "complete" else _log.warning
    write("batch_ended", batch=batch, status=status, rows=rows, failed=failed, not_found=not_found)


def status_host_refused(host: str) -> None:
    """A status URL points to a host that isn't trusted: the edge itself is asked instead."""
    _log.warning("status_host_not_allowed", host=host, asked="the edge")


def quota_waited_for(free_at: datetime) -> None:
    """Nothing is left in a window, and the run waits."""
    _log.info("quota_waited_for", goes_on_at=free_at.isoformat(timespec="seconds"))


def stopping(stopped_by: str, message: str) -> None:
    """A stop was asked for; calls in flight end first."""
    _log.warning("stopping", stopped_by=stopped_by, message=message)


def run_ended(run: str, exit_code: int, stopped_by: str | None, seconds: float) -> None:
    """The last line of a run."""
    _log.info(
        "run_ended", run=run, exit_code=exit_code, stopped_by=stopped_by, seconds=round(seconds, 1)
    )
