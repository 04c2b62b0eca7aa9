"""Exports to a plan: read, mapped, checked, sorted, folded, routed. No network."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import duckdb

from uploader import __version__, telemetry
from uploader.errors import FaultError, PlanError, SettingsError, StoppedBy, StoppedError
from uploader.intake.checks import place
from uploader.intake.locations import Export, Form, expand, open_exports
from uploader.intake.reading import Reading
from uploader.intake.redrive import Letters, open_letters
from uploader.model import (
    IntakeBlock,
    Mapping,
    RecordBlock,
    Route,
    RouteWish,
    SingleCall,
    Via,
)
from uploader.planning import routing
from uploader.planning.batching import Survey, Wire, single_calls, survey
from uploader.planning.plan import (
    DEAD_LETTERS_FILE,
    FORMAT,
    PLAN_FILE,
    UPDATES_FILE,
    Contents,
    Plan,
    Updates,
    digest_of,
    file_sha256,
    write_updates,
)
from uploader.progress import Progress, Stage
from uploader.settings import Settings
from uploader.settling.dead_letters import LetterWriter, header, rejected_line, stamp

# A GET's URL up to its query; the longest that a client code and a host make plausible.
_URL_PREFIX_BYTES: Final = 200


@dataclass(frozen=True)
class Input:
    """What a plan is made of: exports, or the letters of a redrive; and its identity."""

    mapping: Mapping
    wish: RouteWish
    delimiter: str
    identity: str
    exports: tuple[Export, ...] = ()
    letters: Letters | None = None

    @property
    def origin_run(self) -> str | None:
        """The run that wrote the letters."""
        return None if self.letters is None else self.letters.run

    @property
    def names(self) -> list[str]:
        """What it is called."""
        if self.letters is not None:
            return [str(self.letters.path)]
        return [export.name for export in self.exports]


def read_exports(arguments: Sequence[str], settings: Settings, spool: Path) -> Input:
    """Look at every export, and give the input its identity: bytes in order, mapping, route.

    Raises:
        ExportError: an export can't be read.
        SettingsError: the mapping or the route asked for makes no sense.
    """
    mapping, wish = settings.mapping, settings.wish
    routing.refuse_contradictions(wish)
    exports = tuple(open_exports(expand(arguments), spool))
    hashes = [export.sha256 for export in exports]
    identity = _identity(hashes, mapping, wish, settings.delimiter)
    return Input(mapping, wish, settings.delimiter, identity, exports=exports)


def read_letters(path: Path) -> Input:
    """As :func:`read_exports`, for a dead-letter file, which knows its mapping and route.

    Raises:
        ExportError: it is no dead-letter file.
    """
    letters = open_letters(path)
    wish = RouteWish.from_json(letters.route)
    identity = _identity([file_sha256(path)], letters.mapping, wish, letters.delimiter)
    return Input(letters.mapping, wish, letters.delimiter, identity, letters=letters)


def _identity(hashes: list[str], mapping: Mapping, wish: RouteWish, delimiter: str) -> str:
    parts = [hashes, mapping.as_json(), wish.as_json(), delimiter]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass
class _Tally:
    """Counts of one planning, each made where the thing happens."""

    read: int = 0
    rejected: int = 0
    skipped: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    failure: BaseException | None = None


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
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
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
    tally = _Tally()
    body = partial / "rejected.jsonl"
    with LetterWriter(body) as letters:
        records = _records(blocks, tally, letters, progress, stopped, now)
        contents = _sorted_and_folded(records, tally, settings, partial, scratch)
    about = _sources(given, reading)
    with LetterWriter(partial / DEAD_LETTERS_FILE) as letters:
        letters.write(header(None, about, given.delimiter, given.mapping, given.wish.as_json()))
        letters.copy(body)
    body.unlink()
    return _described(given, settings, partial, contents, tally, reading, sources, about, now)


def _records(
    blocks: Iterator[IntakeBlock],
    tally: _Tally,
    letters: LetterWriter,
    progress: Progress,
    stopped: Callable[[], bool],
    now: datetime,
) -> Iterator[RecordBlock]:
    """The usable records of *blocks*; rejected ones are written down and counted.

    What is raised here crosses a C interface that keeps no exception: it is laid by in
    *tally* and raised again behind it.
    """
    try:
        for block in blocks:
            _go_on_unless(stopped)
            tally.read += block.read
            tally.skipped += block.skipped
            tally.rejected += len(block.rejected)
            for rejected in block.rejected:
                tally.reasons[rejected.reason.value] += 1
                tally.examples.setdefault(
                    rejected.reason.value, place(rejected.source, rejected.line)
                )
                letters.write(rejected_line(rejected, now))
            progress.set(tally.read)
            if block.records is not None and len(block.records.ids):
                yield block.records
    except BaseException as error:
        tally.failure = error
        raise


def _go_on_unless(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise StoppedError(StoppedBy.SIGNAL, "stopped while planning; start again")


def _sorted_and_folded(
    records: Iterator[RecordBlock],
    tally: _Tally,
    settings: Settings,
    partial: Path,
    scratch: Path,
) -> Contents:
    try:
        return write_updates(records, partial, scratch, settings.memory)
    except duckdb.OutOfMemoryException as error:
        message = (
            "sorting needs more memory than UPLOADER_MEMORY, or more disk than there is in "
            f"{scratch}: {str(error).splitlines()[0]}"
        )
        raise SettingsError(message) from error
    except Exception as error:
        if tally.failure is not None:
            raise tally.failure from None
        if isinstance(error, duckdb.Error):
            message = f"sorting failed: {str(error).splitlines()[0]}"
            raise FaultError(message) from error
        raise


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


def _described(
    given: Input,
    settings: Settings,
    partial: Path,
    contents: Contents,
    tally: _Tally,
    reading: Reading,
    sources: list[str],
    about: list[dict[str, Any]],
    now: datetime,
) -> dict[str, Any]:
    updates = Updates(partial / UPDATES_FILE)
    pace = pace_of(settings)
    by_bulk = Wire.of(
        contents.names,
        given.mapping.id_type,
        Route(Via.BULK, 2 if given.wish.create_profiles else given.wish.bulk_version or 1),
    )
    seen = survey(updates, by_bulk, contents)
    choice = routing.choose(given.wish, contents.updates, seen.total_bytes, seen.batches, pace)
    wire = replace(by_bulk, route=choice.route)
    single = choice.route.via is Via.SINGLE
    if single:
        seen = _survey_single(updates, wire, contents)
    calls = seen.sendable if single else seen.batches
    seconds = (
        routing.single_seconds(calls, pace)
        if single
        else routing.bulk_seconds(calls, seen.total_bytes, pace)
    )
    warnings = routing.warnings(
        choice.route, given.mapping.id_type, account_uses_ecid=settings.account_uses_ecid
    )
    return {
        "format": FORMAT,
        "uploader": __version__,
        "digest": digest_of(contents, given.mapping.id_type, choice.route),
        "input_identity": given.identity,
        "made_at": stamp(now),
        "names": list(contents.names),
        "mapping": given.mapping.as_json(),
        "delimiter": given.delimiter,
        "sources": sources,
        "source_columns": about,
        "route_wish": given.wish.as_json(),
        "route_chosen": {
            "via": choice.route.via.value,
            "bulk_version": choice.route.bulk_version,
            "method": choice.route.method.value,
        },
        "route": str(choice.route),
        "route_reason": choice.reason,
        "other_route": choice.other,
        "records": {
            "read": tally.read,
            "rejected": tally.rejected,
            "skipped": tally.skipped,
            "merged": contents.merged,
        },
        "updates": {"planned": contents.updates},
        "reasons": dict(tally.reasons),
        "examples": tally.examples,
        "unsendable": {reason.value: count for reason, count in seen.unsendable.items()},
        "calls_needed": calls,
        "bytes": seen.total_bytes,
        "expected_seconds": round(seconds, 1),
        "warnings": [*warnings, *reading.checks.cautions.lines()],
        "updates_sha256": contents.file_sha256,
    }


def _survey_single(updates: Updates, wire: Wire, contents: Contents) -> Survey:
    """Count what single calls will take; read again, since bodies hold names as well."""
    unsendable: Counter[Any] = Counter()
    size = 0
    for item in single_calls(updates, wire, _URL_PREFIX_BYTES):
        if isinstance(item, SingleCall):
            size += len(item.payload)
        else:
            unsendable[item.reason] += 1
    sendable = contents.updates - unsendable.total()
    return Survey(sendable, 0, size, dict(unsendable))


def pace_of(settings: Settings) -> routing.Pace:
    """The settings that decide how long sending takes."""
    return routing.Pace(
        settings.single_max_updates,
        settings.daily_cap,
        settings.calls_per_second,
        settings.workers,
        settings.bulk_calls_per_minute,
    )
