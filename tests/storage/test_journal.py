"""Runs and their outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from uploader.errors import StoppedError
from uploader.model import Batch, BatchState, Calls, Fate, Outcome, Reason
from uploader.storage.database import open_database
from uploader.storage.journal import Journal, RunState

BATCH = Batch(1, 0, 9, 10, 500, BatchState.INCOMPLETE, "id", "https://edge/status?batchId=id")


def with_journal(folder: Path, scenario: Callable[[Journal], Awaitable[None]]) -> None:
    async def main() -> None:
        database = open_database(f"sqlite:///{folder / 'state.db'}")
        try:
            await scenario(Journal(database))
        finally:
            database.close()

    asyncio.run(main())


def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    """Outcomes, batches and calls, to the last field."""
    dead = Outcome(3, 3, Fate.DEAD_LETTERED, Reason.REFUSED, "HTTP 400", 2, 400)

    async def write(journal: Journal) -> None:
        await journal.begin("r", "a", "input", tmp_path, "{}")
        calls = Calls(single=5, bulk=1, retries=1)
        await journal.commit("r", [Outcome(0, 2, Fate.DELIVERED), dead], [BATCH], calls)
        await journal.commit("r", calls=Calls(single=2, status=4))

    async def read(journal: Journal) -> None:
        found = await journal.outcomes("r")
        assert [replace(item, at=None) for item in found] == [Outcome(0, 2, Fate.DELIVERED), dead]
        assert await journal.batches("r") == [BATCH]
        run = await journal.find("r")
        assert run is not None
        assert run.calls == Calls(single=7, bulk=1, status=4, retries=1)
        assert run.state is RunState.PLANNING

    with_journal(tmp_path, write)
    with_journal(tmp_path, read)


def test_a_commit_is_whole_or_not_at_all(tmp_path: Path) -> None:
    """Outcomes of a run that isn't there take the calls with them."""

    async def scenario(journal: Journal) -> None:
        with pytest.raises(StoppedError):
            await journal.commit("nobody's", [Outcome(0, 0, Fate.DELIVERED)], [BATCH], Calls(1))
        assert await journal.outcomes("nobody's") == []
        assert await journal.batches("nobody's") == []

    with_journal(tmp_path, scenario)


def test_a_batchs_later_state_replaces_the_earlier(tmp_path: Path) -> None:
    """One row a batch, in order of number."""

    async def scenario(journal: Journal) -> None:
        await journal.begin("r", "a", "input", tmp_path, "{}")
        await journal.commit("r", batches=[replace(BATCH, number=2), BATCH])
        complete = replace(BATCH, state=BatchState.COMPLETE, successful=9, failed=1, not_found=4)
        await journal.commit("r", batches=[complete])
        assert await journal.batches("r") == [complete, replace(BATCH, number=2)]

    with_journal(tmp_path, scenario)


def test_runs_are_found_by_what_they_are_for(tmp_path: Path) -> None:
    """The latest of an input, of an account, the unfinished ones, the oldest first."""

    async def scenario(journal: Journal) -> None:
        for run, given in [("r1", "x"), ("r2", "y"), ("r3", "x"), ("r4", "x")]:
            await journal.begin(run, "a", given, tmp_path, "{}")
        await journal.begin("other", "b", "x", tmp_path, "{}")
        await journal.change("r2", state=RunState.FINISHED.value)
        await journal.change("r4", state=RunState.ABANDONED.value)
        latest = await journal.latest("a", "x")
        assert latest is not None
        assert (latest.run, latest.sequence) == ("r3", 3)
        assert [run.run for run in await journal.begun_after("a", 1)] == ["r2", "r3"]
        assert await journal.begun_after("a", 3) == []
        assert [run.run for run in await journal.unfinished("a")] == ["r1", "r3"]
        assert await journal.latest("b", "y") is None

    with_journal(tmp_path, scenario)
