"""Percent-encoded text, as the emulator reads and writes it.

Documented: names and values are URL-encoded as UTF-8. Assumptions: a ``+`` is a
space, in form bodies, in query strings and in batch files (the rule of HTML
forms); bytes that aren't UTF-8 become U+FFFD.
"""

from __future__ import annotations

from urllib.parse import quote, unquote, unquote_plus


def decode_form(raw: bytes) -> str:
    """Text of a percent-encoded name, value or id; ``+`` becomes a space."""
    text = raw.decode("utf-8", "replace")
    return unquote_plus(text, errors="replace") if b"%" in raw or b"+" in raw else text


def decode_path(raw: str) -> str:
    """Text of a percent-encoded path segment, where ``+`` is a plus."""
    return unquote(raw, errors="replace")


def encode_form(text: str) -> bytes:
    """The encoded form that :func:`decode_form` turns back into *text*."""
    return quote(text, safe="").encode("ascii")
