"""Closing a run: dead letters written, books balanced, the report made and kept."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uploader import telemetry
from uploader.errors import ExportError, PlanError, StoppedBy, StoppedError
from uploader.model import Batch, Fate, Outcome
from uploader.planning.plan import DEAD_LETTERS_FILE, Plan
from uploader.settling.dead_letters import LetterWriter, buried, stamp_seconds, undelivered_line
from uploader.settling.files import whole_file
from uploader.settling.report import Books, batch_entry, books, exit_code, records_balance
from uploader.storage.journal import Journal, Run, RunState
from uploader.workplace import OWN_PLAN


class Closing:
    """Ends runs: the one that was started, and older ones whose batches came through."""

    def __init__(
        self,
        journal: Journal,
        account: str,
        report_path: Path | None,
        letters_path: Path | None,
        *,
        new_state: bool,
        keep_plans: bool,
    ) -> None:
        """The paths are this start's own; older runs' letters go to their own folders."""
        self._journal = journal
        self._account = account
        self._report_path = report_path
        self._letters_path = letters_path
        self._new_state = new_state
        self._keep_plans = keep_plans
        self._warnings: list[str] = []

    def warn(self, text: str) -> None:
        """Have *text* in the log, and in the report among its warnings."""
        telemetry.caution(text)
        self._warnings.append(text)

    async def settle(
        self, run: Run, plan: Plan, stopped: StoppedError | None, *, others: bool = False
    ) -> dict[str, Any]:
        """Write dead letters, balance the books, make the report, enter the run's end.

        *others* says that the run isn't the one which was started.
        """
        outcomes = await self._journal.outcomes(run.run)
        batches = await self._journal.batches(run.run)
        letters = self.write_letters(run, plan, outcomes, batches, others=others)
        run = await self._journal.find(run.run) or run
        report = self._report(run, plan, outcomes, batches, stopped, letters)
        if not others:
            report["warnings"] += self._warnings
        finished = report["state"] == "finished"
        await self._journal.change(
            run.run,
            state=(RunState.FINISHED if finished else RunState.STOPPED).value,
            exit_code=report["exit_code"],
            stopped_by=report["stopped_by"],
            report=json.dumps(report),
            finished_at=time.time() if finished else None,
        )
        if finished:
            self._tidy(run)
        if not others:
            self._write(report)
            telemetry.run_ended(
                run.run, report["exit_code"], report["stopped_by"], report["seconds"]
            )
        return report

    def _tidy(self, run: Run) -> None:
        """Remove a finished run's own plan: it holds people's data that nobody needs now."""
        if not self._keep_plans:
            shutil.rmtree(run.folder / OWN_PLAN, ignore_errors=True)
        with contextlib.suppress(OSError):  # it holds dead letters or a plan, and stays
            run.folder.rmdir()

    def report_again(self, run: Run) -> dict[str, Any]:
        """A finished run's report, as it was."""
        report: dict[str, Any] = json.loads(run.report or "{}")
        report |= {"reported_again": True, "new_state": self._new_state}
        self._write(report)
        telemetry.run_reported_again(run.run, report["exit_code"])
        return report

    def write_letters(
        self,
        run: Run,
        plan: Plan,
        outcomes: Sequence[Outcome],
        batches: Sequence[Batch],
        *,
        others: bool = False,
    ) -> Path | None:
        """The dead-letter file, where there is anything to put in it or it was asked for.

        Raises:
            PlanError: the plan has lost its part of it.
            StoppedError: it can't be written (``disk``).
        """
        asked = None if others else self._letters_path
        dead = buried(outcomes, batches)
        if not dead and not plan.description["records"]["rejected"] and asked is None:
            return None
        path = asked or run.folder / "dead-letters.jsonl"
        prepared = plan.folder / DEAD_LETTERS_FILE
        if not prepared.exists():
            raise PlanError(f"{prepared}: is missing; the run can't be closed without it")
        try:
            run.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with LetterWriter(path) as letters:
                with prepared.open(encoding="utf-8") as lines:
                    letters.write(json.loads(lines.readline()) | {"run": run.run})
                letters.copy(prepared, after_lines=1)
                _write_undelivered(letters, plan, dead, outcomes)
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
        # Pending without a reason to stop is a fault of ours, like books that don't balance.
        explained = stopped is not None or not counted.pending
        balanced = counted.balanced and records_balance(about["records"], plan.planned)
        warnings = [*about["warnings"], *_about_the_edge(counted, batches)]
        # A stop that came after the last outcome left nothing to go on with.
        stop = stopped if counted.pending else None
        reasons = dict(about["reasons"])
        for reason, count in counted.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + count
        return {
            "run": run.run,
            "state": "stopped" if counted.pending else "finished",
            "exit_code": exit_code(
                balanced=balanced and explained,
                stopped=stop is not None,
                flawed=bool(
                    counted.dead_lettered or counted.not_applied or about["records"]["rejected"]
                ),
            ),
            "stopped_by": None if stop is None else stop.stopped_by.value,
            "stopped_because": None if stop is None else str(stop),
            "new_state": self._new_state,
            "records": about["records"],
            "updates": counted.as_json(),
            "not_found": sum(batch.not_found for batch in batches),
            "calls": run.calls.as_json(),
            "batches": [batch_entry(batch) for batch in batches],
            "reasons": reasons,
            "examples": about["examples"],
            "route": about["route"],
            "route_reason": about["route_reason"],
            "warnings": warnings,
            "balanced": balanced,
            "started_at": stamp_seconds(run.started_at),
            "seconds": round(run.seconds, 1),
            "starts": run.starts,
            "plan_digest": plan.digest,
            "account": self._account,
            "sources": list(plan.sources),
            "dead_letters": None if letters is None else str(letters),
        }

    def _write(self, report: dict[str, Any]) -> None:
        """Write the report; what was sent is sent, so a failure is only told."""
        if self._report_path is None:
            return
        try:
            write_report(self._report_path, report)
        except ExportError as error:
            telemetry.caution(str(error))


def _about_the_edge(counted: Books, batches: Sequence[Batch]) -> list[str]:
    """What the edge did otherwise than people may think, in words."""
    warnings = []
    not_found = sum(batch.not_found for batch in batches)
    if not_found:
        warnings.append(
            f"{not_found:,} profiles don't exist at the edge, so their updates changed nothing; "
            "only --create-profiles would make them"
        )
    if counted.not_applied:
        warnings.append(
            f"the edge didn't apply {counted.not_applied:,} updates and doesn't say which; "
            "--again sends all of them once more"
        )
    return warnings


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Put *report* at *path*, whole or not at all.

    Raises:
        ExportError: it can't be written.
    """
    try:
        with whole_file(path) as file:
            file.write(json.dumps(report, indent=1) + "\n")
    except OSError as error:
        message = f"{path}: the report can't be written: {error.strerror or error}"
        raise ExportError(message) from error


def _write_undelivered(
    letters: LetterWriter, plan: Plan, dead: Sequence[Outcome], outcomes: Sequence[Outcome]
) -> None:
    """A line for each update in *dead*, the rows of a batch among them."""
    # A batch's positions enclose some that never were in it, which no call could carry:
    # they have outcomes, and lines, of their own.
    own = {outcome.first for outcome in outcomes if outcome.fate is Fate.DEAD_LETTERED}
    for outcome in dead:
        is_own = outcome.first == outcome.last and outcome.first in own
        for update in plan.updates.each(outcome.first, outcome.last):
            if is_own or update.position not in own:
                letters.write(
                    undelivered_line(update, plan.names, plan.id_type.value, plan.sources, outcome)
                )
