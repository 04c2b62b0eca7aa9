"""START HERE: a run from its exports to its report.

::

    exports ─ read ─ map ─ check ─┬─ sort ─ fold ─▶ PLAN ─ cut ─ lease ─ pace ─ send ─ judge ─▶ …
                                  └─▶ rejected ─▶ DEAD LETTERS ◀─ undelivered ◀─ poll ◀─ accepted

*Plan* (:mod:`uploader.preparing`) needs no network. *Send* lets
:class:`~uploader.sending.delivery.Delivery` make the calls and enters every outcome into
the journal. *Settle* follows batches, writes dead letters, balances the books and reports.
Each step looks into the journal first, so that a start after a stop goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uploader import telemetry
from uploader.deadline import Deadline
from uploader.errors import (
    ExportError,
    PlanError,
    StoppedBy,
    StoppedError,
    TooManyRejectedError,
)
from uploader.model import Batch, BatchCall, BatchState, Fate, Outcome, SingleCall, Unsendable, Via
from uploader.planning.batching import Wire, batch_calls, single_calls
from uploader.planning.plan import DEAD_LETTERS_FILE, Plan
from uploader.preparing import Input, make_plan
from uploader.progress import Progress, Stage
from uploader.runs import decide
from uploader.sending.delivery import BulkRoute, Delivery, Manners, Recorder, SingleRoute
from uploader.sending.outcomes import judge
from uploader.sending.pacing import Health, Pacer
from uploader.sending.quota import Allowance, Terms
from uploader.sending.retries import Backoff
from uploader.sending.stopping import Stop
from uploader.sending.transport import Edge, EdgeAddress
from uploader.settings import Settings
from uploader.settling.dead_letters import LetterWriter, buried, undelivered_line
from uploader.settling.polling import Status, follow, read_status, status_url
from uploader.settling.report import (
    batch_entry,
    books,
    exit_code,
    records_balance,
)
from uploader.storage.database import Database, open_database
from uploader.storage.journal import Journal, Run, RunState
from uploader.storage.ledger import BULK, SINGLE, Ledger
from uploader.storage.locks import AccountLock
from uploader.workplace import Scratch, home, new_run_name, state_url

# A lease is worth about so many seconds of calls, and its calls start within so many.
_LEASE_WORTH_SECONDS = 2.0
_LEASE_LIFE_SECONDS = 10.0
_UNPACED_LEASE = 2_000


@dataclass(frozen=True)
class Options:
    """What belongs to one start and is no setting."""

    report: Path | None = None
    dead_letters: Path | None = None
    again: bool = False
    alongside: bool = False
    stale: bool = False


class Pipeline:
    """One start of the program for one account."""

    def __init__(self, settings: Settings, options: Options, progress: Progress) -> None:
        """Nothing is opened before ``async with``."""
        self._settings = settings
        self._options = options
        self._progress = progress
        self.address = EdgeAddress(
            settings.edge,
            settings.account_code,
            settings.token.get_secret_value() if settings.token else None,
            tuple(settings.status_hosts),
        )
        self.account = f"{self.address.base_url.rstrip('/')}/{settings.account_code}"
        self.home = home(settings)
        self.stop = Stop()
        self._deadline = Deadline.parse(settings.deadline, settings.timezone)
        self._opened = contextlib.ExitStack()
        self._grace = settings.grace

    def hurry(self) -> None:
        """Grant calls in flight no more grace."""
        self._grace = 0.0

    async def __aenter__(self) -> Pipeline:
        """Open the state store and a scratch folder."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.scratch = self._opened.enter_context(Scratch(self.home)).path
        url = state_url(self._settings)
        self._database: Database = open_database(url)
        self._opened.callback(self._database.close)
        self.new_state = self._database.is_new
        if self.new_state:
            telemetry.state_made(str(self._database.path or "in memory"))
        self.journal = Journal(self._database)
        self.ledger = Ledger(self._database, self.account)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close both."""
        self._opened.close()

    async def run(self, given: Input) -> dict[str, Any]:
        """Plan, send, settle *given*, or go on with it, or report it again."""
        decision = await decide(
            self.journal,
            self.account,
            given.identity,
            again=self._options.again,
            stale=self._options.stale,
        )
        run = decision.run
        if run is not None and decision.report_again:
            return self._reported_again(run)
        if run is None:
            run = await self._begin(given.identity, {"exports": given.names})
        try:
            plan = await self._planned(run, given)
        except StoppedError as stopped:
            if stopped.stopped_by is not StoppedBy.SIGNAL:
                raise
            self.stop.request(stopped.stopped_by, str(stopped))
            return await self._report_unplanned(run, stopped)
        return await self._finish(run, plan)

    async def send(self, plan: Plan) -> dict[str, Any]:
        """Send a plan that was made before, or go on with it."""
        decision = await decide(
            self.journal,
            self.account,
            plan.input_identity,
            again=self._options.again,
            stale=self._options.stale,
        )
        run = decision.run
        if run is not None and decision.report_again:
            return self._reported_again(run)
        if run is None:
            run = await self._begin(plan.input_identity, {"plan": str(plan.folder)})
        self._same_plan(run, plan)
        await self.journal.change(
            run.run, plan_digest=plan.digest, plan_folder=str(plan.folder.absolute())
        )
        return await self._finish(run, plan)

    async def resume(self, run: Run) -> dict[str, Any]:
        """Go on with an unfinished run from its plan."""
        if not run.is_unfinished:
            return self._reported_again(run)
        if run.plan_folder is None or not run.plan_folder.exists():
            exports = json.loads(run.options).get("exports", [])
            message = (
                f"run {run.run} has no plan any more; start it again with its exports "
                f"({', '.join(exports) or 'as given then'}), and it goes on"
            )
            raise PlanError(message)
        plan = Plan.open(run.plan_folder)
        self._same_plan(run, plan)
        return await self._finish(run, plan)

    async def _begin(self, identity: str, options: dict[str, Any]) -> Run:
        name = new_run_name(datetime.now(UTC))
        folder = self.home / "runs" / name
        folder.mkdir(parents=True, mode=0o700)
        return await self.journal.begin(
            name, self.account, identity, folder, json.dumps(options)
        )

    async def _planned(self, run: Run, given: Input) -> Plan:
        """The run's plan: the one it has, or a new one, which must then be the same."""
        if run.plan_folder is not None and run.plan_folder.exists():
            plan = Plan.open(run.plan_folder)
            self._same_plan(run, plan)
            return plan
        folder = run.folder / "plan"
        shutil.rmtree(folder, ignore_errors=True)
        run.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        plan = await asyncio.to_thread(
            make_plan,
            given,
            self._settings,
            folder,
            self.scratch,
            self._progress,
            lambda: self.stop.requested,
            datetime.now(UTC),
        )
        self._same_plan(run, plan)
        await self.journal.change(
            run.run, plan_digest=plan.digest, plan_folder=str(folder.absolute())
        )
        return plan

    @staticmethod
    def _same_plan(run: Run, plan: Plan) -> None:
        """Positions in the journal mean nothing to another plan."""
        if run.plan_digest not in (None, plan.digest):
            message = (
                f"run {run.run} was begun with another plan ({run.plan_digest}, now {plan.digest}): "
                "the program or its rules have changed since. Finish it with the version that "
                "began it, or send everything anew with --again once it is finished"
            )
            raise PlanError(message)

    async def _finish(self, run: Run, plan: Plan) -> dict[str, Any]:
        """Everything behind the plan, under the account's lock."""
        about = plan.description
        telemetry.planned(
            about["records"], plan.planned, about["route"], about["route_reason"]
        )
        for warning in about["warnings"]:
            telemetry.caution(warning)
        self._refuse_if_too_many_rejected(about["records"])
        started = time.monotonic()
        with contextlib.ExitStack() as held:
            if not self._options.alongside:
                held.enter_context(AccountLock(self.home / "locks", self.account, run.run))
            await self.journal.count_start(run.run)
            await self.journal.change(run.run, state=RunState.SENDING.value)
            telemetry.run_begun(run.run, self.account, str(run.folder), start=run.starts + 1)
            stopped = await self._send_and_follow(run, plan)
            await self.journal.add_seconds(run.run, time.monotonic() - started)
            return await self._settle(run, plan, stopped)

    def _refuse_if_too_many_rejected(self, records: dict[str, int]) -> None:
        """Stop before anything is sent when the export is plainly not what was meant.

        Raises:
            TooManyRejectedError: more were rejected than ``--max-rejected`` allows.
        """
        limit, read, rejected = self._settings.max_rejected, records["read"], records["rejected"]
        if limit.endswith("%"):
            allowed = read * float(limit[:-1]) / 100
            judged = read >= 1_000  # noqa: PLR2004: a share of fewer says little
        else:
            allowed, judged = int(limit), True
        if judged and rejected > allowed:
            message = (
                f"{rejected:,} of {read:,} records were rejected, more than --max-rejected {limit} "
                "allows; nothing was sent. The dead letters say why each was"
            )
            raise TooManyRejectedError(message)

    async def _send_and_follow(self, run: Run, plan: Plan) -> StoppedError | None:
        """Send what isn't sent, follow what isn't settled; the reason if stopped early."""
        recorder = Recorder(self.journal, run.run, self.stop)
        flushing = asyncio.create_task(recorder.keep_flushing())
        watching = asyncio.create_task(self._deadline.watch(self.stop))
        health = Health(self.stop, self._settings.outage_after)
        try:
            async with Edge(self.address, self._settings.workers, self._settings.timeout) as edge:
                bulk = Allowance(self.ledger, self._bulk_terms(edge, plan), self.stop, telemetry.quota_waited_for)
                try:
                    asking = _Asking(edge, bulk, recorder, health)
                    await self._settle_older(run, asking)
                    await self._send(run, plan, edge, bulk, recorder, health)
                    await recorder.flush()
                    if not self.stop.requested:
                        await self._follow(run, asking)
                finally:
                    await bulk.close()
        except StoppedError as stopped:
            self.stop.request(stopped.stopped_by, str(stopped))
        finally:
            for task in (flushing, watching):
                task.cancel()
            await asyncio.gather(flushing, watching, return_exceptions=True)
        try:
            await recorder.flush()
            self.stop.check()
        except StoppedError as stopped:
            telemetry.stopping(stopped.stopped_by.value, str(stopped))
            return stopped
        return None

    async def _send(
        self,
        run: Run,
        plan: Plan,
        edge: Edge,
        bulk: Allowance,
        recorder: Recorder,
        health: Health,
    ) -> None:
        done = Done(await self.journal.outcomes(run.run), await self.journal.batches(run.run))
        self._progress.begin(Stage.SENDING, plan.planned, done.updates)
        telemetry.sending_begun(plan.planned - done.updates, str(plan.route))
        settings, wire = self._settings, Wire.of(plan.names, plan.id_type, plan.route)
        backoff = Backoff(settings.retry_base)
        if plan.route.via is Via.BULK:
            version = plan.route.bulk_version or 1
            route = BulkRoute(lambda call: edge.bulk(version, call), recorder)
            manners = Manners(min(settings.bulk_workers, settings.workers), settings.max_attempts, backoff, 2)
            delivery = Delivery(route, recorder, bulk, Pacer(0), health, manners, self.stop)
            await self._deliver(delivery, done.left(batch_calls(plan.updates, wire)), recorder, done)
            return
        allowance = Allowance(self.ledger, self._single_terms(), self.stop, telemetry.quota_waited_for)
        manners = Manners(settings.workers, settings.max_attempts, backoff, 20 * settings.workers)
        prefix = len(self.address.single_url) + len("?")
        calls = single_calls(plan.updates, wire, prefix, done.first_open)
        one_by_one = Delivery(
            SingleRoute(edge.single, recorder), recorder, allowance,
            Pacer(settings.calls_per_second), health, manners, self.stop,
        )
        try:
            await self._deliver(one_by_one, done.left(calls), recorder, done)
        finally:
            await allowance.close()

    async def _deliver(
        self, delivery: Delivery[Any], calls: Iterator[Any], recorder: Recorder, done: Done
    ) -> None:
        """Let *delivery* run, keep the display fed, and end it when grace is over."""
        sending = asyncio.ensure_future(delivery.run(calls))
        stopped_at: float | None = None
        while not sending.done():
            await asyncio.wait([sending], timeout=0.2)
            sent = recorder.delivered + recorder.dead_lettered + recorder.rows_answered
            self._progress.set(done.updates + sent)
            if self.stop.requested:
                stopped_at = stopped_at or time.monotonic()
                if time.monotonic() > stopped_at + self._grace:
                    sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending

    def _single_terms(self) -> Terms:
        settings = self._settings
        rate = settings.calls_per_second
        worth = max(int(rate * _LEASE_WORTH_SECONDS), 1) if rate else _UNPACED_LEASE
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
        batches = await self.journal.batches(run.run)
        incomplete = [batch for batch in batches if batch.state is BatchState.INCOMPLETE]
        if not incomplete:
            return
        rows = sum(batch.rows for batch in incomplete)
        self._progress.begin(Stage.FOLLOWING, rows)

        def ended(batch: Batch) -> None:
            self._progress.set(self._progress.done + batch.rows)
            asking.ended(batch)

        wait = self._settings.wait
        left = await follow(incomplete, asking.ask, ended, self.stop, wait)
        await asking.recorder.flush()
        if left and not self.stop.requested:
            self.stop.request(
                StoppedBy.BATCHES,
                f"{left} of {len(batches)} batches are still being worked on at the edge after "
                f"{wait:,.0f} seconds; start again later (any run of this account, or uploader "
                "resume) and they are asked for again",
            )

    async def _settle_older(self, run: Run, asking: _Asking) -> None:
        """Ask once for the batches that older runs of the account left on their way."""
        for older in await self.journal.unfinished(self.account):
            if older.run == run.run:
                continue
            batches = await self.journal.batches(older.run)
            incomplete = [batch for batch in batches if batch.state is BatchState.INCOMPLETE]
            if not incomplete or self.stop.requested:
                continue
            recorder = Recorder(self.journal, older.run, self.stop)
            other = replace(asking, recorder=recorder)
            await follow(incomplete, other.ask, other.ended, self.stop, 0)
            await recorder.flush()
            await self._finish_older(older)

    async def _finish_older(self, older: Run) -> None:
        """Close an older run's books, where nothing of it is pending any more."""
        if older.plan_folder is None or not older.plan_folder.exists():
            return  # a later resume says so
        plan = Plan.open(older.plan_folder)
        batches = await self.journal.batches(older.run)
        done = books(plan.planned, await self.journal.outcomes(older.run), batches)
        if not done.pending:
            await self._settle(older, plan, None, others=True)

    async def _settle(
        self, run: Run, plan: Plan, stopped: StoppedError | None, *, others: bool = False
    ) -> dict[str, Any]:
        """Write dead letters, balance the books, make the report, enter the run's end."""
        outcomes = await self.journal.outcomes(run.run)
        batches = await self.journal.batches(run.run)
        letters = self._write_letters(run, plan, outcomes, batches, others=others)
        run = await self.journal.find(run.run) or run
        report = self._report(run, plan, outcomes, batches, stopped, letters)
        finished = report["state"] == "finished"
        state = RunState.FINISHED if finished else RunState.STOPPED
        await self.journal.change(
            run.run,
            state=state.value,
            exit_code=report["exit_code"],
            stopped_by=report["stopped_by"],
            report=json.dumps(report),
            finished_at=time.time() if finished else None,
        )
        in_run_folder = plan.folder.absolute().is_relative_to(run.folder.absolute())
        if finished and in_run_folder and not self._settings.keep_plans:
            shutil.rmtree(plan.folder, ignore_errors=True)
        if not others:
            self._progress.begin(Stage.ENDED)
            self._write_report(report)
            telemetry.run_ended(run.run, report["exit_code"], report["stopped_by"], report["seconds"])
        return report

    def _write_letters(
        self,
        run: Run,
        plan: Plan,
        outcomes: Sequence[Outcome],
        batches: Sequence[Batch],
        *,
        others: bool,
    ) -> Path | None:
        """The dead-letter file, where there is anything to put in it or it was asked for."""
        asked = None if others else self._options.dead_letters
        dead = buried(outcomes, batches)
        rejected = plan.description["records"]["rejected"]
        if not dead and not rejected and asked is None:
            return None
        path = asked or run.folder / "dead-letters.jsonl"
        # A batch encloses positions that never were in it: updates which no call can carry.
        own = {outcome.first for outcome in outcomes if outcome.fate is Fate.DEAD_LETTERED}
        sources = plan.sources
        try:
            with LetterWriter(path) as letters:
                with (plan.folder / DEAD_LETTERS_FILE).open(encoding="utf-8") as prepared:
                    head = json.loads(prepared.readline()) | {"run": run.run}
                    letters.write(head)
                    for line in prepared:
                        letters.write(json.loads(line))
                for outcome in dead:
                    single = outcome.first == outcome.last and outcome.first in own
                    for update in plan.updates.each(outcome.first, outcome.last):
                        if single or update.position not in own:
                            letters.write(
                                undelivered_line(
                                    update, plan.names, plan.id_type.value, sources, outcome
                                )
                            )
        except OSError as error:
            message = f"{path}: the dead letters can't be written: {error.strerror or error}"
            raise StoppedError(StoppedBy.DISK, message) from error
        return path

    def _report(
        self,
        run: Run,
        plan: Plan,
        outcomes: Sequence[Outcome],
        batches: Sequence[Batch],
        stopped: StoppedError | None,
        letters: Path | None,
    ) -> dict[str, Any]:
        about = plan.description
        counted = books(plan.planned, outcomes, batches)
        balanced = counted.balanced and records_balance(about["records"], plan.planned)
        flawed = bool(counted.dead_lettered or counted.not_applied or about["records"]["rejected"])
        not_all = stopped is not None or counted.pending > 0
        code = exit_code(balanced=balanced, stopped=not_all, flawed=flawed)
        reasons = dict(about["reasons"])
        for reason, count in counted.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + count
        # Stopped, but after the last outcome: nothing is left to go on with.
        ended = counted.pending == 0
        return {
            "run": run.run,
            "state": "finished" if ended else "stopped",
            "exit_code": exit_code(balanced=balanced, stopped=not ended, flawed=flawed) if ended else code,
            "stopped_by": None if ended or stopped is None else stopped.stopped_by.value,
            "stopped_because": None if ended or stopped is None else str(stopped),
            "new_state": self.new_state,
            "records": about["records"],
            "updates": {
                "planned": counted.planned,
                "delivered": counted.delivered,
                "not_applied": counted.not_applied,
                "dead_lettered": counted.dead_lettered,
                "pending": counted.pending,
            },
            "not_found": sum(batch.not_found for batch in batches),
            "calls": {
                "single": run.calls.single,
                "bulk": run.calls.bulk,
                "status": run.calls.status,
                "retries": run.calls.retries,
            },
            "batches": [batch_entry(batch) for batch in batches],
            "reasons": reasons,
            "route": about["route"],
            "route_reason": about["route_reason"],
            "warnings": about["warnings"],
            "balanced": balanced,
            "started_at": _stamp(run.started_at),
            "seconds": round(run.seconds, 1),
            "starts": run.starts,
            "plan_digest": plan.digest,
            "account": self.account,
            "sources": list(plan.sources),
            "dead_letters": None if letters is None else str(letters),
        }

    async def _report_unplanned(self, run: Run, stopped: StoppedError) -> dict[str, Any]:
        await self.journal.change(
            run.run, state=RunState.STOPPED.value, stopped_by=stopped.stopped_by.value, exit_code=4
        )
        raise stopped

    def _reported_again(self, run: Run) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(run.report or "{}") | {"reported_again": True}
        report["new_state"] = self.new_state
        self._write_report(report)
        return report

    def _write_report(self, report: dict[str, Any]) -> None:
        path = self._options.report
        if path is None:
            return
        partial = path.with_name(path.name + ".partial")
        try:
            partial.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
            partial.replace(path)
        except OSError as error:
            message = f"{path}: the report can't be written: {error.strerror or error}"
            raise ExportError(message) from error


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Done:
    """What the journal knows to be done, for leaving it out."""

    def __init__(self, outcomes: Sequence[Outcome], batches: Sequence[Batch]) -> None:
        """Ranges of positions, and numbers of batches."""
        self._spans = sorted((outcome.first, outcome.last) for outcome in outcomes)
        self._batches = {batch.number for batch in batches}
        self.updates = sum(last - first + 1 for first, last in self._spans)
        self.updates += sum(batch.rows for batch in batches)
        self.first_open = self._first_open()

    def _first_open(self) -> int:
        position = 0
        for first, last in self._spans:
            if first > position:
                break
            position = max(position, last + 1)
        return position

    def left(
        self, calls: Iterator[SingleCall | BatchCall | Unsendable]
    ) -> Iterator[SingleCall | BatchCall | Unsendable]:
        """*calls* without those that are done; they come in the order of their positions."""
        spans = iter(self._spans)
        span = next(spans, None)
        for call in calls:
            if isinstance(call, BatchCall):
                if call.number not in self._batches:
                    yield call
                continue
            while span is not None and span[1] < call.position:
                span = next(spans, None)
            if span is None or call.position < span[0]:
                yield call


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
        judgement = judge(answer)
        status = read_status(answer.body) if answer.status == 200 else None  # noqa: PLR2004
        if status is None:
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


