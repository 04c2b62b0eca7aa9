"""START HERE: a run from its exports to its report.

::

    exports ─ read ─ map ─ check ─┬─ sort ─ fold ─▶ PLAN ─ cut ─ lease ─ pace ─ send ─ judge ─▶ …
                                  └─▶ rejected ─▶ DEAD LETTERS ◀─ undelivered ◀─ poll ◀─ accepted

*Plan* (:mod:`uploader.preparing`) needs no network. *Send* (:mod:`uploader.dispatch`) makes
the calls and enters every outcome into the journal. *Settle* (:mod:`uploader.closing`)
writes dead letters, balances the books and reports. Each step looks into the journal
first, so that a start after a stop goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from uploader import telemetry
from uploader.closing import Closing
from uploader.deadline import Deadline
from uploader.dispatch import Dispatch
from uploader.errors import PlanError, StoppedBy, StoppedError, TooManyRejectedError, UsageError
from uploader.inputs import Input
from uploader.planning.plan import Plan
from uploader.preparing import make_plan
from uploader.progress import Progress, Stage
from uploader.runs import Decision, decide, input_key, refuse_stale_plan
from uploader.sending.stopping import Stop
from uploader.sending.transport import EdgeAddress
from uploader.settings import Settings
from uploader.storage.database import Database, open_database
from uploader.storage.journal import Journal, Run, RunState
from uploader.storage.ledger import Ledger
from uploader.storage.locks import AccountLock
from uploader.workplace import (
    OWN_PLAN,
    Scratch,
    home,
    locks_folder,
    new_run_name,
    refuse_overwriting,
    state_url,
)

# A share of fewer records than these says little about an export.
_SHARE_JUDGED_FROM: Final = 1_000


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
        """Nothing is opened before ``async with``.

        Raises:
            SettingsError: the account or the deadline can't be made sense of.
        """
        self._settings = settings
        self._options = options
        self._progress = progress
        self.address = EdgeAddress(
            settings.edge,
            settings.account_code,
            settings.token.get_secret_value() if settings.token else None,
            tuple(settings.status_hosts),
        )
        self.account = account_of(settings)
        self.home = home(settings)
        self.stop = Stop()
        self._deadline = Deadline.parse(settings.deadline, settings.timezone)
        self._opened = contextlib.ExitStack()
        self._began = time.monotonic()
        self._locks: list[AccountLock] = []

    async def __aenter__(self) -> Self:
        """Open the state store and a scratch folder."""
        self.scratch = self._opened.enter_context(Scratch(self.home)).path
        self._database: Database = open_database(state_url(self._settings))
        self._opened.callback(self._database.close)
        if self._database.is_new:
            telemetry.state_made(str(self._database.path or "in memory"))
        self.journal = Journal(self._database)
        self._dispatch = Dispatch(
            self._settings,
            self.address,
            self.account,
            self.journal,
            Ledger(self._database, self.account),
            self.stop,
            self._progress,
            locks_folder(self._settings),
        )
        self._closing = Closing(
            self.journal,
            self.account,
            self._options.report,
            self._options.dead_letters,
            new_state=self._database.is_new,
            keep_plans=self._settings.keep_plans,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close both."""
        self._opened.close()

    def hurry(self) -> None:
        """Grant calls in flight no more grace."""
        self._dispatch.grace_seconds = 0.0

    async def run(self, given: Input) -> dict[str, Any]:
        """Plan, send, settle *given*, or go on with it, or report it again."""
        refuse_overwriting(self._options.report, self._options.dead_letters, given.paths)
        with self._lock(given.identity):
            decision = await self._decide(given.identity)
            run = decision.run
            if run is not None and decision.report_again:
                return self._closing.report_again(run)
            if run is None:
                options = {"exports": given.names, "retry_of": given.origin_run}
                run = await self._begin(given.identity, options)
            return await self._finish(run, await self._planned(run, given))

    async def send(self, plan: Plan) -> dict[str, Any]:
        """Send a plan that was made before, or go on with it."""
        refuse_overwriting(self._options.report, self._options.dead_letters, ())
        with self._lock(plan.input_identity):
            decision = await self._decide(plan.input_identity)
            run = decision.run
            if run is not None and decision.report_again:
                return self._closing.report_again(run)
            if run is None:
                await refuse_stale_plan(
                    self.journal, self.account, plan.made_at, stale=self._options.stale
                )
                run = await self._begin(plan.input_identity, {"plan": str(plan.folder)})
            return await self._finish(run, await self._adopt(run, plan))

    async def resume(self, run: Run) -> dict[str, Any]:
        """Go on with an unfinished run from its plan.

        Raises:
            PlanError: the plan is gone; the message says what to start instead.
        """
        with self._lock(run.input_identity):
            run = await self.journal.find(run.run) or run
            if not run.is_unfinished:
                return self._closing.report_again(run)
            if run.plan_folder is None or not run.plan_folder.exists():
                exports = json.loads(run.options).get("exports", [])
                message = (
                    f"run {run.run} has no plan any more; start it again with its exports "
                    f"({', '.join(exports) or 'as given then'}), and it goes on"
                )
                raise PlanError(message)
            plan = await asyncio.to_thread(Plan.open, run.plan_folder, verify=True)
            return await self._finish(run, await self._adopt(run, plan))

    async def _decide(self, identity: str) -> Decision:
        options = self._options
        return await decide(
            self.journal, self.account, identity, again=options.again, stale=options.stale
        )

    def _lock(self, identity: str) -> contextlib.ExitStack:
        """The account's lock, and the input's: nobody else works on the same run.

        Raises:
            StoppedError: somebody does (``other_run``).
        """
        label = f"begun {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        folder = locks_folder(self._settings)
        self._locks = [AccountLock(folder, input_key(self.account, identity), label)]
        if not self._options.alongside:
            self._locks.append(AccountLock(folder, self.account, label))
        with contextlib.ExitStack() as held:
            for lock in self._locks:
                held.enter_context(lock)
            return held.pop_all()

    async def _begin(self, identity: str, options: dict[str, Any]) -> Run:
        for older in await self.journal.unfinished(self.account):
            if older.stopped_by == StoppedBy.BATCHES:
                continue  # all of it was sent: any run of the account asks for the rest
            self._closing.warn(
                f"run {older.run} is unfinished, and older than this one from now on: once this "
                "one has finished, it goes on with --stale only"
            )
        name = new_run_name(datetime.now(UTC))
        folder = self.home / "runs" / name
        folder.mkdir(parents=True, mode=0o700)
        return await self.journal.begin(name, self.account, identity, folder, json.dumps(options))

    async def _planned(self, run: Run, given: Input) -> Plan:
        """The run's plan: the one it has, or a new one, which must then be the same."""
        folder = run.folder / OWN_PLAN
        if run.plan_folder is not None and run.plan_folder.exists():
            try:
                plan = await asyncio.to_thread(Plan.open, run.plan_folder, verify=True)
                return await self._adopt(run, plan)
            except PlanError:
                if run.plan_folder != folder.absolute():
                    raise  # somebody's own folder: not ours to make again
        for left in run.folder.glob(f"{OWN_PLAN}*"):  # of a start that was killed, or damaged
            shutil.rmtree(left, ignore_errors=True)
        try:
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
        except UsageError:
            if run.starts == 0:
                # Nothing was sent, and nothing ever will be of this: it is no unfinished run.
                await self._abandon(run)
                shutil.rmtree(run.folder, ignore_errors=True)
            raise
        except StoppedError as stopped:
            await self.journal.change(
                run.run,
                state=RunState.STOPPED.value,
                stopped_by=stopped.stopped_by.value,
                exit_code=stopped.exit_code,
            )
            raise
        return await self._adopt(run, plan)

    async def _adopt(self, run: Run, plan: Plan) -> Plan:
        """Tie *plan* to *run*: positions in the journal mean nothing to another plan.

        Raises:
            PlanError: the run was begun with another one.
        """
        if run.plan_digest not in (None, plan.digest):
            message = (
                f"run {run.run} was begun with plan {run.plan_digest}, and this is plan "
                f"{plan.digest}: the program, its rules or its settings have changed since. Finish "
                "it with the version and settings that began it, or send everything anew with "
                "--again once it is finished"
            )
            raise PlanError(message)
        folder = str(plan.folder.absolute())
        await self.journal.change(run.run, plan_digest=plan.digest, plan_folder=folder)
        return plan

    async def _abandon(self, run: Run) -> None:
        await self.journal.change(run.run, state=RunState.ABANDONED.value, exit_code=2)

    async def _finish(self, run: Run, plan: Plan) -> dict[str, Any]:
        """Everything behind the plan."""
        about = plan.description
        telemetry.planned(about["records"], plan.planned, about["route"], about["route_reason"])
        for warning in about["warnings"]:
            telemetry.caution(warning)
        if run.starts == 0 and self._too_many_rejected(about["records"]):
            await self._refuse(run, plan)
        for lock in self._locks:
            lock.name_holder(run.run)
        await self.journal.change(run.run, state=RunState.SENDING.value, starts=run.starts + 1)
        telemetry.run_begun(run.run, self.account, str(run.folder), start=run.starts + 1)
        watching = asyncio.create_task(self._deadline.watch(self.stop))
        try:
            stopped = await self._dispatch.carry_out(run, plan, self._closing)
        finally:
            watching.cancel()
        self._progress.begin(Stage.ENDED)
        await self.journal.add_seconds(run.run, time.monotonic() - self._began)
        return await self._closing.settle(run, plan, stopped)

    def _too_many_rejected(self, records: dict[str, int]) -> bool:
        limit, read, rejected = self._settings.max_rejected, records["read"], records["rejected"]
        if limit.endswith("%"):
            return read >= _SHARE_JUDGED_FROM and rejected > read * float(limit[:-1]) / 100
        return rejected > int(limit)

    async def _refuse(self, run: Run, plan: Plan) -> None:
        """End a run before anything is sent: its export is plainly not what was meant.

        Raises:
            TooManyRejectedError: always.
        """
        records = plan.description["records"]
        letters = self._closing.write_letters(run, plan, [], [])
        await self._abandon(run)
        shutil.rmtree(run.folder / OWN_PLAN, ignore_errors=True)
        message = (
            f"{records['rejected']:,} of {records['read']:,} records were rejected, more than "
            f"--max-rejected {self._settings.max_rejected} allows; nothing was sent. Why each "
            f"was, is in {letters}"
        )
        raise TooManyRejectedError(message)


def account_of(settings: Settings) -> str:
    """The account: edge and client code, however the address is spelt.

    Quota and lock hang on it: two spellings of one edge must not make two accounts.
    """
    edge = urlsplit(settings.edge)
    scheme, host, port = edge.scheme.lower(), (edge.hostname or "").rstrip("."), edge.port
    shown = "" if port in (None, {"http": 80, "https": 443}.get(scheme)) else f":{port}"
    return f"{scheme}://{host}{shown}{edge.path.rstrip('/')}/{settings.account_code}"
