"""Backoff, and who goes next."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from uploader.model import SingleCall
from uploader.sending.retries import Backoff, DueQueue, Work


@given(st.integers(1, 10_000), st.none() | st.floats(0, 900), st.integers())
def test_a_pause_is_between_what_was_asked_for_and_the_bound(
    attempts: int, asked: float | None, seed: int
) -> None:
    """Full jitter under a bound that doubles; Retry-After is the least."""
    backoff = Backoff(0.5, 60.0)
    delay = backoff.delay(attempts, asked, random.Random(seed))
    assert (asked or 0.0) <= delay <= max(asked or 0.0, min(60.0, 2.0 ** min(attempts - 2, 99)))


def test_pauses_are_spread_over_the_whole_range() -> None:
    """Or all would come back at once."""
    dice = random.Random(1)
    delays = [Backoff(1.0, 60.0).delay(4, None, dice) for _ in range(200)]
    assert min(delays) < 1
    assert max(delays) > 7


@given(st.lists(st.integers(0, 50)))
def test_the_earliest_due_goes_first(dues: list[int]) -> None:
    """And those due at once in the order in which they came."""
    queue: DueQueue[SingleCall] = DueQueue()
    for number, due in enumerate(dues):
        queue.put(due, Work(SingleCall(number, b"")))
    assert queue.seconds_until_due(0) == (min(dues) if dues else None)
    taken = []
    for now in range(51):
        while (work := queue.take(now)) is not None:
            assert dues[work.call.position] <= now
            taken.append((dues[work.call.position], work.call.position))
    assert taken == sorted(taken)
    assert len(taken) == len(dues)
