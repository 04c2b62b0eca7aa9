"""The emulated edge apart from HTTP: one account's state, and every way to look at it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .calls import CallLog
from .fault_plan import FaultPlan
from .faults import Faults
from .ingestion import BatchQueue
from .limits import DAY_SECONDS, MINUTE_SECONDS, RollingWindow
from .profiles import PC_ID, THIRD_PARTY_ID, ProfileStore
from .settings import EmulatorSettings


class Edge:
    """Profiles, batches, limits, books and faults of one account.

    Everything here belongs to the event loop that the edge runs in.
    """

    def __init__(self, settings: EmulatorSettings, clock: Callable[[], float]) -> None:
        """Begin as *settings* say; *clock* gives unix seconds."""
        self.settings = settings
        self.clock = clock
        self.url = ""
        """Where the edge is reached; set when it listens."""
        self.batch_numbers = itertools.count(1)
        self._begin()

    def _begin(self) -> None:
        settings = self.settings
        self.token = settings.token
        self.log = CallLog()
        self.plan = FaultPlan(settings.faults)
        self.daily = RollingWindow(settings.daily_cap, DAY_SECONDS)
        self.minute = RollingWindow(settings.bulk_calls_per_minute, MINUTE_SECONDS)
        self.store = ProfileStore(keep=settings.keep_profiles)
        self.add_known(settings.known_third_party_ids, settings.known_pc_ids)
        tell_rows = settings.status_form != "current"
        self.queue = BatchQueue(self.store, self.clock, tell_rows=tell_rows)

    async def reset(self) -> None:
        """Go back to the state of the start: settings, faults, token, known ids, no books."""
        await self.queue.close()
        self._begin()

    def set_token(self, token: str | None) -> None:
        """From now on only *token* is right (documented: a new one kills the old); None: any."""
        self.token = token

    def set_faults(self, faults: Faults) -> None:
        """Replace all faults; seed and counts begin anew."""
        self.plan = FaultPlan(faults)

    def add_known(self, third_party_ids: Iterable[str] = (), pc_ids: Iterable[str] = ()) -> None:
        """Make these profiles exist, without attributes, where they don't."""
        self.store.add_known(THIRD_PARTY_ID, third_party_ids)
        self.store.add_known(PC_ID, pc_ids)

    def visit(self, third_party_ids: Iterable[str] = (), pc_ids: Iterable[str] = ()) -> int:
        """Let these visitors come by, which ends v2 overriding; returns how many are known."""
        visited = self.store.visit(THIRD_PARTY_ID, third_party_ids)
        return visited + self.store.visit(PC_ID, pc_ids)

    def profile(self, id_type: str, identity: str) -> dict[str, str] | None:
        """Decoded attributes of one profile, or None where there is no such profile."""
        found = self.store.fetch(id_type, identity)
        return None if found is None else {name: item.value for name, item in found.items()}

    def profiles(self) -> Iterator[dict[str, Any]]:
        """Every profile as ``{"type": …, "id": …, "attributes": {…}}``, decoded."""
        for id_type, identity, attributes in self.store.dump():
            yield {"type": id_type, "id": identity, "attributes": attributes}

    def calls(self) -> dict[str, list[float]]:
        """Arrival times in unix seconds, by API."""
        return {api: times.tolist() for api, times in self.log.arrivals.items()}

    def stats(self) -> dict[str, Any]:
        """Counters and batches; the shape is the control API's ``stats``."""
        return {
            **self.log.summary(),
            "profiles": self.store.counts(),
            "batches": [batch.summary() for batch in self.queue.batches.values()],
        }
