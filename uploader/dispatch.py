"""Sending what a run's plan still holds, and following what the edge has accepted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from uploader import telemetry
from uploader.closing import Closing
from uploader.errors import StoppedBy, StoppedError
from uploader.model import Batch, BatchState, Via
from uploader.planning.batching import Wire, batch_calls, single_calls
from uploader.planning.plan import Plan
from uploader.progress import Progress, Stage
from uploader.sending.delivery import BulkRoute, Delivery, Manners, Recorder, SingleRoute
from uploader.sending.outcomes import judge
from uploader.sending.pacing import Health, Pacer
from uploader.sending.quota import Allowance, Terms
from uploader.sending.remaining import Done
from uploader.sending.retries import Backoff
from uploader.sending.stopping import Stop
from uploader.sending.transport import Edge, EdgeAddress
from uploader.settings import Settings
from uploader.settling.polling import Status, follow, read_status, status_url
from uploader.settling.report import books
from uploader.storage.journal import Journal, Run
from uploader.storage.ledger import BULK, SINGLE, Ledger

# A lease is worth about so many seconds of calls, and its calls start within so many.
_LEASE_WORTH_SECONDS: Final = 2.0
_LEASE_LIFE_SECONDS: Final = 10.0
_UNPACED_LEASE_CALLS: Final = 2_000
_LOOK_SECONDS: Final = 0.2
# Calls that wait for another attempt, for each worker, before fresh ones are held back.
_WAITING_PER_WORKER: Final = 20
_WAITING_BATCHES: Final = 2
_HTTP_OK: Final = 200


class Dispatch:
    """The sending side of one start: one session, one journal, one quota."""

    def __init__(
        self,
        settings: Settings,
        address: EdgeAddress,
        account: str,
        journal: Journal,
        ledger: Ledger,
        stop: Stop,
        progress: Progress,
    ) -> None:
        """Nothing is sent before :meth:`carry_out`."""
        self._settings = settings
        self._address = address
        self._account = account
        self._journal = journal
        self._ledger = ledger
        self._stop = stop
        self._progress = progress
        self.grace_seconds = settings.grace

    async def carry_out(self, run: Run, plan: Plan, closing: Closing) -> StoppedError | None:
        """Send what isn't sent, follow what isn't settled; the reason if stopped early.

        Batches that older runs of the account left on their way are asked for first;
        *closing* ends those runs.
        """
        recorder = Recorder(self._journal, run.run, self._stop)
        flushing = asyncio.create_task(recorder.keep_flushing())
        try:
            async with Edge(self._address, self._settings.workers, self._settings.timeout) as edge:
                bulk = self._allowance(self._bulk_terms(edge, plan))
                health = Health(self._stop, self._settings.outage_after)
                asking = _Asking(edge, bulk, recorder, health)
                try:
                    await self._settle_older(run, asking, closing)
                    await self._send(run, plan, asking)
                    await recorder.flush()
                    if not self._stop.requested:
                        await self._follow(run, asking)
                finally:
                    await bulk.close()
        except StoppedError as stopped:
            self._stop.request(stopped.stopped_by, str(stopped))
        finally:
            flushing.cancel()
            await asyncio.gather(flushing, return_exceptions=True)
        try:
            await recorder.flush()
            self._stop.check()
        except StoppedError as stopped:
            telemetry.stopping(stopped.stopped_by.value, str(stopped))
            return stopped
        return None

    async def _send(self, run: Run, plan: Plan, asking: _Asking) -> None:
        done = Done(await self._journal.outcomes(run.run), await self._journal.batches(run.run))
        self._progress.begin(Stage.SENDING, plan.planned, done.updates)
        telemetry.sending_begun(plan.planned - done.updates, str(plan.route))
        wire = Wire.of(plan.names, plan.id_type, plan.route)
        if plan.route.via is Via.BULK:
            await self._send_batches(plan, wire, done, asking)
        else:
            await self._send_singles(plan, wire, done, asking)

    async def _send_batches(self, plan: Plan, wire: Wire, done: Done, asking: _Asking) -> None:
        settings, version = self._settings, plan.route.bulk_version or 1
        recorder = asking.recorder
        workers = min(settings.bulk_workers, settings.workers)
        delivery = Delivery(
            BulkRoute(lambda call: asking.edge.bulk(version, call), recorder),
            recorder,
            asking.allowance,
            Pacer(0),
            asking.health,
            self._manners(workers, _WAITING_BATCHES),
            self._stop,
        )
        await self._deliver(delivery, done.left(batch_calls(plan.updates, wire)), recorder, done)

    async def _send_singles(self, plan: Plan, wire: Wire, done: Done, asking: _Asking) -> None:
        settings, recorder = self._settings, asking.recorder
        allowance = self._allowance(self._single_terms())
        delivery = Delivery(
            SingleRoute(asking.edge.single, recorder),
            recorder,
            allowance,
            Pacer(settings.calls_per_second),
            asking.health,
            self._manners(settings.workers, _WAITING_PER_WORKER * settings.workers),
            self._stop,
        )
        prefix = len(self._address.single_url) + len("?")
        calls = single_calls(plan.updates, wire, prefix, done.first_open)
        try:
            await self._deliver(delivery, done.left(calls), recorder, done)
        finally:
            await allowance.close()

    async def _deliver(
        self, delivery: Delivery[Any], calls: Iterator[Any], recorder: Recorder, done: Done
    ) -> None:
        """Let *delivery* run, keep the display fed, and end it when grace is over."""
        sending = asyncio.ensure_future(delivery.run(calls))
        stopped_at: float | None = None
        while not sending.done():
            await asyncio.wait([sending], timeout=_LOOK_SECONDS)
            sent = recorder.delivered + recorder.dead_lettered + recorder.rows_answered
            self._progress.set(done.updates + sent)
            if self._stop.requested:
                stopped_at = stopped_at or time.monotonic()
                if time.monotonic() > stopped_at + self.grace_seconds:
                    sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending

    def _manners(self, workers: int, most_waiting: int) -> Manners:
        settings = self._settings
        return Manners(workers, settings.max_attempts, Backoff(settings.retry_base), most_waiting)

    def _allowance(self, terms: Terms) -> Allowance:
        return Allowance(self._ledger, terms, self._stop, telemetry.quota_waited_for)

    def _single_terms(self) -> Terms:
        settings = self._settings
        rate = settings.calls_per_second
        worth = max(int(rate * _LEASE_WORTH_SECONDS), 1) if rate else _UNPACED_LEASE_CALLS
        return Terms(
            SINGLE,
            settings.daily_cap,
            worth,
            _LEASE_LIFE_SECONDS,
            settings.timeout,
            wait=settings.on_quota == "wait",
        )

    def _bulk_terms(self, edge: Edge, plan: Plan) -> Terms:
        """One call at a time: a minute's window is soon full of leases that nobody uses."""
        largest = plan.description["bytes"] if plan.route.via is Via.BULK else 0
        timeout = edge.batch_timeout(min(largest, 50_000_000))
        cap = self._settings.bulk_calls_per_minute
        return Terms(BULK, cap, 1, _LEASE_LIFE_SECONDS, timeout, wait=True)

    async def _follow(self, run: Run, asking: _Asking) -> None:
        """Poll the run's batches until they end or ``--wait`` is over."""
        batches = await self._journal.batches(run.run)
        incomplete = _incomplete(batches)
        if not incomplete:
            return
        self._progress.begin(Stage.FOLLOWING, sum(batch.rows for batch in incomplete))

        def ended(batch: Batch) -> None:
            self._progress.set(self._progress.done + batch.rows)
            asking.ended(batch)

        wait = self._settings.wait
        left = await follow(incomplete, asking.ask, ended, self._stop, wait)
        await asking.recorder.flush()
        if left and not self._stop.requested:
            self._stop.request(
                StoppedBy.BATCHES,
                f"{left} of {len(batches)} batches are still being worked on at the edge after "
                f"{wait:,.0f} seconds; start again later (any run of this account, or uploader "
                "resume) and they are asked for again",
            )

    async def _settle_older(self, run: Run, asking: _Asking, closing: Closing) -> None:
        """Ask once for the batches that older runs of the account left on their way."""
        for older in await self._journal.unfinished(self._account):
            incomplete = _incomplete(await self._journal.batches(older.run))
            if older.run == run.run or not incomplete or self._stop.requested:
                continue
            recorder = Recorder(self._journal, older.run, self._stop)
            other = replace(asking, recorder=recorder)
            await follow(incomplete, other.ask, other.ended, self._stop, 0)
            await recorder.flush()
            if older.plan_folder is None or not older.plan_folder.exists():
                continue  # uploader resume will say so
            plan = Plan.open(older.plan_folder)
            counted = books(
                plan.planned,
                await self._journal.outcomes(older.run),
                await self._journal.batches(older.run),
            )
            if not counted.pending:
                await closing.settle(older, plan, None, others=True)


