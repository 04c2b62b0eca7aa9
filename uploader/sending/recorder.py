"""Entering outcomes into the journal, in groups, about once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from uploader.errors import StoppedBy, StoppedError
from uploader.model import Batch, Calls, Fate, Outcome
from uploader.sending.stopping import Stop

FLUSH_SECONDS: Final = 1.0


class Journal(Protocol):
    """Keeps what became known, all of a call's arguments or nothing."""

    async def commit(
        self,
        run: str,
        outcomes: Sequence[Outcome] = (),
        batches: Sequence[Batch] = (),
        calls: Calls | None = None,
    ) -> None:
        """Durable on return."""


@dataclass
class _Collected:
    positions: list[int] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    def add(self, later: _Collected) -> None:
        self.positions += later.positions
        self.outcomes += later.outcomes
        self.batches += later.batches


@dataclass
class Recorder:
    """Collects outcomes and calls of one run; each is entered once, however often it's tried."""

    journal: Journal
    run: str
    stop: Stop
    calls: Calls = field(default_factory=Calls)
    delivered: int = 0
    dead_lettered: int = 0
    rows_answered: int = 0

    def __post_init__(self) -> None:
        """Nothing is waiting to be entered."""
        self._collected = _Collected()
        self._entered = Calls()
        self._turn = asyncio.Lock()

    def deliver(self, position: int) -> None:
        """A single update was accepted."""
        self._collected.positions.append(position)
        self.delivered += 1

    def bury(self, outcome: Outcome) -> None:
        """An update becomes a dead letter."""
        self._collected.outcomes.append(outcome)
        self.dead_lettered += outcome.last - outcome.first + 1

    def batch(self, batch: Batch) -> None:
        """The edge answered for a batch file."""
        self._collected.batches.append(batch)
        self.rows_answered += batch.rows

    async def flush(self) -> None:
        """Enter what has been collected; what can't be entered is kept for the next time.

        Raises:
            StoppedError: the journal can't be written.
        """
        # Shielded: whether a commit that was walked away from took place, nobody would know.
        await asyncio.shield(asyncio.ensure_future(self._enter()))

    async def keep_flushing(self) -> None:
        """Flush every second; a journal that fails stops the run."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except StoppedError as error:
                self.stop.request(error.stopped_by, str(error))
                return
            except Exception:
                self.stop.request(StoppedBy.STATE, "the journal failed")
                raise

    async def _enter(self) -> None:
        async with self._turn:
            taken, self._collected = self._collected, _Collected()
            new = _difference(self.calls, self._entered)
            ranges = [Outcome(*ends, Fate.DELIVERED) for ends in as_ranges(taken.positions)]
            outcomes = [*ranges, *taken.outcomes]
            if not outcomes and not taken.batches and new == Calls():
                return
            try:
                await self.journal.commit(self.run, outcomes, taken.batches, new)
            except BaseException:
                taken.add(self._collected)
                self._collected = taken
                raise
            self._entered = self._entered + new


def _difference(calls: Calls, entered: Calls) -> Calls:
    return Calls(
        calls.single - entered.single,
        calls.bulk - entered.bulk,
        calls.status - entered.status,
        calls.retries - entered.retries,
    )


def as_ranges(positions: list[int]) -> list[tuple[int, int]]:
    """*positions* as ranges, both ends included."""
    ranges: list[tuple[int, int]] = []
    for position in sorted(positions):
        if ranges and ranges[-1][1] == position - 1:
            ranges[-1] = (ranges[-1][0], position)
        else:
            ranges.append((position, position))
    return ranges
