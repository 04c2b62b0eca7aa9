"""What stops a run. A bad record or a refused call is a value, never one of these.

::

    UploaderError
    ├── UsageError            exit 2: nothing was sent; the message says what to change
    │   ├── SettingsError     a setting, flag or configuration file
    │   ├── ExportError       an export that can't be read, or isn't what it was said to be
    │   ├── MappingError      columns that are missing, collide or may not be sent
    │   ├── TooManyRejectedError
    │   └── PlanError         a plan folder that can't be used
    ├── StoppedError          exit 4: stopped early, can go on; ``stopped_by`` says why
    └── FaultError            exit 1: a fault of ours, such as books that don't balance

Messages say what, where, and what to do. They never hold an id, a value or a token.
"""

from enum import StrEnum
from typing import ClassVar


class StoppedBy(StrEnum):
    """Why a run stopped early (the report's ``stopped_by``)."""

    QUOTA = "quota"
    DEADLINE = "deadline"
    SIGNAL = "signal"
    CREDENTIALS = "credentials"
    REDIRECT = "redirect"
    EDGE_DOWN = "edge_down"
    REFUSED = "refused"
    BATCHES = "batches"
    OTHER_RUN = "other_run"
    DISK = "disk"
    STATE = "state"


class UploaderError(Exception):
    """The root of everything that this program raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(UploaderError):
    """Something that the caller has to change; nothing was sent."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting is missing, unknown or has a value that can't be used."""


class ExportError(UsageError):
    """An export is missing, unreadable, or not of the form that it should have."""


class MappingError(UsageError):
    """The mapping asks for columns that aren't there, or for names that can't be sent."""


class TooManyRejectedError(UsageError):
    """More records were rejected than ``--max-rejected`` allows."""


class PlanError(UsageError):
    """A plan folder is missing, damaged, or of a version that this program can't read."""


class StoppedError(UploaderError):
    """The run stopped early and can go on from where it was."""

    exit_code = 4

    def __init__(self, stopped_by: StoppedBy, message: str) -> None:
        """Keep *stopped_by* beside the message."""
        super().__init__(message)
        self.stopped_by = stopped_by


class FaultError(UploaderError):
    """A fault of this program: please report it."""
