"""What can go wrong on purpose: the description, and its JSON form.

Which of these the real edge does, and how often, is not documented; they are the
failures that any HTTP service behind load balancers has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .calls import APIS

OK = "ok"
RESET_BEFORE = "reset_before"
RESET_AFTER = "reset_after"
CUT_BODY = "cut_body"
EARLY_413 = "early_413"
EARLY_503 = "early_503"
REFUSE = "refuse"
HANG = "hang"
REDIRECT = "redirect"
STATUS_FAULTS = frozenset({"401", "403", "429", "500", "503"})
FAULT_KINDS = STATUS_FAULTS | {
    OK,
    RESET_BEFORE,
    RESET_AFTER,
    CUT_BODY,
    EARLY_413,
    EARLY_503,
    REFUSE,
    HANG,
    REDIRECT,
}


class FaultError(ValueError):
    """The description of the faults can't be used; the message names what and why."""


@dataclass(frozen=True, kw_only=True)
class CallFaults:
    """What happens to the calls of one API.

    Kinds: ``401`` ``403`` ``429`` ``500`` ``503`` (that status, nothing applied),
    ``reset_before`` and ``reset_after`` (TCP reset; after means it was applied),
    ``cut_body`` (applied; the answer ends in its middle), ``early_413`` and
    ``early_503`` (answered before the body is read, then closed), ``refuse``
    (success false), ``hang`` (never an answer), ``redirect`` (302), ``ok``.
    """

    latency_seconds: float = 0.0
    jitter_seconds: float = 0.0
    """Up to this much on top of the latency, evenly spread."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Kind to probability, each 0 to 1, together at most 1."""
    next_calls: tuple[tuple[str, int], ...] = ()
    """Kinds and how many calls get them, in order, before the rates apply."""
    retry_after_seconds: float | None = None
    """Sent as Retry-After with 429 and 503."""

    def __post_init__(self) -> None:
        """Refuse kinds and numbers that mean nothing."""
        for kind in [*self.rates, *(kind for kind, _ in self.next_calls)]:
            if kind not in FAULT_KINDS:
                message = f"unknown fault {kind!r}; known: {', '.join(sorted(FAULT_KINDS))}"
                raise FaultError(message)
        rates = list(self.rates.values())
        if any(not 0 <= rate <= 1 for rate in rates) or sum(rates) > 1 + 1e-9:
            message = "rates: each has to be 0 to 1, and together at most 1"
            raise FaultError(message)
        if min(self.latency_seconds, self.jitter_seconds) < 0:
            message = "latency_seconds and jitter_seconds can't be negative"
            raise FaultError(message)


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Everything that is to go wrong; the default is that nothing does.

    Ids are decoded text and compare exactly.
    """

    seed: int = 0
    """Of the random numbers: the same calls in the same order meet the same faults."""
    single: CallFaults = CallFaults()
    bulk: CallFaults = CallFaults()
    status: CallFaults = CallFaults()
    fetch: CallFaults = CallFaults()
    refusal_status: int = 200
    """HTTP status of answers with success false; not documented, "may well be 200"."""
    refuse_ids: frozenset[str] = frozenset()
    """Single updates of these are answered with success false."""
    refuse_batches: bool = False
    refuse_batch_ids: frozenset[str] = frozenset()
    """A batch with one of these is refused at once."""
    stuck_batches: bool = False
    stuck_next_batches: int = 0
    stuck_batch_ids: frozenset[str] = frozenset()
    """A batch with one of these gets stuck."""
    fail_rows_fraction: float = 0.0
    """This part of all batch rows fails, at random."""
    fail_row_ids: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if not 0 <= self.fail_rows_fraction <= 1:
            message = "fail_rows_fraction has to be 0 to 1"
            raise FaultError(message)

    def to_json(self) -> dict[str, Any]:
        """The form that :func:`faults_from_json` reads."""
        shape = asdict(self)
        return {
            key: sorted(value) if isinstance(value, frozenset) else value
            for key, value in shape.items()
        }


def faults_from_json(shape: object) -> Faults:
    """Read :class:`Faults` from decoded JSON; keys that are left out get their default.

    Raises:
        FaultError: an unknown key, or a value of the wrong kind.
    """
    values = _known_keys(shape, Faults)
    for api in APIS:
        if api in values:
            values[api] = _call_faults(values[api])
    for key in ("refuse_ids", "refuse_batch_ids", "stuck_batch_ids", "fail_row_ids"):
        if key in values:
            values[key] = _texts(key, values[key])
    return Faults(**values)


def _call_faults(shape: object) -> CallFaults:
    values = _known_keys(shape, CallFaults)
    if "next_calls" in values:
        values["next_calls"] = _pairs(values["next_calls"])
    if not all(_fits(0.0, rate) for rate in values.get("rates", {}).values()):
        message = "rates: each has to be a number"
        raise FaultError(message)
    return CallFaults(**values)


def _known_keys(shape: object, model: type[Faults | CallFaults]) -> dict[str, Any]:
    if not isinstance(shape, dict):
        message = f"expected an object for {model.__name__}"
        raise FaultError(message)
    defaults = model()
    known = {item.name: getattr(defaults, item.name) for item in fields(model)}
    for key, value in shape.items():
        if key not in known:
            message = f"unknown key {key!r}; known: {', '.join(sorted(known))}"
            raise FaultError(message)
        if not _fits(known[key], value):
            message = f"{key}: {value!r} is of the wrong kind"
            raise FaultError(message)
    return dict(shape)


def _fits(default: object, value: object) -> bool:
    """Whether a JSON value is of the kind that the field's default has."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, int):
        return isinstance(value, int)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if default is None:
        return value is None or isinstance(value, int | float)
    if isinstance(default, tuple | frozenset):
        return isinstance(value, list | tuple)
    return isinstance(value, dict)


def _pairs(items: list[Any]) -> tuple[tuple[str, int], ...]:
    pairs = []
    for item in items:
        match item:
            case [str(kind), int(calls)]:
                pairs.append((kind, calls))
            case _:
                message = f'next_calls: {item!r} is no pair such as ["503", 3]'
                raise FaultError(message)
    return tuple(pairs)


def _texts(key: str, items: list[Any]) -> frozenset[str]:
    if not all(isinstance(item, str) for item in items):
        message = f"{key} has to be a list of strings"
        raise FaultError(message)
    return frozenset(items)
