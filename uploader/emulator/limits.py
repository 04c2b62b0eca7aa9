"""The numbers of the remote API, as the emulator understands them, and rolling windows.

Each number names the page it comes from. Where a page says "KB" or "MB", the
emulator takes thousands, the stricter reading: an assumption.
"""

from __future__ import annotations

from array import array

MAX_URL_BYTES = 8_000  # Single Profile Update API: "8 KB" for GET
MAX_UPDATE_BODY_BYTES = 60_000  # Single Profile Update API: "60 KB" for POST
MAX_BATCH_BYTES = 50_000_000  # Bulk Profile Update API: "50 MB"
MAX_BATCH_ROWS = 500_000  # Bulk Profile Update API: rows in one batch file
DAILY_CAP = 1_000_000  # Single Profile Update API: updates in any rolling 24 hours
BULK_CALLS_PER_MINUTE = 50  # Limits: Admin, Reporting and bulk profile APIs together

DAY_SECONDS = 86_400.0
MINUTE_SECONDS = 60.0


class RollingWindow:
    """Counts calls in the last *seconds*; a call made exactly that long ago is out."""

    def __init__(self, limit: int, seconds: float) -> None:
        """Allow *limit* calls in any *seconds*; a limit of 0 means no limit."""
        self._limit = limit
        self._seconds = seconds
        self._times = array("d")
        self._oldest = 0

    def admit(self, now: float) -> bool:
        """Count a call at *now* (unix seconds) and return True, or False when full.

        A call that is turned away isn't counted. (Assumption: the documents don't say.)
        """
        if self._limit == 0:
            return True
        while self._oldest < len(self._times) and now - self._times[self._oldest] >= self._seconds:
            self._oldest += 1
        self._forget()
        if len(self._times) - self._oldest >= self._limit:
            return False
        self._times.append(now)
        return True

    def _forget(self) -> None:
        """Drop what has left the window, seldom enough to cost next to nothing."""
        if self._oldest > self._limit:
            del self._times[: self._oldest]
            self._oldest = 0
