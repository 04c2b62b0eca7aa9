"""Folders on disk: where the state lies, run folders, scratch that a crash leaves no trace of."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from uploader.errors import SettingsError, StoppedBy, StoppedError
from uploader.settings import Settings


def default_home() -> Path:
    """``$XDG_STATE_HOME/uploader``, or ``~/.local/state/uploader``."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "uploader"


def state_url(settings: Settings) -> str:
    """The state store's URL."""
    return settings.state_url or f"sqlite:///{default_home() / 'state.db'}"


def sqlite_path(settings: Settings) -> Path | None:
    """The state store's file; None where it is in memory, elsewhere, or no URL at all."""
    try:
        url = make_url(state_url(settings))
    except (ArgumentError, ValueError):
        return None  # opening the store will say what is wrong
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(str(url.database))


def home(settings: Settings) -> Path:
    """Where run folders, locks and scratch lie: beside the store unless told otherwise."""
    if settings.work_dir is not None:
        return settings.work_dir
    path = sqlite_path(settings)
    return default_home() if path is None else path.parent


OWN_PLAN: Final = "plan"


def locks_folder(settings: Settings) -> Path:
    """Where the locks lie: beside the store itself, so that all who share it see them."""
    path = sqlite_path(settings)
    if path is None:
        return home(settings) / "locks"
    resolved = path.resolve()
    return resolved.with_name(f"{resolved.name}-locks")


def refuse_overwriting(
    report: Path | None, dead_letters: Path | None, inputs: Sequence[Path]
) -> None:
    """Check, before anything is sent, that results can be written and take nobody's place.

    Raises:
        SettingsError: a result would replace an input or another result, or has no folder
            that can be written to.
    """
    results = {"--report": report, "--dead-letters": dead_letters}
    taken = {path.resolve(): "an input" for path in inputs}
    for flag, path in results.items():
        if path is None:
            continue
        place = path.resolve()
        if place in taken:
            raise SettingsError(f"{flag} {path}: is {taken[place]}, and would be overwritten")
        if place.is_dir() or not os.access(place.parent, os.W_OK):
            raise SettingsError(f"{flag} {path}: can't be written there; name another file")
        taken[place] = f"written by {flag}"


def new_run_name(now: datetime) -> str:
    """A name that sorts by time and isn't met twice."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


class Scratch:
    """A folder for this process alone; what dead processes left is swept at the start."""

    def __init__(self, home_folder: Path) -> None:
        """Nothing is made before ``with``."""
        self._parent = home_folder / "scratch"
        self._descriptor: int | None = None
        self.path = self._parent / secrets.token_hex(6)

    def __enter__(self) -> Self:
        """Make the folder, after sweeping.

        Raises:
            SettingsError: this user may not write here.
            StoppedError: it can't be made (``disk``).
        """
        try:
            self._parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._sweep()
            while self._descriptor is None:
                self._make()
        except PermissionError as error:
            message = (
                f"{self._parent.parent}: user {os.getuid()} may not write here; give it the "
                "folder, mount a volume there, or keep the state elsewhere "
                "(--state, UPLOADER_STATE_URL)"
            )
            raise SettingsError(message) from error
        except OSError as error:
            message = f"{self._parent}: can't be used for scratch files: {error.strerror or error}"
            raise StoppedError(StoppedBy.DISK, message) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take it away."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _make(self) -> None:
        """One try: between making and locking it, another start may take it for left over."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self.path.exists():
                self._descriptor = descriptor
            else:
                os.close(descriptor)

    def _sweep(self) -> None:
        for left in self._parent.iterdir():
            try:
                descriptor = os.open(left, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue  # another start swept it
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            except BlockingIOError:
                pass  # its process lives
            finally:
                os.close(descriptor)


def refuse_password(state: str | None) -> None:
    """Check a ``--state`` flag: command lines are seen by everybody on the machine.

    Raises:
        SettingsError: it holds a password.
    """
    try:
        password = make_url(state).password if state else None
    except (ArgumentError, ValueError):
        return  # opening the store will say what is wrong
    if password is not None:
        message = (
            "--state holds a password, which every user of this machine could see; put the URL "
            "into the environment (UPLOADER_STATE_URL) or a secrets file (uploader_state_url)"
        )
        raise SettingsError(message)
