"""``--latest-by``: texts that sort as the numbers or dates of a column do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

_EXPONENT_BIAS: Final = 5_000_000
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,7})?", re.ASCII)
_FRACTION = re.compile(r":\d\d[.,](\d+)", re.ASCII)
# Digits in descending order, so that larger magnitudes of negative numbers sort first.
_COMPLEMENT = str.maketrans("0123456789", "9876543210")


class OrderKeys:
    """Turns a column's texts into keys; its first value decides: numbers, or ISO 8601 dates.

    An empty text sorts before every value: a record without a date is never the latest
    while another has one. Times without an offset are taken as UTC.
    """

    def __init__(self) -> None:
        """Nothing is decided before the first value."""
        self._key: Callable[[str], str | None] | None = None

    def expected(self) -> str:
        """What the column holds, for messages."""
        if self._key is _number_key:
            return "a number"
        if self._key is _date_key:
            return "an ISO date"
        return "a number or an ISO date"

    def keys(self, texts: Sequence[str]) -> list[str | None]:
        """One key a text; None for a text that is neither empty nor of the column's kind."""
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> str | None:
        if not text:
            return ""
        if self._key is None:
            for kind in (_number_key, _date_key):
                key = kind(text)
                if key is not None:
                    self._key = kind
                    return key
            return None
        return self._key(text)


def _number_key(text: str) -> str | None:
    if not _NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    if not number:
        return "1"
    # Decimal keeps leading zeros out of its digits; trailing ones mean nothing to the order.
    sign, digits, _ = number.as_tuple()
    shown = "".join(map(str, digits)).rstrip("0")
    exponent = number.adjusted() + _EXPONENT_BIAS
    if not 0 <= exponent < 2 * _EXPONENT_BIAS:
        return None
    magnitude = f"{exponent:08d}{shown}"
    return "0" + magnitude.translate(_COMPLEMENT) + "~" if sign else "2" + magnitude


def _date_key(text: str) -> str | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    # The library cuts fractions at microseconds; tills and databases may write more digits.
    fraction = _FRACTION.search(text)
    digits = fraction[1].rstrip("0") if fraction else ""
    try:
        return "3" + moment.astimezone(UTC).isoformat(timespec="seconds") + digits
    except OverflowError:
        return None
