"""Send calls as a run does: real sockets, a real state store, and a stop that can be asked for."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uploader.emulator import Emulator, EmulatorSettings
from uploader.model import Batch, BatchCall, Calls, Outcome, SingleCall
from uploader.sending.delivery import Delivery, Manners
from uploader.sending.pacing import Health, Pacer
from uploader.sending.quota import Allowance, Terms
from uploader.sending.recorder import Recorder
from uploader.sending.retries import Backoff
from uploader.sending.routes import BulkRoute, SingleRoute
from uploader.sending.stopping import Stop
from uploader.sending.transport import Edge, EdgeAddress
from uploader.storage.database import Database, open_database
from uploader.storage.journal import Journal
from uploader.storage.ledger import BULK, BULK_ROWS, SINGLE, Ledger, Window

RUN = "run"
QUICK = Backoff(base_seconds=0.01, most_seconds=0.05)


def single_calls(count: int, *, in_url: bool = False) -> list[SingleCall]:
    return [
        SingleCall(position, f"mbox3rdPartyId=c{position}&profile.x={position}".encode(), in_url)
        for position in range(count)
    ]


def batch_calls(count: int, rows: int = 5) -> list[BatchCall]:
    """Batch files of *rows* each."""
    calls = []
    for number in range(1, count + 1):
        first = (number - 1) * rows
        lines = "".join(f"c{position},{position}\n" for position in range(first, first + rows))
        pieces = (b"batch=thirdPartyId,x\n", lines.encode())
        size = sum(map(len, pieces))
        calls.append(BatchCall(number, first, first + rows - 1, rows, size, pieces))
    return calls


def large_batch(size_bytes: int) -> BatchCall:
    row = b"c0," + b"x" * 997 + b"\n"
    rows = size_bytes // len(row)
    body = row * rows
    pieces = [body[i : i + 262_144] for i in range(0, len(body), 262_144)]
    header = b"batch=thirdPartyId,x\n"
    return BatchCall(1, 0, rows - 1, rows, len(header) + len(body), (header, *pieces))


@dataclass
class Habits:
    """How a test sends; the defaults wait for nothing."""

    bulk_version: int | None = None
    workers: int = 8
    most_attempts: int = 8
    most_waiting: int = 100
    backoff: Backoff = QUICK
    cap: int = 1_000_000
    calls_per_lease: int = 50
    rows_cap: int = 0
    on_quota_wait: bool = False
    calls_per_second: float = 0
    outage_after: float = 300.0
    timeout: float = 10.0
    token: str | None = None
    grace: float = 1_000.0


@dataclass
class Sent:
    """What came of it, as the journal, the ledger and the emulator have it."""

    stop: Stop
    outcomes: list[Outcome]
    batches: list[Batch]
    calls: Calls
    counted: dict[str, int]
    reason: str | None = None
    message: str = ""
    stats: dict[str, Any] = field(default_factory=dict)

    @property
    def delivered(self) -> int:
        return sum(item.last - item.first + 1 for item in self.outcomes if item.reason is None)

    @property
    def dead(self) -> list[Outcome]:
        return [item for item in self.outcomes if item.reason is not None]


@contextlib.asynccontextmanager
async def journal_in(folder: Path) -> AsyncIterator[tuple[Database, Journal]]:
    """A store with one run in it."""
    database = open_database(f"sqlite:///{folder / 'state.db'}")
    try:
        journal = Journal(database)
        if await journal.find(RUN) is None:
            await journal.begin(RUN, "account", "input", folder, "{}")
        yield database, journal
    finally:
        database.close()


async def send(
    folder: Path,
    url: str,
    calls: Iterable[Any],
    habits: Habits,
    during: Callable[[Stop], Awaitable[None]] | None = None,
) -> Sent:
    """Send *calls* to *url*; *during* runs beside it and may ask for a stop."""
    stop = Stop()
    async with journal_in(folder) as (database, journal):
        ledger = Ledger(database, "account")
        address = EdgeAddress(url, "demo", habits.token)
        recorder = Recorder(journal, RUN, stop)
        async with Edge(address, habits.workers, habits.timeout) as edge:
            sending = _deliver(edge, ledger, recorder, stop, calls, habits)
            beside = asyncio.ensure_future(during(stop)) if during else None
            await sending
            if beside is not None:
                await beside
        await recorder.flush()
        run = await journal.find(RUN)
        assert run is not None
        windows = (SINGLE, BULK, BULK_ROWS)
        reason = stop._reason
        return Sent(
            stop,
            await journal.outcomes(RUN),
            await journal.batches(RUN),
            run.calls,
            {window.name: (await ledger.standing(window)).used for window in windows},
            None if reason is None else reason.stopped_by.value,
            str(reason),
        )


async def _deliver(
    edge: Edge, ledger: Ledger, recorder: Recorder, stop: Stop, calls: Iterable[Any], habits: Habits
) -> None:
    health = Health(stop, habits.outage_after)

    def allowance(window: Window, cap: int, calls_per_lease: int, life: float) -> Allowance:
        terms = Terms(window, cap, calls_per_lease, life, habits.timeout, habits.on_quota_wait)
        return Allowance(ledger, terms, stop, on_waited=health.excuse)

    version, manners = (
        habits.bulk_version,
        Manners(habits.workers, habits.most_attempts, habits.backoff, habits.most_waiting),
    )
    route: Any
    if version is None:
        route = SingleRoute(edge.single, recorder)
        main = allowance(SINGLE, habits.cap, habits.calls_per_lease, 10.0)
    else:
        route = BulkRoute(lambda call: edge.bulk(version, call), recorder)
        main = allowance(BULK, habits.cap, 1, 10.0)
    rows = allowance(BULK_ROWS, habits.rows_cap, 1, 600.0) if habits.rows_cap else None
    delivery: Delivery[Any] = Delivery(
        route,
        recorder,
        main,
        Pacer(habits.calls_per_second),
        health,
        manners,
        stop,
        random.Random(7),
        rows,
    )
    await stop.cut_short(delivery.run(iter(calls)), lambda: habits.grace)
    for used in (main, rows):
        if used is not None:
            await used.close()


async def until(happened: Callable[[], object]) -> None:
    """Wait for something that another process or the emulator does."""
    while not happened():
        await asyncio.sleep(0.005)


def to_emulator(
    folder: Path,
    calls: Iterable[Any],
    habits: Habits | None = None,
    during: Callable[[Stop, Emulator], Awaitable[None]] | None = None,
    **settings: Any,
) -> Sent:
    """Send *calls* to a fresh emulator, which is given half a minute."""

    async def main() -> Sent:
        chosen = {"batch_delay_seconds": 0.0, "bulk_calls_per_minute": 0, **settings}
        async with Emulator(EmulatorSettings(**chosen)) as emulator:
            beside = None if during is None else lambda stop: during(stop, emulator)
            sending = send(folder, emulator.url, calls, habits or Habits(), beside)
            sent = await asyncio.wait_for(sending, 30)
            sent.stats = emulator.stats()
            return sent

    return asyncio.run(main())
