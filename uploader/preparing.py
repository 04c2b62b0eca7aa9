"""Exports to a plan: read, mapped, checked, sorted, folded, routed. No network."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import duckdb

from uploader import telemetry
from uploader.describing import Tally, describe
from uploader.errors import FaultError, PlanError, SettingsError, StoppedBy, StoppedError
from uploader.inputs import Input
from uploader.intake.checks import place
from uploader.intake.locations import Form
from uploader.intake.reading import Reading
from uploader.model import (
    IntakeBlock,
    RecordBlock,
)
from uploader.planning.plan import (
    DEAD_LETTERS_FILE,
    PLAN_FILE,
    Contents,
    Plan,
    write_updates,
)
from uploader.progress import Progress, Stage
from uploader.settings import Settings
from uploader.settling.dead_letters import LetterWriter, header, rejected_line

# A GET's URL up to its query; the longest that a client code and a host make plausible.
_URL_PREFIX_BYTES: Final = 200


def make_plan(
    given: Input,
    settings: Settings,
    folder: Path,
    scratch: Path,
    progress: Progress,
    stopped: Callable[[], bool],
    now: datetime,
) -> Plan:
    """Make the plan of *given* in *folder*, which appears whole or not at all.

    Raises:
        UsageError: see :mod:`uploader.errors`; nothing was made.
        StoppedError: a stop was asked for, or the disk is full.
    """
    if folder.exists() and any(folder.iterdir()):
        message = f"{folder}: is not empty; name a new folder, or remove this one first"
        raise PlanError(message)
    partial = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.mkdir(parents=True, mode=0o700)
        description = _fill(given, settings, partial, scratch, progress, stopped, now)
        (partial / PLAN_FILE).write_text(json.dumps(description, indent=1) + "\n", "utf-8")
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except OSError as error:
        message = f"{folder}: the plan can't be written: {error.strerror or error}"
        raise StoppedError(StoppedBy.DISK, message) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Plan.open(folder)


def _fill(
    given: Input,
    settings: Settings,
    partial: Path,
    scratch: Path,
    progress: Progress,
    stopped: Callable[[], bool],
    now: datetime,
) -> dict[str, Any]:
    progress.begin(Stage.PLANNING)
    telemetry.planning_begun(given.names)
    reading = Reading(given.mapping, given.delimiter, strict=settings.strict_limits)
    sources = given.names if given.letters is None else list(given.letters.sources)
    blocks = (
        reading.blocks(given.exports)
        if given.letters is None
        else reading.letters(given.letters, sources)
    )
    body = partial / "rejected.jsonl"
    with LetterWriter(body) as letters:
        intake = _Intake(letters, progress, stopped, now)
        contents = _sorted_and_folded(intake, blocks, settings, partial, scratch)
    with LetterWriter(partial / DEAD_LETTERS_FILE) as letters:
        about = _sources(given, reading)
        letters.write(header(None, about, given.delimiter, given.mapping, given.wish.as_json()))
        letters.copy(body)
    body.unlink()
    intake.tally.cautions = reading.checks.cautions.lines()
    return describe(given, settings, partial, contents, intake.tally, sources, now)


class _Intake:
    """Lets usable records through, writes rejected ones down, and counts both."""

    def __init__(
        self,
        letters: LetterWriter,
        progress: Progress,
        stopped: Callable[[], bool],
        now: datetime,
    ) -> None:
        self._letters = letters
        self._progress = progress
        self._stopped = stopped
        self._now = now
        self.tally = Tally()

    def records(self, blocks: Iterator[IntakeBlock]) -> Iterator[RecordBlock]:
        """The usable records of *blocks*."""
        for block in blocks:
            self._count(block)
            if block.records is not None and len(block.records.ids):
                yield block.records

    def _count(self, block: IntakeBlock) -> None:
        if self._stopped():
            raise StoppedError(StoppedBy.SIGNAL, "stopped while planning; start again")
        tally = self.tally
        tally.read += block.read
        tally.skipped += block.skipped
        tally.rejected += len(block.rejected)
        for rejected in block.rejected:
            reason = rejected.reason.value
            tally.reasons[reason] += 1
            tally.examples.setdefault(reason, place(rejected.source, rejected.line))
            self._letters.write(rejected_line(rejected, self._now))
        self._progress.set(tally.read)


def _sorted_and_folded(
    intake: _Intake,
    blocks: Iterator[IntakeBlock],
    settings: Settings,
    partial: Path,
    scratch: Path,
) -> Contents:
    try:
        return write_updates(intake.records(blocks), partial, scratch, settings.memory)
    except duckdb.OutOfMemoryException as error:
        message = (
            "sorting needs more memory than UPLOADER_MEMORY, or more disk than there is in "
            f"{scratch}: {str(error).splitlines()[0]}"
        )
        raise SettingsError(message) from error
    except duckdb.IOException as error:
        message = f"{scratch}: sorting needs disk there, and can't write; free some space"
        raise StoppedError(StoppedBy.DISK, message) from error
    except duckdb.Error as error:
        # Its message may quote what it sorted.
        raise FaultError(f"sorting failed: {type(error).__name__}") from error


def _sources(given: Input, reading: Reading) -> list[dict[str, Any]]:
    if given.letters is not None:
        known = given.letters.sources
        return [
            {"name": name, "form": source.form.value, "columns": list(source.columns)}
            for name, source in known.items()
        ]
    return [
        {
            "name": export.name,
            "form": export.form.value,
            # JSON Lines have no columns to read raw text by.
            "columns": list(reading.columns[export.name]) if export.form is Form.CSV else [],
        }
        for export in given.exports
    ]
