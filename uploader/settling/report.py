"""The books and the report: what happened to every row."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from uploader.model import Batch, BatchState, Fate, Outcome, Reason


@dataclass(frozen=True)
class Books:
    """A run's updates, each counted where it is; ``balanced`` tells whether all are.

    ``pending`` is counted too (what nothing is known of, and rows of batches on their way),
    not made to fit. ``each_once`` tells whether every position is accounted for once.
    """

    planned: int
    delivered: int
    not_applied: int
    dead_lettered: int
    pending: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    each_once: bool = True

    @property
    def balanced(self) -> bool:
        """Whether planned = delivered + not_applied + dead_lettered + pending, each once."""
        found = self.delivered + self.not_applied + self.dead_lettered + self.pending
        return self.planned == found and self.each_once

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
    own = sorted((outcome.first, outcome.last) for outcome in outcomes)
    files = sorted((batch.first, batch.last) for batch in batches)
    untouched = planned - covered([*own, *files])
    return Books(
        planned,
        delivered,
        not_applied,
        dead,
        on_their_way + untouched,
        dict(reasons),
        _are_apart(own, planned) and _are_apart(files, planned) and _are_whole(batches, own),
    )


def _are_apart(spans: Sequence[tuple[int, int]], planned: int) -> bool:
    """Whether no two of the sorted *spans* share a position, and none leaves the plan."""
    end = -1
    for first, last in spans:
        if not end < first <= last < planned:
            return False
        end = last
    return True


def _are_whole(batches: Sequence[Batch], own: Sequence[tuple[int, int]]) -> bool:
    """Whether each batch has a row for every position it encloses without outcome of its own.

    *own* are the outcomes' spans, sorted and apart.
    """
    firsts = [first for first, _ in own]
    before = [0, *accumulate(last - first + 1 for first, last in own)]

    def outcomes_below(position: int) -> int:
        index = bisect_left(firsts, position)
        beyond = own[index - 1][1] - position + 1 if index else 0
        return before[index] - max(beyond, 0)

    return all(
        0 <= batch.failed <= batch.rows
        and batch.rows + outcomes_below(batch.last + 1) - outcomes_below(batch.first)
        == batch.last - batch.first + 1
        for batch in batches
    )


def covered(spans: Iterable[tuple[int, int]]) -> int:
    """How many positions lie in at least one of *spans* (both ends included)."""
    count, end = 0, -1
    for first, last in sorted(spans):
        if last > end:
            count += last - max(first, end + 1) + 1
            end = last
    return count


def records_balance(records: Mapping[str, int], planned: int) -> bool:
    """Whether read = rejected + skipped + merged + planned."""
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
