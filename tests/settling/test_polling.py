"""Following batches, and reading what the edge says of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.model import Batch, BatchState
from uploader.settling.polling import Status, follow, read_status, status_url, with_status

INCOMPLETE, COMPLETE = Status(BatchState.INCOMPLETE), Status(BatchState.COMPLETE, successful=10)


def batch(number: int) -> Batch:
    return Batch(number, 0, 9, 10, 500, BatchState.INCOMPLETE)


class FakeTime:
    """Time that passes only in sleep; the stop comes at *stop_at*."""

    def __init__(self, stop_at: float = 1e9) -> None:
        self.seconds = 0.0
        self._stop_at = stop_at

    def __call__(self) -> float:
        return self.seconds

    @property
    def requested(self) -> bool:
        return self.seconds >= self._stop_at

    async def sleep(self, seconds: float) -> None:
        self.seconds = min(self.seconds + seconds, self._stop_at)


def followed(
    answer: Callable[[int, float], Status | None],
    count: int = 1,
    wait: float = 3_600.0,
    stop_at: float = 1e9,
) -> tuple[int, list[float], list[Batch]]:
    """What is left, when was asked, and which batches ended."""
    time = FakeTime(stop_at)
    asked: list[float] = []
    ended: list[Batch] = []

    async def ask(of: Batch) -> Status | None:
        asked.append(time.seconds)
        return answer(of.number, time.seconds)

    batches = [batch(number) for number in range(count)]
    left = asyncio.run(follow(batches, ask, ended.append, time, wait, time))
    return left, asked, ended


def test_questions_begin_after_a_second_and_grow_rare() -> None:
    """Up to a minute; each pause at most doubles."""
    _, asked, _ = followed(lambda *_: INCOMPLETE)
    pauses = [b - a for a, b in zip([0.0, *asked], asked, strict=False)]
    assert pauses[0] == 1
    assert all(a < b <= 2 * a for a, b in pairwise(pauses[:9]))
    assert pauses[12] == 60
    assert len(asked) < 80


def test_the_last_question_comes_when_the_wait_ends() -> None:
    """Not a minute before it, and none after it."""
    left, asked, _ = followed(lambda *_: INCOMPLETE, count=3, wait=100)
    assert left == 3
    assert asked[-3:] == [100, 100, 100]
    assert followed(lambda *_: INCOMPLETE, wait=0.5)[1] == [0.5]


def test_without_a_wait_each_is_asked_for_once_and_now() -> None:
    """As a later run does it for its elders."""
    left, asked, ended = followed(lambda n, _: COMPLETE if n else INCOMPLETE, count=3, wait=0)
    assert (left, asked, len(ended)) == (1, [0, 0, 0], 2)


def test_each_batch_ends_once_and_at_its_own_time() -> None:
    """Whatever the others do."""
    left, _, ended = followed(lambda n, t: COMPLETE if t > 10 * n else INCOMPLETE, count=5)
    assert left == 0
    assert [item.number for item in ended] == [0, 1, 2, 3, 4]
    assert {item.state for item in ended} == {BatchState.COMPLETE}


def test_no_readable_answer_is_no_end() -> None:
    """The batch is asked for again."""
    left, asked, ended = followed(lambda _, t: COMPLETE if t > 30 else None)
    assert (left, len(ended)) == (0, 1)
    assert len(asked) > 3


def test_a_stop_ends_the_questions() -> None:
    """Those not known to be over are still on their way."""
    left, asked, _ = followed(lambda *_: INCOMPLETE, count=2, stop_at=20)
    assert left == 2
    assert max(asked) < 20


def test_a_stuck_batch_is_at_its_end() -> None:
    """And says so."""
    left, _, (ended,) = followed(lambda *_: Status(BatchState.STUCK))
    assert (left, ended.state) == (0, BatchState.STUCK)
    assert "will not finish" in ended.detail


def test_more_failures_than_rows_are_all_of_them() -> None:
    """Or the books could never balance."""
    assert with_status(batch(1), Status(BatchState.COMPLETE, failed=99)).failed == 10


DETAILS = (
    "<batchSize>10</batchSize><consumedCount>10</consumedCount><successfulUpdates>7"
    "</successfulUpdates><profilesNotFound>2</profilesNotFound><failedUpdates>1</failedUpdates>"
)


@pytest.mark.parametrize(
    ("inside", "status"),
    [
        (f"<batchId>x</batchId><status>complete</status>{DETAILS}",
         Status(BatchState.COMPLETE, 7, 1, 2)),
        ("<status> Complete </status>", Status(BatchState.COMPLETE)),
        ("<status>incomplete</status>", Status(BatchState.INCOMPLETE)),
        ("<status>stuck</status><!-- sorry -->", Status(BatchState.STUCK)),
        ("<status>refused</status>", None),
        ("<status>done</status>", None),
        ("<status/>", None),
        ("<status>complete</status><failedUpdates>1,000</failedUpdates>", None),
        ("<status>complete</status><failedUpdates>-1</failedUpdates>", None),
        ("<status>complete</status><profile><id>a</id><status>failed</status></profile>", None),
        ("<profile><id>a</id><status>success</status></profile>", None),
        ("<data><profile><id>a</id></profile></data><status>complete</status>", None),
        ("<success>false</success><message>Batch not found</message>", None),
    ],
)  # fmt: skip
def test_a_status_is_what_is_documented_or_none(inside: str, status: Status | None) -> None:
    """What can't be read as such must not pass for a batch without failures."""
    assert read_status(f"<response>{inside}</response>".encode()) == status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"complete",
        b'{"status": "complete"}',
        b'<!DOCTYPE r [<!ENTITY s "complete">]><response><status>&s;</status></response>',
        b'<?xml version="1.0" encoding="utf-7"?><response><status>complete</status></response>',
        "<response><status>complete</status></response>".encode("utf-16"),
        b"<response><status>complete</status>",
    ],
)
def test_other_documents_are_no_status(body: bytes) -> None:
    """Reading never raises."""
    assert read_status(body) is None


