"""What answers mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.sending.outcomes import Answer, Verdict, judge, read_reply

ACCEPTED = b"<response><success>true</success><message>ok</message></response>"
REFUSED = b"<response><success>false</success><message>no c7 here</message></response>"


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, ACCEPTED, Verdict.ACCEPTED),
        (200, b"trueRequest successfully submitted", Verdict.ACCEPTED),
        (202, b"\n true Request successfully submitted", Verdict.ACCEPTED),
        (200, REFUSED, Verdict.REFUSED),
        (200, b"", Verdict.REFUSED),
        (200, b"<html><body>Welcome to our proxy</body></html>", Verdict.REFUSED),
        (200, b"{}", Verdict.REFUSED),
        *((status, ACCEPTED, Verdict.REFUSED) for status in (400, 404, 405, 413, 414, 418, 422)),
        *((status, ACCEPTED, Verdict.DENIED) for status in (401, 403)),
        *((status, b"", Verdict.NOT_NOW) for status in (408, 425, 429, 500, 502, 503, 504, 599)),
        *((status, ACCEPTED, Verdict.REDIRECTED) for status in (301, 302, 307, 308)),
        (None, ACCEPTED, Verdict.UNKNOWN),
    ],
)
def test_every_answer_has_its_verdict(status: int | None, body: bytes, verdict: Verdict) -> None:
    """One table for retries and pacing."""
    assert judge(Answer(status, body)).verdict is verdict


def test_what_the_edge_says_is_for_dead_letters_not_for_logs() -> None:
    """Its message may quote an id."""
    judgement = judge(Answer(200, REFUSED))
    assert "c7" in judgement.detail
    assert "c7" not in judgement.cause
    assert "not accepted" in judgement.cause


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE r [<!ENTITY a "true">]><response><success>&a;</success></response>',
        b'<?xml version="1.0" encoding="utf-7"?><response/>',
        b'<?xml version="1.0" encoding="no-such"?><response/>',
        '<?xml version="1.0" encoding="utf-16"?><response/>'.encode("utf-16"),
    ],
)
def test_odd_documents_are_not_read(body: bytes) -> None:
    """No entities, no encodings of which nobody spoke."""
    assert read_reply(body).success is None


@given(
    st.binary(max_size=200) | st.text(alphabet='<>/!?truefals &;[]"=', max_size=60).map(str.encode)
)
def test_no_answer_is_too_odd_to_be_judged(body: bytes) -> None:
    """Reading never raises."""
    assert judge(Answer(200, body)).verdict in (Verdict.ACCEPTED, Verdict.REFUSED)
