"""The seam to the network."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from yarl import URL

from uploader.emulator import CallFaults, Emulator, EmulatorSettings, Faults
from uploader.errors import SettingsError
from uploader.model import SingleCall
from uploader.sending.outcomes import Answer
from uploader.sending.transport import Edge, EdgeAddress, may_carry_token

from .driving import large_batch
from .odd_edge import http, odd_edge

CALL = SingleCall(0, b"mbox3rdPartyId=a&profile.x=1")


def ask(url: str, call: SingleCall = CALL, timeout: float = 5.0, **address: Any) -> Answer:
    async def main() -> Answer:
        async with Edge(EdgeAddress(url, "demo", **address), 2, timeout) as edge:
            return await edge.single(call)

    return asyncio.run(main())


def answered(answer: bytes | None, **more: Any) -> tuple[Answer, list[bytes]]:
    async def main() -> tuple[Answer, list[bytes]]:
        async with (
            odd_edge(lambda *_: answer) as odd,
            Edge(EdgeAddress(odd.url, "demo", **more), 2, 5.0) as edge,
        ):
            return await edge.single(CALL), odd.requests

    return asyncio.run(main())


def test_the_token_goes_with_every_call_and_is_never_shown() -> None:
    """Not even by the address's repr."""
    address = EdgeAddress("https://demo.tt.omtrdc.net", "demo", "secret-token")
    assert "secret" not in repr(address)
    _, requests = answered(http(200), token=address.token)
    assert b"Authorization: Bearer secret-token\r\n" in requests[0]


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("http://demo.tt.omtrdc.net", "secret"),
        ("ftp://demo.tt.omtrdc.net", None),
        ("demo.tt.omtrdc.net", None),
        ("https://user:secret@demo.tt.omtrdc.net", None),
        ("http://[::1", None),
        ("https://demo.tt.omtrdc.net", "secret\nX-Other: 1"),
        ("https://demo.tt.omtrdc.net", "secret \N{LATIN SMALL LETTER E WITH ACUTE}"),
    ],
)
def test_an_address_that_would_leak_or_fail_is_refused(url: str, token: str | None) -> None:
    """Before anything is sent, and without saying the secret."""
    with pytest.raises(SettingsError) as raised:
        EdgeAddress(url, "demo", token)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://anything.example", True),
        ("http://localhost:1", True),
        ("http://127.0.0.3", True),
        ("http://[::1]:9", True),
        ("http://demo.tt.omtrdc.net", False),
        ("http://127.0.0.1.example.com", False),
    ],
)
def test_tokens_go_over_https_or_to_this_machine(url: str, may: bool) -> None:
    """Loopback by number, not by the look of a name."""
    assert may_carry_token(URL(url)) is may


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("100000", 900.0), ("inf", 900.0)]
    + [(text, None) for text in ("-3", "0", "nan", "soon", "Wed, 99 Foo 2020", "")],
)
def test_retry_after_is_read_within_bounds(header: str, seconds: float | None) -> None:
    """Nobody waits longer than a quarter of an hour, or for nonsense."""
    answer, _ = answered(http(503, headers=f"Retry-After: {header}\r\n"))
    assert answer.retry_after_seconds == seconds


def test_retry_after_may_be_a_date() -> None:
    """Relative to now."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=500), usegmt=True)
    answer, _ = answered(http(503, headers=f"Retry-After: {date}\r\n"))
    assert answer.retry_after_seconds is not None
    assert 300 < answer.retry_after_seconds <= 500


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (None, "closed before the answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhalf", None),
        (b"garbage\r\n\r\n", "no answer"),
    ],
)
def test_half_an_answer_is_none(answer: bytes | None, fault: str | None) -> None:
    """A connection that ends, in whichever way, is a fault in words."""

    async def main() -> Answer:
        sent = []

        def once(*_: object) -> bytes | None:
            sent.append(1)
            return answer if len(sent) == 1 else None

        async with odd_edge(once) as odd, Edge(EdgeAddress(odd.url, "demo"), 2, 0.5) as edge:
            return await edge.single(CALL)

    got = asyncio.run(main())
    assert got.status is None
    assert (fault or "no answer in time") in got.fault


def test_a_call_that_hangs_ends_in_time() -> None:
    """With words for it."""

    async def main() -> Answer:
        faults = Faults(single=CallFaults(rates={"hang": 1.0}))
        async with (
            Emulator(EmulatorSettings(faults=faults)) as emulator,
            Edge(EdgeAddress(emulator.url, "demo"), 2, 0.2) as edge,
        ):
            return await edge.single(CALL)

    assert asyncio.run(main()).fault == "no answer in time"


def test_nobody_there_is_an_answer_too() -> None:
    """Refused, or a name that nobody knows."""
    assert "refused" in ask("http://127.0.0.1:1").fault
    assert ask("https://no-such-host.invalid").status is None


def test_a_status_url_that_is_none_is_no_error() -> None:
    """The edge's word may be anything."""

    async def main() -> Answer:
        async with Edge(EdgeAddress("http://127.0.0.1:1", "demo"), 2, 1.0) as edge:
            return await edge.status("http://host:port/?batchId=1")

    assert asyncio.run(main()).status is None


def test_a_batch_goes_with_its_length_and_whole() -> None:
    """Streamed in pieces, though not in HTTP's chunks."""

    async def main() -> None:
        batch = large_batch(5_000_000)
        async with odd_edge(lambda *_: http(200)) as odd:
            async with Edge(EdgeAddress(odd.url, "demo"), 2, 5.0) as edge:
                answer = await edge.bulk(1, batch)
            head, _, body = odd.requests[0].partition(b"\r\n\r\n")
        assert answer.status == 200
        assert body == b"".join(batch.pieces)
        assert head.startswith(b"POST /m2/demo/profile/batchUpdate HTTP/1.1")
        assert b"chunked" not in head
        assert b"Content-Type: application/x-www-form-urlencoded" in head

    asyncio.run(main())


def test_large_files_get_time_to_be_sent() -> None:
    """50 MB at 100 kB/s, besides the ordinary timeout."""
    edge = Edge(EdgeAddress("https://demo.tt.omtrdc.net", "demo"), 2, 30.0)
    assert edge.batch_timeout(50_000_000) == 530
