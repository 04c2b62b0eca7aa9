"""The emulated edge on a socket: routes, limits, faults, answers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Self
from urllib.parse import quote

from aiohttp import web

from . import bulk, control, faults, fetching, single
from .answers import Answer, plain, refusal
from .calls import BULK, CLIENT_GONE, FETCH, SINGLE, STATUS
from .edge import Edge
from .settings import EmulatorSettings
from .wire import Abandoned, hang, read_body, reset, send_cut, send_early, to_response

MAX_TARGET_BYTES = 1_048_576  # ours: above aiohttp's 8,190, so that long URLs get their 414
READ_BUFFER_BYTES = 1_048_576  # ours: batch files come in large pieces
SHUTDOWN_SECONDS = 1.0  # ours: patience with open connections at the end


class Route(NamedTuple):
    """One API at one path."""

    api: str
    answer: Callable[[Edge, web.BaseRequest, str], Awaitable[Answer]]


async def _submit_v1(edge: Edge, request: web.BaseRequest, _query: str) -> Answer:
    return await bulk.submit(edge, request, 1)


async def _submit_v2(edge: Edge, request: web.BaseRequest, _query: str) -> Answer:
    return await bulk.submit(edge, request, 2)


class Emulator(Edge):
    """The remote API on a socket of this machine; ``async with`` starts and stops it.

    Every call of the account's APIs is counted on arrival, then measured against
    the limits, then meets its fault if one is due, then the token is looked at.
    Assumptions: that order; whatever arrives counts against the limits, also what a
    fault answers; the token's refusal is 401; another client code is 404.
    """

    def __init__(
        self, settings: EmulatorSettings, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Prepare an edge; nothing listens yet. *clock* gives unix seconds."""
        super().__init__(settings, clock)
        account = f"/m2/{quote(settings.client_code, safe='')}"
        self._routes = {
            f"{account}/profile/update": Route(SINGLE, single.update),
            f"{account}/profile/batchUpdate": Route(BULK, _submit_v1),
            f"{account}/v2/profile/batchUpdate": Route(BULK, _submit_v2),
            f"{account}/profile/batchStatus": Route(STATUS, bulk.status),
        }
        self._fetch_route = Route(FETCH, fetching.fetch)
        self._stopping = asyncio.Event()
        self._runner: web.ServerRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen, on a free port if *port* is 0; returns the base URL without final slash.

        Raises:
            OSError: the address can't be listened on.
        """
        server = web.Server(
            self._handle,
            access_log=None,
            max_line_size=MAX_TARGET_BYTES,
            read_bufsize=READ_BUFFER_BYTES,
        )
        self._stopping.clear()
        self._runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_SECONDS)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        name = self.settings.advertise_host or host
        bound_port = self._runner.addresses[0][1]
        self.url = f"http://[{name}]:{bound_port}" if ":" in name else f"http://{name}:{bound_port}"
        return self.url

    async def stop(self) -> None:
        """Stop listening, end hanging calls, drop unfinished batches; a second call is fine."""
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self.queue.close()

    async def __aenter__(self) -> Self:
        """Start on a free port of loopback."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self.stop()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        route = self._routes.get(path)
        if route is None and path.startswith(fetching.PREFIX):
            route = self._fetch_route
        if route is not None:
            try:
                return await self._serve(route, request, query)
            except (ConnectionError, web.RequestPayloadError):  # gone before the body was whole
                self.log.answered(route.api, CLIENT_GONE)
                return Abandoned()
        if path.startswith(control.PREFIX):
            return await control.control(self, request)
        await read_body(request, 0)
        return to_response(plain(404, "Not Found"))

    async def _serve(
        self, route: Route, request: web.BaseRequest, query: str
    ) -> web.StreamResponse:
        """One call from arrival to answer."""
        api = route.api
        self.log.arrived(api, self.clock())
        if (over := self._over_limit(api)) is not None:
            await read_body(request, 0)
            return self._answered(api, over)
        fault = self.plan.draw(api)
        if (delay := self.plan.latency_seconds(api)) > 0:
            await asyncio.sleep(delay)
        if fault not in (faults.OK, faults.RESET_AFTER, faults.CUT_BODY):
            return await self._fail(api, fault, request)
        if self.token is not None and not self._has_token(request):
            await read_body(request, 0)
            return self._answered(api, plain(401, "Unauthorized"))
        answer = await route.answer(self, request, query)
        if fault == faults.OK:
            return self._answered(api, answer)
        self.log.answered(api, fault)
        return reset(request) if fault == faults.RESET_AFTER else send_cut(request, answer)

    async def _fail(self, api: str, fault: str, request: web.BaseRequest) -> web.StreamResponse:
        """Let a call meet its fault without being looked at."""
        if fault == faults.RESET_BEFORE:
            self.log.answered(api, fault)
            return reset(request)
        if fault in (faults.EARLY_413, faults.EARLY_503):
            self.log.answered(api, fault)
            return await send_early(request, plain(int(fault.removeprefix("early_")), "Enough"))
        await read_body(request, 0)
        if fault == faults.HANG:
            self.log.answered(api, fault)
            return await hang(request, self._stopping)
        if fault == faults.REFUSE:
            return self._answered(
                api, refusal(self.plan.faults.refusal_status, "Request could not be processed")
            )
        if fault == faults.REDIRECT:
            answer = plain(302, "Found")._replace(location=f"{self.url}/elsewhere")
            return self._answered(api, answer)
        answer = plain(int(fault), "Fault")
        if fault in ("429", "503"):
            retry_after = self.plan.retry_after_seconds(api)
            answer = answer._replace(retry_after_seconds=retry_after)
        return self._answered(api, answer)

    def _over_limit(self, api: str) -> Answer | None:
        """The answer to a call that is one too many; fetches are not limited."""
        if api == SINGLE and not self.daily.admit(self.clock()):
            self.log.over_cap += 1
            return plain(429, "Too Many Requests")
        if api in (BULK, STATUS) and not self.minute.admit(self.clock()):
            self.log.over_bulk_limit += 1
            return plain(503, "Service Unavailable")
        return None

    def _has_token(self, request: web.BaseRequest) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.token}"

    def _answered(self, api: str, answer: Answer) -> web.StreamResponse:
        self.log.answered(api, str(answer.status))
        return to_response(answer)


async def serve(
    settings: EmulatorSettings,
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[str], None] = lambda _url: None,
) -> None:
    """Run an emulator until SIGTERM or SIGINT; *on_ready* gets its URL once it listens.

    To be run in the main thread, where signals arrive.

    Raises:
        OSError: the address can't be listened on.
    """
    emulator = Emulator(settings)
    url = await emulator.start(host, port)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    with contextlib.ExitStack() as stack:
        for number in signals:
            loop.add_signal_handler(number, ended.set)
            stack.callback(loop.remove_signal_handler, number)
        on_ready(url)
        await ended.wait()
    await emulator.stop()
