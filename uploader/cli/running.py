"""Around every command: settings, logging, progress, errors as words, results, exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from uploader import telemetry
from uploader.cli.watching import on_terminal, watched
from uploader.closing import write_report
from uploader.configuration import load
from uploader.emulator import FaultError as EmulatorFaultError
from uploader.emulator import Faults, faults_from_json
from uploader.errors import SettingsError, StoppedError, UploaderError, UsageError
from uploader.pipeline import Options
from uploader.progress import Progress
from uploader.runs import input_key
from uploader.settings import Settings
from uploader.storage.database import Database, open_database
from uploader.storage.journal import Run, RunState
from uploader.storage.locks import is_at_work
from uploader.workplace import locks_folder, refuse_password, sqlite_path, state_url

_OPTION_NAMES = ("report", "dead_letters", "again", "alongside", "stale")

Work = Callable[[Settings, Progress], Awaitable[dict[str, Any]]]


@dataclass
class Start:
    """One start of a command: what was given by hand."""

    flags: dict[str, Any]
    options: Options
    config: Path | None
    as_json: bool
    text: str = ""

    @staticmethod
    def read(flags: dict[str, Any]) -> Start:
        """Tell settings from options; empty repeated flags count as not given."""
        config, as_json = flags.pop("config"), flags.pop("as_json")
        options = Options(**{name: flags.pop(name) for name in _OPTION_NAMES if name in flags})
        given = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in flags.items()
            if value is not None and value != ()
        }
        return Start(given, options, config, as_json)

    def go(
        self, work: Work, text: Callable[[dict[str, Any]], str], *, keep_code: bool = True
    ) -> None:
        """Run *work*, print its result, exit with its code."""
        with explained(as_json=self.as_json, report=self.options.report):
            refuse_password(self.flags.get("state_url"))
            settings = load(self.flags, self.config)
            level = settings.log_level
            if on_terminal() and "log_level" not in settings.model_fields_set:
                level = "warning"  # the display tells the rest
            telemetry.configure(settings.log_format, level)
            result = asyncio.run(self._watched(work, settings))
            click.echo(json.dumps(result, indent=1) if self.as_json else text(result))
            sys.exit(result.get("exit_code", 0) if keep_code else 0)

    async def _watched(self, work: Work, settings: Settings) -> dict[str, Any]:
        progress = Progress()
        with watched(progress):
            return await work(settings, progress)


@contextlib.contextmanager
def explained(*, as_json: bool, report: Path | None) -> Iterator[None]:
    """Turn what is raised into one clear line and the contract's exit code."""
    try:
        yield
    except UploaderError as error:
        _fail(str(error), error.exit_code, error, as_json=as_json, report=report)
    except (KeyboardInterrupt, asyncio.CancelledError):
        _fail("interrupted; start again and it goes on", 4, None, as_json=as_json, report=report)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the last resort, and it says what it was
        # Messages of foreign exceptions may hold values; where it happened never does.
        frames = traceback.extract_tb(error.__traceback__)
        where = "; ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames[-4:])
        message = f"a fault of uploader itself: {type(error).__name__} at {where}. Please report it"
        _fail(message, 1, None, as_json=as_json, report=report)


def _fail(
    message: str, code: int, error: UploaderError | None, *, as_json: bool, report: Path | None
) -> None:
    stopped_by = error.stopped_by.value if isinstance(error, StoppedError) else None
    click.echo(f"uploader: {message}", err=True)
    result = {"state": "stopped", "exit_code": code, "stopped_by": stopped_by, "error": message}
    if as_json:
        click.echo(json.dumps(result, indent=1))
    if report is not None and _may_be_replaced(report):
        with contextlib.suppress(UploaderError):  # the message is on stderr in any case
            write_report(report, result)
    sys.exit(code)


def _may_be_replaced(path: Path) -> bool:
    """Whether nothing is at *path*, or an earlier report; never somebody's export by mistake."""
    try:
        return "exit_code" in json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return True
    except (OSError, ValueError, TypeError):
        return False


@contextlib.contextmanager
def store(settings: Settings) -> Iterator[Database]:
    """The state store, for commands that only look: where there is none, none is made."""
    path = sqlite_path(settings)
    missing = path is not None and not path.exists()
    if missing:
        click.echo(f"There is no state store at {path} yet; a run makes it.", err=True)
    database = open_database("sqlite://" if missing else state_url(settings))
    try:
        yield database
    finally:
        database.close()


def run_entry(run: Run, settings: Settings) -> dict[str, Any]:
    """A run as ``uploader status --json`` lists it."""
    report = json.loads(run.report) if run.report else {}
    return {
        "run": run.run,
        "account": run.account,
        "state": standing(run, settings),
        "exit_code": run.exit_code,
        "stopped_by": run.stopped_by,
        "started_at": _moment(run.started_at),
        "finished_at": None if run.finished_at is None else _moment(run.finished_at),
        "records": report.get("records"),
        "updates": report.get("updates"),
        "folder": str(run.folder),
    }


def standing(run: Run, settings: Settings) -> str:
    """The run's state; ``interrupted`` where it says that it is at work and nobody is."""
    at_work = run.state in (RunState.PLANNING, RunState.SENDING)
    key = input_key(run.account, run.input_identity)
    if at_work and not is_at_work(locks_folder(settings), key):
        return "interrupted"
    return run.state.value


def found_report(run: Run | None, name: str, settings: Settings) -> dict[str, Any]:
    """The report of *run*.

    Raises:
        UsageError: there is no such run, or it has none yet.
    """
    if run is None:
        message = f"{name}: there is no such run; uploader status lists them"
        raise UsageError(message)
    if run.report is None:
        message = f"{name}: is {standing(run, settings)} and has no report yet"
        raise UsageError(message)
    report: dict[str, Any] = json.loads(run.report)
    return report


def lines_of(path: Path | None) -> list[str]:
    """The lines of a file, without their ends."""
    if path is None:
        return []
    try:
        return path.read_text("utf-8").splitlines()
    except OSError as error:
        message = f"{path}: can't be read: {error.strerror or error}"
        raise SettingsError(message) from error
    except UnicodeDecodeError as error:
        message = f"{path}: is not UTF-8"
        raise SettingsError(message) from error


def faults_of(path: Path | None) -> Faults:
    """The emulator's faults from a JSON file."""
    if path is None:
        return Faults()
    try:
        return faults_from_json(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, EmulatorFaultError) as error:
        message = f"{path}: no faults can be read from it: {error}"
        raise SettingsError(message) from error


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
