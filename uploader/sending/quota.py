"""Spending the quota: leases from the ledger, worth a few seconds, one permit a call.

What a window counts is up to its cap: calls, or the rows of batches.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from uploader.errors import StoppedBy, StoppedError
from uploader.sending.stopping import Stop

# A wait shorter than this is always waited for, whatever --on-quota says.
SHORT_WAIT_SECONDS: Final = 60.0
_SHORTEST_LOOK_SECONDS: Final = 0.05
_LONGEST_LOOK_SECONDS: Final = 0.25


def uptime_seconds() -> float:
    """A clock that never jumps and, unlike the monotonic one, goes on in a machine's sleep."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Grant(Protocol):
    """What a ledger sets aside."""

    @property
    def lease(self) -> str:
        """Its name, for settling."""

    @property
    def calls(self) -> int:
        """How many calls; 0 where nothing is left."""

    @property
    def free_at(self) -> datetime | None:
        """When something frees, where nothing is left."""


class Ledger(Protocol):
    """Keeps what counts in a window, durably and for all processes.

    Kept by SQL in :mod:`uploader.storage.ledger`; tests keep it in a simulated store.
    """

    async def lease(
        self,
        window: Any,
        cap: int,
        calls: int,
        *,
        life_seconds: float,
        timeout_seconds: float,
        at_least: int = 1,
    ) -> Grant:
        """Set up to *calls* aside, *at_least* so many or none; durable on return."""

    async def settle(self, window: Any, lease: str, *, answered: int, unanswered: int) -> None:
        """End a lease, once."""


@dataclass(frozen=True)
class Terms:
    """One window as this process uses it."""

    window: Any
    cap: int
    calls_per_lease: int
    life_seconds: float
    timeout_seconds: float
    wait: bool = False


@dataclass
class _Lease:
    name: str
    left: int
    dies_at: float
    open: int = 0
    answered: int = 0
    unanswered: int = 0
    retired: bool = False


class Permit:
    """The right to start one call (or to send a batch's rows) while its lease lives.

    Settle it once, with :meth:`done` or :meth:`give_back`.
    """

    def __init__(self, allowance: Allowance, lease: _Lease, amount: int) -> None:
        """Made by :meth:`Allowance.acquire`."""
        self._allowance = allowance
        self._lease = lease
        self._amount = amount

    @property
    def is_live(self) -> bool:
        """Whether a call may start now."""
        return self._allowance.now() < self._lease.dies_at

    def done(self, *, answered: bool) -> None:
        """The call ended; without an answer it counts as long as after a crash."""
        if answered:
            self._lease.answered += self._amount
        else:
            self._lease.unanswered += self._amount
        self._allowance.closed_one(self._lease)

    def give_back(self) -> None:
        """Nothing was used: no call was started, or the edge said that it took no row."""
        self._allowance.closed_one(self._lease)


class Allowance:
    """Hands out permits, and leases more when they are spent or have died."""

    def __init__(
        self,
        ledger: Ledger,
        terms: Terms,
        stop: Stop,
        on_wait: Callable[[datetime], None] = lambda _: None,
        now: Callable[[], float] = uptime_seconds,
        on_waited: Callable[[float], None] = lambda _: None,
    ) -> None:
        """*on_wait* hears when quota is waited for for more than a minute.

        *on_waited* hears how many seconds each look for quota was slept.
        """
        self._ledger = ledger
        self._terms = terms
        self._stop = stop
        self._on_wait = on_wait
        self._on_waited = on_waited
        self.now = now
        self._lease: _Lease | None = None
        self._leasing = asyncio.Lock()
        self._asked: asyncio.Future[Grant] | None = None
        self._settling: set[asyncio.Task[None]] = set()
        self._told_until: datetime | None = None

    async def acquire(self, amount: int = 1) -> Permit | None:
        """A permit for *amount* at once, when there is so much; None when a stop is asked for."""
        if amount > self._terms.cap:
            self._stop.request(
                StoppedBy.QUOTA,
                f"a batch of {amount:,} rows can never go under a cap of {self._terms.cap:,} rows "
                "a day; raise the cap",
            )
        while not self._stop.requested:
            lease = self._lease
            if lease is not None and lease.left >= amount and self.now() < lease.dies_at:
                lease.left -= amount
                lease.open += 1
                return Permit(self, lease, amount)
            async with self._leasing:
                if self._lease is lease and not self._stop.requested:
                    await self._renew(amount)
        return None

    async def close(self) -> None:
        """Give back what is left and wait until the ledger has it; a failure asks for a stop."""
        if self._asked is not None:
            # Whoever asked was cancelled meanwhile.
            with contextlib.suppress(StoppedError):
                grant = await self._asked
                self._lease = _Lease(grant.lease, 0, 0.0) if grant.calls else None
        if self._lease is not None:
            self._lease.unanswered += self._lease.open
            self._lease.open = 0
            self._retire(self._lease)
            self._lease = None
        while self._settling:
            await asyncio.gather(*self._settling, return_exceptions=True)

    def closed_one(self, lease: _Lease) -> None:
        """One of *lease*'s permits is done with."""
        lease.open -= 1
        if lease.retired and not lease.open:
            self._settle(lease)

    async def _renew(self, amount: int) -> None:
        if self._lease is not None:
            self._retire(self._lease)
            self._lease = None
        terms = self._terms
        asked_at = self.now()
        asking = self._ledger.lease(
            terms.window,
            terms.cap,
            max(terms.calls_per_lease, amount),
            life_seconds=terms.life_seconds,
            timeout_seconds=terms.timeout_seconds,
            at_least=amount,
        )
        # Shielded: a lease that is granted to nobody would count for a whole window.
        self._asked = asyncio.ensure_future(asking)
        try:
            grant = await asyncio.shield(self._asked)
        except StoppedError as error:
            self._asked = None
            self._stop.request(error.stopped_by, str(error))
            return
        self._asked = None
        if grant.calls:
            self._lease = _Lease(grant.lease, grant.calls, asked_at + terms.life_seconds)
        else:
            await self._wait_until(grant.free_at or datetime.now(UTC))

    async def _wait_until(self, free_at: datetime) -> None:
        seconds = (free_at - datetime.now(UTC)).total_seconds()
        if seconds >= SHORT_WAIT_SECONDS and not self._terms.wait:
            self._stop.request(
                StoppedBy.QUOTA,
                f"the quota is used up; some is free at {free_at:%Y-%m-%d %H:%M} UTC. "
                "Start again then, or say --on-quota wait",
            )
            return
        longest = _LONGEST_LOOK_SECONDS
        if seconds >= SHORT_WAIT_SECONDS:
            longest = SHORT_WAIT_SECONDS
            if free_at != self._told_until:
                self._told_until = free_at
                self._on_wait(free_at)
        # Other processes may give something back before that, so look again.
        begun = self.now()
        await self._stop.sleep(min(max(seconds, _SHORTEST_LOOK_SECONDS), longest))
        self._on_waited(self.now() - begun)

    def _retire(self, lease: _Lease) -> None:
        lease.retired = True
        if not lease.open:
            self._settle(lease)

    def _settle(self, lease: _Lease) -> None:
        settling = self._ledger.settle(
            self._terms.window,
            lease.name,
            answered=lease.answered,
            unanswered=lease.unanswered,
        )
        task = asyncio.ensure_future(settling)
        self._settling.add(task)
        task.add_done_callback(self._settled)

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._settling.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # The lease stays in the ledger and counts until its end: wasteful, never wrong.
            stopped_by = error.stopped_by if isinstance(error, StoppedError) else StoppedBy.STATE
            self._stop.request(stopped_by, str(error))
