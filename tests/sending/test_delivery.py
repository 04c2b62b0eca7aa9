"""What becomes of calls when the edge has a bad day."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from uploader.emulator import CallFaults, Emulator, Faults
from uploader.errors import StoppedBy
from uploader.model import BatchState, Reason, SingleCall, Unsendable
from uploader.sending.retries import Backoff
from uploader.sending.stopping import Stop

from .driving import Habits, batch_calls, large_batch, send, single_calls, to_emulator, until
from .odd_edge import http, odd_edge

A_FIFTH = dict.fromkeys(("503", "429", "reset_before", "reset_after", "cut_body"), 0.04)
OLD_TOKEN = "old-token"
IDS = [f"c{position}" for position in range(1_000)]


@pytest.mark.parametrize("in_url", [False, True], ids=["POST", "GET"])
def test_everything_arrives_though_a_fifth_of_the_calls_fail(tmp_path: Path, in_url: bool) -> None:
    """And the calls that we count are the calls that the edge saw."""
    faults = Faults(seed=3, single=CallFaults(rates=A_FIFTH))
    calls = single_calls(600, in_url=in_url)
    sent = to_emulator(tmp_path, calls, faults=faults, known_third_party_ids=IDS)
    assert sent.reason is None
    assert (sent.delivered, sent.dead) == (600, [])
    assert sent.calls.single == sent.stats["calls"]["single"] == sent.counted["single"] > 650
    assert sent.calls.retries == sent.calls.single - 600
    assert sent.stats["updates_applied"] >= 600


def test_every_batch_arrives_though_a_fifth_of_the_calls_fail(tmp_path: Path) -> None:
    """Each is accepted once in the journal, and counted as often as the edge saw it."""
    faults = Faults(seed=1, bulk=CallFaults(rates=A_FIFTH))
    sent = to_emulator(tmp_path, batch_calls(40), Habits(2, workers=3), faults=faults)
    assert [batch.state for batch in sent.batches] == [BatchState.INCOMPLETE] * 40
    assert sent.calls.bulk == sent.stats["calls"]["bulk"] == sent.counted["bulk"] > 40
    assert sent.calls.retries == sent.calls.bulk - 40


@pytest.mark.parametrize("kind", ["401", "403"])
def test_refused_credentials_stop_the_run_and_bury_nothing(tmp_path: Path, kind: str) -> None:
    """After a handful of calls."""
    faults = Faults(single=CallFaults(rates={kind: 1.0}))
    sent = to_emulator(tmp_path, single_calls(500), Habits(most_attempts=1), faults=faults)
    assert (sent.reason, sent.outcomes) == ("credentials", [])
    assert sent.stats["calls"]["single"] < 30


def test_a_token_that_dies_on_the_way_stops_the_run(tmp_path: Path) -> None:
    """What was delivered before stays delivered; nothing is buried."""

    async def kill_it(_: Stop, emulator: Emulator) -> None:
        await until(lambda: emulator.stats()["updates_applied"] >= 100)
        emulator.set_token("another")

    sent = to_emulator(
        tmp_path,
        single_calls(5_000),
        Habits(token=OLD_TOKEN, most_attempts=4),
        kill_it,
        token=OLD_TOKEN,
        known_third_party_ids=[f"c{n}" for n in range(5_000)],
        faults=Faults(single=CallFaults(latency_seconds=0.002)),
    )
    assert sent.reason == "credentials"
    assert sent.dead == []
    assert 100 <= sent.delivered < 5_000
    assert OLD_TOKEN not in sent.message


def test_one_denied_row_is_buried_once_others_got_through(tmp_path: Path) -> None:
    """A firewall's rule about one id is not about the credentials."""

    def answer(request: bytes, _: int) -> bytes:
        return http(403) if b"mbox3rdPartyId=c7&" in request else http(200)

    async def main() -> None:
        async with odd_edge(answer) as edge:
            sent = await send(tmp_path, edge.url, single_calls(3_000), Habits(most_attempts=3))
        assert sent.reason is None
        assert sent.delivered == 2_999
        assert [(item.first, item.reason, item.attempts) for item in sent.dead] == [
            (7, Reason.REFUSED, 3)
        ]

    asyncio.run(main())


