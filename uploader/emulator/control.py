"""The emulator's own API under ``/_emulator/``, for tests and demos; loopback only.

======================  =====================================================
``GET stats``           counters, number of profiles, batches
``GET profiles``        JSON Lines, one profile each, decoded
``GET calls``           arrival times by API
``GET/PUT faults``      the JSON form of :class:`.faults.Faults`
``PUT token``           ``{"token": "…" or null}``
``POST known``          ``{"thirdPartyId": […], "pcId": […]}``, either may be left out
``POST visit``          as ``known``; answers ``{"visited": 2}``
``POST reset``          back to the start
======================  =====================================================
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from .answers import json_answer
from .edge import Edge
from .faults import FaultError, faults_from_json
from .profiles import ID_TYPES, PC_ID, THIRD_PARTY_ID
from .wire import read_body, to_response

PREFIX = "/_emulator/"
MAX_CONTROL_BODY_BYTES = 500_000_000  # ours: some million known ids
CHUNK_LINES = 500  # ours: lines of a stream that are written at once


class BadCallError(ValueError):
    """A control call makes no sense; the message says why."""


async def control(edge: Edge, request: web.BaseRequest) -> web.StreamResponse:
    """Answer a call under ``/_emulator/``; 400 with ``{"error": …}`` for nonsense."""
    if not _is_loopback(request.remote):
        return to_response(json_answer(403, {"error": "the control API is for loopback only"}))
    name = request.raw_path.partition("?")[0].removeprefix(PREFIX)
    match request.method, name:
        case "GET", "profiles":
            lines = (json.dumps(profile, ensure_ascii=False) + "\n" for profile in edge.profiles())
            return await _stream(request, "application/jsonl", lines)
        case "GET", "calls":
            return await _stream(request, "application/json", _calls_json(edge))
        case _:
            body = await read_body(request, MAX_CONTROL_BODY_BYTES)
    try:
        shape = json.loads(body or b"{}")
        return to_response(json_answer(200, await _act(edge, request.method, name, shape)))
    except (BadCallError, FaultError) as error:
        return to_response(json_answer(400, {"error": str(error)}))
    except ValueError as error:
        return to_response(json_answer(400, {"error": f"the body is no JSON: {error}"}))


async def _act(  # noqa: PLR0911 - one return for each call
    edge: Edge, method: str, name: str, shape: object
) -> object:
    """Do what the call asks for; returns what to answer."""
    match method, name:
        case "GET", "stats":
            return edge.stats()
        case "GET", "faults":
            return edge.plan.faults.to_json()
        case "PUT", "faults":
            edge.set_faults(faults_from_json(shape))
            return edge.plan.faults.to_json()
        case "PUT", "token":
            edge.set_token(_token(shape))
            return {"token_set": edge.token is not None}
        case "POST", "known":
            ids = _ids(shape)
            edge.add_known(ids[THIRD_PARTY_ID], ids[PC_ID])
            return {"profiles": edge.store.counts()}
        case "POST", "visit":
            ids = _ids(shape)
            return {"visited": edge.visit(ids[THIRD_PARTY_ID], ids[PC_ID])}
        case "POST", "reset":
            await edge.reset()
            return {"reset": True}
        case _:
            message = f"no such control call: {method} {name}"
            raise BadCallError(message)


def _token(shape: object) -> str | None:
    match shape:
        case {"token": None | str() as token, **others} if not others:
            return token
        case _:
            message = 'expected {"token": "…"} or {"token": null}'
            raise BadCallError(message)


def _ids(shape: object) -> dict[str, list[str]]:
    if not isinstance(shape, dict) or not set(shape) <= set(ID_TYPES):
        message = f"expected an object with {' and '.join(ID_TYPES)}"
        raise BadCallError(message)
    for key, ids in shape.items():
        if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
            message = f"{key} has to be a list of strings"
            raise BadCallError(message)
    return {id_type: shape.get(id_type, []) for id_type in ID_TYPES}


def _is_loopback(remote: str | None) -> bool:
    if remote is None:
        return False
    address = ipaddress.ip_address(remote.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _calls_json(edge: Edge) -> Iterator[str]:
    """``{"single": [1701473848.678, …], …}``, in pieces."""
    opening = "{"
    for api, times in edge.log.arrivals.items():
        yield f'{opening}"{api}":['
        for index in range(len(times)):
            yield f"{',' if index else ''}{times[index]!r}"
        yield "]"
        opening = ","
    yield "}"


async def _stream(
    request: web.BaseRequest, content_type: str, pieces: Iterator[Any]
) -> web.StreamResponse:
    """Send *pieces* of text as they are made; the loop gets its turn between chunks."""
    response = web.StreamResponse(headers={"Content-Type": f"{content_type}; charset=UTF-8"})
    await response.prepare(request)
    chunk: list[str] = []
    for piece in pieces:
        chunk.append(piece)
        if len(chunk) >= CHUNK_LINES:
            await response.write("".join(chunk).encode("utf-8", "replace"))
            chunk.clear()
            await asyncio.sleep(0)  # a write that needn't wait doesn't give way
    if chunk:
        await response.write("".join(chunk).encode("utf-8", "replace"))
    await response.write_eof()
    return response
