"""The journal: runs, what is known to be done in each, and its batch files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from uploader.model import Batch, BatchState, Calls, Fate, Outcome, Reason
from uploader.storage import schema
from uploader.storage.database import Database


class RunState(StrEnum):
    """Where a run stands. Only *finished* and *abandoned* ones never go on."""

    PLANNING = "planning"
    SENDING = "sending"
    STOPPED = "stopped"
    FINISHED = "finished"
    ABANDONED = "abandoned"  # nothing was sent and nothing will be: too many rejected


@dataclass(frozen=True)
class Run:
    """One execution of a plan, as the journal keeps it. Times in seconds since 1970."""

    run: str
    account: str
    sequence: int
    input_identity: str
    state: RunState
    plan_digest: str | None
    folder: Path
    plan_folder: Path | None
    options: str
    report: str | None
    exit_code: int | None
    stopped_by: str | None
    started_at: float
    finished_at: float | None
    seconds: float
    starts: int
    calls: Calls

    @property
    def is_unfinished(self) -> bool:
        """Whether a start would go on with it."""
        return self.state not in (RunState.FINISHED, RunState.ABANDONED)


class Journal:
    """The runs of all accounts in a store; outcomes are only ever added."""

    def __init__(self, database: Database) -> None:
        """*database* is shared with the ledger."""
        self._database = database

    async def begin(
        self, run: str, account: str, input_identity: str, folder: Path, options: str
    ) -> Run:
        """Enter a new run, the account's latest."""

        def work(connection: Connection) -> Run:
            latest = connection.execute(
                select(func.max(schema.runs.c.sequence)).where(schema.runs.c.account == account)
            ).scalar()
            connection.execute(
                insert(schema.runs).values(
                    run=run,
                    account=account,
                    sequence=(latest or 0) + 1,
                    input_identity=input_identity,
                    state=RunState.PLANNING.value,
                    folder=str(folder),
                    options=options,
                    started_at=time.time(),
                )
            )
            return _run(connection, schema.runs.c.run == run)

        return await self._database.run(work)

    async def change(self, run: str, **values: Any) -> None:
        """Set columns of a run."""

        def work(connection: Connection) -> None:
            connection.execute(update(schema.runs).where(schema.runs.c.run == run).values(**values))

        await self._database.run(work)

    async def add_seconds(self, run: str, seconds: float) -> None:
        """Add to the time that the run took over all its starts."""
        await self.change(run, seconds=schema.runs.c.seconds + seconds)

    async def find(self, run: str) -> Run | None:
        """The run of that name."""
        return await self._first(schema.runs.c.run == run)

    async def latest(self, account: str, input_identity: str) -> Run | None:
        """The account's latest run of this input that wasn't abandoned."""
        return await self._first(
            (schema.runs.c.account == account)
            & (schema.runs.c.input_identity == input_identity)
            & (schema.runs.c.state != RunState.ABANDONED.value)
        )

    async def begun_after(self, account: str, sequence: int) -> list[Run]:
        """The account's runs that began after the one of *sequence*, in order."""
        table = schema.runs

        def work(connection: Connection) -> list[Run]:
            query = select(table).where(
                table.c.account == account,
                table.c.state != RunState.ABANDONED.value,
                table.c.sequence > sequence,
            )
            return [_as_run(row) for row in connection.execute(query.order_by(table.c.sequence))]

        return await self._database.run(work)

    async def latest_of(self, account: str) -> Run | None:
        """The account's latest run that wasn't abandoned."""
        return await self._first(
            (schema.runs.c.account == account) & (schema.runs.c.state != RunState.ABANDONED.value)
        )

    async def runs(self, account: str | None = None, most: int = 20) -> list[Run]:
        """The latest runs, the newest first."""

        def work(connection: Connection) -> list[Run]:
            query = select(schema.runs).order_by(schema.runs.c.started_at.desc()).limit(most)
            if account is not None:
                query = query.where(schema.runs.c.account == account)
            return [_as_run(row) for row in connection.execute(query)]

        return await self._database.run(work)

    async def unfinished(self, account: str) -> list[Run]:
        """The account's runs that can go on, the oldest first."""
        return [
            run for run in reversed(await self.runs(account, most=1_000_000)) if run.is_unfinished
        ]

    async def commit(
        self,
        run: str,
        outcomes: Sequence[Outcome] = (),
        batches: Sequence[Batch] = (),
        calls: Calls | None = None,
    ) -> None:
        """Keep what became known since the last time, all of it or nothing."""

        def work(connection: Connection) -> None:
            now = time.time()
            if outcomes:
                rows = [_outcome_row(run, outcome, now) for outcome in outcomes]
                connection.execute(insert(schema.outcomes), rows)
            for batch in batches:
                _put_batch(connection, run, batch, now)
            if calls is not None:
                table = schema.runs
                connection.execute(
                    update(table)
                    .where(table.c.run == run)
                    .values(
                        calls_single=table.c.calls_single + calls.single,
                        calls_bulk=table.c.calls_bulk + calls.bulk,
                        calls_status=table.c.calls_status + calls.status,
                        calls_retries=table.c.calls_retries + calls.retries,
                    )
                )

        await self._database.run(work)

    async def outcomes(self, run: str) -> list[Outcome]:
        """All that is known to be done, by first position."""

        def work(connection: Connection) -> list[Outcome]:
            table = schema.outcomes
            query = select(table).where(table.c.run == run).order_by(table.c.first, table.c.id)
            return [_as_outcome(row) for row in connection.execute(query)]

        return await self._database.run(work)

    async def batches(self, run: str) -> list[Batch]:
        """The run's batch files that the edge answered for, by number."""

        def work(connection: Connection) -> list[Batch]:
            table = schema.batches
            query = select(table).where(table.c.run == run).order_by(table.c.number)
            return [_as_batch(row) for row in connection.execute(query)]

        return await self._database.run(work)

    async def _first(self, condition: Any) -> Run | None:
        def work(connection: Connection) -> Run | None:
            query = select(schema.runs).where(condition).order_by(schema.runs.c.sequence.desc())
            row = connection.execute(query).first()
            return None if row is None else _as_run(row)

        return await self._database.run(work)


