"""Several processes at one store."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from uploader.errors import StoppedError
from uploader.sending.quota import Allowance, Terms
from uploader.sending.stopping import Stop
from uploader.storage.database import open_database
from uploader.storage.ledger import SINGLE, Ledger
from uploader.storage.locks import AccountLock

SPAWN = multiprocessing.get_context("spawn")
CAP = 2_000


def spend(folder: str, number: int) -> None:
    """Make calls until the quota is used up; leave behind how many."""

    async def main() -> int:
        database, stop, made = open_database(f"sqlite:///{folder}/state.db"), Stop(), 0
        terms = Terms(SINGLE, CAP, 20, 2.0, 1.0)
        allowance = Allowance(Ledger(database, "account"), terms, stop)

        async def work() -> None:
            nonlocal made
            while (permit := await allowance.acquire()) is not None:
                made += 1
                await asyncio.sleep(0)
                permit.done(answered=made % 10 > 0)

        await asyncio.gather(*(work() for _ in range(4)))
        await allowance.close()
        database.close()
        assert stop._reason is not None
        assert stop._reason.stopped_by == "quota"
        return made

    Path(folder, f"{number}.calls").write_text(str(asyncio.run(main())))


def hold_lock(folder: str, number: int) -> None:
    with AccountLock(Path(folder), "account", f"no{number}"):
        Path(folder, "held").touch()
        time.sleep(600)


def start(task: Callable[..., Any], folder: Path, count: int) -> list[Any]:
    started = [SPAWN.Process(target=task, args=(str(folder), n)) for n in range(count)]
    for process in started:
        process.start()
    return started


def test_eight_processes_spend_all_of_the_quota_and_not_a_call_more(tmp_path: Path) -> None:
    """They race to make the store, too."""
    for process in start(spend, tmp_path, 8):
        process.join(60)
        assert process.exitcode == 0
    made = [int(path.read_text()) for path in tmp_path.glob("*.calls")]
    assert len(made) == 8
    assert sum(made) == CAP
    database = open_database(f"sqlite:///{tmp_path}/state.db")
    assert asyncio.run(Ledger(database, "account").standing(SINGLE)).used == CAP
    database.close()


def test_the_account_is_free_again_when_its_holder_is_killed(tmp_path: Path) -> None:
    """Until then others are told who is at work."""
    (holder,) = start(hold_lock, tmp_path, 1)
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with pytest.raises(StoppedError, match="run no0 on") as raised, _lock(tmp_path):
        pass
    assert raised.value.stopped_by == "other_run"
    with AccountLock(tmp_path, "another account", "r"):
        pass
    holder.kill()
    holder.join()
    assert holder.exitcode == -signal.SIGKILL
    with _lock(tmp_path), pytest.raises(StoppedError, match="run me on"), _lock(tmp_path):
        pass


def _lock(folder: Path) -> AccountLock:
    return AccountLock(folder, "account", "me")


def test_a_lock_that_cannot_be_made_is_no_fault_of_ours(tmp_path: Path) -> None:
    """The message says where."""
    (tmp_path / "file").touch()
    with pytest.raises(StoppedError, match="file") as raised, _lock(tmp_path / "file"):
        pass
    assert raised.value.stopped_by == "state"
