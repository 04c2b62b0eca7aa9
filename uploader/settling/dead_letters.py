"""The dead-letter file: whatever was not delivered, with all that a redrive needs."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import unquote

from uploader.model import Batch, BatchState, Fate, Mapping, Outcome, Reason, Rejected, Update
from uploader.settling.files import whole_file

VERSION: Final = 1


def utc_now() -> datetime:
    """Now, aware."""
    return datetime.now(UTC)


def header(
    run: str | None,
    sources: Sequence[dict[str, Any]],
    delimiter: str,
    mapping: Mapping,
    route: dict[str, Any],
) -> dict[str, Any]:
    """The first line: all that ``uploader retry`` needs besides the account.

    *sources* has one ``{"name", "form", "columns"}`` an export; *route* is the one asked for.
    """
    return {
        "dead_letters": VERSION,
        "run": run,
        "columns": list(sources[0]["columns"]) if sources else [],
        "dialect": {"delimiter": delimiter, "quote": '"', "encoding": "utf-8"},
        "mapping": mapping.as_json(),
        "route": route,
        "sources": list(sources),
    }


def rejected_line(rejected: Rejected, at: datetime) -> dict[str, Any]:
    """One record that the plan couldn't use."""
    line: dict[str, Any] = {
        "kind": "rejected",
        "reason": rejected.reason.value,
        "detail": rejected.detail,
        "source": rejected.source,
        "record_number": rejected.record_number,
        "line": rejected.line,
        "record": rejected.record,
        "raw": None,
        "at": stamp(at),
    }
    if rejected.raw is not None:
        try:
            line["raw"] = rejected.raw.decode()
        except UnicodeDecodeError:
            line["raw_base64"] = base64.b64encode(rejected.raw).decode()
    if rejected.extent is not None:
        extent = rejected.extent
        line |= {"offset": extent.offset, "length": extent.length, "sha256": extent.sha256}
    return line


def undelivered_line(
    update: Update, names: Sequence[str], id_type: str, sources: Sequence[str], outcome: Outcome
) -> dict[str, Any]:
    """One update that the edge didn't take, or that no call could carry."""
    return {
        "kind": "undelivered",
        "reason": outcome.reason.value if outcome.reason else None,
        "detail": outcome.detail,
        "identity": {"type": id_type, "value": unquote(update.identity)},
        "attributes": {
            name: unquote(value)
            for name, value in zip(names, update.attributes.split(","), strict=False)
            if value
        },
        "records": update.records,
        "source": sources[update.source],
        "line": update.line,
        "attempts": outcome.attempts,
        "http_status": outcome.http_status,
        "at": stamp(outcome.at or utc_now()),
    }


class LetterWriter:
    """Writes a dead-letter file, which appears when it is whole; use as a context manager."""

    def __init__(self, path: Path) -> None:
        """The file appears at the end of the ``with`` block, and only if nothing was raised."""
        self._opened = contextlib.ExitStack()
        self._file = self._opened.enter_context(whole_file(path))
        self.written = 0

    def __enter__(self) -> Self:
        """Usable at once."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the file in its place, durably, or take the attempt away."""
        self._opened.__exit__(kind, error, trace)

    def write(self, line: dict[str, Any]) -> None:
        """Add one line."""
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.written += 1

    def copy(self, path: Path, *, after_lines: int = 0) -> None:
        """Add the lines of *path*, without the first *after_lines*."""
        with path.open(encoding="utf-8", newline="\n") as lines:
            for line in islice(lines, after_lines, None):
                self._file.write(line)
                self.written += 1


def buried(outcomes: Iterable[Outcome], batches: Iterable[Batch]) -> list[Outcome]:
    """Everything that became dead letters, by position; batches as outcomes of their rows."""
    found = [outcome for outcome in outcomes if outcome.fate is Fate.DEAD_LETTERED]
    reasons = {BatchState.STUCK: Reason.BATCH_STUCK, BatchState.REFUSED: Reason.BATCH_REFUSED}
    found += [
        Outcome(
            batch.first,
            batch.last,
            Fate.DEAD_LETTERED,
            reasons[batch.state],
            batch.detail,
            batch.attempts,
            batch.http_status,
        )
        for batch in batches
        if batch.state in reasons
    ]
    return sorted(found, key=lambda outcome: (outcome.first, outcome.last))


def stamp(moment: datetime) -> str:
    """A moment as the files have it: UTC, to the second, ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp_seconds(seconds: float) -> str:
    """As :func:`stamp`, from seconds since 1970."""
    return stamp(datetime.fromtimestamp(seconds, UTC))
