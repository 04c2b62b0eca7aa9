"""What single updates and batch files do differently, from the call to what is entered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from uploader import telemetry
from uploader.model import (
    Batch,
    BatchCall,
    BatchState,
    Calls,
    Fate,
    Outcome,
    Reason,
    SingleCall,
)
from uploader.sending.outcomes import Answer, Judgement
from uploader.sending.recorder import Recorder

C = TypeVar("C", SingleCall, BatchCall)


@dataclass(frozen=True)
class Ended(Generic[C]):
    """A call that came to its end: the answer to its last attempt, and what that means."""

    call: C
    attempts: int
    answer: Answer
    judgement: Judgement


class Route(Protocol[C]):
    """One way to the edge."""

    async def send(self, call: C) -> Answer:
        """Make the call."""

    def accepted(self, ended: Ended[C]) -> None:
        """Enter a success."""

    def refused(self, ended: Ended[C], reason: Reason) -> None:
        """Enter a failure that is final."""

    def count(self, calls: Calls) -> None:
        """Count one attempt."""

    def rows(self, call: C) -> int:
        """How many rows of the daily cap on batch rows the call takes."""

    @property
    def holds_refusals(self) -> bool:
        """Whether refusals wait for a first success before they are believed."""

    @property
    def slows_down(self) -> bool:
        """Whether one "not now" is about all calls."""


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

    def rows(self, _call: SingleCall) -> int:
        """None: the cap is on batches."""
        return 0

    def accepted(self, ended: Ended[SingleCall]) -> None:
        """Enter a success."""
        self._recorder.deliver(ended.call.position)

    def refused(self, ended: Ended[SingleCall], reason: Reason) -> None:
        """Enter a dead letter."""
        self._recorder.bury(
            Outcome(
                ended.call.position,
                ended.call.position,
                Fate.DEAD_LETTERED,
                reason,
                ended.judgement.detail,
                ended.attempts,
                ended.answer.status,
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

    def rows(self, call: BatchCall) -> int:
        """All of the file's."""
        return call.rows

    def accepted(self, ended: Ended[BatchCall]) -> None:
        """Enter a batch to be followed, unless there is nowhere to ask for it."""
        if not ended.judgement.reply.batch_status_url:
            self._refuse(ended, "no batchStatus URL to follow it by")
            return
        batch = _answered(ended, BatchState.INCOMPLETE)
        telemetry.batch_accepted(
            batch.number, batch.rows, batch.size_bytes, ended.attempts, ended.answer.seconds
        )
        self._recorder.batch(batch)

    def refused(self, ended: Ended[BatchCall], reason: Reason) -> None:
        """Enter a batch whose rows become dead letters."""
        self._refuse(ended, "" if reason is Reason.REFUSED else reason.value.replace("_", " "))

    def _refuse(self, ended: Ended[BatchCall], why: str) -> None:
        call, judgement = ended.call, ended.judgement
        telemetry.batch_refused(call.number, call.rows, _joined(judgement.cause, why))
        detail = _joined(judgement.detail, why)
        self._recorder.batch(_answered(ended, BatchState.REFUSED, detail))


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _answered(ended: Ended[BatchCall], state: BatchState, detail: str = "") -> Batch:
    call, url = ended.call, ended.judgement.reply.batch_status_url
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
        attempts=ended.attempts,
        http_status=ended.answer.status,
    )
