"""Single Profile Update: one visitor's attributes in a query string or a form."""

from __future__ import annotations

from typing import NamedTuple

from aiohttp import web

from .answers import UPDATE_ACCEPTED, UPDATE_ACCEPTED_BARE, Answer, plain, refusal
from .edge import Edge
from .limits import MAX_UPDATE_BODY_BYTES, MAX_URL_BYTES
from .profiles import PC_ID, THIRD_PARTY_ID
from .text import decode_form, encode_form
from .wire import Body, read_body

_FORM = "application/x-www-form-urlencoded"
_PROFILE = b"profile."


class Update(NamedTuple):
    """What a single update asks for; no id type means no identity was given."""

    id_type: str | None
    identity: str
    pairs: bytes
    """``name=value&…`` without the ``profile.``, still encoded, empty values left out."""


async def update(edge: Edge, request: web.BaseRequest, query: str) -> Answer:
    """Answer a single update, and apply it at once (the real edge takes minutes to hours).

    Documented: GET and POST, URL and body limits, unknown visitors are not created
    and the answer doesn't tell. Assumptions: the statuses 405, 414, 413 and 400; the
    URL limit holds for POST as well; a body of another type than a form is not
    looked at; with both ids given the third-party id counts; an update without
    attributes is fine; empty values are ignored as in batches.
    """
    if request.method not in ("GET", "POST"):
        return plain(405, "Method Not Allowed")
    if _url_bytes(request) > MAX_URL_BYTES:
        await read_body(request, 0)
        return plain(414, "URI Too Long")
    body = await read_body(request, MAX_UPDATE_BODY_BYTES)
    if body is None:
        return plain(413, "Payload Too Large")
    if request.method == "GET" or request.content_type not in (_FORM, "application/octet-stream"):
        body = b""
    asked = read_update(query.encode("utf-8", "surrogateescape"), body)
    if asked.id_type is None:
        return refusal(400, "mboxPC or mbox3rdPartyId is required")
    if asked.identity in edge.plan.faults.refuse_ids:
        return refusal(edge.plan.faults.refusal_status, "Profile update refused")
    if edge.store.update(asked.id_type, asked.identity, asked.pairs, edge.clock()):
        edge.log.applied += 1
    else:
        edge.log.unknown += 1
    return UPDATE_ACCEPTED_BARE if edge.settings.bare_text else UPDATE_ACCEPTED


def read_update(query: bytes, form: Body) -> Update:
    """Read query string and form as one list of parameters; others than ours are ignored."""
    pc_id = third_party_id = ""
    pairs: list[bytes] = []
    for pair in (query + b"&" + form).split(b"&"):
        raw_name, _, value = pair.partition(b"=")
        if not value:
            continue
        name = raw_name
        if b"%" in raw_name or b"+" in raw_name:
            name = decode_form(raw_name).encode()
        if name.startswith(_PROFILE):
            # Raw line breaks would end a layer; everything else may stay as it came.
            written = raw_name[len(_PROFILE) :]
            if not raw_name.startswith(_PROFILE):
                written = encode_form(name[len(_PROFILE) :].decode())
            pairs.append((written + b"=" + value).replace(b"\n", b"%0A"))
        elif name == b"mbox3rdPartyId":
            third_party_id = decode_form(value)
        elif name == b"mboxPC":
            pc_id = decode_form(value)
    attributes = b"&".join(pairs)
    if third_party_id:
        return Update(THIRD_PARTY_ID, third_party_id, attributes)
    return Update(PC_ID if pc_id else None, pc_id, attributes)


def _url_bytes(request: web.BaseRequest) -> int:
    """Length of the whole URL as the client wrote it, from ``http://`` on."""
    target = request.raw_path
    if len(target) <= MAX_URL_BYTES // 2:  # far from the limit: spare the exact count
        return len(target)
    return len(f"http://{request.headers.get('Host', '')}{target}")
