"""Opening a store, and what is said when it can't be used."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, select

from uploader.errors import SettingsError, StoppedError
from uploader.storage import schema
from uploader.storage.database import open_database


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'state.db'}"


def test_a_store_is_new_once(tmp_path: Path) -> None:
    """A forgotten volume is noticed by that."""
    for expected in (True, False):
        database = open_database(url(tmp_path / "deep" / "down"))
        assert database.is_new is expected
        database.close()


def test_a_transaction_is_whole_or_not_at_all(tmp_path: Path) -> None:
    """What raises leaves nothing behind."""
    database = open_database(url(tmp_path))

    def half(connection: Any) -> None:
        connection.execute(insert(schema.about).values(key="half", value="x"))
        message = "midway"
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="midway"):
        asyncio.run(database.run(half))
    keys = database.run_now(lambda c: c.execute(select(schema.about.c.key)).scalars().all())
    assert keys == ["schema_version"]
    database.close()


@pytest.mark.parametrize(
    "state",
    [
        "no url",
        "",
        "postgresql://user:secret@host/db",
        "postgresql://user:secret@host:secret/db",
        "oracle://user:secret@host/db",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(state: str) -> None:
    """Neither in the message nor behind it."""
    with pytest.raises(SettingsError, match="sqlite:///") as raised:
        open_database(state)
    assert "secret" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    """And left as it is."""
    path = tmp_path / "state.db"
    path.write_text("dear diary " * 100)
    with pytest.raises(StoppedError, match=r"state\.db: .*not a database") as raised:
        open_database(url(tmp_path))
    assert raised.value.stopped_by == "state"
    assert path.read_text().startswith("dear diary")


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    """Its numbers might mean something else."""
    open_database(url(tmp_path)).close()
    with sqlite3.connect(tmp_path / "state.db") as store:
        store.execute("UPDATE uploader_about SET value = '99'")
    store.close()
    with pytest.raises(SettingsError, match="schema 99"):
        open_database(url(tmp_path))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Whatever its name sounds like: this disk isn't full."""
    (tmp_path / "full").touch()
    with pytest.raises(StoppedError, match="full") as raised:
        open_database(url(tmp_path / "full"))
    assert raised.value.stopped_by == "state"


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    """So that somebody frees some space."""
    database = open_database(url(tmp_path))

    def leave_no_room(connection: Any, _: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    event.listen(database._engine, "connect", leave_no_room)
    rows = [{"key": str(n), "value": "x" * 1_000} for n in range(100)]
    with pytest.raises(StoppedError, match="free some space") as raised:
        database.run_now(lambda c: c.execute(insert(schema.about), rows))
    assert raised.value.stopped_by == "disk"
    database.close()
