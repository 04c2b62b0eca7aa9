"""What arrived and what was answered: the emulator's own books."""

from __future__ import annotations

from array import array
from collections import Counter

SINGLE = "single"
BULK = "bulk"
STATUS = "status"
FETCH = "fetch"
CLIENT_GONE = "client_gone"
APIS = (SINGLE, BULK, STATUS, FETCH)


class CallLog:
    """Arrival times (unix seconds, eight bytes a call) and outcomes, by API."""

    def __init__(self) -> None:
        """Begin with empty books."""
        self.arrivals: dict[str, array[float]] = {api: array("d") for api in APIS}
        self.answers: dict[str, Counter[str]] = {api: Counter() for api in APIS}
        self.over_cap = 0
        self.over_bulk_limit = 0
        self.applied = 0
        self.unknown = 0

    def arrived(self, api: str, now: float) -> None:
        """Note a call, before anything is decided about it."""
        self.arrivals[api].append(now)

    def answered(self, api: str, outcome: str) -> None:
        """Note an answer: its HTTP status, or why none was given (a fault, ``client_gone``)."""
        self.answers[api][outcome] += 1

    def summary(self) -> dict[str, object]:
        """The counters, ready for JSON."""
        return {
            "calls": {api: len(times) for api, times in self.arrivals.items()},
            "answers": {api: dict(counter) for api, counter in self.answers.items()},
            "over_cap": self.over_cap,
            "over_bulk_limit": self.over_bulk_limit,
            "updates_applied": self.applied,
            "updates_unknown": self.unknown,
        }
