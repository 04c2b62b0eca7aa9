"""The quota ledger: exact rolling windows, over all processes that share a store.

A call counts from its lease until its answer plus the window. One whose answer never came
counts until the lease's life + the call's timeout + the window. Settled calls are kept by
the moment at which they stop counting, rounded up to a bucket; so a crash can waste quota,
but never overspend it.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, update

from uploader.limits import DAY_SECONDS, MINUTE_SECONDS
from uploader.storage import schema
from uploader.storage.database import Database


@dataclass(frozen=True)
class Window:
    """A rolling window. Buckets are what its times are rounded up to."""

    name: str
    seconds: int
    bucket_seconds: int


SINGLE: Final = Window("single", DAY_SECONDS, 60)
BULK: Final = Window("bulk", MINUTE_SECONDS, 1)
BULK_ROWS: Final = Window("bulk_rows", DAY_SECONDS, 60)
WINDOWS: Final = (SINGLE, BULK, BULK_ROWS)


@dataclass(frozen=True)
class LedgerClock:
    """Wall time and uptime, both in seconds, and which boot it is."""

    wall: Callable[[], float] = time.time
    uptime: Callable[[], float] = lambda: time.clock_gettime(
        getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    )
    boot: Callable[[], str] = lambda: _boot_id()


@dataclass(frozen=True)
class Grant:
    """Calls set aside; none where nothing is left, and then *free_at* says when some are."""

    lease: str
    calls: int
    free_at: datetime | None = None


@dataclass(frozen=True)
class Standing:
    """A window as it stands: calls that count, and when how many of them stop counting."""

    used: int
    frees: tuple[tuple[datetime, int], ...]


class Ledger:
    """One account's windows in a state store."""

    def __init__(
        self, database: Database, account: str, clock: LedgerClock | None = None
    ) -> None:
        """*clock* is for tests; the machine's own is used without."""
        self._database = database
        self._account = account
        self._clock = clock or LedgerClock()

    async def lease(
        self, window: Window, cap: int, calls: int, *, life_seconds: float, timeout_seconds: float
    ) -> Grant:
        """Set aside up to *calls* of what *cap* leaves in *window*; durable on return.

        The caller starts none of them later than *life_seconds* from the moment before it
        asked, and gives none of them longer than *timeout_seconds*.
        """

        def work(connection: Connection) -> Grant:
            now = self._now(connection)
            used = self._used(connection, window, now)
            granted = min(calls, cap - used)
            if granted <= 0:
                return Grant("", 0, self._free_at(connection, window, now))
            lease = uuid.uuid4().hex
            until = now + life_seconds + timeout_seconds + window.seconds
            connection.execute(
                insert(schema.leases).values(
                    lease=lease,
                    account=self._account,
                    window=window.name,
                    calls=granted,
                    counts_until=until,
                )
            )
            return Grant(lease, granted)

        return await self._database.run(work)

    async def settle(self, window: Window, lease: str, *, answered: int, unanswered: int) -> None:
        """End *lease*: *answered* calls count from now on, *unanswered* as long as a crash's.

        What remains of it is given back. Once for each lease.
        """

        def work(connection: Connection) -> None:
            now = self._now(connection)
            row = connection.execute(
                select(schema.leases.c.counts_until).where(schema.leases.c.lease == lease)
            ).scalar()
            connection.execute(delete(schema.leases).where(schema.leases.c.lease == lease))
            self._count(connection, window, now + window.seconds, answered)
            self._count(connection, window, row or now + 2 * window.seconds, unanswered)

        await self._database.run(work)

    async def standing(self, window: Window) -> Standing:
        """What counts in *window* now, and when it frees."""

        def work(connection: Connection) -> Standing:
            now = self._now(connection)
            rows: list[tuple[float, int]] = []
            for table in (schema.usage, schema.leases):
                rows += [
                    (until, calls)
                    for until, calls in connection.execute(
                        select(table.c.counts_until, table.c.calls).where(
                            self._of(table, window), table.c.counts_until > now
                        )
                    )
                ]
            shift = self._clock.wall() - now
            frees = tuple((_moment(until + shift), calls) for until, calls in sorted(rows))
            return Standing(sum(calls for _, calls in rows), frees)

        return await self._database.run(work)

    def _of(self, table, window: Window):  # type: ignore[no-untyped-def]
        return (table.c.account == self._account) & (table.c.window == window.name)

    def _used(self, connection: Connection, window: Window, now: float) -> int:
        used = 0
        for table in (schema.usage, schema.leases):
            mine = self._of(table, window)
            connection.execute(delete(table).where(mine, table.c.counts_until <= now))
            used += connection.execute(select(func.sum(table.c.calls)).where(mine)).scalar() or 0
        return int(used)

    def _free_at(self, connection: Connection, window: Window, now: float) -> datetime:
        untils = [
            connection.execute(
                select(func.min(table.c.counts_until)).where(self._of(table, window))
            ).scalar()
            for table in (schema.usage, schema.leases)
        ]
        first = min((until for until in untils if until is not None), default=now)
        return _moment(first + self._clock.wall() - now)

    def _count(self, connection: Connection, window: Window, until: float, calls: int) -> None:
        if not calls:
            return
        bucket = math.ceil(until / window.bucket_seconds) * window.bucket_seconds
        table = schema.usage
        here = self._of(table, window) & (table.c.counts_until == bucket)
        changed = connection.execute(
            update(table).where(here).values(calls=table.c.calls + calls)
        ).rowcount
        if not changed:
            connection.execute(
                insert(table).values(
                    account=self._account, window=window.name, counts_until=bucket, calls=calls
                )
            )

    def _now(self, connection: Connection) -> float:
        """Wall time, but never ahead of the machine's uptime within one boot.

        A clock that is set forward would otherwise free quota that still counts at the
        edge. One that is set back makes calls count longer, which is safe.
        """
        wall, uptime = self._clock.wall(), self._clock.uptime()
        boot = self._clock.boot()
        table = schema.boots
        anchor = connection.execute(
            select(table.c.wall_at, table.c.uptime_seconds).where(table.c.boot == boot)
        ).first()
        if anchor is not None and uptime >= anchor.uptime_seconds:
            return min(wall, float(anchor.wall_at) + uptime - float(anchor.uptime_seconds))
        connection.execute(delete(table).where(table.c.boot == boot))
        connection.execute(
            insert(table).values(boot=boot, wall_at=wall, uptime_seconds=uptime)
        )
        return wall


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "only"  # elsewhere a smaller uptime tells a new boot


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
