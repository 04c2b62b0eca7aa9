"""Batches from acceptance to completion: waiting, being applied, complete or stuck.

Assumptions: batches are applied one after the other in the order in which they are
due; a stuck one applies nothing; while a batch is being applied its first rows are
already visible.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .batch_file import Header, row_id, row_slices
from .layers import Source
from .profiles import SHELVES, THIRD_PARTY_ID, ProfileStore
from .wire import Body

INCOMPLETE = "incomplete"
COMPLETE = "complete"
STUCK = "stuck"
DUE_CHECK_SECONDS = 0.05  # ours: how late a batch may be when a test moves its clock


@dataclass(slots=True)
class Batch:
    """One accepted batch file and what has become of it."""

    id: str
    version: int
    header: Header
    rows: int
    size_bytes: int
    due: float
    """Unix seconds."""
    will_be_stuck: bool
    body: Body
    """Empty once the batch is over."""
    status: str = INCOMPLETE
    consumed: int = 0
    successful: int = 0
    not_found: int = 0
    failed: int = 0
    outcomes: list[tuple[str, bool]] = field(default_factory=list)
    """Id and success of each row, where the status form tells them."""

    def summary(self) -> dict[str, Any]:
        """The batch for the control API."""
        return {
            "id": self.id,
            "version": self.version,
            "id_type": self.header.id_type,
            "rows": self.rows,
            "bytes": self.size_bytes,
            "status": self.status,
            "consumed": self.consumed,
            "successful": self.successful,
            "not_found": self.not_found,
            "failed": self.failed,
        }

    def pending_ids(self) -> Iterator[str]:
        """Ids of the rows of a batch that is not over."""
        for rows in row_slices(self.body, self.header):
            yield from (row_id(row) for row in rows if row)


class BatchQueue:
    """All batches of the account, each followed by a task of its own until it is over."""

    def __init__(self, store: ProfileStore, clock: Callable[[], float], *, tell_rows: bool) -> None:
        """Apply to *store*; with *tell_rows*, remember the outcome of every row."""
        self._store = store
        self._clock = clock
        self._tell_rows = tell_rows
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.batches: dict[str, Batch] = {}

    def add(self, batch: Batch, row_fails: Callable[[str], bool] | None) -> None:
        """Take *batch* in; it is applied when it is due."""
        self.batches[batch.id] = batch
        task = asyncio.get_running_loop().create_task(self._follow(batch, row_fails))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Drop all unfinished work."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, batch: Batch, row_fails: Callable[[str], bool] | None) -> None:
        # In short steps, since the clock may be a test's and jump.
        while (left := batch.due - self._clock()) > 0:
            await asyncio.sleep(min(left, DUE_CHECK_SECONDS))
        if batch.will_be_stuck:
            batch.status = STUCK
        else:
            async with self._turn:
                await self._apply(batch, row_fails)
            batch.status = COMPLETE
        batch.body = b""

    async def _apply(self, batch: Batch, row_fails: Callable[[str], bool] | None) -> None:
        # Two v2 batches in a row override each other only by third-party id; what
        # happens by pcId is not documented, so nothing does (assumption).
        overridable = batch.version == 2 and batch.header.id_type == THIRD_PARTY_ID  # noqa: PLR2004
        names = batch.header.names
        source = Source(names, int(self._clock() * 1000), overridable)
        number = self._store.add_source(source)
        told = batch.outcomes if self._tell_rows else None
        any_value = False
        for rows in row_slices(batch.body, batch.header):
            any_value |= _apply_rows(rows, batch, self._store, number, row_fails, told)
            await asyncio.sleep(0)
        if not any_value:
            # Documented: a batch of only empty values is skipped. Nothing consumed: assumption.
            batch.consumed = batch.successful = batch.not_found = batch.failed = 0
            batch.outcomes.clear()


def _apply_rows(
    rows: list[bytes],
    batch: Batch,
    store: ProfileStore,
    number: int,
    row_fails: Callable[[str], bool] | None,
    told: list[tuple[str, bool]] | None,
) -> bool:
    """Apply some rows and count them in *batch*; tells whether any row had a value.

    Documented: v1 doesn't create profiles, v2 does; empty values are ignored.
    Assumption: a row of only empty values is successful and neither creates a
    profile nor overrides anything.
    """
    width, by_third_party_id = len(batch.header.names), batch.header.id_type == THIRD_PARTY_ID
    shelves, creates, keep = store.shelves(batch.header.id_type), batch.version != 1, store.keep
    prefix = b"%d," % number
    any_value = False
    for row in filter(None, rows):
        raw_id, _, values = row.partition(b",")
        identity = raw_id.decode("ascii") if raw_id.isalnum() else row_id(row)
        profiles = shelves[hash(identity) % SHELVES]
        filled = bool(values.strip(b","))
        any_value |= filled
        batch.consumed += 1
        applied = False
        possible = row.count(b",") <= width and _can_be_sent(identity, by_third_party_id)
        if not possible or (row_fails is not None and row_fails(identity)):
            batch.failed += 1
        elif (profile := profiles.get(identity)) is None and not creates:
            batch.not_found += 1
        else:
            batch.successful += 1
            applied = True
            if filled and keep:
                profiles[identity] = (
                    store.row_on(profile, number, values) if profile else prefix + values
                )
        if told is not None:
            told.append((identity, applied))
    return any_value


def _can_be_sent(identity: str, by_third_party_id: bool) -> bool:
    """Whether a row may have this id.

    Documented: ``+`` and ``/`` can't be in a third-party id. Assumption: the rows
    that have one fail, as do those without id and those longer than the header.
    """
    return bool(identity) and not (by_third_party_id and ("+" in identity or "/" in identity))
