"""Once, and in order: which run a start is, and whether it may send.

Started again with the same input, an unfinished run goes on and a finished one is only
reported again, as long as it is the account's latest. Work older than a finished run
would put old values over new ones, so it wants ``--stale``.
"""

from __future__ import annotations

from dataclasses import dataclass

from uploader.errors import UsageError
from uploader.storage.journal import Journal, Run, RunState


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
        UsageError: the unfinished run is older than a finished one, and *stale* isn't said.
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


async def refuse_stale(journal: Journal, run: Run, *, stale: bool) -> None:
    """Check that no run of the account has finished since *run* began.

    Raises:
        UsageError: one has, and *stale* isn't said.
    """
    newest = await journal.latest_finished(run.account)
    if stale or newest is None or newest.sequence <= run.sequence:
        return
    message = (
        f"run {run.run} is older than run {newest.run}, which has finished since: going on would "
        "put its old values over newer ones. Say --stale if that is what you want"
    )
    raise UsageError(message)


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
