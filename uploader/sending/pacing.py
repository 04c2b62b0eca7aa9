"""How fast calls start: an even pace, and rare probes while nothing gets through."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from aiolimiter import AsyncLimiter

from uploader import telemetry
from uploader.errors import StoppedBy
from uploader.sending.outcomes import Verdict
from uploader.sending.stopping import Stop

# So many failures in a row, and nothing between them, look like an outage.
_TROUBLE_AFTER: Final = 20
_PROBE_PAUSE_SECONDS: Final = (1.0, 30.0)
# How long recovery may go unnoticed by those who wait.
_LOOK_SECONDS: Final = 0.25
# So many 401 or 403 in a row, and no success between them, are about the account.
_DENIED_LIMIT: Final = 5

_FAILED: Final = frozenset({Verdict.NOT_NOW, Verdict.UNKNOWN})


class Pacer:
    """Spaces the calls of this process; 0 a second means as fast as they come."""

    def __init__(self, calls_per_second: float) -> None:
        """A leaky bucket of a tenth of a second: bursts are no larger than that."""
        self._limiter: AsyncLimiter | None = None
        if calls_per_second:
            burst = max(calls_per_second / 10, 1.0)
            self._limiter = AsyncLimiter(burst, burst / calls_per_second)

    async def wait(self, stop: Stop) -> None:
        """Until the next call may start, or a stop is asked for."""
        if self._limiter is None or stop.requested:
            return
        if self._limiter.has_capacity():
            await self._limiter.acquire()
        else:
            await stop.cut_short(self._limiter.acquire(), lambda: 0.0)


class Health:
    """Whether calls get through; ends the run when they don't for too long."""

    def __init__(
        self,
        stop: Stop,
        outage_after_seconds: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """*outage_after_seconds* without one success is an outage."""
        self._stop = stop
        self._outage_after = outage_after_seconds
        self._now = now
        self._failures = 0
        self._denied = 0
        self._failing_since: float | None = None
        self._not_before = 0.0
        self._pause = _PROBE_PAUSE_SECONDS[0]
        self._next_probe_at = 0.0
        self.successes = 0

    @property
    def in_trouble(self) -> bool:
        """Whether so many calls failed in a row that it looks like an outage."""
        return self._failures >= _TROUBLE_AFTER

    async def admit(self) -> None:
        """At once while calls get through; one at a time, and rarely, while none does."""
        while not self._stop.requested:
            now = self._now()
            if now < self._not_before:
                await self._stop.sleep(min(self._not_before - now, _LOOK_SECONDS))
            elif not self.in_trouble:
                return
            elif now >= self._next_probe_at:
                self._next_probe_at = now + self._pause
                self._pause = min(self._pause * 2, _PROBE_PAUSE_SECONDS[1])
                return
            else:
                await self._stop.sleep(min(self._next_probe_at - now, _LOOK_SECONDS))

    def slow_down(self, seconds: float) -> None:
        """Have every call wait: the edge said that there are too many."""
        self._not_before = max(self._not_before, self._now() + seconds)

    def excuse(self, seconds: float) -> None:
        """Leave *seconds* out of account: no call was made, since there was no quota."""
        if self._failing_since is not None:
            self._failing_since += seconds

    def note(self, verdict: Verdict, cause: str, *, about_row: bool = False) -> None:
        """Learn from a call's end. *about_row*: a denial that others don't share."""
        if verdict in _FAILED:
            self._note_failure(cause)
        else:
            self.got_through()
        if verdict is Verdict.ACCEPTED:
            self.successes += 1
            self._denied = 0
        elif verdict is Verdict.DENIED and not about_row:
            self._note_denial(cause)
        elif verdict is Verdict.REDIRECTED:
            self._stop.request(
                StoppedBy.REDIRECT,
                f"the edge sends us to another address ({cause}), which is never followed; "
                "correct UPLOADER_EDGE_URL or UPLOADER_CLIENT_CODE and start again",
            )

    def got_through(self) -> None:
        """The edge answered something that makes sense."""
        if self.in_trouble:
            telemetry.calls_get_through_again()
        self._failures = 0
        self._failing_since = None
        self._pause = _PROBE_PAUSE_SECONDS[0]
        self._next_probe_at = 0.0

    def _note_denial(self, cause: str) -> None:
        self._denied += 1
        if self._denied >= _DENIED_LIMIT:
            self._stop.request(
                StoppedBy.CREDENTIALS,
                f"the edge refuses our credentials ({cause}); set a valid token (UPLOADER_TOKEN, "
                "or a file uploader_token in the secrets directory) and start again",
            )

    def _note_failure(self, cause: str) -> None:
        now = self._now()
        self._failures += 1
        if self._failures == _TROUBLE_AFTER:
            telemetry.calls_fail(cause)
        if self._failing_since is None:
            self._failing_since = now
        failing = now - self._failing_since
        if failing >= self._outage_after:
            self._stop.request(
                StoppedBy.EDGE_DOWN,
                f"nothing has got through to the edge for {failing:,.0f} seconds "
                f"(last: {cause}); start again when it can be reached",
            )
