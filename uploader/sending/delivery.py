"""Delivering: workers take calls, send them under quota and pace, and enter what became of them.

Quota comes first, then the pacing token: the other way round, retries would hold tokens
that fresh calls could use.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from uploader import telemetry
from uploader.errors import StoppedBy
from uploader.model import BatchCall, Fate, Outcome, Reason, SingleCall, Unsendable
from uploader.sending.outcomes import Verdict, judge
from uploader.sending.pacing import Health, Pacer
from uploader.sending.permits import Permits
from uploader.sending.quota import Allowance
from uploader.sending.recorder import Recorder
from uploader.sending.retries import Backoff, DueQueue, Work
from uploader.sending.routes import Ended, Route
from uploader.sending.stopping import Stop

C = TypeVar("C", SingleCall, BatchCall)

# So many refusals and not one success: not the rows are wrong, the run is.
REFUSALS_THAT_STOP: Final = 50
# A shorter pause than this isn't worth a timer.
_SHORTEST_PAUSE_SECONDS: Final = 0.001


@dataclass(frozen=True)
class Manners:
    """How a route sends: how many at once, how often again, how many waiting to go again."""

    workers: int
    most_attempts: int
    backoff: Backoff
    most_waiting: int


class Delivery(Generic[C]):
    """Sends every call of one plan, with as many workers as *manners* say."""

    def __init__(
        self,
        route: Route[C],
        recorder: Recorder,
        allowance: Allowance,
        pacer: Pacer,
        health: Health,
        manners: Manners,
        stop: Stop,
        dice: random.Random | None = None,
        rows: Allowance | None = None,
    ) -> None:
        """Everything that can vary is given; *dice* throws the jitter.

        *allowance* is for calls; *rows*, where there is such a cap, for the rows of batches.
        """
        self._route: Route[C] = route
        self._recorder = recorder
        self._allowance = allowance
        self._rows = rows
        self._pacer = pacer
        self._health = health
        self._manners = manners
        self._stop = stop
        self._dice = dice or random.Random()  # noqa: S311 - jitter, not secrets
        self._waiting: DueQueue[C] = DueQueue()
        self._fresh: Iterator[C | Unsendable] = iter(())
        self._fresh_left = True
        self._in_flight = 0
        self._changed = asyncio.Event()
        self._held: list[Ended[C]] = []
        self._latest_success_began = 0.0

    async def run(self, calls: Iterator[C | Unsendable]) -> None:
        """Send all of *calls*; returns early, with nothing in flight, when a stop is asked for."""
        self._fresh = calls
        waking = asyncio.ensure_future(self._wake_at_stop())
        workers: list[asyncio.Task[None]] = [
            asyncio.ensure_future(self._work()) for _ in range(self._manners.workers)
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in (waking, *workers):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(waking, *workers, return_exceptions=True)
        if not self._stop.requested:
            self._believe_refusals()

    async def _wake_at_stop(self) -> None:
        await self._stop.wait()
        self._changed.set()

    async def _work(self) -> None:
        while (work := await self._take()) is not None:
            self._in_flight += 1
            try:
                await self._attempt(work)
            finally:
                self._in_flight -= 1
                self._changed.set()

    async def _take(self) -> Work[C] | None:
        """The next call: one whose pause is over, else a fresh one; None at the end."""
        while not self._stop.requested:
            due = self._waiting.take(time.monotonic())
            if due is not None:
                return due
            if self._fresh_left and len(self._waiting) < self._manners.most_waiting:
                fresh = next(self._fresh, None)
                if fresh is None:
                    self._fresh_left = False
                elif not isinstance(fresh, Unsendable):
                    return Work(fresh)
                else:
                    self._bury(fresh)
                    await asyncio.sleep(0)  # there may be a million of them
                continue
            seconds = self._waiting.seconds_until_due(time.monotonic())
            if seconds is None and not self._in_flight:
                self._changed.set()
                return None
            self._changed.clear()
            await self._until_changed(seconds)
        return None

    def _bury(self, item: Unsendable) -> None:
        position = item.position
        self._recorder.bury(
            Outcome(position, position, Fate.DEAD_LETTERED, item.reason, item.detail, attempts=0)
        )

    async def _until_changed(self, seconds: float | None) -> None:
        limit = None if seconds is None else max(seconds, _SHORTEST_PAUSE_SECONDS)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), limit)

    async def _attempt(self, work: Work[C]) -> None:
        await self._health.admit()
        rows = self._route.rows(work.call)
        permits = await Permits.acquire(self._allowance, self._rows, rows)
        if permits is None:
            return
        with permits:
            await self._pacer.wait(self._stop)
            if self._stop.requested:
                return
            if not permits.are_live:
                self._waiting.put(time.monotonic(), work)
                return
            ended = await self._call(work, permits)
        self._settle(work, ended)

    async def _call(self, work: Work[C], permits: Permits) -> Ended[C]:
        if work.attempts == 0:
            work.successes_before = self._health.successes
        else:
            self._recorder.calls.retries += 1
        work.attempts += 1
        self._route.count(self._recorder.calls)
        work.began = time.monotonic()
        permits.begin()
        answer = await self._route.send(work.call)
        judgement = judge(answer)
        if answer.status is not None:
            permits.answered(accepted=judgement.verdict is Verdict.ACCEPTED)
        return Ended(work.call, work.attempts, answer, judgement)

    def _settle(self, work: Work[C], ended: Ended[C]) -> None:
        verdict = ended.judgement.verdict
        telemetry.call_ended(verdict.value, ended.answer.seconds)
        about_row = verdict is Verdict.DENIED and self._is_denied_alone(work)
        self._health.note(verdict, ended.judgement.cause, about_row=about_row)
        if verdict is Verdict.ACCEPTED:
            self._latest_success_began = max(self._latest_success_began, work.began)
            self._route.accepted(ended)
            self._believe_refusals()
        elif verdict is Verdict.REFUSED:
            self._hold(ended)
        elif verdict is not Verdict.REDIRECTED:  # then the run stops, and the call stays pending
            self._again(work, ended, overtaken=self._is_overtaken(work, verdict))

    def _is_denied_alone(self, work: Work[C]) -> bool:
        """Whether a call that began after this one's first denial has got through.

        One that began before says nothing: when a token dies, answers to calls made with
        it are still coming in.
        """
        if work.denied_at is None:
            work.denied_at = time.monotonic()
        return self._latest_success_began > work.denied_at

    def _is_overtaken(self, work: Work[C], verdict: Verdict) -> bool:
        if verdict is Verdict.DENIED:
            return self._is_denied_alone(work)
        return self._health.successes > work.successes_before

    def _again(self, work: Work[C], ended: Ended[C], *, overtaken: bool) -> None:
        """Have the call go again after a pause, unless its retries have run out.

        They do only for a call that others overtook, and attempts in an outage don't count.
        """
        verdict = ended.judgement.verdict
        if not self._health.in_trouble:
            work.strikes += 1
        if overtaken and work.strikes >= self._manners.most_attempts:
            denied = verdict is Verdict.DENIED
            self._route.refused(ended, Reason.REFUSED if denied else Reason.RETRIES_EXHAUSTED)
            return
        asked = ended.answer.retry_after_seconds
        delay = self._manners.backoff.delay(work.attempts, asked, self._dice)
        if self._route.slows_down and verdict is Verdict.NOT_NOW:
            self._health.slow_down(delay)
        self._waiting.put(time.monotonic() + delay, work)

    def _hold(self, ended: Ended[C]) -> None:
        """Believe a refusal, or keep it until something is accepted."""
        if not self._route.holds_refusals or self._health.successes:
            self._route.refused(ended, Reason.REFUSED)
            return
        self._held.append(ended)
        if len(self._held) >= REFUSALS_THAT_STOP:
            self._stop.request(
                StoppedBy.REFUSED,
                f"the first {REFUSALS_THAT_STOP} updates were all refused (last: "
                f"{ended.judgement.cause}); check UPLOADER_CLIENT_CODE and the mapping, then "
                "start again",
            )

    def _believe_refusals(self) -> None:
        held, self._held = self._held, []
        for ended in held:
            self._route.refused(ended, Reason.REFUSED)