def test_denied_rows_at_the_end_are_not_taken_for_lost_credentials(tmp_path: Path) -> None:
    """Nine denials in a row, but of rows that others overtook."""

    def answer(request: bytes, _: int) -> bytes:
        return http(403 if request[-1:] in b"012" else 200)

    async def main() -> None:
        habits = Habits(workers=1, most_attempts=4, backoff=Backoff(0.3, 0.3))
        async with odd_edge(answer) as edge:
            sent = await send(tmp_path, edge.url, single_calls(10), habits)
        assert sent.reason is None
        assert sorted(item.first for item in sent.dead) == [0, 1, 2]

    asyncio.run(main())


def test_a_redirect_stops_the_run_and_is_not_followed(tmp_path: Path) -> None:
    """Neither a body nor a token goes to another address."""
    seen = []

    def answer(request: bytes, _: int) -> bytes:
        seen.append(request.split()[1])
        return http(302, headers="Location: /elsewhere\r\n")

    async def main() -> None:
        async with odd_edge(answer) as edge:
            sent = await send(tmp_path, edge.url, single_calls(100), Habits(token=OLD_TOKEN))
        assert (sent.reason, sent.outcomes) == ("redirect", [])
        assert set(seen) == {b"/m2/demo/profile/update"}

    asyncio.run(main())


def test_fifty_refusals_without_a_success_stop_the_run(tmp_path: Path) -> None:
    """Not the rows are wrong then, the run is."""
    faults = Faults(single=CallFaults(rates={"refuse": 1.0}))
    sent = to_emulator(tmp_path, single_calls(500), faults=faults)
    assert (sent.reason, sent.outcomes) == ("refused", [])
    assert sent.stats["calls"]["single"] < 70


def test_refusals_are_believed_once_something_was_accepted(tmp_path: Path) -> None:
    """Also those that came before it."""
    refused = frozenset(IDS[:45] + IDS[100:160])
    sent = to_emulator(tmp_path, single_calls(300), faults=Faults(refuse_ids=refused))
    assert sent.reason is None
    assert sorted(item.first for item in sent.dead) == [*range(45), *range(100, 160)]
    assert {item.reason for item in sent.dead} == {Reason.REFUSED}
    assert sent.delivered == 195


def test_a_few_refusals_are_dead_letters_even_without_a_success(tmp_path: Path) -> None:
    """A run of three bad rows ends."""
    faults = Faults(single=CallFaults(rates={"refuse": 1.0}))
    sent = to_emulator(tmp_path, single_calls(3), faults=faults)
    assert sent.reason is None
    assert [item.first for item in sent.dead] == [0, 1, 2]


def test_a_row_that_always_fails_is_buried_when_others_overtake_it(tmp_path: Path) -> None:
    """After so many attempts, all of them counted."""

    def answer(request: bytes, _: int) -> bytes:
        return http(500) if b"mbox3rdPartyId=c7&" in request else http(200)

    async def main() -> None:
        async with odd_edge(answer) as edge:
            sent = await send(tmp_path, edge.url, single_calls(3_000), Habits(most_attempts=4))
            assert len(edge.requests) == sent.calls.single == 3_003
        assert [(item.reason, item.attempts) for item in sent.dead] == [
            (Reason.RETRIES_EXHAUSTED, 4)
        ]

    asyncio.run(main())


