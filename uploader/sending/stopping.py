"""Stopping early: one place that everybody who waits looks at."""

from __future__ import annotations

import asyncio
import contextlib

from uploader.errors import StoppedBy, StoppedError


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
