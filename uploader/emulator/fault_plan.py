"""Which call meets which fault: the description in :mod:`.faults`, put to work."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection

from .calls import APIS
from .faults import OK, CallFaults, Faults


class FaultPlan:
    """Draws faults; the same seed and order of calls give the same draws."""

    def __init__(self, faults: Faults) -> None:
        """Begin at the beginning of *faults*: seed, next calls and next stuck batches."""
        self.faults = faults
        self._random = random.Random(faults.seed)  # noqa: S311 - faults, not secrets
        self._calls: dict[str, CallFaults] = {api: getattr(faults, api) for api in APIS}
        self._next = {
            api: deque(kind for kind, count in calls.next_calls for _ in range(count))
            for api, calls in self._calls.items()
        }
        self._quiet = {api for api, calls in self._calls.items() if calls == CallFaults()}
        self._stuck_left = faults.stuck_next_batches

    def draw(self, api: str) -> str:
        """The fault that the next call of *api* meets; ``ok`` for none."""
        if api in self._quiet:
            return OK
        coming = self._next[api]
        if coming:
            return coming.popleft()
        point = self._random.random()
        for kind, rate in self._calls[api].rates.items():
            if point < rate:
                return kind
            point -= rate
        return OK

    def latency_seconds(self, api: str) -> float:
        """How long the next call of *api* has to wait."""
        if api in self._quiet:
            return 0.0
        calls = self._calls[api]
        return calls.latency_seconds + calls.jitter_seconds * self._random.random()

    def retry_after_seconds(self, api: str) -> float | None:
        """What Retry-After says with the faults of *api*."""
        return self._calls[api].retry_after_seconds

    def batch_is_stuck(self, ids: Collection[str]) -> bool:
        """Whether a batch that was just accepted will get stuck; *ids*: its marked ids."""
        if self.faults.stuck_batches or not self.faults.stuck_batch_ids.isdisjoint(ids):
            return True
        if self._stuck_left > 0:
            self._stuck_left -= 1
            return True
        return False

    def row_failure(self) -> Callable[[str], bool] | None:
        """A judge of ids in a batch (True: the row fails), or None if none is to fail."""
        fraction, ids = self.faults.fail_rows_fraction, self.faults.fail_row_ids
        if not fraction and not ids:
            return None
        draw = self._random.random
        return lambda identity: identity in ids or draw() < fraction
