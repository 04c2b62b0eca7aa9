"""Sending what a run's plan still holds, and following what the edge has accepted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from uploader import telemetry
from uploader.closing import Closing
from uploader.errors import PlanError, StoppedBy, StoppedError, UploaderError
from uploader.limits import MAX_BATCH_BYTES
from uploader.model import Batch, BatchState, Via
from uploader.planning.batching import Wire, batch_calls, single_calls
from uploader.planning.plan import Plan
from uploader.progress import Progress, Stage
from uploader.runs import run_lock
from uploader.sending.delivery import Delivery, Manners
from uploader.sending.outcomes import judge
from uploader.sending.pacing import Health, Pacer
from uploader.sending.quota import Allowance, Terms
from uploader.sending.recorder import Recorder
from uploader.sending.remaining import Done
from uploader.sending.retries import Backoff
from uploader.sending.routes import BulkRoute, SingleRoute
from uploader.sending.stopping import Stop
from uploader.sending.transport import Edge, EdgeAddress
from uploader.settings import Settings
from uploader.settling.polling import Status, follow, read_status, status_url
from uploader.settling.report import books
from uploader.storage.journal import Journal, Run
from uploader.storage.ledger import BULK, BULK_ROWS, SINGLE, Ledger

T = TypeVar("T")

# A lease is worth about so many seconds of calls, and its calls start within so many.
_LEASE_WORTH_SECONDS: Final = 2.0
_LEASE_LIFE_SECONDS: Final = 10.0
_UNPACED_LEASE_CALLS: Final = 2_000
_ROWS_LEASE_LIFE_SECONDS: Final = 600.0
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
        locks: Path,
    ) -> None:
        """Nothing is sent before :meth:`carry_out`."""
        self._settings = settings
        self._address = address
        self._account = account
        self._journal = journal
        self._ledger = ledger
        self._stop = stop
        self._progress = progress
        self._locks = locks
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
                health = Health(self._stop, self._settings.outage_after)
                bulk = self._allowance(self._bulk_terms(edge, plan), health)
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
        rows = None
        if settings.bulk_rows_per_day:
            rows = self._allowance(self._row_terms(asking.edge, plan), asking.health)
        delivery = Delivery(
            BulkRoute(lambda call: asking.edge.bulk(version, call), recorder),
            recorder,
            asking.allowance,
            Pacer(0),
            asking.health,
            self._manners(min(settings.bulk_workers, settings.workers), _WAITING_BATCHES),
            self._stop,
            rows=rows,
        )
        calls = done.left(batch_calls(plan.updates, wire))
        try:
            await self._deliver(delivery, calls, recorder, done)
        finally:
            if rows is not None:
                await rows.close()

    async def _send_singles(self, plan: Plan, wire: Wire, done: Done, asking: _Asking) -> None:
        settings, recorder = self._settings, asking.recorder
        allowance = self._allowance(self._single_terms(), asking.health)
        # What earlier starts delivered shows that the run is right: fifty refused rows that
        # are left over must not stop it.
        asking.health.successes = done.delivered
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
        calls = done.left(single_calls(plan.updates, wire, prefix, done.first_open))
        try:
            await self._deliver(delivery, calls, recorder, done)
        finally:
            await allowance.close()

    async def _deliver(
        self, delivery: Delivery[Any], calls: Iterator[Any], recorder: Recorder, done: Done
    ) -> None:
        """Let *delivery* run, keep the display fed, and end it when grace is over."""
        showing = asyncio.create_task(self._show(recorder, done))
        try:
            await self._in_grace(delivery.run(calls))
        finally:
            showing.cancel()

    async def _show(self, recorder: Recorder, done: Done) -> None:
        while True:
            sent = recorder.delivered + recorder.dead_lettered + recorder.rows_answered
            self._progress.set(done.updates + sent)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _in_grace(self, work: Awaitable[T]) -> T | None:
        """What *work* comes to; None where the grace after a stop was over before."""
        return await self._stop.cut_short(work, lambda: self.grace_seconds)

    def _manners(self, workers: int, most_waiting: int) -> Manners:
        settings = self._settings
        return Manners(workers, settings.max_attempts, Backoff(settings.retry_base), most_waiting)

    def _allowance(self, terms: Terms, health: Health) -> Allowance:
        """Waiting for quota is no outage: *health* hears of it."""
        return Allowance(
            self._ledger, terms, self._stop, telemetry.quota_waited_for, on_waited=health.excuse
        )

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
        cap = self._settings.bulk_calls_per_minute
        return Terms(BULK, cap, 1, _LEASE_LIFE_SECONDS, _longest_call(edge, plan), wait=True)

    def _row_terms(self, edge: Edge, plan: Plan) -> Terms:
        """Rows are leased before the call that carries them, which may have to wait its turn."""
        settings = self._settings
        return Terms(
            BULK_ROWS,
            settings.bulk_rows_per_day,
            1,
            _ROWS_LEASE_LIFE_SECONDS,
            _longest_call(edge, plan),
            wait=settings.on_quota == "wait",
        )

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
        left = await self._in_grace(follow(incomplete, asking.ask, ended, self._stop, wait))
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
            try:
                with run_lock(self._locks, older, run.run):
                    await self._settle_one(older, incomplete, asking, closing)
            except UploaderError as error:
                # Somebody is at work on it, or its plan is gone: no reason to stop this run.
                closing.warn(f"run {older.run} couldn't be settled: {error}")

    async def _settle_one(
        self, older: Run, incomplete: Sequence[Batch], asking: _Asking, closing: Closing
    ) -> None:
        """Ask once for *incomplete*, and close *older* if nothing of it is pending then.

        Its troubles are its own: a redirect or a denial of its statuses stops nothing else.
        """
        recorder = Recorder(self._journal, older.run, self._stop)
        health = Health(Stop(), self._settings.outage_after)
        other = replace(asking, recorder=recorder, health=health)
        await self._in_grace(follow(incomplete, other.ask, other.ended, self._stop, 0))
        await recorder.flush()
        if older.plan_folder is None:
            return
        plan = Plan.open(older.plan_folder)
        if plan.digest != older.plan_digest:
            raise PlanError(f"{older.plan_folder} holds another plan by now")
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
    hosts_refused: set[str] = field(default_factory=set)

    async def ask(self, batch: Batch) -> Status | None:
        """The batch's status; None where there was no readable answer."""
        address = self.edge.address
        url, refused = status_url(batch.status_url, address.base_url, address.status_hosts)
        if refused is not None and refused not in self.hosts_refused:
            self.hosts_refused.add(refused)
            telemetry.status_host_refused(refused)
        permit = await self.allowance.acquire()
        if permit is None:
            return None
        self.recorder.calls.status += 1
        answer = None
        try:
            answer = await self.edge.status(url)
        finally:
            permit.done(answered=answer is not None and answer.status is not None)
        status = read_status(answer.body) if answer.status == _HTTP_OK else None
        if status is None:
            judgement = judge(answer)
            self.health.note(judgement.verdict, judgement.cause)
        else:
            self.health.got_through()
        return status

    def ended(self, batch: Batch) -> None:
        """Enter a batch's end."""
        telemetry.batch_ended(
            batch.number, batch.state.value, batch.rows, batch.failed, batch.not_found
        )
        self.recorder.batch(batch)


def _longest_call(edge: Edge, plan: Plan) -> float:
    """Seconds that the largest batch file of *plan* may take."""
    largest = plan.description["bytes"] if plan.route.via is Via.BULK else 0
    return edge.batch_timeout(min(largest, MAX_BATCH_BYTES))


def _incomplete(batches: Sequence[Batch]) -> list[Batch]:
    return [batch for batch in batches if batch.state is BatchState.INCOMPLETE]
