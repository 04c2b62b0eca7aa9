"""The books and the report: what happened to every row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from uploader.model import Batch, BatchState, Fate, Outcome, Reason


@dataclass(frozen=True)
class Books:
    """A run's updates, each counted where it is; ``balanced`` tells whether all are.

    ``pending`` is counted too (what nothing is known of, and rows of batches on their way),
    not made to fit.
    """

    planned: int
    delivered: int
    not_applied: int
    dead_lettered: int
    pending: int
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """planned = delivered + not_applied + dead_lettered + pending."""
        found = self.delivered + self.not_applied + self.dead_lettered + self.pending
        return self.planned == found

    def as_json(self) -> dict[str, int]:
        """The report's ``updates``."""
        return {
            "planned": self.planned,
            "delivered": self.delivered,
            "not_applied": self.not_applied,
            "dead_lettered": self.dead_lettered,
            "pending": self.pending,
        }


def books(planned: int, outcomes: Sequence[Outcome], batches: Sequence[Batch]) -> Books:
    """Count *planned* updates by what the journal says of them."""
    reasons: Counter[str] = Counter()
    delivered = not_applied = dead = on_their_way = 0
    for outcome in outcomes:
        size = outcome.last - outcome.first + 1
        if outcome.fate is Fate.DELIVERED:
            delivered += size
        else:
            dead += size
            reasons[outcome.reason.value if outcome.reason else "unknown"] += size
    for batch in batches:
        if batch.state is BatchState.COMPLETE:
            delivered += batch.rows - batch.failed
            not_applied += batch.failed
        elif batch.state is BatchState.INCOMPLETE:
            on_their_way += batch.rows
        else:
            dead += batch.rows
            stuck = batch.state is BatchState.STUCK
            reasons[(Reason.BATCH_STUCK if stuck else Reason.BATCH_REFUSED).value] += batch.rows
    spans = [(item.first, item.last) for item in (*outcomes, *batches)]
    untouched = planned - covered(spans)
    return Books(planned, delivered, not_applied, dead, on_their_way + untouched, dict(reasons))


def covered(spans: Iterable[tuple[int, int]]) -> int:
    """How many positions lie in at least one of *spans* (both ends included)."""
    count, end = 0, -1
    for first, last in sorted(spans):
        if last > end:
            count += last - max(first, end + 1) + 1
            end = last
    return count


def records_balance(records: Mapping[str, int], planned: int) -> bool:
    """read = rejected + skipped + merged + planned."""
    used = records["rejected"] + records["skipped"] + records["merged"] + planned
    return records["read"] == used


def batch_entry(batch: Batch) -> dict[str, Any]:
    """A batch as the report lists it."""
    return {
        "number": batch.number,
        "id": batch.remote_id,
        "rows": batch.rows,
        "bytes": batch.size_bytes,
        "status": batch.state.value,
        "successful": batch.successful,
        "failed": batch.failed,
        "not_found": batch.not_found,
    }


def exit_code(*, balanced: bool, stopped: bool, flawed: bool) -> int:
    """The run's exit code: a fault of ours first, then stopped early, then flaws."""
    if not balanced:
        return 1
    if stopped:
        return 4
    return 3 if flawed else 0
