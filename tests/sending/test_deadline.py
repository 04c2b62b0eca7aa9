"""When no call starts any more."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from uploader.deadline import Deadline
from uploader.errors import SettingsError
from uploader.sending.stopping import Stop

NOW = datetime(2026, 3, 28, 20, 30, tzinfo=UTC)  # 21:30 in Berlin, the night the clocks go on


@pytest.mark.parametrize(
    ("text", "timezone", "at"),
    [
        ("90s", None, NOW + timedelta(seconds=90)),
        ("1h30m", None, NOW + timedelta(minutes=90)),
        ("21:31", "Europe/Berlin", NOW + timedelta(minutes=1)),
        ("21:30", "Europe/Berlin", NOW + timedelta(hours=23)),  # a day of 23 hours
        ("06:00", "Europe/Berlin", datetime(2026, 3, 29, 4, 0, tzinfo=UTC)),
        ("6:00", "UTC", datetime(2026, 3, 29, 6, 0, tzinfo=UTC)),
        (None, None, None),
    ],
)
def test_a_deadline_is_a_duration_or_a_time(
    text: str | None, timezone: str | None, at: datetime | None
) -> None:
    """A time is the next one that a clock shows, whatever happens to clocks this night."""
    assert Deadline.parse(text, timezone, NOW).at == at


def test_the_processes_own_time_zone_is_used_without_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With its changes of offset."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        _set_time_zone()
        assert Deadline.parse("06:00", None, NOW).at == datetime(2026, 3, 29, 4, 0, tzinfo=UTC)
    _set_time_zone()


def _set_time_zone() -> None:
    import time  # noqa: PLC0415 - not there on every system

    time.tzset()


@pytest.mark.parametrize("text", ["", "24:00", "6:5", "tomorrow", "3", "99999999999h", "-1h"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    """Never taken for something near it."""
    with pytest.raises(SettingsError, match="06:00"):
        Deadline.parse(text, None, NOW)


def test_the_stop_comes_with_the_deadline() -> None:
    """And at once where it has passed; without one, never."""

    async def main() -> None:
        stop = Stop()
        await Deadline(None).watch(stop)
        assert not stop.requested
        await asyncio.wait_for(Deadline(datetime.now(UTC) + timedelta(seconds=0.05)).watch(stop), 9)
        assert stop._reason is not None
        assert stop._reason.stopped_by == "deadline"

    asyncio.run(main())
