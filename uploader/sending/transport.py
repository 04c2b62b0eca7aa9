"""The one seam to the network: a call goes in, an :class:`Answer` comes out, never an error.

One keep-alive aiohttp session. Redirects are never followed, nothing is retried behind our
back, cookies are not kept, and the token goes only where :func:`may_carry_token` allows.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from yarl import URL

from uploader import __version__
from uploader.errors import SettingsError
from uploader.model import BatchCall, SingleCall
from uploader.sending.outcomes import Answer

# The content type of curl --data-binary, which the documentation uses.
_FORM: Final = "application/x-www-form-urlencoded"
_MAX_ANSWER_BYTES: Final = 1_000_000
_CONNECT_SECONDS: Final = 10.0
# A batch file gets time to be sent at this rate at least, besides the ordinary timeout.
_SLOWEST_UPLOAD: Final = 100_000
_MOST_RETRY_AFTER: Final = 900.0
# What a Bearer token may consist of (RFC 6750), and visible ASCII besides, to be lenient.
_TOKEN: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class EdgeAddress:
    """Where the edge is and how an account is named there."""

    base_url: str
    client_code: str
    token: str | None = field(default=None, repr=False)
    status_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an address that a token must not be sent to.

        Raises:
            SettingsError: it isn't http or https, or would carry the token in clear; or the
                token can't be sent at all.
        """
        url = _usable(self.base_url)
        if url is None or url.user is not None:
            message = (
                "the edge's address (UPLOADER_EDGE_URL) begins with https://, or with http:// for "
                "an emulator, and holds no user or password"
            )
            raise SettingsError(message)
        if self.token is None:
            return
        if not may_carry_token(url):
            message = (
                f"{url.origin()}: a token goes only over https; "
                "use an https address (UPLOADER_EDGE_URL), or no token"
            )
            raise SettingsError(message)
        if not _TOKEN.fullmatch(self.token):
            message = (
                "the token (UPLOADER_TOKEN) holds characters that no token has, such as spaces or "
                "line breaks; copy it again"
            )
            raise SettingsError(message)

    @property
    def single_url(self) -> str:
        """Where single updates go."""
        return f"{self._root}/m2/{self._code}/profile/update"

    def batch_url(self, version: int) -> str:
        """Where batch files go."""
        prefix = {1: "", 2: "v2/"}[version]
        return f"{self._root}/m2/{self._code}/{prefix}profile/batchUpdate"

    @property
    def _root(self) -> str:
        return self.base_url.rstrip("/")

    @property
    def _code(self) -> str:
        return str(URL.build(path=self.client_code).raw_path)


def _usable(text: str) -> URL | None:
    """*text* as a URL, as it is written; None where it is none of http or https."""
    try:
        url = URL(text, encoded=True)
        _ = url.port  # yarl looks at host and port only when asked
    except ValueError:
        return None
    return url if url.scheme in ("http", "https") and url.host else None


