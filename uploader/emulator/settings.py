"""How an emulated edge is set up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .faults import Faults
from .limits import BULK_CALLS_PER_MINUTE, DAILY_CAP

StatusForm = Literal["current", "rows", "failed_rows"]


@dataclass(frozen=True, kw_only=True)
class EmulatorSettings:
    """One account at one edge, from its client code to its bad days."""

    client_code: str = "demo"
    token: str | None = None
    """When set, every API call needs ``Authorization: Bearer TOKEN``."""
    known_third_party_ids: Iterable[str] = ()
    known_pc_ids: Iterable[str] = ()
    """Profiles that exist from the start, without attributes."""
    bulk_calls_per_minute: int = BULK_CALLS_PER_MINUTE
    """Submits and status polls together in any 60 seconds; over it 503. 0: no limit."""
    daily_cap: int = DAILY_CAP
    """Single updates in any 24 hours; over it 429, not applied (assumption). 0: no cap."""
    batch_delay_seconds: float = 1.0
    """From the submit until a batch begins to be applied; incomplete until it is done."""
    keep_profiles: bool = True
    """False: count updates and rows, store no attribute and no new profile."""
    advertise_host: str | None = None
    """Host that the emulator's URLs name, where it isn't the one it listens on."""
    status_url_base: str | None = None
    """Such as ``http://mboxedge45.tt.omtrdc.net``: what batchStatus URLs begin with
    instead of the emulator's own address. The real edge names another host."""
    status_form: StatusForm = "current"
    """``rows``: one row per profile; ``failed_rows``: the failed ones (old answers)."""
    bare_text: bool = False
    """Answer single updates as the pages print it, without the XML tags."""
    faults: Faults = Faults()  # noqa: RUF009 - it is frozen

    def __post_init__(self) -> None:
        """Hold the ids as tuples, so that a reset can start from them again."""
        object.__setattr__(self, "known_third_party_ids", tuple(self.known_third_party_ids))
        object.__setattr__(self, "known_pc_ids", tuple(self.known_pc_ids))
