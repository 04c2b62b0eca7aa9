"""Following batch files until they are complete or stuck."""

from __future__ import annotations

import heapq
import time
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol
from urllib.parse import urlsplit, urlunsplit

from uploader.limits import EDGE_DOMAIN
from uploader.model import Batch, BatchState

_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 60.0
_GROWTH: Final = 1.6


@dataclass(frozen=True)
class Status:
    """What a status answer says of a batch; counts are 0 where it doesn't give them."""

    state: BatchState
    successful: int = 0
    failed: int = 0
    not_found: int = 0


class Sleeper(Protocol):
    """Something to wait on that a stop cuts short."""

    @property
    def requested(self) -> bool:
        """Whether a stop was asked for."""

    async def sleep(self, seconds: float) -> None:
        """Sleep, at most so long."""


def read_status(body: bytes) -> Status | None:
    """The documented XML (``showDetails=true``), or None where it can't be read as one."""
    if b"<!" in body:
        return None
    try:
        root = ET.fromstring(body)  # noqa: S314: no DTD gets here, so no entity can grow
    except ET.ParseError:
        return None
    try:
        state = BatchState((root.findtext("status") or "").strip().lower())
    except ValueError:
        return None
    if state is BatchState.REFUSED:
        return None  # our own word, not the API's

    def count(tag: str) -> int:
        text = (root.findtext(tag) or "").strip()
        return int(text) if text.isdecimal() else 0

    return Status(
        state, count("successfulUpdates"), count("failedUpdates"), count("profilesNotFound")
    )


async def follow(
    batches: Sequence[Batch],
    ask: Callable[[Batch], Awaitable[Status | None]],
    ended: Callable[[Batch], None],
    stop: Sleeper,
    wait_seconds: float,
    now: Callable[[], float] = time.monotonic,
) -> int:
    """Ask for each of *batches* until it is complete or stuck, at most *wait_seconds* long.

    The first question comes after a second, the pauses grow to a minute. *ended* hears of
    each batch that has come to its end. With *wait_seconds* 0, each is asked for once.
    Returns how many are still incomplete.
    """
    begun = now()
    first = _FIRST_PAUSE_SECONDS if wait_seconds else 0.0
    due = [(begun + first, index, first or _FIRST_PAUSE_SECONDS) for index in range(len(batches))]
    heapq.heapify(due)
    left = len(batches)
    while due and not stop.requested:
        at, index, pause = heapq.heappop(due)
        if wait_seconds and at > begun + wait_seconds:
            break
        if at > now():
            await stop.sleep(at - now())
            if stop.requested:
                break
        batch = batches[index]
        status = await ask(batch)
        if status is not None and status.state is not BatchState.INCOMPLETE:
            left -= 1
            ended(with_status(batch, status))
        elif wait_seconds:
            pause = min(pause * _GROWTH, _LONGEST_PAUSE_SECONDS)
            heapq.heappush(due, (now() + pause, index, pause))
    return left


def with_status(batch: Batch, status: Status) -> Batch:
    """*batch* at its end. More failures than rows are no more than all of them."""
    return replace(
        batch,
        state=status.state,
        successful=status.successful,
        failed=min(status.failed, batch.rows),
        not_found=status.not_found,
        detail="the edge will not finish this batch" if status.state is BatchState.STUCK else "",
    )


def status_url(given: str, edge_url: str, allowed_hosts: Sequence[str]) -> tuple[str, str | None]:
    """Where to ask for a batch whose status URL is *given*, with details asked for.

    The edge's own host is followed; for an edge in Adobe's domain any host there; hosts
    in *allowed_hosts*. For any other, path and query are asked at the edge itself. http
    is raised to https where the edge is https. The second value names a host that was
    not followed.
    """
    there, edge = urlsplit(given), urlsplit(edge_url)
    host, edge_host = (there.hostname or "").lower(), (edge.hostname or "").lower()
    in_domain = edge_host.endswith("." + EDGE_DOMAIN) and host.endswith("." + EDGE_DOMAIN)
    followed = host in {name.lower() for name in allowed_hosts} or in_domain
    query = there.query if "showDetails=" in there.query else f"{there.query}&showDetails=true"
    if there.netloc.lower() == edge.netloc.lower() or (followed and there.scheme in _SCHEMES):
        scheme = "https" if edge.scheme == "https" else there.scheme
        return urlunsplit((scheme, there.netloc, there.path, query, "")), None
    return urlunsplit((edge.scheme, edge.netloc, there.path, query, "")), (host or given[:40])


_SCHEMES: Final = ("http", "https")
