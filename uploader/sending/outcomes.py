"""What an answer means. Retrying and pacing both read this one table.

======================================  ===========  ================================
answer                                  verdict      what follows
======================================  ===========  ================================
2xx, success true                       ACCEPTED     delivered, or a batch to follow
2xx, success false or unreadable        REFUSED      dead letter
400 404 405 413 414 422, other 4xx      REFUSED      dead letter
401 403                                 DENIED       the run stops, unless others succeed
408 425 429 500 502 503 504, other 5xx  NOT_NOW      again, after a while
3xx                                     REDIRECTED   the run stops; nothing is followed
none, cut, or before the body's end     UNKNOWN      again: updates are idempotent
======================================  ===========  ================================
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_NOT_NOW: Final = frozenset({408, 425, 429})
_DENIED: Final = frozenset({401, 403})
# The pages print the answer without its tags; the service may do so too.
_BARE_SUCCESS: Final = re.compile(r"\s*true\s*\w")
_MESSAGE_CHARACTERS: Final = 300


class Verdict(StrEnum):
    """What an answer means for the call that got it."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    DENIED = "denied"
    NOT_NOW = "not_now"
    REDIRECTED = "redirected"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """What came back of one call; ``status`` is None where no whole answer came.

    ``fault`` then says why, in words without any value.
    """

    status: int | None
    body: bytes = b""
    retry_after_seconds: float | None = None
    fault: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Reply:
    """What an answer's body says, as far as it can be read."""

    success: bool | None
    message: str = ""
    batch_status_url: str = ""


@dataclass(frozen=True)
class Judgement:
    """A verdict, and words for it that hold nothing of what was sent."""

    verdict: Verdict
    detail: str
    reply: Reply


def judge(answer: Answer) -> Judgement:
    """Read the table above."""
    status = answer.status
    if status is None:
        return Judgement(Verdict.UNKNOWN, answer.fault, Reply(None))
    reply = read_reply(answer.body)
    detail = f"HTTP {status}" + (f": {reply.message}" if reply.message else "")
    if 200 <= status < 300:
        if reply.success:
            return Judgement(Verdict.ACCEPTED, detail, reply)
        if reply.success is None:
            detail = f"HTTP {status} with an answer that can't be read"
        return Judgement(Verdict.REFUSED, detail, reply)
    if 300 <= status < 400:
        return Judgement(Verdict.REDIRECTED, detail, reply)
    if status in _DENIED:
        return Judgement(Verdict.DENIED, detail, reply)
    if status in _NOT_NOW or status >= 500:
        return Judgement(Verdict.NOT_NOW, detail, reply)
    return Judgement(Verdict.REFUSED, detail, reply)


def read_reply(body: bytes) -> Reply:
    """The XML of the documentation, or the same as bare text; never raises."""
    text = body.decode("utf-8", "replace")
    if _BARE_SUCCESS.match(text):
        return Reply(True, _shortened(text.strip().removeprefix("true")))
    root = parse_xml(body)
    if root is None:
        return Reply(None)
    success = (root.findtext("success") or "").strip().lower()
    return Reply(
        {"true": True, "false": False}.get(success),
        _shortened(root.findtext("message") or ""),
        (root.findtext("batchStatus") or "").strip(),
    )


def parse_xml(body: bytes) -> ET.Element | None:
    """The root of a small XML document, or None where it is none or declares entities."""
    if b"<!" in body:
        return None
    try:
        return ET.fromstring(body)  # noqa: S314: no DTD gets here, so no entity can grow
    except ET.ParseError:
        return None


def _shortened(message: str) -> str:
    message = " ".join(message.split())
    return message[:_MESSAGE_CHARACTERS]