def may_carry_token(url: URL) -> bool:
    """Whether a token may go to *url*: over https, or to this very machine."""
    return url.scheme == "https" or is_loopback(url.host or "")


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine, by name or by number."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Edge:
    """The remote API, as far as the network goes."""

    def __init__(self, address: EdgeAddress, workers: int, timeout_seconds: float) -> None:
        """Use as a context manager; at most *workers* connections are held."""
        self.address = address
        self._workers = workers
        self._timeout = timeout_seconds
        self._session: aiohttp.ClientSession | None = None
        self._single_url = URL(address.single_url, encoded=True)

    async def __aenter__(self) -> Self:
        """Open the session; the first call opens the first connection."""
        # Freed memory of this size once keeps glibc from mapping and unmapping
        # asyncio's 256 KiB read buffer for every answer.
        bytes(4 << 20)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._workers + 4, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"uploader/{__version__}", "Accept-Encoding": "identity"},
        )
        # aiohttp sends a GET again by itself when a kept connection turns out to be
        # closed. That would be a call which the quota doesn't know of.
        self._session._retry_connection = False  # noqa: SLF001
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def batch_timeout(self, size_bytes: int) -> float:
        """Seconds that a batch file of this size may take."""
        return self._timeout + size_bytes / _SLOWEST_UPLOAD

    async def single(self, call: SingleCall) -> Answer:
        """Send one single update."""
        if call.in_url:
            url = URL(f"{self._single_url}?{call.payload.decode()}", encoded=True)
            return await self._ask("GET", url, self._timeout)
        return await self._ask("POST", self._single_url, self._timeout, call.payload)

    async def bulk(self, version: int, batch: BatchCall) -> Answer:
        """Send one batch file; an answer before all of it was sent is no answer."""
        pieces = _Pieces(batch.pieces)
        url = URL(self.address.batch_url(version), encoded=True)
        answer = await self._ask(
            "POST", url, self.batch_timeout(batch.size_bytes), pieces, batch.size_bytes
        )
        if answer.status is not None and not pieces.all_sent:
            fault = f"HTTP {answer.status} before the batch file was sent whole"
            return Answer(None, fault=fault, seconds=answer.seconds)
        return answer

    async def status(self, url: str) -> Answer:
        """Ask for a batch's status at *url*, which has been judged before."""
        there = _usable(url)
        if there is None:
            return Answer(None, fault="the batch's status URL can't be used")
        return await self._ask("GET", there, self._timeout)

    async def _ask(
        self,
        method: str,
        url: URL,
        timeout_seconds: float,
        data: Any = None,
        size_bytes: int | None = None,
    ) -> Answer:
        if self._session is None:
            message = "an Edge is used as a context manager"
            raise RuntimeError(message)
        headers = {"Content-Type": _FORM} if data is not None else {}
        if size_bytes is not None:
            headers["Content-Length"] = str(size_bytes)
        if self.address.token is not None and may_carry_token(url):
            headers["Authorization"] = f"Bearer {self.address.token}"
        started = time.monotonic()
        try:
            async with self._session.request(
                method,
                url,
                data=data,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=timeout_seconds,
                    sock_connect=_CONNECT_SECONDS,
                    ceil_threshold=math.inf,  # or aiohttp grants up to a second more
                ),
            ) as response:
                body = await _body(response.content)
                pause = _retry_after(response.headers.get("Retry-After"))
                return Answer(response.status, body, pause, seconds=time.monotonic() - started)
        except (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            return Answer(None, fault=_fault(error), seconds=time.monotonic() - started)


class _Pieces:
    """A body in pieces, which knows whether all of them were taken."""

    def __init__(self, pieces: tuple[bytes, ...]) -> None:
        self._pieces = pieces
        self.all_sent = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        last = len(self._pieces) - 1
        for index, piece in enumerate(self._pieces):
            # The edge may answer before the writer asks for more than the last piece.
            self.all_sent = index == last
            yield piece


async def _body(content: aiohttp.StreamReader) -> bytes:
    """All of a short answer; of a long one as much as will show that it can't be read."""
    body = await content.read(_MAX_ANSWER_BYTES)
    while not content.at_eof() and len(body) < _MAX_ANSWER_BYTES:
        body += await content.read(_MAX_ANSWER_BYTES)
    return body


def _retry_after(text: str | None) -> float | None:
    """Seconds, from a number or a date; what makes no sense is ignored."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    if not seconds > 0:
        return None
    return min(seconds, _MOST_RETRY_AFTER)


_FAULTS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (TimeoutError, "no answer in time"),
    (aiohttp.ClientConnectorDNSError, "the edge's name can't be resolved"),
    (aiohttp.ClientConnectorCertificateError, "the TLS connection failed"),
    (aiohttp.ClientSSLError, "the TLS connection failed"),
    (aiohttp.ClientConnectorError, "the connection was refused"),
    (aiohttp.ClientPayloadError, "the answer was cut short"),
    (aiohttp.ServerDisconnectedError, "the connection was closed before the answer"),
    (ConnectionError, "the connection was closed before the answer"),
)


def _fault(error: BaseException) -> str:
    """What went wrong, in words that hold nothing of what was sent."""
    for kind, words in _FAULTS:
        if isinstance(error, kind):
            return words
    return f"no answer ({type(error).__name__})"
