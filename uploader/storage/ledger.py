"""The quota ledger: exact rolling windows, over all processes that share a store.

A call counts from its lease until its answer plus the window. One whose answer never came
counts until the lease's life + the call's timeout + the window. Settled calls are kept by
the moment at which they stop counting, rounded up to a bucket; so a crash can waste quota,
but never overspend it. A window counts whatever its cap is stated in: calls, or rows.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import ColumnElement, Connection, Table, delete, func, insert, select, update

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


def _uptime() -> float:
    # Unlike the monotonic clock, this one goes on while the machine sleeps.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "only"  # elsewhere a smaller uptime tells a new boot


@dataclass(frozen=True)
class LedgerClock:
    """Wall time and uptime, both in seconds, and which boot it is."""

    wall: Callable[[], float] = time.time
    uptime: Callable[[], float] = _uptime
    boot: Callable[[], str] = _boot_id


@dataclass(frozen=True)
class _Now:
    """The present between two bounds, which differ where the wall clock was set.

    What begins to count is entered by the later one, and judged by the earlier one. So a
    clock set forward, back, or back and forward again frees nothing early.
    """

    earliest: float
    latest: float


@dataclass(frozen=True)
class Grant:
    """Calls set aside; none where too few are left, and then *free_at* says when to look again.

    That is when enough stop counting, or sooner where a lease may be given back before.
    """

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

    def __init__(self, database: Database, account: str, clock: LedgerClock | None = None) -> None:
        """*clock* is for tests; the machine's own is used without."""
        self._database = database
        self._account = account
        self._clock = clock or LedgerClock()

    async def lease(
        self,
        window: Window,
        cap: int,
        calls: int,
        *,
        life_seconds: float,
        timeout_seconds: float,
        at_least: int = 1,
    ) -> Grant:
        """Set aside up to *calls* of what *cap* leaves in *window*, *at_least* so many or none.

        Durable on return. The caller starts none of them later than *life_seconds* from the
        moment before it asked, and gives none of them longer than *timeout_seconds*.
        """

        def work(connection: Connection) -> Grant:
            now = self._now(connection)
            left = cap - self._used(connection, window, now)
            if left < at_least:
                return Grant("", 0, self._free_at(connection, window, now, at_least - left))
            lease, granted = uuid.uuid4().hex, min(calls, left)
            connection.execute(
                insert(schema.leases).values(
                    lease=lease,
                    account=self._account,
                    window=window.name,
                    calls=granted,
                    counts_until=now.latest + life_seconds + timeout_seconds + window.seconds,
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
            mine = schema.leases.c.lease == lease
            # None: nobody asked for so long that it was forgotten. Count from now, then.
            until = connection.execute(select(schema.leases.c.counts_until).where(mine)).scalar()
            connection.execute(delete(schema.leases).where(mine))
            self._count(connection, window, now.latest + window.seconds, answered)
            self._count(connection, window, until or now.latest + window.seconds, unanswered)

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
                            self._of(table, window), table.c.counts_until > now.earliest
                        )
                    )
                ]
            shift = self._clock.wall() - now.earliest
            frees = tuple((_moment(until + shift), calls) for until, calls in sorted(rows))
            return Standing(sum(calls for _, calls in rows), frees)

        return await self._database.run(work)

    def _of(self, table: Table, window: Window) -> ColumnElement[bool]:
        return (table.c.account == self._account) & (table.c.window == window.name)

    def _used(self, connection: Connection, window: Window, now: _Now) -> int:
        self._bring_nearer(connection, window, now)
        used = 0
        for table in (schema.usage, schema.leases):
            mine = self._of(table, window)
            connection.execute(delete(table).where(mine, table.c.counts_until <= now.earliest))
            used += connection.execute(select(func.sum(table.c.calls)).where(mine)).scalar() or 0
        return int(used)

    def _bring_nearer(self, connection: Connection, window: Window, now: _Now) -> None:
        """Have calls count from now that were settled under a clock far ahead.

        Or a clock that was wrong by a year, for a minute, would block the account for a year.
        """
        table, window_end = schema.usage, now.latest + window.seconds
        far = self._of(table, window) & (table.c.counts_until > window_end + DAY_SECONDS)
        calls = connection.execute(select(func.sum(table.c.calls)).where(far)).scalar()
        if calls:
            connection.execute(delete(table).where(far))
            self._count(connection, window, window_end, int(calls))

    def _free_at(self, connection: Connection, window: Window, now: _Now, missing: int) -> datetime:
        """When *missing* more may be free, as the wall clock will show it."""
        coming: list[tuple[float, int]] = []
        for table in (schema.usage, schema.leases):
            query = select(table.c.counts_until, table.c.calls).where(self._of(table, window))
            for until, calls in connection.execute(query):
                # By then a lease was settled, unless its process died.
                settled_by = until - window.seconds
                may_come = table is schema.leases and settled_by > now.earliest
                coming.append((settled_by if may_come else until, calls))
        free_at = now.earliest
        for free_at, calls in sorted(coming):  # noqa: B007 - the last one is looked at
            missing -= calls
            if missing <= 0:
                break
        return _moment(free_at + self._clock.wall() - now.earliest)

    def _count(self, connection: Connection, window: Window, until: float, calls: int) -> None:
        if not calls:
            return
        # The next bucket's beginning, so that rounding never frees anything early.
        bucket = (int(until) // window.bucket_seconds + 1) * window.bucket_seconds
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

    def _now(self, connection: Connection) -> _Now:
        """Wall time, held against what uptime makes of the first look within this boot."""
        wall, uptime = self._clock.wall(), self._clock.uptime()
        boot = self._clock.boot()
        table = schema.boots
        anchor = connection.execute(
            select(table.c.wall_at, table.c.uptime_seconds).where(table.c.boot == boot)
        ).first()
        if anchor is not None and uptime >= anchor.uptime_seconds:
            by_uptime = float(anchor.wall_at) + uptime - float(anchor.uptime_seconds)
            return _Now(min(wall, by_uptime), max(wall, by_uptime))
        connection.execute(delete(table).where(table.c.boot == boot))
        connection.execute(insert(table).values(boot=boot, wall_at=wall, uptime_seconds=uptime))
        return _Now(wall, wall)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