def test_an_edge_that_is_gone_stops_the_run_and_keeps_everything(tmp_path: Path) -> None:
    """While nothing gets through, calls are rare."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    habits = Habits(outage_after=0.5, most_attempts=1)
    sent = asyncio.run(send(tmp_path, url, single_calls(2_000), habits))
    assert (sent.reason, sent.outcomes) == ("edge_down", [])
    assert 20 <= sent.calls.single < 40
    assert sent.counted["single"] == sent.calls.single


def test_a_run_outlives_an_outage_without_a_dead_letter(tmp_path: Path) -> None:
    """Although each update may fail but once while others get through."""
    faults = Faults(single=CallFaults(next_calls=(("503", 23),)))
    sent = to_emulator(
        tmp_path, single_calls(300), Habits(workers=4, most_attempts=1), faults=faults
    )
    assert sent.reason is None
    assert (sent.delivered, sent.dead) == (300, [])
    assert sent.calls.single == sent.stats["calls"]["single"] == 323


def test_updates_that_no_call_can_carry_are_buried_unsent(tmp_path: Path) -> None:
    """Wherever they stand among the others."""
    calls: list[SingleCall | Unsendable] = list(single_calls(20))
    calls[0] = Unsendable(0, Reason.NO_ATTRIBUTES, "nothing")
    calls[10:20] = [Unsendable(n, Reason.BODY_TOO_LARGE, "large") for n in range(10, 20)]
    sent = to_emulator(tmp_path, calls)
    assert sent.delivered == sent.stats["calls"]["single"] == 9
    assert sorted((item.first, item.attempts) for item in sent.dead) == [
        (n, 0) for n in (0, *range(10, 20))
    ]


def test_a_refused_batch_is_buried_with_the_edges_words(tmp_path: Path) -> None:
    """And only that one."""
    faults = Faults(refuse_batch_ids=frozenset({"c7"}))
    sent = to_emulator(tmp_path, batch_calls(3), Habits(1), faults=faults)
    states = [batch.state for batch in sent.batches]
    assert states == [BatchState.INCOMPLETE, BatchState.REFUSED, BatchState.INCOMPLETE]
    assert "Batch refused" in sent.batches[1].detail


def test_an_early_answer_to_a_large_batch_is_no_answer(tmp_path: Path) -> None:
    """A 413 before the body's end says nothing about the batch; the next attempt delivers it."""
    faults = Faults(bulk=CallFaults(next_calls=(("early_413", 2), ("early_503", 1))))
    batch = large_batch(30_000_000)
    sent = to_emulator(tmp_path, [batch], Habits(2, workers=1), faults=faults)
    assert [(item.state, item.attempts) for item in sent.batches] == [(BatchState.INCOMPLETE, 4)]
    assert sent.stats["batches"][0]["bytes"] == batch.size_bytes
    assert sent.calls.bulk == sent.stats["calls"]["bulk"] == 4


def test_an_accepted_batch_without_a_status_url_is_buried(tmp_path: Path) -> None:
    """There would be nowhere to ask what became of it."""

    async def main() -> None:
        async with odd_edge(lambda *_: http(200)) as edge:
            sent = await send(tmp_path, edge.url, batch_calls(1), Habits(2))
        assert [batch.state for batch in sent.batches] == [BatchState.REFUSED]
        assert "no batchStatus URL" in sent.batches[0].detail

    asyncio.run(main())


@pytest.mark.parametrize("in_url", [False, True], ids=["POST", "GET"])
def test_no_call_is_repeated_behind_our_back(tmp_path: Path, in_url: bool) -> None:
    """A kept connection that turns out to be closed costs an attempt that is counted."""

    def answer(_: bytes, number: int) -> bytes | None:
        return http(200) if number == 1 else None

    async def main() -> None:
        async with odd_edge(answer) as edge:
            calls = single_calls(20, in_url=in_url)
            sent = await send(tmp_path, edge.url, calls, Habits(workers=2))
            assert sent.delivered == 20
            assert len(edge.requests) == sent.calls.single == sent.counted["single"] > 20

    asyncio.run(main())


def test_a_pause_that_the_edge_asks_for_is_kept_by_all_batches(tmp_path: Path) -> None:
    """One 503 with Retry-After is about all calls of the account, whatever else succeeds."""
    asked = []

    def answer(request: bytes, _: int) -> bytes:
        asked.append(request)
        return http(503, headers="Retry-After: 600\r\n")

    async def main() -> None:
        async with odd_edge(answer) as edge:

            async def stop_soon(stop: Stop) -> None:
                await until(lambda: asked)
                await asyncio.sleep(0.3)
                stop.request(StoppedBy.SIGNAL, "enough")

            habits = Habits(2, workers=1, most_waiting=10)
            sent = await send(tmp_path, edge.url, batch_calls(5), habits, stop_soon)
        assert (sent.calls.bulk, sent.batches) == (1, [])

    asyncio.run(main())
