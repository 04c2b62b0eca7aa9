"""Dead letters: complete, for the owner's eyes, whole or not there."""

from __future__ import annotations

import base64
import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from uploader.model import (
    Batch,
    BatchState,
    Extent,
    Fate,
    IdType,
    Mapping,
    Outcome,
    Reason,
    Rejected,
    Update,
)
from uploader.settling.dead_letters import (
    LetterWriter,
    buried,
    header,
    rejected_line,
    stamp_seconds,
    undelivered_line,
)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Whatever the umask, and whatever a killed run left there."""
    partial = tmp_path / "dead.jsonl.partial"
    partial.write_text("left")
    partial.chmod(0o666)
    before = os.umask(0)
    try:
        with LetterWriter(tmp_path / "dead.jsonl") as letters:
            letters.write({"a": "é"})
    finally:
        os.umask(before)
    path = tmp_path / "dead.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == '{"a": "é"}\n'.encode()
    assert not partial.exists()
    assert letters.written == 1


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    """And nothing beside it."""
    path = tmp_path / "dead.jsonl"
    path.write_text("old")
    with pytest.raises(TypeError), LetterWriter(path) as letters:
        letters.write({"a": object()})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    """Nobody wants /dev/stdout to become a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with LetterWriter(pipe) as letters:
        letters.write({"a": 1})
    assert os.read(reader, 100) == b'{"a": 1}\n'
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_lines_are_copied_as_they_are(tmp_path: Path) -> None:
    """Without those that were asked to be left out."""
    source = tmp_path / "prepared"
    source.write_text("head\n{1}\n{2\u2028}\n", "utf-8")
    with LetterWriter(tmp_path / "dead.jsonl") as letters:
        letters.copy(source, after_lines=1)
    assert (tmp_path / "dead.jsonl").read_text("utf-8") == "{1}\n{2\u2028}\n"
    assert letters.written == 2


def test_a_rejected_record_is_kept_whole() -> None:
    """As text, as bytes where it is none, by its place where it was too large."""
    about = (Reason.BAD_ENCODING, "byte 3", "crm.csv", 16, 17)
    text = rejected_line(Rejected(*about, raw=b"a,\xc3\xa9"), AT)
    assert (text["raw"], text["line"], text["at"]) == ("a,é", 17, "2026-01-02T03:04:05Z")
    binary = rejected_line(Rejected(*about, raw=b"a,\xff"), AT)
    assert binary["raw"] is None
    assert base64.b64decode(binary["raw_base64"]) == b"a,\xff"
    large = rejected_line(Rejected(*about, extent=Extent(5, 9, "ab")), AT)
    assert (large["offset"], large["length"], large["sha256"]) == (5, 9, "ab")


def test_an_undelivered_update_is_kept_decoded() -> None:
    """With the attributes that it has, by name."""
    update = Update(4, "caf%C3%A9%2C1", "a%2Cb,,%20", 3, 0, 5)
    outcome = Outcome(4, 4, Fate.DEAD_LETTERED, Reason.REFUSED, "HTTP 400", 4, 400, AT)
    line = undelivered_line(update, ["x", "y", "z"], "thirdPartyId", ["crm.csv"], outcome)
    assert line["identity"] == {"type": "thirdPartyId", "value": "café,1"}
    assert line["attributes"] == {"x": "a,b", "z": " "}
    assert (line["records"], line["source"], line["line"]) == (3, "crm.csv", 5)
    assert (line["reason"], line["attempts"], line["http_status"]) == ("refused", 4, 400)


def test_batches_bury_their_rows_when_they_are_lost() -> None:
    """Those on their way and the complete ones don't; all stand by position."""
    batches = [
        Batch(n, n * 10, n * 10 + 9, 10, 5, state, detail="why")
        for n, state in enumerate(BatchState)
    ]
    own = Outcome(25, 25, Fate.DEAD_LETTERED, Reason.NO_ATTRIBUTES)
    found = buried([own, Outcome(50, 60, Fate.DELIVERED)], reversed(batches))
    assert [(item.first, item.last, item.reason) for item in found] == [
        (20, 29, Reason.BATCH_STUCK),
        (25, 25, Reason.NO_ATTRIBUTES),
        (30, 39, Reason.BATCH_REFUSED),
    ]


def test_the_header_holds_what_a_redrive_needs() -> None:
    """Without sources, too."""
    mapping = Mapping("id", IdType.PC_ID)
    source = {"name": "crm.csv", "form": "csv", "columns": ["id", "x"]}
    line = json.loads(json.dumps(header("r", [source], ";", mapping, {"via": "auto"})))
    assert (line["dead_letters"], line["run"], line["columns"]) == (1, "r", ["id", "x"])
    assert Mapping.from_json(line["mapping"]) == mapping
    assert header(None, [], ",", mapping, {})["columns"] == []


def test_times_are_utc_to_the_second() -> None:
    """With a Z."""
    assert stamp_seconds(1_700_000_000.9) == "2023-11-14T22:13:20Z"
