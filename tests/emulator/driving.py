"""Talk to an emulator as a careless client would: real sockets, no code of ours between."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from uploader.emulator import Emulator, EmulatorSettings

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class FakeClock:
    """Time that moves when the test says so."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """An emulator and an HTTP session at it."""

    def __init__(self, emulator: Emulator, session: aiohttp.ClientSession) -> None:
        self.emulator = emulator
        self.session = session

    async def call(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, str]:
        """Status and text; the path goes out exactly as written."""
        url = URL(self.emulator.url + path, encoded=True)
        data = None if body is None else io.BytesIO(body)  # large bytes would be warned about
        async with self.session.request(
            method, url, data=data, headers={**FORM, **headers}, allow_redirects=False
        ) as answer:
            return answer.status, await answer.text()

    async def update(self, form: str, **headers: str) -> tuple[int, str]:
        return await self.call("POST", "/m2/demo/profile/update", form.encode(), **headers)

    async def submit(self, rows: str | bytes, version: int = 2) -> tuple[int, str]:
        """Submit a batch file; the status and text of the answer."""
        path = "/m2/demo/v2/profile/batchUpdate" if version == 2 else "/m2/demo/profile/batchUpdate"
        return await self.call("POST", path, rows.encode() if isinstance(rows, str) else rows)

    async def status(self, answer: str, details: str = "&showDetails=true") -> dict[str, str]:
        """The fields of the state that a submit's answer points to."""
        url = element(answer, "batchStatus")
        _, text = await self.call("GET", "/m2/" + url.split("/m2/")[1] + details)
        return dict(re.findall(r"<(\w+)>([^<>]*)</", text.split("<profile>")[0]))

    async def finish(self, answer: str) -> dict[str, str]:
        """Poll until the batch is over."""
        while (state := await self.status(answer))["status"] == "incomplete":
            await asyncio.sleep(0.001)
        return state

    async def apply(self, rows: str, version: int = 2) -> dict[str, str]:
        """Submit and finish a batch."""
        _, answer = await self.submit(rows, version)
        return await self.finish(answer)

    def attributes(self, identity: str, id_type: str = "thirdPartyId") -> dict[str, str] | None:
        return self.emulator.profile(id_type, identity)


def element(text: str, name: str) -> str:
    found = re.search(f"<{name}>(.*?)</{name}>", text)
    assert found, text
    return found[1]


@asynccontextmanager
async def running(
    clock: Callable[[], float] | None = None, **settings: Any
) -> AsyncIterator[Client]:
    """An emulator that applies batches at once and limits nothing, unless told otherwise."""
    chosen = {"batch_delay_seconds": 0.0, "bulk_calls_per_minute": 0, **settings}
    extra = {} if clock is None else {"clock": clock}
    emulator = Emulator(EmulatorSettings(**chosen), **extra)
    async with emulator, aiohttp.ClientSession() as session:
        yield Client(emulator, session)


def drive(
    scenario: Callable[[Client], Awaitable[None]],
    clock: Callable[[], float] | None = None,
    **settings: Any,
) -> None:
    """Run *scenario* against a fresh emulator."""

    async def main() -> None:
        async with running(clock, **settings) as client:
            await scenario(client)

    asyncio.run(main())
