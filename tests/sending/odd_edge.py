"""A server that answers as a test says, connection by connection."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable

ACCEPTED = b"<response><success>true</success><message>ok</message></response>"


def http(status: int, body: bytes = ACCEPTED, headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Words\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


class OddEdge:
    """Counts every request that it has read; *answer* gets the request and its number on the wire.

    ``None`` closes the connection without a word.
    """

    def __init__(self, answer: Callable[[bytes, int], bytes | None]) -> None:
        self._answer = answer
        self.requests: list[bytes] = []
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with (
            contextlib.closing(writer),
            contextlib.suppress(ConnectionError, asyncio.IncompleteReadError),
        ):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
                number += 1
                self.requests.append(head + body)
                answer = self._answer(head + body, number)
                if answer is None:
                    break
                writer.write(answer)

    async def end(self) -> None:
        """Close what is still open."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def odd_edge(answer: Callable[[bytes, int], bytes | None]) -> AsyncIterator[OddEdge]:
    """An :class:`OddEdge` on a free port."""
    edge = OddEdge(answer)
    server = await asyncio.start_server(edge.serve, "127.0.0.1", 0)
    async with server:
        edge.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield edge
        await edge.end()
