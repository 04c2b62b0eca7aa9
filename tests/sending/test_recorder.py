"""Entering outcomes: each once, whatever happens to the journal."""

from __future__ import annotations

import asyncio
import sqlite3
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from uploader.errors import StoppedError
from uploader.model import Fate, Outcome, Reason, SingleCall
from uploader.sending.delivery import Delivery, Manners
from uploader.sending.pacing import Health, Pacer
from uploader.sending.quota import Allowance, Terms
from uploader.sending.recorder import Recorder, as_ranges
from uploader.sending.routes import SingleRoute
from uploader.sending.stopping import Stop
from uploader.sending.transport import Edge, EdgeAddress
from uploader.storage.database import Database
from uploader.storage.ledger import SINGLE, Ledger

from .driving import QUICK, RUN, journal_in
from .odd_edge import http, odd_edge


class FullDisk:
    """SQLite finds no page more, as on a full disk."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_full = False
        event.listen(database._engine, "connect", self._limit)

    def _limit(self, connection: Any, _: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages if self.is_full else 1_000_000}")


@given(st.sets(st.integers(0, 200)))
def test_ranges_hold_exactly_the_positions(positions: set[int]) -> None:
    """Each once, as few ranges as can be."""
    ranges = as_ranges(list(positions))
    assert [n for first, last in ranges for n in range(first, last + 1)] == sorted(positions)
    assert all(a[1] + 1 < b[0] for a, b in pairwise(ranges))


def test_what_a_full_disk_refused_is_entered_once_there_is_room(tmp_path: Path) -> None:
    """Outcomes and calls, with what came meanwhile, each once."""

    async def main() -> None:
        async with journal_in(tmp_path) as (database, journal):
            disk = FullDisk(database)
            recorder = Recorder(journal, RUN, Stop())
            for position in range(0, 20_000, 2):
                recorder.deliver(position)
            recorder.calls.single = 20_000
            disk.is_full = True
            with pytest.raises(StoppedError) as raised:
                await recorder.flush()
            assert raised.value.stopped_by == "disk"
            assert await journal.outcomes(RUN) == []
            recorder.bury(Outcome(1, 1, Fate.DEAD_LETTERED, Reason.REFUSED, "no"))
            disk.is_full = False
            await recorder.flush()
            await recorder.flush()
            found = await journal.outcomes(RUN)
            assert [item.first for item in found] == [0, 1, *range(2, 20_000, 2)]
            run = await journal.find(RUN)
            assert run is not None
            assert run.calls.single == 20_000

    asyncio.run(main())


def test_a_commit_that_was_walked_away_from_is_not_made_twice(tmp_path: Path) -> None:
    """The flush is cancelled while another process holds the store."""

    async def main() -> None:
        async with journal_in(tmp_path) as (_, journal):
            recorder = Recorder(journal, RUN, Stop())
            recorder.deliver(5)
            recorder.calls.single = 1
            other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            flushing = asyncio.ensure_future(recorder.flush())
            await asyncio.sleep(0.1)
            flushing.cancel()
            await asyncio.wait([flushing])
            recorder.deliver(6)
            other.execute("ROLLBACK")
            other.close()
            await recorder.flush()
            found = [(item.first, item.last) for item in await journal.outcomes(RUN)]
            assert found == [(5, 5), (6, 6)]
            run = await journal.find(RUN)
            assert run is not None
            assert run.calls.single == 1

    asyncio.run(main())


def test_a_journal_that_fails_stops_the_run(tmp_path: Path) -> None:
    """With ``disk``: the next start sends again what couldn't be entered."""

    async def main() -> None:
        async with (
            journal_in(tmp_path) as (database, journal),
            odd_edge(lambda *_: http(200)) as odd,
        ):
            stop = Stop()
            recorder = Recorder(journal, RUN, stop)
            ledger = Ledger(database, "a")
            disk = FullDisk(database)
            async with Edge(EdgeAddress(odd.url, "demo"), 8, 5.0) as edge:
                allowance = Allowance(ledger, Terms(SINGLE, 10**9, 10**6, 60.0, 5.0), stop)
                delivery: Delivery[Any] = Delivery(
                    SingleRoute(edge.single, recorder),
                    recorder,
                    allowance,
                    Pacer(0),
                    Health(stop, 300),
                    Manners(8, 3, QUICK, 100),
                    stop,
                )
                permit = await allowance.acquire()  # the lease, before the disk is full
                assert permit is not None
                permit.give_back()
                disk.is_full = True
                flushing = asyncio.ensure_future(recorder.keep_flushing())
                # Every other position, so that ranges don't help.
                calls = (SingleCall(n, b"mbox3rdPartyId=a") for n in range(0, 10**9, 2))
                await asyncio.wait_for(delivery.run(calls), 30)
                await flushing
            assert stop._reason is not None
            assert stop._reason.stopped_by == "disk"
            disk.is_full = False
            await allowance.close()
            await recorder.flush()
            entered = sum(item.last - item.first + 1 for item in await journal.outcomes(RUN))
            assert entered == recorder.delivered

    asyncio.run(main())
