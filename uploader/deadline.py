"""``--deadline``: a moment after which no call starts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from uploader.errors import SettingsError, StoppedBy
from uploader.sending.stopping import Stop
from uploader.settings import parse_duration

_LOOK_SECONDS: Final = 30.0
_CLOCK_TIME: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True)
class Deadline:
    """When it is, or None for never."""

    at: datetime | None

    @staticmethod
    def parse(text: str | None, timezone: str | None, now: datetime | None = None) -> Deadline:
        """A duration from now (``3h``), or the next time that a clock shows (``06:00``).

        Raises:
            SettingsError: it is neither.
        """
        now = now or datetime.now(UTC)
        if text is None:
            return Deadline(None)
        if match := _CLOCK_TIME.fullmatch(text):
            zone = ZoneInfo(timezone) if timezone else None
            # As the clock on the wall shows it: the offset may change before tomorrow.
            here = now.astimezone(zone).replace(tzinfo=None)
            at = here.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
            if at <= here:
                at += timedelta(days=1)
            return Deadline(at.replace(tzinfo=zone).astimezone(UTC))
        try:
            return Deadline(now + timedelta(seconds=parse_duration(text)))
        except (ValueError, OverflowError) as error:
            message = f"--deadline {text!r}: write a duration such as 3h, or a time such as 06:00"
            raise SettingsError(message) from error

    def _seconds_left(self) -> float:
        return 0.0 if self.at is None else (self.at - datetime.now(UTC)).total_seconds()

    async def watch(self, stop: Stop) -> None:
        """Ask for a stop when it has come."""
        if self.at is None:
            return
        # In steps, since the wall clock may be set meanwhile.
        while not stop.requested and (left := self._seconds_left()) > 0:
            await stop.sleep(min(left, _LOOK_SECONDS))
        stop.request(
            StoppedBy.DEADLINE,
            f"the deadline ({self.at:%Y-%m-%d %H:%M} UTC) has come; start again and it goes on",
        )
