"""When a call is made again: exponential backoff with full jitter, and a queue by due time."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass
from typing import Generic, TypeVar

C = TypeVar("C")


@dataclass(frozen=True)
class Backoff:
    """Delays in seconds: drawn evenly between nothing and a bound that doubles each time."""

    base_seconds: float = 0.5
    most_seconds: float = 60.0

    def delay(self, attempts: int, retry_after_seconds: float | None, dice: random.Random) -> float:
        """The pause after the *attempts*-th attempt; at least what the edge asked for."""
        bound = min(self.most_seconds, self.base_seconds * 2 ** min(attempts - 1, 30))
        return max(dice.uniform(0, bound), retry_after_seconds or 0.0)


@dataclass
class Work(Generic[C]):
    """A call on its way.

    ``strikes`` are its failed attempts outside of outages; ``successes_before`` is how many
    others had got through when it was first tried; ``began`` and ``denied_at`` are when its
    latest attempt began and when it was denied for the first time (monotonic seconds).
    """

    call: C
    attempts: int = 0
    strikes: int = 0
    successes_before: int = 0
    began: float = 0.0
    denied_at: float | None = None


class DueQueue(Generic[C]):
    """Work that waits for its next attempt, the earliest due first."""

    def __init__(self) -> None:
        """Empty."""
        self._heap: list[tuple[float, int, Work[C]]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        """How much is waiting."""
        return len(self._heap)

    def put(self, due: float, work: Work[C]) -> None:
        """Have *work* wait until *due* (monotonic seconds)."""
        heapq.heappush(self._heap, (due, next(self._order), work))

    def take(self, now: float) -> Work[C] | None:
        """The first that is due."""
        if self._heap and self._heap[0][0] <= now:
            return heapq.heappop(self._heap)[2]
        return None

    def seconds_until_due(self, now: float) -> float | None:
        """How long until one is due; None where nothing waits."""
        return max(self._heap[0][0] - now, 0.0) if self._heap else None