def _run(connection: Connection, condition: Any) -> Run:
    return _as_run(connection.execute(select(schema.runs).where(condition)).one())


def _as_run(row: Row[Any]) -> Run:
    data = row._asdict()
    calls = Calls(**{field.name: data.pop(f"calls_{field.name}") for field in fields(Calls)})
    folder, plan_folder = Path(data.pop("folder")), data.pop("plan_folder")
    return Run(
        **{**data, "state": RunState(data["state"])},
        folder=folder,
        plan_folder=None if plan_folder is None else Path(plan_folder),
        calls=calls,
    )


def _outcome_row(run: str, outcome: Outcome, now: float) -> dict[str, Any]:
    return {
        "run": run,
        "first": outcome.first,
        "last": outcome.last,
        "fate": outcome.fate.value,
        "reason": outcome.reason and outcome.reason.value,
        "detail": outcome.detail,
        "attempts": outcome.attempts,
        "http_status": outcome.http_status,
        "at": now,
    }


def _put_batch(connection: Connection, run: str, batch: Batch, now: float) -> None:
    table = schema.batches
    key = (table.c.run == run) & (table.c.number == batch.number)
    values = {field.name: getattr(batch, field.name) for field in fields(Batch)}
    connection.execute(delete(table).where(key))
    connection.execute(
        insert(table).values(**{**values, "state": batch.state.value}, run=run, at=now)
    )


def _as_outcome(row: Row[Any]) -> Outcome:
    return Outcome(
        row.first,
        row.last,
        Fate(row.fate),
        None if row.reason is None else Reason(row.reason),
        row.detail,
        row.attempts,
        row.http_status,
        datetime.fromtimestamp(row.at, UTC),
    )


def _as_batch(row: Row[Any]) -> Batch:
    values = {field.name: getattr(row, field.name) for field in fields(Batch)}
    return Batch(**{**values, "state": BatchState(row.state)})
