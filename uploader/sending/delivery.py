"""Delivering: workers take calls, send them under quota and pace, and enter what became of them.

Quota comes first, then the pacing token: the other way round, retries would hold tokens
that fresh calls could use.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from uploader import telemetry
from uploader.errors import StoppedBy, StoppedError
from uploader.model import (
    Batch,
    BatchCall,
    BatchState,
    Calls,
    Fate,
    Outcome,
    Reason,
    SingleCall,
    Unsendable,
)
from uploader.sending.outcomes import Answer, Judgement, Verdict, judge
from uploader.sending.pacing import Health, Pacer
from uploader.sending.quota import Allowance
from uploader.sending.retries import Backoff, DueQueue, Work
from uploader.sending.stopping import Stop

C = TypeVar("C", SingleCall, BatchCall)

FLUSH_SECONDS: Final = 1.0
# So many refusals and not one success: not the rows are wrong, the run is.
REFUSALS_THAT_STOP: Final = 50


class Journal(Protocol):
    """Keeps what became known, all of a call's arguments or nothing."""

    async def commit(
        self,
        run: str,
        outcomes: Sequence[Outcome] = (),
        batches: Sequence[Batch] = (),
        calls: Calls | None = None,
    ) -> None:
        """Durable on return."""


@dataclass
class Recorder:
    """Collects outcomes and enters them in groups, about once a second."""

    journal: Journal
    run: str
    stop: Stop
    calls: Calls = field(default_factory=Calls)
    delivered: int = 0
    dead_lettered: int = 0
    rows_answered: int = 0

    def __post_init__(self) -> None:
        """Nothing is waiting to be entered."""
        self._positions: list[int] = []
        self._outcomes: list[Outcome] = []
        self._batches: list[Batch] = []
        self._entered = Calls()

    def deliver(self, position: int) -> None:
        """A single update was accepted."""
        self._positions.append(position)
        self.delivered += 1

    def bury(self, outcome: Outcome) -> None:
        """An update becomes a dead letter."""
        self._outcomes.append(outcome)
        self.dead_lettered += outcome.last - outcome.first + 1

    def batch(self, batch: Batch) -> None:
        """The edge answered for a batch file."""
        self._batches.append(batch)
        self.rows_answered += batch.rows

    async def flush(self) -> None:
        """Enter what has been collected."""
        positions, self._positions = self._positions, []
        outcomes, self._outcomes = self._outcomes, []
        batches, self._batches = self._batches, []
        new = Calls(
            self.calls.single - self._entered.single,
            self.calls.bulk - self._entered.bulk,
            self.calls.status - self._entered.status,
            self.calls.retries - self._entered.retries,
        )
        self._entered = self._entered + new
        if positions or outcomes or batches or new != Calls():
            ranges = [Outcome(first, last, Fate.DELIVERED) for first, last in as_ranges(positions)]
            await self.journal.commit(self.run, [*ranges, *outcomes], batches, new)

    async def keep_flushing(self) -> None:
        """Flush every second; a journal that fails stops the run."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except StoppedError as error:
                self.stop.request(error.stopped_by, str(error))
                return


def as_ranges(positions: list[int]) -> list[tuple[int, int]]:
    """*positions* as ranges, both ends included."""
    ranges: list[tuple[int, int]] = []
    for position in sorted(positions):
        if ranges and ranges[-1][1] == position - 1:
            ranges[-1] = (ranges[-1][0], position)
        else:
            ranges.append((position, position))
    return ranges


@dataclass(frozen=True)
class Manners:
    """How a route sends: how many at once, how often again, how long waiting may grow."""

    workers: int
    most_attempts: int
    backoff: Backoff
    most_waiting: int


class Route(Protocol[C]):
    """What single updates and batch files do differently."""

    async def send(self, call: C) -> Answer:
        """Make the call."""

    def accepted(self, call: C, judgement: Judgement, work: Work[C], answer: Answer) -> None:
        """Enter a success."""

    def refused(
        self, call: C, reason: Reason, detail: str, work: Work[C], answer: Answer
    ) -> None:
        """Enter a failure that is final."""

    def count(self, calls: Calls) -> None:
        """Count one attempt."""

    @property
    def holds_refusals(self) -> bool:
        """Whether refusals wait for a first success before they are believed."""

    @property
    def slows_down(self) -> bool:
        """Whether one "not now" is about all calls."""


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
    ) -> None:
        """Everything that can vary is given; *dice* throws the jitter."""
        self._route = route
        self._recorder = recorder
        self._allowance = allowance
        self._pacer = pacer
        self._health = health
        self._manners = manners
        self._stop = stop
        self._dice = dice or random.Random()  # noqa: S311: jitter, not secrets
        self._waiting: DueQueue[C] = DueQueue()
        self._fresh: Iterator[C | Unsendable] = iter(())
        self._fresh_left = True
        self._in_flight = 0
        self._changed = asyncio.Event()
        self._held: list[Callable[[], None]] = []

    async def run(self, calls: Iterator[C | Unsendable]) -> None:
        """Send all of *calls*; returns early, with nothing in flight, when a stop is asked for."""
        self._fresh = calls
        workers = [asyncio.ensure_future(self._work()) for _ in range(self._manners.workers)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*workers, return_exceptions=True)
        if not self._stop.requested:
            self._believe_refusals()

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
                fresh = self._next_fresh()
                if fresh is not None:
                    return Work(fresh)
                continue
            seconds = self._waiting.seconds_until_due(time.monotonic())
            if seconds is None and not self._in_flight:
                self._changed.set()
                return None
            self._changed.clear()
            await self._until_changed(seconds)
        self._changed.set()
        return None

    def _next_fresh(self) -> C | None:
        for item in self._fresh:
            if not isinstance(item, Unsendable):
                return item
            position = item.position
            self._recorder.bury(
                Outcome(
                    position, position, Fate.DEAD_LETTERED, item.reason, item.detail, attempts=0
                )
            )
        self._fresh_left = False
        return None

    async def _until_changed(self, seconds: float | None) -> None:
        limit = 1.0 if seconds is None else min(seconds, 1.0)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), max(limit, 0.001))

    async def _attempt(self, work: Work[C]) -> None:
        await self._health.admit()
        permit = await self._allowance.acquire()
        if permit is None:
            return
        await self._pacer.wait()
        if self._stop.requested or not permit.is_live:
            permit.give_back()
            if not self._stop.requested:
                self._waiting.put(time.monotonic(), work)
            return
        if work.attempts == 0:
            work.successes_before = self._health.successes
        else:
            self._recorder.calls.retries += 1
        work.attempts += 1
        self._route.count(self._recorder.calls)
        answered = False
        try:
            answer = await self._route.send(work.call)
            answered = answer.status is not None
        finally:
            permit.done(answered=answered)
        self._settle(work, answer)

    def _settle(self, work: Work[C], answer: Answer) -> None:
        judgement = judge(answer)
        verdict = judgement.verdict
        self._health.note(verdict, judgement.detail)
        telemetry.call_ended(verdict.value, answer.seconds)
        if verdict is Verdict.ACCEPTED:
            self._route.accepted(work.call, judgement, work, answer)
            self._believe_refusals()
        elif verdict is Verdict.REFUSED:
            self._hold(work, Reason.REFUSED, judgement, answer)
        elif verdict is Verdict.REDIRECTED:
            pass  # the run stops, and the call stays pending
        elif self._is_exhausted(work):
            denied = verdict is Verdict.DENIED
            reason = Reason.REFUSED if denied else Reason.RETRIES_EXHAUSTED
            self._route.refused(work.call, reason, judgement.detail, work, answer)
        else:
            self._again(work, answer, verdict)

    def _is_exhausted(self, work: Work[C]) -> bool:
        """Retries run out only for a call that others overtook: an outage is no reason."""
        return (
            work.attempts >= self._manners.most_attempts
            and self._health.successes > work.successes_before
        )

    def _again(self, work: Work[C], answer: Answer, verdict: Verdict) -> None:
        delay = self._manners.backoff.delay(
            work.attempts, answer.retry_after_seconds, self._dice
        )
        if self._route.slows_down and verdict is Verdict.NOT_NOW:
            self._health.slow_down(delay)
        self._waiting.put(time.monotonic() + delay, work)

    def _hold(
        self, work: Work[C], reason: Reason, judgement: Judgement, answer: Answer
    ) -> None:
        def believe() -> None:
            self._route.refused(work.call, reason, judgement.detail, work, answer)

        if not self._route.holds_refusals or self._health.successes:
            believe()
            return
        self._held.append(believe)
        if len(self._held) >= REFUSALS_THAT_STOP:
            self._stop.request(
                StoppedBy.REFUSED,
                f"the first {len(self._held)} updates were all refused (last: {judgement.detail}); "
                "check UPLOADER_CLIENT_CODE and the mapping, then start again",
            )

    def _believe_refusals(self) -> None:
        held, self._held = self._held, []
        for believe in held:
            believe()


class SingleRoute:
    """Single updates: each outcome is one position's."""

    holds_refusals = True
    slows_down = False

    def __init__(self, send: Callable[[SingleCall], Awaitable[Answer]], recorder: Recorder) -> None:
        """*send* makes the call."""
        self._send = send
        self._recorder = recorder

    async def send(self, call: SingleCall) -> Answer:
        """Make the call."""
        return await self._send(call)

    def count(self, calls: Calls) -> None:
        """Count one attempt."""
        calls.single += 1

    def accepted(
        self, call: SingleCall, judgement: Judgement, work: Work[SingleCall], answer: Answer
    ) -> None:
        """Enter a success."""
        self._recorder.deliver(call.position)

    def refused(
        self, call: SingleCall, reason: Reason, detail: str, work: Work[SingleCall], answer: Answer
    ) -> None:
        """Enter a dead letter."""
        self._recorder.bury(
            Outcome(
                call.position, call.position, Fate.DEAD_LETTERED, reason, detail,
                work.attempts, answer.status,
            )
        )


