"""Paths, globs and standard input."""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
from pathlib import Path

import pytest

from uploader.errors import ExportError
from uploader.intake.locations import Form, expand, open_exports


def test_a_glob_is_sorted_by_name_and_stays_in_its_place(tmp_path: Path) -> None:
    """Paths before and after it keep the order given."""
    for name in ("b.csv", "a.csv", "c.txt"):
        (tmp_path / name).touch()
    names = expand(["z", f"{tmp_path}/*.csv", "-"])
    assert names == ["z", f"{tmp_path}/a.csv", f"{tmp_path}/b.csv", "-"]


def test_a_name_with_brackets_that_exists_is_no_pattern(tmp_path: Path) -> None:
    """Files may be called like that."""
    path = tmp_path / "x[1].csv"
    path.touch()
    assert expand([str(path)]) == [str(path)]


@pytest.mark.parametrize(
    ("names", "message"), [(["nothing*.csv"], "no file matches"), (["-", "-"], "given twice")]
)
def test_what_cannot_be_expanded_is_refused(names: list[str], message: str) -> None:
    """A pattern without a match is a mistake, not an empty input."""
    with pytest.raises(ExportError, match=message):
        expand(names)


def test_standard_input_is_spooled_and_can_be_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is what is read, under the name ``-``."""
    data = b'\xef\xbb\xbf \n{"id": 1}\n'
    (tmp_path / "given").write_bytes(data)
    with (tmp_path / "given").open() as given:
        monkeypatch.setattr(sys, "stdin", given)
        (export,) = open_exports(["-"], tmp_path / "spool")
    assert (export.name, export.form, export.size_bytes) == ("-", Form.JSON_LINES, len(data))
    assert export.path.read_bytes() == data
    assert export.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"id,x\n"), "this is gzip"),
        ("id,x\n".encode("utf-16"), "this is UTF-16"),
        (b"PK\x03\x04", "this is zip"),
        (b"PAR1", "this is Parquet"),
    ],
)
def test_a_form_not_read_here_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    """Better a clear word than a million rejected records."""
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=message):
        open_exports([str(path)], tmp_path / "spool")


def test_a_folder_a_pipe_and_nothing_at_all_are_refused(tmp_path: Path) -> None:
    """Each with what to do instead."""
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("", "is a folder"), ("pipe", "is a pipe"), ("no", "can't be read: No")):
        with pytest.raises(ExportError, match=message):
            open_exports([str(tmp_path / name)], tmp_path / "spool")