@given(st.binary(max_size=100))
def test_no_body_is_too_odd(body: bytes) -> None:
    """It's a status or none."""
    read_status(body)


EDGE = "https://demo.tt.omtrdc.net"
LOCAL = "http://127.0.0.1:8000"
PATH = "/m2/demo/profile/batchStatus?batchId=demo-1"
ASKED = PATH + "&showDetails=true"


@pytest.mark.parametrize(
    ("given_url", "edge", "asked", "refused"),
    [
        (f"http://mboxedge45.tt.omtrdc.net{PATH}", EDGE,
         f"https://mboxedge45.tt.omtrdc.net{ASKED}", None),
        (f"http://mboxedge45.tt.omtrdc.net:80{PATH}", EDGE,
         f"https://mboxedge45.tt.omtrdc.net{ASKED}", None),
        (f"HTTP://DEMO.TT.OMTRDC.NET{PATH}", EDGE, EDGE + ASKED, None),
        (f"http://user:word@mboxedge45.tt.omtrdc.net{PATH}", EDGE,
         f"https://mboxedge45.tt.omtrdc.net{ASKED}", None),
        (f"{EDGE}{PATH}&showDetails=false", EDGE, f"{EDGE}{PATH}&showDetails=false", None),
        (f"https://evil.example{PATH}", EDGE, EDGE + ASKED, "evil.example"),
        (f"https://evil-tt.omtrdc.net{PATH}", EDGE, EDGE + ASKED, "evil-tt.omtrdc.net"),
        (f"https://x.tt.omtrdc.net.evil.example{PATH}", EDGE, EDGE + ASKED,
         "x.tt.omtrdc.net.evil.example"),
        (f"https://x.tt.omtrdc.net@evil.example{PATH}", EDGE, EDGE + ASKED, "evil.example"),
        (f"http://localhost:9{PATH}", EDGE, EDGE + ASKED, "localhost"),
        (f"ftp://demo.tt.omtrdc.net{PATH}", EDGE, EDGE + ASKED, "demo.tt.omtrdc.net"),
        (PATH, EDGE, EDGE + ASKED, "no host"),
        (f"http://host:port{PATH}", EDGE, EDGE + ASKED, "no host"),
        (f"http://[::1{PATH}", EDGE, EDGE + ASKED, "no host"),
        (f"{LOCAL}{PATH}", LOCAL, LOCAL + ASKED, None),
        (f"http://127.0.0.1:9{PATH}", LOCAL, LOCAL + ASKED, "127.0.0.1"),
        (f"http://mboxedge45.tt.omtrdc.net{PATH}", LOCAL, LOCAL + ASKED,
         "mboxedge45.tt.omtrdc.net"),
        (f"http://status.example:81{PATH}", LOCAL, f"http://status.example:81{ASKED}", None),
        (f"https://proxy.example:443{PATH}", "https://proxy.example",
         f"https://proxy.example{ASKED}", None),
    ],
)  # fmt: skip
def test_status_urls_are_followed_only_where_a_token_may_go(
    given_url: str, edge: str, asked: str, refused: str | None
) -> None:
    """The edge's host, Adobe's domain from Adobe's domain, hosts that were named."""
    assert status_url(given_url, edge, ["Status.Example"]) == (asked, refused)
