"""Opening a state store: one connection thread, short transactions, clear words on failure."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, insert, make_url, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, StaticPool

from uploader.errors import SettingsError, StoppedBy, StoppedError
from uploader.storage import schema

T = TypeVar("T")

# How long a transaction waits for another process's to end.
_BUSY_SECONDS: Final = 30.0
_FULL: Final = "SQLITE_FULL"
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Database:
    """A state store. Every call runs in one thread of its own, in one transaction."""

    def __init__(self, engine: Engine, path: Path | None, *, is_new: bool) -> None:
        """Use :func:`open_database`."""
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state-store")
        self.path = path
        self.is_new = is_new

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run *work* in one transaction; it is durable when this returns.

        Raises:
            StoppedError: the store can't be used (``state``) or its disk is full (``disk``).
        """
        loop = asyncio.get_running_loop()
        # Shielded: a cancelled caller must not leave a transaction half awaited.
        return await asyncio.shield(loop.run_in_executor(self._thread, self.run_now, work))

    def run_now(self, work: Callable[[Connection], T]) -> T:
        """As :meth:`run`, for callers without an event loop."""
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            raise _stopped(error, self.path) from error

    def close(self) -> None:
        """Finish what is running and let go."""
        self._thread.shutdown()
        self._engine.dispose()


def open_database(state_url: str) -> Database:
    """Open the store at *state_url*, making it and its tables where there are none.

    Raises:
        SettingsError: the URL is of no kind that is known.
        StoppedError: it can't be opened.
    """
    try:
        url = make_url(state_url)
    except (ArgumentError, ValueError):
        message = (
            "the state store (--state, UPLOADER_STATE_URL) is not a URL such as "
            "sqlite:////var/lib/uploader/state.db"
        )
        raise SettingsError(message) from None  # the cause may quote a password
    if url.get_backend_name() != "sqlite":
        message = (
            f"{url.get_backend_name()}: this version keeps its state in SQLite only; "
            "use sqlite:///relative.db or sqlite:////absolute.db (--state, UPLOADER_STATE_URL)"
        )
        raise SettingsError(message)
    path = _sqlite_path(url)
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        engine = _sqlite_engine(url)
        with engine.begin() as connection:
            is_new = not engine.dialect.has_table(connection, schema.about.name)
            schema.metadata.create_all(connection)
            _check_version(connection, path)
    except (SQLAlchemyError, OSError) as error:
        raise _stopped(error, path) from error
    return Database(engine, path, is_new=is_new)


def _sqlite_path(url: URL) -> Path | None:
    return None if url.database in (None, "", ":memory:") else Path(str(url.database))


def _sqlite_engine(url: URL) -> Engine:
    in_memory = _sqlite_path(url) is None
    engine = create_engine(
        url,
        poolclass=StaticPool if in_memory else NullPool,
        connect_args={"check_same_thread": False, "timeout": _BUSY_SECONDS},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # SQLAlchemy begins transactions, not the driver: see "begin" below.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")  # a lease has to survive a power cut
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The write lock at once: two processes must not both read before either writes.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _check_version(connection: Connection, path: Path | None) -> None:
    found = connection.execute(
        select(schema.about.c.value).where(schema.about.c.key == "schema_version")
    ).scalar()
    if found is None:
        row = {"key": "schema_version", "value": str(schema.VERSION)}
        connection.execute(insert(schema.about).values(row))
    elif found != str(schema.VERSION):
        message = (
            f"{path}: the state store has schema {found}, this version knows {schema.VERSION}; "
            "use the version of uploader that made it, or another store (--state)"
        )
        raise SettingsError(message)


def _stopped(error: Exception, path: Path | None) -> StoppedError:
    origin = getattr(error, "orig", None) or error
    is_full = (
        getattr(origin, "sqlite_errorname", "").startswith(_FULL)
        or getattr(origin, "errno", None) in _DISK_FULL
    )
    cause = getattr(origin, "strerror", None) or str(origin)
    where = path or "the state store"
    if is_full:
        return StoppedError(StoppedBy.DISK, f"{where}: {cause}; free some space and start again")
    return StoppedError(
        StoppedBy.STATE, f"{where}: the state store can't be used: {cause}; start again when it can"
    )
