"""Stopping early: one place that everybody who waits looks at."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from uploader.errors import StoppedBy, StoppedError

T = TypeVar("T")

_GRACE_LOOK_SECONDS = 0.1


class Stop:
    """Asked for once; the first reason counts. Waiting ends at once, calls in flight don't."""

    def __init__(self) -> None:
        """Nobody has asked."""
        self._event = asyncio.Event()
        self._reason: StoppedError | None = None

    def request(self, stopped_by: StoppedBy, message: str) -> None:
        """Ask for a stop."""
        if self._reason is None:
            self._reason = StoppedError(stopped_by, message)
            self._event.set()

    @property
    def requested(self) -> bool:
        """Whether somebody asked."""
        return self._reason is not None

    def check(self) -> None:
        """Raise the reason, where there is one.

        Raises:
            StoppedError: a stop was asked for.
        """
        if self._reason is not None:
            raise self._reason

    async def sleep(self, seconds: float) -> None:
        """Sleep for *seconds*, or until a stop is asked for."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)

    async def wait(self) -> None:
        """Wait until a stop is asked for."""
        await self._event.wait()

    async def cut_short(self, work: Awaitable[T], grace_seconds: Callable[[], float]) -> T | None:
        """What *work* comes to; None where it was cancelled, *grace_seconds* after a stop.

        The grace is asked for again and again, since a second signal ends it.
        """
        task = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self.wait())
        try:
            await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
            begun = asyncio.get_running_loop().time()
            while not task.done() and asyncio.get_running_loop().time() < begun + grace_seconds():
                await asyncio.wait((task,), timeout=min(_GRACE_LOOK_SECONDS, grace_seconds()))
        finally:
            stopping.cancel()
            task.cancel()  # nothing to a task that is done
            await asyncio.wait((task,))
        return None if task.cancelled() else task.result()
