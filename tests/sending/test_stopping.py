"""A stop ends every kind of wait; only calls in flight get a grace."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from uploader.emulator import CallFaults, Faults
from uploader.errors import StoppedBy, StoppedError
from uploader.sending.retries import Backoff
from uploader.sending.stopping import Stop

from .driving import Habits, batch_calls, single_calls, to_emulator, until

ALL_503 = CallFaults(rates={"503": 1.0})
WAITS: dict[str, tuple[Habits, Faults]] = {
    "quota": (Habits(cap=3, on_quota_wait=True), Faults()),
    "pace": (Habits(calls_per_second=0.01), Faults()),
    "backoff": (Habits(backoff=Backoff(10_000, 10_000), most_waiting=5), Faults(single=ALL_503)),
    "retry_after": (
        Habits(most_waiting=5),
        Faults(single=CallFaults(rates={"429": 1.0}, retry_after_seconds=600)),
    ),
    "probe": (Habits(outage_after=10_000), Faults(single=ALL_503)),
    "answer": (Habits(timeout=10_000, grace=0.2), Faults(single=CallFaults(rates={"hang": 1.0}))),
}


@pytest.mark.parametrize("wait", WAITS)
def test_a_stop_ends_every_wait(tmp_path: Path, wait: str) -> None:
    """Each would take minutes or hours; what isn't known to be done stays pending."""
    habits, faults = WAITS[wait]

    async def stop_soon(stop: Stop, emulator: Any) -> None:
        await until(lambda: emulator.stats()["calls"]["single"])
        await asyncio.sleep(0.3)
        stop.request(StoppedBy.SIGNAL, "enough")

    sent = to_emulator(tmp_path, single_calls(1_000), habits, stop_soon, faults=faults)
    assert sent.reason == "signal"
    assert sent.dead == []
    assert sent.calls.single == sent.stats["calls"]["single"] == sent.counted["single"]


def test_a_stop_ends_the_wait_for_rows(tmp_path: Path) -> None:
    """A day's rows are used up, and the run was told to wait."""

    async def stop_soon(stop: Stop, emulator: Any) -> None:
        await until(lambda: emulator.stats()["calls"]["bulk"])
        await asyncio.sleep(0.1)
        stop.request(StoppedBy.DEADLINE, "enough")

    habits = Habits(2, rows_cap=7, on_quota_wait=True)
    sent = to_emulator(tmp_path, batch_calls(4, rows=5), habits, stop_soon)
    assert (sent.reason, len(sent.batches)) == ("deadline", 1)


def test_the_first_reason_counts() -> None:
    """What came later is only a consequence."""
    stop = Stop()
    stop.check()
    stop.request(StoppedBy.DISK, "full")
    stop.request(StoppedBy.SIGNAL, "Ctrl-C")
    with pytest.raises(StoppedError, match="full") as raised:
        stop.check()
    assert raised.value.stopped_by is StoppedBy.DISK


def test_work_that_ends_within_the_grace_is_not_cut() -> None:
    """Its value comes back, or its error; a grace that ends cuts it."""

    async def main() -> None:
        stop = Stop()

        async def work(seconds: float) -> str:
            await asyncio.sleep(seconds)
            return "done"

        async def fail() -> None:
            message = "a fault"
            raise ValueError(message)

        assert await stop.cut_short(work(0.01), lambda: 0.0) == "done"
        stop.request(StoppedBy.SIGNAL, "")
        assert await stop.cut_short(work(0.05), lambda: 30.0) == "done"
        assert await stop.cut_short(work(30), lambda: 0.01) is None
        with pytest.raises(ValueError, match="a fault"):
            await stop.cut_short(fail(), lambda: 1.0)

    asyncio.run(main())


def test_a_second_signal_ends_the_grace() -> None:
    """The grace is asked for while it lasts."""

    async def main() -> None:
        stop, grace = Stop(), [1_000.0]
        stop.request(StoppedBy.SIGNAL, "")
        asyncio.get_running_loop().call_later(0.05, grace.__setitem__, 0, 0.0)
        assert await stop.cut_short(asyncio.sleep(1_000, "whole"), lambda: grace[0]) is None

    asyncio.run(asyncio.wait_for(main(), 20))
