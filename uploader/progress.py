"""Where a run stands, for whoever displays it; written by the pipeline, read by the doors."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum


class Stage(StrEnum):
    """What a run is doing."""

    STARTING = "starting"
    PLANNING = "planning"
    SENDING = "sending"
    FOLLOWING = "following"
    ENDED = "ended"


@dataclass
class Progress:
    """A stage, how much of it is done, and out of how much (None: not known)."""

    stage: Stage = Stage.STARTING
    done: int = 0
    total: int | None = None
    since: float = field(default_factory=time.monotonic)
    done_before: int = 0

    def begin(self, stage: Stage, total: int | None = None, done: int = 0) -> None:
        """Enter *stage*; *done* is what earlier starts did of it."""
        self.stage, self.total = stage, total
        self.done = self.done_before = done
        self.since = time.monotonic()

    def set(self, done: int) -> None:
        """So much is done now."""
        self.done = done

    @property
    def rate(self) -> float:
        """Per second, since the stage began."""
        return (self.done - self.done_before) / max(time.monotonic() - self.since, 0.001)
