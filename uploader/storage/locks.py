"""One run sends per account at a time: an operating system lock, which dies with its holder.

Never a process id in a file: in containers everybody is process 1.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from uploader.errors import StoppedBy, StoppedError

_TRIES: Final = 5
_TRY_AGAIN_SECONDS: Final = 0.05


class AccountLock:
    """Held while a run sends for an account; others are told who is at work."""

    def __init__(self, folder: Path, account: str, run: str) -> None:
        """The lock's file lies in *folder*, which all who share the store have to see."""
        self._path = _path(folder, account)
        self._run = run
        self._descriptor: int | None = None
        self._is_held = False

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            StoppedError: another run holds it (``other_run``), or it can't be used (``state``).
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._take(self._descriptor)
        except OSError as error:
            message = f"{self._path}: can't be locked: {error.strerror or error}"
            raise StoppedError(StoppedBy.STATE, message) from error
        finally:
            if not self._is_held:
                self._let_go()
        return self

    def _take(self, descriptor: int) -> None:
        for _ in range(_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # Perhaps somebody only looked: see is_at_work.
                time.sleep(_TRY_AGAIN_SECONDS)
        else:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another run"
            message = (
                f"{holder} is sending for this account; wait until it has ended, or say "
                "--alongside if the two touch different profiles"
            )
            raise StoppedError(StoppedBy.OTHER_RUN, message)
        self._is_held = True
        self.name_holder(self._run)

    def name_holder(self, run: str) -> None:
        """Tell who are kept waiting which run it is."""
        if self._descriptor is not None:
            text = f"run {run} on {os.uname().nodename}"
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go."""
        self._let_go()

    def _let_go(self) -> None:
        self._is_held = False
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_at_work(folder: Path, account: str) -> bool:
    """Whether some process holds the account's lock in *folder* at this moment."""
    try:
        descriptor = os.open(_path(folder, account), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _path(folder: Path, account: str) -> Path:
    name = hashlib.sha256(account.encode()).hexdigest()[:16]
    return folder / f"account-{name}.lock"
