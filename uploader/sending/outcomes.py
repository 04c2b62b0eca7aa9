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
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from uploader.markup import parse_xml

_NOT_NOW: Final = frozenset({408, 425, 429})
_DENIED: Final = frozenset({401, 403})
# The first digit of a status.
_SUCCESS: Final = 2
_REDIRECTION: Final = 3
_SERVER_ERROR: Final = 5
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
    """A verdict, and two wordings of it.

    ``cause`` holds nothing of what was sent, and may stand in a log or an error;
    ``detail`` adds the edge's own message, which may quote it, and is for dead letters.
    """

    verdict: Verdict
    cause: str
    detail: str
    reply: Reply


def judge(answer: Answer) -> Judgement:
    """Read the table above."""
    if answer.status is None:
        return Judgement(Verdict.UNKNOWN, answer.fault, answer.fault, Reply(None))
    reply = read_reply(answer.body)
    verdict = _verdict(answer.status, reply)
    cause = f"HTTP {answer.status}"
    if _is_success(answer.status) and verdict is Verdict.REFUSED:
        cause += " with an answer that can't be read" if reply.success is None else ", not accepted"
    detail = f"{cause}: {reply.message}" if reply.message else cause
    return Judgement(verdict, cause, detail, reply)


def _verdict(status: int, reply: Reply) -> Verdict:
    if _is_success(status):
        return Verdict.ACCEPTED if reply.success else Verdict.REFUSED
    if status // 100 == _REDIRECTION:
        return Verdict.REDIRECTED
    if status in _DENIED:
        return Verdict.DENIED
    if status in _NOT_NOW or status // 100 == _SERVER_ERROR:
        return Verdict.NOT_NOW
    return Verdict.REFUSED


def _is_success(status: int) -> bool:
    return status // 100 == _SUCCESS


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


def _shortened(message: str) -> str:
    message = " ".join(message.split())
    return message[:_MESSAGE_CHARACTERS]
