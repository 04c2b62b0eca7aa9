"""What is left to send: the plan's calls without what the journal knows to be done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from uploader.model import Batch, BatchCall, Fate, Outcome, SingleCall, Unsendable


class Done:
    """What the journal knows to be done, for leaving it out."""

    def __init__(self, outcomes: Sequence[Outcome], batches: Sequence[Batch]) -> None:
        """Ranges of positions, and numbers of batches."""
        self._spans = sorted((outcome.first, outcome.last) for outcome in outcomes)
        self.delivered = sum(
            outcome.last - outcome.first + 1
            for outcome in outcomes
            if outcome.fate is Fate.DELIVERED
        )
        self._batches = {batch.number for batch in batches}
        self.updates = sum(last - first + 1 for first, last in self._spans)
        self.updates += sum(batch.rows for batch in batches)

    @property
    def first_open(self) -> int:
        """The first position of which nothing is known."""
        position = 0
        for first, last in self._spans:
            if first > position:
                break
            position = max(position, last + 1)
        return position

    def left(
        self, calls: Iterator[SingleCall | BatchCall | Unsendable]
    ) -> Iterator[SingleCall | BatchCall | Unsendable]:
        """*calls* without those that are done; they come in the order of their positions."""
        spans = iter(self._spans)
        span = next(spans, None)
        for call in calls:
            if isinstance(call, BatchCall):
                if call.number not in self._batches:
                    yield call
                continue
            while span is not None and span[1] < call.position:
                span = next(spans, None)
            if span is None or call.position < span[0]:
                yield call
