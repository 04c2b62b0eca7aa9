"""How fast calls start, and when nothing getting through is an outage."""

from __future__ import annotations

import asyncio

import pytest

from uploader.sending.outcomes import Verdict
from uploader.sending.pacing import Health, Pacer
from uploader.sending.stopping import Stop


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def healthy(outage_after: float = 300.0) -> tuple[Health, Stop, FakeClock]:
    stop, clock = Stop(), FakeClock()
    return Health(stop, outage_after, clock), stop, clock


async def is_admitted(health: Health) -> bool:
    try:
        await asyncio.wait_for(health.admit(), 0.05)
    except TimeoutError:
        return False
    return True


def fail(health: Health, times: int) -> None:
    for _ in range(times):
        health.note(Verdict.UNKNOWN, "no answer")


def test_while_nothing_gets_through_only_rare_probes_go() -> None:
    """A second apart, then two, then four; one success lets all go."""

    async def main() -> None:
        health, _, clock = healthy()
        fail(health, 19)
        assert [await is_admitted(health) for _ in range(3)] == [True] * 3
        fail(health, 1)
        for pause in (1, 2, 4, 8, 16, 30, 30):
            assert [await is_admitted(health) for _ in range(2)] == [True, False]
            fail(health, 1)
            clock.seconds += pause - 0.01
            assert not await is_admitted(health)
            clock.seconds += 0.01
        health.note(Verdict.ACCEPTED, "")
        assert [await is_admitted(health) for _ in range(3)] == [True] * 3

    asyncio.run(main())


def test_recovery_reaches_those_who_wait_for_their_turn() -> None:
    """Long before the next probe would be due."""

    async def main() -> None:
        health, _, _ = healthy()
        fail(health, 20)
        await health.admit()
        waiting = asyncio.ensure_future(health.admit())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        health.note(Verdict.ACCEPTED, "")
        await asyncio.wait_for(waiting, 10)

    asyncio.run(main())


def test_an_outage_is_minutes_without_a_success_not_a_number_of_failures() -> None:
    """And any sensible answer begins the count anew."""
    health, stop, clock = healthy()
    fail(health, 1_000)
    clock.seconds += 299
    fail(health, 1)
    health.note(Verdict.REFUSED, "")
    clock.seconds += 299
    fail(health, 1)
    assert not stop.requested
    clock.seconds += 300
    fail(health, 1)
    assert stop._reason is not None
    assert stop._reason.stopped_by == "edge_down"


def test_hours_without_quota_are_no_outage() -> None:
    """A failure before the wait and one after it are not hours of failing."""
    health, stop, clock = healthy()
    fail(health, 1)
    clock.seconds += 20 * 3_600
    health.excuse(20 * 3_600)
    fail(health, 1)
    assert not stop.requested
    clock.seconds += 301
    fail(health, 1)
    assert stop.requested


def test_a_pause_asked_for_outlasts_an_answer_to_an_older_call() -> None:
    """That one was sent before the edge said that there were too many."""

    async def main() -> None:
        health, _, clock = healthy()
        health.slow_down(60)
        health.note(Verdict.ACCEPTED, "")
        assert not await is_admitted(health)
        clock.seconds += 60
        assert await is_admitted(health)

    asyncio.run(main())


def test_five_denials_in_a_row_are_about_the_account() -> None:
    """A success between them, or a row that is denied alone, is not."""
    health, stop, _ = healthy()
    for verdict in [Verdict.DENIED] * 4 + [Verdict.ACCEPTED] + [Verdict.DENIED] * 4:
        health.note(verdict, "HTTP 401")
    health.note(Verdict.DENIED, "HTTP 403", about_row=True)
    assert not stop.requested
    health.note(Verdict.DENIED, "HTTP 401")
    assert stop._reason is not None
    assert stop._reason.stopped_by == "credentials"


@pytest.mark.parametrize(("rate", "calls"), [(20, 2), (0.5, 1)])
def test_a_burst_is_a_tenth_of_a_second_of_calls(rate: float, calls: int) -> None:
    """And never less than one call, however slow the pace."""

    async def main() -> None:
        pacer, stop = Pacer(rate), Stop()
        for _ in range(calls):
            await asyncio.wait_for(pacer.wait(stop), 10)
        one_more = asyncio.ensure_future(pacer.wait(stop))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not one_more.done()
        one_more.cancel()

    asyncio.run(main())
