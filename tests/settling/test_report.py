"""Books that balance exactly when every update is accounted for once."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from uploader.model import Batch, BatchState, Fate, Outcome, Reason
from uploader.settling.report import books, exit_code, records_balance

STATES = st.sampled_from([BatchState.INCOMPLETE, BatchState.COMPLETE, BatchState.STUCK,
                          BatchState.REFUSED])  # fmt: skip


@st.composite
def entries(draw: st.DrawFn) -> tuple[int, list[Outcome], list[Batch]]:
    """Spans thrown about in and around a plan, mostly neighbours, sometimes not."""
    planned = draw(st.integers(0, 12))
    outcomes, batches, position = [], [], 0
    for number in range(draw(st.integers(0, 5))):
        first = max(position + draw(st.sampled_from([0, 0, 0, 0, 1, 2, -1, -3])), 0)
        size = draw(st.integers(1, 4))
        position = first + size
        if draw(st.booleans()):
            fate = draw(st.sampled_from(Fate))
            outcomes.append(Outcome(first, position - 1, fate, Reason.REFUSED))
            continue
        holes = draw(st.sets(st.integers(first, position - 1), max_size=2))
        told = holes if draw(st.integers(0, 4)) else set()
        outcomes += [Outcome(hole, hole, Fate.DEAD_LETTERED) for hole in told]
        rows = size - len(holes)
        failed = draw(st.integers(0, rows))
        state = draw(STATES)
        batches.append(Batch(number, first, position - 1, rows, 9, state, failed=failed))
    return planned, draw(st.permutations(outcomes)), draw(st.permutations(batches))


def counted_one_by_one(planned: int, outcomes: list[Outcome], batches: list[Batch]) -> bool:
    """Whether each position is accounted for once: by an outcome, by a batch's row, or by none."""
    by_outcome = [n for item in outcomes for n in range(item.first, item.last + 1)]
    by_batch = [n for item in batches for n in range(item.first, item.last + 1)]
    positions = range(planned)
    once = all(
        len(found) == len(set(found)) and all(n in positions for n in found)
        for found in (by_outcome, by_batch)
    )
    own = set(by_outcome)
    return once and all(
        item.rows == sum(n not in own for n in range(item.first, item.last + 1)) for item in batches
    )


@given(entries())
def test_books_balance_exactly_when_each_update_is_accounted_for_once(
    given_entries: tuple[int, list[Outcome], list[Batch]],
) -> None:
    """Two errors don't make up for each other."""
    planned, outcomes, batches = given_entries
    found = books(planned, outcomes, batches)
    assert found.balanced is counted_one_by_one(planned, outcomes, batches)
    if found.balanced:
        numbers = found.as_json()
        assert min(numbers.values()) >= 0
        assert sum(found.reasons.values()) == found.dead_lettered


BATCH = Batch(1, 10, 19, 9, 500, BatchState.COMPLETE, failed=2)
OUTCOMES = [
    Outcome(0, 4, Fate.DELIVERED),
    Outcome(12, 12, Fate.DEAD_LETTERED, Reason.BODY_TOO_LARGE),
]


def test_every_update_is_counted_where_it_is() -> None:
    """Also the one that a batch encloses without holding it."""
    found = books(30, OUTCOMES, [BATCH])
    assert found.balanced
    assert found.as_json() == {
        "planned": 30,
        "delivered": 5 + 7,
        "not_applied": 2,
        "dead_lettered": 1,
        "pending": 15,
    }
    assert found.reasons == {"body_too_large": 1}


def test_the_rows_of_a_batch_are_where_the_batch_is() -> None:
    """On their way, stuck, or refused."""
    for state, pending, reasons in [
        (BatchState.INCOMPLETE, 24, {}),
        (BatchState.STUCK, 15, {"batch_stuck": 9}),
        (BatchState.REFUSED, 15, {"batch_refused": 9}),
    ]:
        found = books(30, OUTCOMES, [replace(BATCH, state=state)])
        assert (found.balanced, found.pending) == (True, pending)
        assert found.reasons == {"body_too_large": 1, **reasons}


def test_what_was_entered_twice_or_outside_the_plan_is_found() -> None:
    """Even where the sums come out."""
    delivered = Outcome(0, 4, Fate.DELIVERED)
    assert not books(5, [delivered, delivered], []).balanced
    assert not books(3, [delivered], []).balanced
    short = Batch(1, 5, 14, 5, 500, BatchState.COMPLETE)
    assert not books(15, [delivered, delivered], [short]).balanced
    assert not books(15, [delivered], [replace(short, rows=10, failed=11)]).balanced


def test_records_balance_too() -> None:
    """Every record read was rejected, skipped, merged or planned."""
    records = {"read": 10, "rejected": 1, "skipped": 2, "merged": 3}
    assert records_balance(records, 4)
    assert not records_balance(records, 5)


def test_the_gravest_exit_code_wins() -> None:
    """A fault of ours, then a stop, then flaws."""
    assert exit_code(balanced=False, stopped=True, flawed=True) == 1
    assert exit_code(balanced=True, stopped=True, flawed=True) == 4
    assert exit_code(balanced=True, stopped=False, flawed=True) == 3
    assert exit_code(balanced=True, stopped=False, flawed=False) == 0
