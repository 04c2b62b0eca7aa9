"""Spending the quota: leases from the ledger, worth a few seconds, one permit a call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from uploader.errors import StoppedBy
from uploader.sending.stopping import Stop

# A wait shorter than this is always waited for, whatever --on-quota says.
SHORT_WAIT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05


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
        self, window: Any, cap: int, calls: int, *, life_seconds: float, timeout_seconds: float
    ) -> Grant:
        """Set calls aside; durable on return."""

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
    """The right to start one call while its lease lives."""

    def __init__(self, allowance: Allowance, lease: _Lease) -> None:
        """Made by :meth:`Allowance.acquire`."""
        self._allowance = allowance
        self._lease = lease

    @property
    def is_live(self) -> bool:
        """Whether a call may start now."""
        return self._allowance.now() < self._lease.dies_at

    def done(self, *, answered: bool) -> None:
        """The call ended; without an answer it counts as long as after a crash."""
        if answered:
            self._lease.answered += 1
        else:
            self._lease.unanswered += 1
        self._allowance.closed_one(self._lease)

    def give_back(self) -> None:
        """The call was never started."""
        self._allowance.closed_one(self._lease)


class Allowance:
    """Hands out permits, and leases more when they are spent or have died."""

    def __init__(
        self,
        ledger: Ledger,
        terms: Terms,
        stop: Stop,
        on_wait: Callable[[datetime], None] = lambda _: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """*on_wait* hears when quota is waited for for more than a minute."""
        self._ledger = ledger
        self._terms = terms
        self._stop = stop
        self._on_wait = on_wait
        self.now = now
        self._lease: _Lease | None = None
        self._leasing = asyncio.Lock()
        self._settling: set[asyncio.Task[None]] = set()

    async def acquire(self) -> Permit | None:
        """A permit, once there is one; None when a stop was asked for meanwhile."""
        while True:
            lease = self._lease
            if lease is not None and lease.left and self.now() < lease.dies_at:
                lease.left -= 1
                lease.open += 1
                return Permit(self, lease)
            if self._stop.requested:
                return None
            async with self._leasing:
                if self._lease is lease:
                    await self._renew()

    async def close(self) -> None:
        """Give back what is left and wait until the ledger has it."""
        if self._lease is not None:
            self._lease.unanswered += self._lease.open
            self._lease.open = 0
            self._retire(self._lease)
            self._lease = None
        while self._settling:
            await asyncio.gather(*self._settling)

    def closed_one(self, lease: _Lease) -> None:
        """One of *lease*'s permits is done with."""
        lease.open -= 1
        if lease.retired and not lease.open:
            self._settle(lease)

    async def _renew(self) -> None:
        if self._lease is not None:
            self._retire(self._lease)
            self._lease = None
        terms = self._terms
        asked_at = self.now()
        grant = await self._ledger.lease(
            terms.window,
            terms.cap,
            terms.calls_per_lease,
            life_seconds=terms.life_seconds,
            timeout_seconds=terms.timeout_seconds,
        )
        if grant.calls:
            self._lease = _Lease(grant.lease, grant.calls, asked_at + terms.life_seconds)
        else:
            await self._wait_for(grant.free_at or datetime.now(UTC))

    async def _wait_for(self, free_at: datetime) -> None:
        seconds = max((free_at - datetime.now(UTC)).total_seconds(), _POLL_SECONDS)
        if seconds >= SHORT_WAIT_SECONDS and not self._terms.wait:
            self._stop.request(
                StoppedBy.QUOTA,
                f"the quota is used up; the next call is free at {free_at:%Y-%m-%d %H:%M} UTC. "
                "Start again then, or say --on-quota wait",
            )
            return
        if seconds >= SHORT_WAIT_SECONDS:
            self._on_wait(free_at)
        # Other processes may give back before that, so look again every minute.
        await self._stop.sleep(min(seconds, SHORT_WAIT_SECONDS))

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
            self._stop.request(StoppedBy.STATE, str(error))
