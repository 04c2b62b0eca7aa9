"""Once, and in order: which run a start is, and whether it may send.

Started again with the same input, an unfinished run goes on and a finished one is only
reported again, as long as it is the account's latest. Work older than what a later run
has sent would put old values over new ones, so it wants ``--stale``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from uploader.errors import UsageError
from uploader.storage.journal import Journal, Run, RunState
from uploader.storage.locks import AccountLock


@dataclass(frozen=True)
class Decision:
    """What a start does: go on with *run*, report *run* again, or (None) begin a new one."""

    run: Run | None
    report_again: bool = False


async def decide(
    journal: Journal, account: str, input_identity: str, *, again: bool, stale: bool
) -> Decision:
    """Apply the rule above.

    Raises:
        UsageError: a later run has sent since, and *stale* isn't said.
    """
    run = await journal.latest(account, input_identity)
    if run is None:
        return Decision(None)
    if run.is_unfinished:
        await refuse_stale(journal, run, stale=stale)
        return Decision(run)
    latest = await journal.latest_of(account)
    if again or latest is None or latest.run != run.run:
        return Decision(None)
    return Decision(run, report_again=True)


def run_lock(folder: Path, run: Run, holder: str) -> AccountLock:
    """The lock that says who is at work on *run*: one process at a time, alongside or not."""
    return AccountLock(folder, input_key(run.account, run.input_identity), holder)


def input_key(account: str, input_identity: str) -> str:
    """What the lock of a run's input is called by."""
    return f"{account} {input_identity}"


async def refuse_stale(journal: Journal, run: Run, *, stale: bool) -> None:
    """Check that no run of the account has sent newer values since *run* began.

    Redrives of the run's own dead letters are no news to it, and neither is a run that
    had nothing to send.

    Raises:
        UsageError: one has, and *stale* isn't said.
    """
    kin = {run.run}
    for later in await journal.begun_after(run.account, run.sequence):
        if json.loads(later.options).get("retry_of") in kin:
            kin.add(later.run)
        elif not stale and _sent_something(later):
            message = (
                f"run {run.run} is older than run {later.run}, which has sent since: going on "
                "would put its old values over newer ones. Say --stale if that is what you want"
            )
            raise UsageError(message)


async def refuse_stale_plan(
    journal: Journal, account: str, made_at: datetime, *, stale: bool
) -> None:
    """As :func:`refuse_stale`, for a plan that no run has sent yet.

    Raises:
        UsageError: a run that began after *made_at* has sent, and *stale* isn't said.
    """
    for later in await journal.begun_after(account, 0):
        if not stale and later.started_at > made_at.timestamp() and _sent_something(later):
            message = (
                f"this plan was made before run {later.run}, which has sent since: sending it "
                "would put its old values over newer ones. Say --stale if that is what you want"
            )
            raise UsageError(message)


def _sent_something(run: Run) -> bool:
    """Whether the run made a call; one that was killed may not have counted its first second."""
    return bool(run.calls.single or run.calls.bulk) or (run.is_unfinished and run.starts > 0)


async def unfinished_run(journal: Journal, name: str | None, account: str) -> Run:
    """The run called *name*, or the account's latest unfinished one.

    Raises:
        UsageError: there is none, or it is finished.
    """
    if name is None:
        runs = await journal.unfinished(account)
        if not runs:
            message = "there is no unfinished run of this account; uploader status lists the runs"
            raise UsageError(message)
        return runs[-1]
    run = await journal.find(name)
    if run is None or run.account != account:
        message = f"{name}: there is no such run of this account; uploader status lists the runs"
        raise UsageError(message)
    if run.state is RunState.ABANDONED:
        message = f"{name}: nothing of this run was sent, and it doesn't go on; mend its input"
        raise UsageError(message)
    return run
