"""Spending the quota: permits, leases, rows."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from uploader.emulator import CallFaults, Faults
from uploader.model import BatchState
from uploader.sending.quota import Allowance, Terms
from uploader.sending.stopping import Stop
from uploader.storage.ledger import SINGLE, Ledger, Window

from .driving import Habits, batch_calls, journal_in, single_calls, to_emulator


def test_a_run_spends_the_quota_to_its_last_call_and_stops(tmp_path: Path) -> None:
    """Though its leases are larger than what is left at the end."""
    sent = to_emulator(tmp_path, single_calls(300), Habits(cap=123, calls_per_lease=50))
    assert sent.reason == "quota"
    assert sent.delivered == sent.calls.single == sent.stats["calls"]["single"] == 123


def test_a_cap_of_one_is_one_call(tmp_path: Path) -> None:
    """However many workers there are."""
    sent = to_emulator(tmp_path, single_calls(10), Habits(cap=1))
    assert (sent.reason, sent.stats["calls"]["single"]) == ("quota", 1)


def test_retries_are_paid_for_too(tmp_path: Path) -> None:
    """Ten failures leave ten calls fewer."""
    faults = Faults(single=CallFaults(next_calls=(("500", 10),)))
    sent = to_emulator(tmp_path, single_calls(100), Habits(cap=50), faults=faults)
    assert (sent.delivered, sent.stats["calls"]["single"]) == (40, 50)


def test_waiting_for_a_window_spends_it_again_and_never_more(tmp_path: Path) -> None:
    """A window of a second, many workers: what is free is used as soon as it is."""
    window = Window("short", 1, 1)

    async def main() -> None:
        async with journal_in(tmp_path) as (database, _):
            stop = Stop()
            terms = Terms(window, 5, 3, 1.0, 0.1, wait=True)
            allowance = Allowance(Ledger(database, "a"), terms, stop)
            starts: list[float] = []

            async def work() -> None:
                while len(starts) < 9:
                    permit = await allowance.acquire()
                    assert permit is not None
                    starts.append(allowance.now())
                    permit.done(answered=True)

            await asyncio.wait_for(asyncio.gather(*(work() for _ in range(4))), 30)
            await allowance.close()
            starts.sort()
            assert all(b - a >= 1 for a, b in zip(starts, starts[5:], strict=False))

    asyncio.run(main())


def test_a_permit_dies_with_its_lease(tmp_path: Path) -> None:
    """And what wasn't started in time goes back."""

    async def main() -> None:
        async with journal_in(tmp_path) as (database, _):
            ledger, clock = Ledger(database, "a"), [100.0]
            terms = Terms(SINGLE, 10, 4, 5.0, 1.0)
            allowance = Allowance(ledger, terms, Stop(), now=lambda: clock[0])
            early = await allowance.acquire()
            assert early is not None
            lives = [early.is_live]
            clock[0] += 5.0
            late = await allowance.acquire()
            assert late is not None
            assert [*lives, early.is_live, late.is_live] == [True, False, True]
            early.give_back()
            late.done(answered=True)
            await allowance.close()
            assert (await ledger.standing(SINGLE)).used == 1

    asyncio.run(main())


def test_a_lease_that_nobody_waits_for_any_more_is_given_back(tmp_path: Path) -> None:
    """The state store is locked, the worker is cancelled, then the lease comes after all."""

    async def main() -> None:
        async with journal_in(tmp_path) as (database, _):
            ledger = Ledger(database, "a")
            allowance = Allowance(ledger, Terms(SINGLE, 10, 4, 5.0, 1.0), Stop())
            other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            asking = asyncio.ensure_future(allowance.acquire())
            await asyncio.sleep(0.1)
            asking.cancel()
            await asyncio.wait([asking])
            other.execute("ROLLBACK")
            other.close()
            await allowance.close()
            assert (await ledger.standing(SINGLE)).used == 0

    asyncio.run(main())


def test_a_store_that_fails_stops_the_run(tmp_path: Path) -> None:
    """Without an error in the worker's face, so that calls in flight can end."""

    async def main() -> None:
        async with journal_in(tmp_path) as (database, _):
            stop = Stop()
            allowance = Allowance(Ledger(database, "a"), Terms(SINGLE, 10, 4, 5.0, 1.0), stop)
            with sqlite3.connect(tmp_path / "state.db") as other:
                other.execute("DROP TABLE uploader_leases")
            other.close()
            assert await allowance.acquire() is None
            assert stop._reason is not None
            assert stop._reason.stopped_by == "state"
            await allowance.close()

    asyncio.run(main())


def test_a_batch_goes_only_when_all_of_its_rows_fit(tmp_path: Path) -> None:
    """Two batches of 40 rows under a cap of 100; the third waits, or stops the run."""
    sent = to_emulator(tmp_path, batch_calls(3, rows=40), Habits(2, rows_cap=100))
    assert sent.reason == "quota"
    assert [batch.rows for batch in sent.batches] == [40, 40]
    assert (sent.counted["bulk_rows"], sent.stats["calls"]["bulk"]) == (80, 2)


def test_a_batch_larger_than_the_rows_cap_stops_the_run(tmp_path: Path) -> None:
    """It would wait for ever, even when waiting was asked for."""
    habits = Habits(2, rows_cap=30, on_quota_wait=True)
    sent = to_emulator(tmp_path, batch_calls(1, rows=40), habits)
    assert (sent.reason, sent.stats["calls"]["bulk"]) == ("quota", 0)
    assert "raise the cap" in sent.message


def test_rows_that_the_edge_did_not_take_are_free_again(tmp_path: Path) -> None:
    """A 503 and a refusal cost a call each, but no rows; a lost answer may have cost both."""
    faults = Faults(
        bulk=CallFaults(next_calls=(("503", 1), ("reset_after", 1))),
        refuse_batch_ids=frozenset({"c45"}),
    )
    habits = Habits(2, workers=1, rows_cap=120)
    sent = to_emulator(tmp_path, batch_calls(2, rows=40), habits, faults=faults)
    assert sent.reason is None
    assert [batch.state for batch in sent.batches] == [BatchState.INCOMPLETE, BatchState.REFUSED]
    assert (sent.counted["bulk_rows"], sent.counted["bulk"]) == (80, 4)
