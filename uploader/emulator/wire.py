"""Reading bodies within bounds, and ending connections as faults do."""

from __future__ import annotations

import asyncio
import socket
import struct
from http import HTTPStatus

from aiohttp import web

from .answers import Answer

HANG_CHECK_SECONDS = 0.1  # ours: how soon a hanging call notices that its client has gone
EARLY_CLOSE_SECONDS = 0.1  # ours: time for an early answer to arrive before the close


Body = bytes | bytearray
"""A request's body; large ones stay in the buffer they were read into."""


class Abandoned(web.Response):
    """Stands for an answer that went another way or not at all; sends nothing."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send no header."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Send no body."""

    @property
    def keep_alive(self) -> bool | None:
        """The connection is over."""
        return False


async def read_body(request: web.BaseRequest, limit: int) -> Body | None:
    """The whole body, or None if it has more than *limit* bytes.

    What is too long is read to its end and dropped, so that the answer reaches a
    client that sends everything before it reads.
    """
    if not request.can_read_body:
        return b""
    content = request.content
    body: Body = await content.readany()
    if content.at_eof():
        return body if len(body) <= limit else None
    # Growing in place: joining 50 MB at the end would hold up the loop.
    body = bytearray(body)
    fits = True
    while part := await content.readany():
        fits = fits and len(body) + len(part) <= limit
        if fits:
            body += part
    return body if fits and len(body) <= limit else None


def to_response(answer: Answer) -> web.Response:
    """*answer* as aiohttp sends it."""
    headers = {"Content-Type": answer.content_type}
    if answer.location is not None:
        headers["Location"] = answer.location
    if answer.retry_after_seconds is not None:
        headers["Retry-After"] = f"{answer.retry_after_seconds:g}"
    return web.Response(status=answer.status, body=answer.body, headers=headers)


def reset(request: web.BaseRequest) -> web.StreamResponse:
    """End the connection so that the client sees RST, not an orderly end."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        linger = struct.pack("ii", 1, 0)  # on, for no time: closing sends RST
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    return Abandoned()


def send_cut(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Announce the whole of *answer*, send half of its body, and close."""
    _write_and_close(request, answer, answer.body[: len(answer.body) // 2])
    return Abandoned()


async def send_early(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Send *answer* without having read the body, then close under the client's hands."""
    transport = request.transport
    if transport is not None:
        transport.write(_head(answer) + answer.body)
        await asyncio.sleep(EARLY_CLOSE_SECONDS)
        transport.close()
    return Abandoned()


async def hang(request: web.BaseRequest, stopping: asyncio.Event) -> web.StreamResponse:
    """Say nothing until the client gives up or the emulator stops."""
    while not stopping.is_set() and request.transport is not None:
        if request.transport.is_closing():
            break
        await asyncio.sleep(HANG_CHECK_SECONDS)
    if request.transport is not None:
        request.transport.close()
    return Abandoned()


def _write_and_close(request: web.BaseRequest, answer: Answer, body: bytes) -> None:
    transport = request.transport
    if transport is not None:
        transport.write(_head(answer) + body)
        transport.close()


def _head(answer: Answer) -> bytes:
    phrase = HTTPStatus(answer.status).phrase
    return (
        f"HTTP/1.1 {answer.status} {phrase}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
    ).encode("ascii")
