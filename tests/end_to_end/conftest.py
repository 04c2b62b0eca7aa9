"""A shop: a folder of exports, a state store, an edge, and the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest
from click.testing import CliRunner

from uploader.cli import main
from uploader.emulator import EmulatorSettings, EmulatorThread

TOKEN = "a-token-that-nobody-may-read"


@dataclass
class Ended:
    """What a command left behind."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.stdout)
        return result


class Shop:
    """Runs the command in a folder of its own, against an emulator of its own."""

    def __init__(self, folder: Path, emulator: EmulatorThread) -> None:
        self.folder = folder
        self.emulator = emulator
        self.environment = {
            "UPLOADER_EDGE_URL": emulator.url,
            "UPLOADER_CLIENT_CODE": "demo",
            "UPLOADER_STATE_URL": f"sqlite:///{folder}/state/state.db",
            "UPLOADER_ID_COLUMN": "id",
            "UPLOADER_CALLS_PER_SECOND": "0",
            "UPLOADER_RETRY_BASE": "20ms",
            "UPLOADER_MEMORY": "200MB",
        }

    def write(self, name: str, text: str | bytes) -> str:
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    def csv(self, name: str, rows: int, first: int = 0, tier: str = "gold") -> str:
        lines = [
            f"c{index:05d},{tier}{index % 7},{index}.50" for index in range(first, first + rows)
        ]
        return self.write(name, "\n".join(["id,tier,points", *lines]) + "\n")

    def know(self, rows: int) -> None:
        self.emulator.add_known(third_party_ids=[f"c{index:05d}" for index in range(rows)])

    def __call__(self, *arguments: str | Path, **environment: str) -> Ended:
        """The command in this process: fast, and the same code from its first line on."""
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            runner = CliRunner(env=self.environment | environment)
            result = runner.invoke(main, [str(argument) for argument in arguments])
        finally:
            os.chdir(before)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(result.exit_code, result.stdout, result.stderr)

    def start(
        self,
        *arguments: str,
        environment: dict[str, str] | None = None,
        stdin: IO[bytes] | None = None,
    ) -> subprocess.Popen[str]:
        """The command as a process of its own, to be killed."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("UPLOADER_")}
        return subprocess.Popen(
            [sys.executable, "-m", "uploader", *arguments],
            cwd=self.folder,
            env=clean | self.environment | (environment or {}),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def profiles(self) -> dict[str, dict[str, str]]:
        return {entry["id"]: entry["attributes"] for entry in self.emulator.profiles()}

    def calls(self) -> dict[str, int]:
        calls: dict[str, int] = self.emulator.stats()["calls"]
        return calls

    def letters(self, path: str | Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with EmulatorThread(EmulatorSettings(client_code="demo", batch_delay_seconds=0.05)) as emulator:
        yield Shop(tmp_path, emulator)


def expected(rows: Sequence[dict[str, str]], key: str = "id") -> dict[str, dict[str, str]]:
    """What profiles should hold, computed without any of the program's code."""
    profiles: dict[str, dict[str, str]] = {}
    for row in rows:
        profile = profiles.setdefault(row[key], {})
        profile.update({name: value for name, value in row.items() if name != key and value})
    return profiles
