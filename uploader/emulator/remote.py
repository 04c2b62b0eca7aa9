"""The control API from the other side: for tests and demos without an event loop."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Self
from urllib.parse import urlsplit

from .control import PREFIX
from .faults import Faults
from .profiles import PC_ID, THIRD_PARTY_ID
from .server import Emulator
from .settings import EmulatorSettings

TIMEOUT_SECONDS = 30.0  # ours: loopback answers at once, a dump of millions begins at once


class ControlError(Exception):
    """The emulator refused a control call; the message is its own."""


class RemoteControl:
    """Drives a running emulator by its control API; safe from any thread or process."""

    def __init__(self, url: str) -> None:
        """Talk to the emulator at *url* (its base URL)."""
        self.url = url

    def stats(self) -> dict[str, Any]:
        """Counters and batches."""
        return dict(self._call("GET", "stats"))

    def calls(self) -> dict[str, list[float]]:
        """Arrival times in unix seconds, by API."""
        return dict(self._call("GET", "calls"))

    def profiles(self) -> Iterator[dict[str, Any]]:
        """Every profile as ``{"type": …, "id": …, "attributes": {…}}``."""
        connection = self._connect()
        try:
            connection.request("GET", PREFIX + "profiles")
            for line in connection.getresponse():
                yield json.loads(line)
        finally:
            connection.close()

    def set_faults(self, faults: Faults) -> None:
        """Replace all faults."""
        self._call("PUT", "faults", faults.to_json())

    def set_token(self, token: str | None) -> None:
        """Make *token* the only right one; None: no token is needed."""
        self._call("PUT", "token", {"token": token})

    def add_known(self, third_party_ids: Iterable[str] = (), pc_ids: Iterable[str] = ()) -> None:
        """Make these profiles exist."""
        self._call("POST", "known", {THIRD_PARTY_ID: list(third_party_ids), PC_ID: list(pc_ids)})

    def visit(self, third_party_ids: Iterable[str] = (), pc_ids: Iterable[str] = ()) -> int:
        """Let these visitors come by; returns how many are known."""
        ids = {THIRD_PARTY_ID: list(third_party_ids), PC_ID: list(pc_ids)}
        return int(self._call("POST", "visit", ids)["visited"])

    def reset(self) -> None:
        """Go back to the state of the start."""
        self._call("POST", "reset")

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=TIMEOUT_SECONDS)

    def _call(self, method: str, name: str, shape: object = None) -> Any:
        body = None if shape is None else json.dumps(shape).encode()
        connection = self._connect()
        try:
            connection.request(method, PREFIX + name, body)
            answer = connection.getresponse()
            content = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise ControlError(content["error"])
        return content


class EmulatorThread(RemoteControl):
    """An emulator in a thread with its own event loop, for tests without one; use ``with``."""

    def __init__(
        self, settings: EmulatorSettings, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        """Prepare; nothing runs before ``with``."""
        super().__init__("")
        self._settings = settings
        self._address = (host, port)
        self._thread = threading.Thread(target=self._run, name="emulator", daemon=True)
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None

    def __enter__(self) -> Self:
        """Start it and wait until it listens.

        Raises:
            OSError: the address can't be listened on.
        """
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it and wait for its end."""
        if self._loop is not None and self._ended is not None:
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
            self._failure = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        emulator = Emulator(self._settings)
        self.url = await emulator.start(*self._address)
        self._ready.set()
        await self._ended.wait()
        await emulator.stop()
