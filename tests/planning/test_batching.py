"""Cutting a plan into calls: exact bytes, and limits that nothing passes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uploader.model import BatchCall, IdType, Method, Reason, Route, SingleCall, Unsendable, Via
from uploader.planning.batching import Wire, batch_calls, single_calls, survey

from .plans import plan_exports, updates_of

BULK, SINGLE = Route(Via.BULK, 1), Route(Via.SINGLE)
GET = Route(Via.SINGLE, method=Method.GET)


def test_a_batch_file_has_exactly_these_bytes(tmp_path: Path) -> None:
    """Encoded names and values, empties in their places, none at a line's end."""
    data = 'id,a b,ß,c\nk1,"x,y",50%+,\nk 2,,,"l1\nl2"\nk3,é,😀,007\n'.encode()
    plan = plan_exports(tmp_path, data)
    wire = Wire.of(plan.contents.names, IdType.THIRD_PARTY_ID, BULK)
    (batch,) = batch_calls(plan.updates, wire)
    assert isinstance(batch, BatchCall)
    body = b"".join(batch.pieces)
    assert body == (
        b"batch=thirdPartyId,a%20b,%C3%9F,c\n"
        b"k%202,,,l1%0Al2\n"
        b"k1,x%2Cy,50%25%2B\n"
        b"k3,%C3%A9,%F0%9F%98%80,007\n"
    )
    assert (batch.number, batch.first, batch.last, batch.rows) == (1, 0, 2, 3)
    assert batch.size_bytes == len(body)
    assert survey(plan.updates, wire, plan.contents).total_bytes == len(body)


@pytest.mark.parametrize(
    ("id_type", "parameter"),
    [(IdType.THIRD_PARTY_ID, b"mbox3rdPartyId"), (IdType.PC_ID, b"mboxPC")],
)
def test_a_single_update_has_exactly_these_bytes(
    tmp_path: Path, id_type: IdType, parameter: bytes
) -> None:
    """Names get their prefix; empty values are left out."""
    plan = plan_exports(tmp_path, "id,a b,x,y\nk 1,1&2=3,,é\n".encode())
    wire = Wire.of(plan.contents.names, id_type, SINGLE)
    assert list(single_calls(plan.updates, wire, 50)) == [
        SingleCall(0, parameter + b"=k%201&profile.a%20b=1%262%3D3&profile.y=%C3%A9")
    ]


def test_no_batch_has_more_than_half_a_million_rows(tmp_path: Path) -> None:
    """The cut stands at the row; sizes alone give the same batches."""
    updates, contents = updates_of(tmp_path, [(f"{n:07}", "1") for n in range(1_000_001)])
    wire = Wire.of(("x",), IdType.THIRD_PARTY_ID, BULK)
    got = list(batch_calls(updates, wire, with_bodies=False))
    assert [(b.first, b.last, b.rows) for b in got if isinstance(b, BatchCall)] == [
        (0, 499_999, 500_000),
        (500_000, 999_999, 500_000),
        (1_000_000, 1_000_000, 1),
    ]
    seen = survey(updates, wire, contents)
    assert (seen.batches, seen.sendable) == (3, 1_000_001)


def test_no_batch_is_50_million_bytes_long(tmp_path: Path) -> None:
    """Each is as full as the limit allows; together they hold every row once."""
    rows = [(f"{n:05}", "v" * (40_000 + n % 977)) for n in range(1_300)]
    updates, contents = updates_of(tmp_path, rows)
    wire = Wire.of(("x",), IdType.THIRD_PARTY_ID, BULK)
    batches = [item for item in batch_calls(updates, wire) if isinstance(item, BatchCall)]
    assert [batch.size_bytes for batch in batches] == [
        len(b"".join(batch.pieces)) for batch in batches
    ]
    assert len(batches) == survey(updates, wire, contents).batches == 2
    assert 49_999_999 - 41_000 < batches[0].size_bytes <= 49_999_999
    sent = b"".join(b"".join(batch.pieces)[len(wire.batch_header) :] for batch in batches)
    assert sent == "".join(f"{identity},{line}\n" for identity, line in rows).encode()


def test_an_update_that_no_batch_can_carry_is_left_out_and_told(tmp_path: Path) -> None:
    """Its neighbours go in one batch, whose positions enclose it."""
    rows = [("a", "1"), ("b", ""), ("c", "v" * 64_000), ("d", "v" * 63_999), ("e", "2")]
    updates, contents = updates_of(tmp_path, rows)
    wire = Wire.of(("x",), IdType.THIRD_PARTY_ID, BULK)
    *unsendable, batch = batch_calls(updates, wire)
    assert [
        (item.position, item.reason) for item in unsendable if isinstance(item, Unsendable)
    ] == [
        (1, Reason.NO_ATTRIBUTES),
        (2, Reason.BODY_TOO_LARGE),
    ]
    assert isinstance(batch, BatchCall)
    assert (batch.first, batch.last, batch.rows) == (0, 4, 3)
    assert survey(updates, wire, contents).unsendable == {
        Reason.NO_ATTRIBUTES: 1,
        Reason.BODY_TOO_LARGE: 1,
    }


def test_a_header_too_long_for_any_batch_makes_its_updates_letters(tmp_path: Path) -> None:
    """Better than to look for a batch that holds them for ever."""
    updates, _ = updates_of(tmp_path, [("a", "1"), ("b", "2")])
    wire = Wire.of(("n" * 49_999_999,), IdType.THIRD_PARTY_ID, BULK)
    assert [type(item) for item in batch_calls(updates, wire)] == [Unsendable, Unsendable]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(
        st.tuples(
            st.integers(1, 300),
            st.integers(0, 300) | st.integers(7_000, 8_100) | st.integers(59_000, 64_200),
        ),
        min_size=1,
        max_size=6,
    ),
    prefix=st.integers(20, 300),
    by_get=st.booleans(),
)
def test_no_url_and_no_body_is_longer_than_the_edge_takes(
    sizes: list[tuple[int, int]], prefix: int, by_get: bool
) -> None:
    """A URL over 8,000 bytes goes by POST, a body over 60,000 not at all; nothing else is lost."""
    rows = [("i" * one, "v" * other) for one, other in sizes]
    wire = Wire.of(("x",), IdType.THIRD_PARTY_ID, GET if by_get else SINGLE)
    with tempfile.TemporaryDirectory() as folder:
        updates, _ = updates_of(Path(folder), rows)
        calls = list(single_calls(updates, wire, prefix))
    assert [call.position for call in calls] == list(range(len(rows)))
    for (identity, line), call in zip(rows, calls, strict=True):
        form = f"mbox3rdPartyId={identity}&profile.x={line}".encode()
        if isinstance(call, Unsendable):
            reason = Reason.BODY_TOO_LARGE if line else Reason.NO_ATTRIBUTES
            assert call.reason is reason
            assert not line or len(form) > 60_000
            continue
        assert call.payload == form
        assert len(form) <= 60_000
        assert call.in_url == (by_get and prefix + len(form) <= 8_000)


def test_calls_can_begin_at_any_position(tmp_path: Path) -> None:
    """A resumed run doesn't read what it has sent."""
    updates, _ = updates_of(tmp_path, [(f"{n:06}", str(n)) for n in range(70_000)])
    wire = Wire.of(("x",), IdType.PC_ID, SINGLE)
    for start in (0, 1, 65_535, 65_536, 69_999, 70_000):
        first = next(single_calls(updates, wire, 50, start), None)
        assert (first.position if first else 70_000) == start
    assert [u.position for u in updates.each(65_534, 65_537)] == [65_534, 65_535, 65_536, 65_537]