@dataclass(frozen=True)
class _Asking:
    """Asks for the status of batches, under the same quota as everything in a minute."""

    edge: Edge
    allowance: Allowance
    recorder: Recorder
    health: Health

    async def ask(self, batch: Batch) -> Status | None:
        """The batch's status; None where there was no readable answer."""
        address = self.edge.address
        url, refused = status_url(batch.status_url, address.base_url, address.status_hosts)
        if refused is not None:
            telemetry.status_host_refused(refused)
        permit = await self.allowance.acquire()
        if permit is None:
            return None
        self.recorder.calls.status += 1
        answer = await self.edge.status(url)
        permit.done(answered=answer.status is not None)
        status = read_status(answer.body) if answer.status == _HTTP_OK else None
        if status is None:
            judgement = judge(answer)
            self.health.note(judgement.verdict, judgement.detail)
        else:
            self.health.got_through()
        return status

    def ended(self, batch: Batch) -> None:
        """Enter a batch's end."""
        telemetry.batch_ended(
            batch.number, batch.state.value, batch.rows, batch.failed, batch.not_found
        )
        self.recorder.batch(batch)


def _incomplete(batches: Sequence[Batch]) -> list[Batch]:
    return [batch for batch in batches if batch.state is BatchState.INCOMPLETE]