class BulkRoute:
    """Batch files: an accepted one is followed later, a refused one is dead letters."""

    holds_refusals = False
    slows_down = True

    def __init__(self, send: Callable[[BatchCall], Awaitable[Answer]], recorder: Recorder) -> None:
        """*send* makes the call."""
        self._send = send
        self._recorder = recorder

    async def send(self, call: BatchCall) -> Answer:
        """Make the call."""
        return await self._send(call)

    def count(self, calls: Calls) -> None:
        """Count one attempt."""
        calls.bulk += 1

    def accepted(
        self, call: BatchCall, judgement: Judgement, work: Work[BatchCall], answer: Answer
    ) -> None:
        """Enter a batch to be followed, unless there is nowhere to ask for it."""
        url = judgement.reply.batch_status_url
        if not url:
            detail = f"{judgement.detail}, but no batchStatus URL to follow it by"
            self.refused(call, Reason.BATCH_REFUSED, detail, work, answer)
            return
        batch = _answered(call, BatchState.INCOMPLETE, work, answer, url=url)
        telemetry.batch_accepted(
            batch.number, batch.rows, batch.size_bytes, work.attempts, answer.seconds
        )
        self._recorder.batch(batch)

    def refused(
        self, call: BatchCall, reason: Reason, detail: str, work: Work[BatchCall], answer: Answer
    ) -> None:
        """Enter a batch whose rows become dead letters."""
        telemetry.batch_refused(call.number, call.rows, detail)
        self._recorder.batch(_answered(call, BatchState.REFUSED, work, answer, detail=detail))


def _answered(
    call: BatchCall,
    state: BatchState,
    work: Work[BatchCall],
    answer: Answer,
    *,
    url: str = "",
    detail: str = "",
) -> Batch:
    return Batch(
        call.number,
        call.first,
        call.last,
        call.rows,
        call.size_bytes,
        state,
        remote_id=url.rpartition("batchId=")[2].partition("&")[0],
        status_url=url,
        detail=detail,
        attempts=work.attempts,
        http_status=answer.status,
    )
