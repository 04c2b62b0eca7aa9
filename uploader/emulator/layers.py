r"""One profile's data, kept encoded, in layers.

Millions of profiles have to fit into memory, so a profile is a single ``bytes``:
its layers, oldest first, joined by newlines, and decoded only when somebody asks.
No object per attribute, none that the garbage collector would have to visit. An
encoded value never contains a newline. A layer is one of

- ``17,red,,42``   a row of a batch file; 17 is the number of its :class:`Source`
- ``&1701473848678&colour=red&size=42``   attributes of single updates, with the
  time in unix milliseconds; also what older layers are folded into
- ``!``   a visit

Empty values never reach an attribute (documented for batches: they are ignored).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .text import decode_form, encode_form

MAX_LAYERS = 4  # ours: more are folded, so that a profile doesn't grow with its history
_VISIT = b"!"
_INLINE = b"&"


class Source(NamedTuple):
    """The batch that rows came from: decoded column names, and when it was applied."""

    names: tuple[str, ...]
    modified_ms: int
    overridable: bool
    """Whether the next v2 batch replaces these attributes (v2 by thirdPartyId)."""


class Attribute(NamedTuple):
    """A decoded value, its time in unix milliseconds, and the source it came from, if any."""

    value: str
    modified_ms: int
    source: int | None


def attributes(profile: bytes, sources: Sequence[Source]) -> dict[str, Attribute]:
    """Decode *profile*: for every attribute name, the value that was written last."""
    found: dict[str, Attribute] = {}
    for layer in profile.split(b"\n"):
        if layer.startswith(_INLINE):
            stamp, _, pairs = layer[1:].partition(b"&")
            for pair in pairs.split(b"&"):
                name, _, value = pair.partition(b"=")
                found[decode_form(name)] = Attribute(decode_form(value), int(stamp), None)
        elif layer and layer != _VISIT:
            number, _, values = layer.partition(b",")
            source = sources[int(number)]
            # Rows may be shorter than the header.
            for column, value in zip(source.names, values.split(b","), strict=False):
                if value:
                    text = decode_form(value)
                    found[column] = Attribute(text, source.modified_ms, int(number))
    return found


def with_update(profile: bytes, pairs: bytes, modified_ms: int, sources: Sequence[Source]) -> bytes:
    """*profile* after a single update: *pairs* is ``name=value&…``, encoded, no empty value."""
    return _stack(profile, b"&%d&%b" % (modified_ms, pairs), sources)


def with_row(profile: bytes, number: int, values: bytes, sources: Sequence[Source]) -> bytes:
    """*profile* after a batch row: *values* is the row after its id, from source *number*.

    A v2 row that directly follows the row of an earlier v2 batch replaces it:
    attributes whose value came from that batch and that this row lacks are lost.
    The documents have one sentence on it ("override the properties updated in the
    first"); losing them is the pessimistic reading, an assumption, and so is that a
    visit, a single update or a v1 row in between prevents it, and that rows of one
    batch for one profile add to each other.
    """
    row = b"%d,%b" % (number, values)
    older, _, last = profile.rpartition(b"\n")
    if not last[:1].isdigit():
        return _stack(profile, row, sources)
    last_number, _, last_values = last.partition(b",")
    previous = int(last_number)
    if previous == number:
        merged = b"%d,%b" % (number, _merge_columns(last_values, values))
        return merged if not older else older + b"\n" + merged
    if not (sources[number].overridable and sources[previous].overridable):
        return _stack(profile, row, sources)
    if not older:
        return row
    kept = {
        name: attribute
        for name, attribute in attributes(profile, sources).items()
        if attribute.source != previous
    }
    return _stack(_inline(kept), row, sources)


def with_visit(profile: bytes) -> bytes:
    """*profile* after its visitor came by: the next v2 batch replaces nothing."""
    if not profile or profile.endswith(b"\n" + _VISIT):
        return profile
    return profile + b"\n" + _VISIT


def _stack(profile: bytes, layer: bytes, sources: Sequence[Source]) -> bytes:
    """Put *layer* on top; fold what is below once there are too many."""
    if not profile:
        return layer
    if profile.count(b"\n") + 1 >= MAX_LAYERS:
        profile = _inline(attributes(profile, sources))
    return profile + b"\n" + layer if profile else layer


def _inline(found: Mapping[str, Attribute]) -> bytes:
    """Write attributes as layers of their own, one for each modification time."""
    by_time: dict[int, list[bytes]] = {}
    for name, attribute in found.items():
        pair = encode_form(name) + b"=" + encode_form(attribute.value)
        by_time.setdefault(attribute.modified_ms, []).append(pair)
    layers = (b"&%d&%b" % (stamp, b"&".join(by_time[stamp])) for stamp in sorted(by_time))
    return b"\n".join(layers)


def _merge_columns(first: bytes, second: bytes) -> bytes:
    """Two rows under one header as one: the later non-empty value of each column."""
    before, after = first.split(b","), second.split(b",")
    width = max(len(before), len(after))
    before += [b""] * (width - len(before))
    after += [b""] * (width - len(after))
    return b",".join(new or old for old, new in zip(before, after, strict=True))
