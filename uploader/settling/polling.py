"""Following batch files until they are complete or stuck."""

from __future__ import annotations

import heapq
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol
from urllib.parse import SplitResult, urlsplit, urlunsplit

from uploader.limits import EDGE_DOMAIN
from uploader.markup import parse_xml
from uploader.model import Batch, BatchState

_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 60.0
_GROWTH: Final = 1.6

# The API's words; "refused" is only ours.
_STATES: Final = {
    state.value: state for state in (BatchState.INCOMPLETE, BatchState.COMPLETE, BatchState.STUCK)
}
_COUNTS: Final = ("successfulUpdates", "failedUpdates", "profilesNotFound")
_SCHEMES: Final = ("http", "https")
_DEFAULT_PORTS: Final = (None, 80, 443)


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
    """The documented XML (``showDetails=true``), or None where it can't be read as such.

    Older answers tell of single profiles; what they leave out (which profiles succeeded, how
    many failed) must not pass for zero, so they are None too.
    """
    root = parse_xml(body)
    if root is None or root.find(".//profile") is not None:
        return None
    state = _STATES.get((root.findtext("status") or "").strip().lower())
    if state is None:
        return None
    try:
        counts = [_count(root.findtext(tag)) for tag in _COUNTS]
    except ValueError:
        return None
    return Status(state, *counts)


def _count(text: str | None) -> int:
    """A number from an answer; 0 where there is none.

    Raises:
        ValueError: something else stands there.
    """
    if text is None or not text.strip():
        return 0
    if not text.strip().isdecimal():
        message = "not a number"
        raise ValueError(message)
    return int(text)


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
    end = begun + wait_seconds
    first = _FIRST_PAUSE_SECONDS if wait_seconds else 0.0
    due = [(min(begun + first, end), index, _FIRST_PAUSE_SECONDS) for index in range(len(batches))]
    left = len(batches)
    while due and not stop.requested:
        at, index, pause = due[0]
        if at > now():
            await stop.sleep(at - now())
            continue
        heapq.heappop(due)
        batch = batches[index]
        status = await ask(batch)
        if status is not None and status.state is not BatchState.INCOMPLETE:
            left -= 1
            ended(with_status(batch, status))
        elif now() < end:
            # The last question comes at the end of the wait, however long the pause has grown.
            pause = min(pause * _GROWTH, _LONGEST_PAUSE_SECONDS)
            heapq.heappush(due, (min(now() + pause, end), index, pause))
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
    edge = urlsplit(edge_url)
    there, host, port = _taken_apart(given)
    query = there.query if "showDetails=" in there.query else f"{there.query}&showDetails=true"
    if not _is_followed(there.scheme, host, port, edge, allowed_hosts):
        return urlunsplit((edge.scheme, edge.netloc, there.path, query, "")), host or "no host"
    scheme = "https" if edge.scheme == "https" else there.scheme
    # Put together anew: without user and password, and without the port of a scheme left behind.
    name = f"[{host}]" if ":" in host else host
    netloc = name if port in _DEFAULT_PORTS else f"{name}:{port}"
    return urlunsplit((scheme, netloc, there.path, query, "")), None


def _taken_apart(given: str) -> tuple[SplitResult, str, int | None]:
    try:
        there = urlsplit(given)
        return there, (there.hostname or "").lower(), there.port
    except ValueError:  # such as a port that is no number: keep what the edge itself may know
        _, _, rest = given.partition("//")
        path, _, query = rest.partition("/")[2].partition("?")
        return SplitResult("", "", f"/{path}", query, ""), "", None


def _is_followed(
    scheme: str, host: str, port: int | None, edge: SplitResult, allowed_hosts: Sequence[str]
) -> bool:
    if scheme not in _SCHEMES or not host:
        return False
    edge_host = (edge.hostname or "").lower()
    same_port = port == edge.port or (port in _DEFAULT_PORTS and edge.port in _DEFAULT_PORTS)
    domain = "." + EDGE_DOMAIN
    return (
        (host == edge_host and same_port)
        or (host.endswith(domain) and edge_host.endswith(domain))
        or host in {name.lower() for name in allowed_hosts}
    )
