"""Fetch a profile by third-party id or by pcId (TNT id)."""

from __future__ import annotations

from urllib.parse import parse_qs

from aiohttp import web

from .answers import Answer, fetched, json_answer, not_fetched
from .edge import Edge
from .profiles import PC_ID, THIRD_PARTY_ID
from .text import decode_path

PREFIX = "/rest/v1/profiles/"
_BY_THIRD_PARTY_ID = PREFIX + "thirdPartyId/"


async def fetch(edge: Edge, request: web.BaseRequest, query: str) -> Answer:
    """Answer with a profile's attributes and their times, or 404.

    Documented: both addresses, the shapes of both answers. Assumptions: everything
    after the prefix is the id, percent-encoded, with ``+`` a plus; the phrase of the
    404 for pcIds; another client code is a profile not found.
    """
    path = request.raw_path.partition("?")[0]
    if request.method != "GET":
        return json_answer(405, {"status": 405, "message": "Method Not Allowed"})
    client = parse_qs(query).get("client", [""])[0]
    if path.startswith(_BY_THIRD_PARTY_ID):
        id_type, phrase = THIRD_PARTY_ID, "third party id"
        identity = decode_path(path[len(_BY_THIRD_PARTY_ID) :])
    else:
        id_type, phrase = PC_ID, "tnt id"
        identity = decode_path(path[len(PREFIX) :])
    attributes = None
    if client == edge.settings.client_code:
        attributes = edge.store.fetch(id_type, identity)
    if attributes is None:
        return not_fetched(client, phrase, identity)
    return fetched(client, identity, attributes, int(edge.clock() * 1000))
