"""The texts that the edge answers with.

Documented: the elements and their order, and the JSON of a fetched profile.
Assumptions: the content types, the status codes beside 200, and the wording of
refusals other than "Batch is empty".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from xml.sax.saxutils import escape

from .layers import Attribute

XML = "text/xml; charset=UTF-8"
JSON = "application/json; charset=UTF-8"
TEXT = "text/plain; charset=UTF-8"
_SUBMITTED = "Request successfully submitted"


class Answer(NamedTuple):
    """An HTTP answer before it is on the wire."""

    status: int
    body: bytes
    content_type: str = XML
    location: str | None = None
    retry_after_seconds: float | None = None


UPDATE_ACCEPTED = Answer(
    200, f"<response><success>true</success><message>{_SUBMITTED}</message></response>".encode()
)
UPDATE_ACCEPTED_BARE = Answer(200, f"true{_SUBMITTED}".encode(), TEXT)


def refusal(status: int, message: str) -> Answer:
    """``success`` false, and why."""
    text = f"<response><success>false</success><message>{escape(message)}</message></response>"
    return Answer(status, text.encode())


def plain(status: int, message: str) -> Answer:
    """What comes from in front of the application: a status and a line of text."""
    return Answer(status, message.encode(), TEXT)


def batch_accepted(status_url: str) -> Answer:
    """The answer to a batch file that will be worked on."""
    text = (
        f"<response><success>true</success><batchStatus>{escape(status_url)}</batchStatus>"
        "<message>Batch submitted for processing</message></response>"
    )
    return Answer(200, text.encode())


def batch_status(
    fields: Mapping[str, str | int], profiles: Iterable[tuple[str, str]] = ()
) -> Answer:
    """A batch's state: its *fields* in order, then (id, status) of single profiles."""
    parts = [f"<{name}>{escape(str(value))}</{name}>" for name, value in fields.items()]
    parts += (
        f"<profile><id>{escape(identity)}</id><status>{status}</status></profile>"
        for identity, status in profiles
    )
    return Answer(200, f"<response>{''.join(parts)}</response>".encode())


def json_answer(status: int, shape: object) -> Answer:
    """Any JSON."""
    return Answer(status, json.dumps(shape, ensure_ascii=False).encode(), JSON)


def fetched(
    client: str, identity: str, attributes: Mapping[str, Attribute], otherwise_ms: int
) -> Answer:
    """A profile; its own modification time is its latest attribute's, else *otherwise_ms*.

    Assumptions: ``visitorId`` is the id that was asked for, times are in UTC.
    """
    latest = max((item.modified_ms for item in attributes.values()), default=otherwise_ms)
    shape = {
        "client": client,
        "visitorId": identity,
        "modifiedAt": _stamp(latest),
        "profileAttributes": {
            name: {"value": item.value, "modifiedAt": _stamp(item.modified_ms)}
            for name, item in attributes.items()
        },
    }
    return json_answer(200, shape)


def not_fetched(client: str, id_phrase: str, identity: str) -> Answer:
    """No such profile: unknown, expired or not yet ingested."""
    message = f"No profile found for client {client} with {id_phrase}={identity}"
    return json_answer(404, {"status": 404, "message": message})


def _stamp(modified_ms: int) -> str:
    return datetime.fromtimestamp(modified_ms / 1000, UTC).isoformat(timespec="milliseconds")
