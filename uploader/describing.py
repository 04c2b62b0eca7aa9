"""What ``plan.json`` says of a plan: counts, sizes, the route and its reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from uploader import __version__
from uploader.inputs import Input
from uploader.model import Route, SingleCall, Via
from uploader.planning import routing
from uploader.planning.batching import Survey, Wire, single_calls, survey
from uploader.planning.plan import FORMAT, UPDATES_FILE, Contents, Updates, digest_of
from uploader.settings import Settings

# A GET's URL up to its query; the longest that a client code and a host make plausible.
_URL_PREFIX_BYTES: Final = 200


@dataclass
class Tally:
    """Counts of one planning, each made where the thing happens."""

    read: int = 0
    rejected: int = 0
    skipped: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    cautions: list[str] = field(default_factory=list)


def describe(
    given: Input,
    settings: Settings,
    partial: Path,
    contents: Contents,
    tally: Tally,
    sources: list[str],
    now: datetime,
) -> dict[str, Any]:
    """The description of the plan whose updates lie in *partial*.

    Raises:
        SettingsError: the route isn't for this account.
    """
    updates = Updates(partial / UPDATES_FILE)
    pace = pace_of(settings)
    wish, id_type = given.wish, given.mapping.id_type
    version = 2 if wish.create_profiles else wish.bulk_version or 1
    by_bulk = Wire.of(contents.names, id_type, Route(Via.BULK, version))
    seen = survey(updates, by_bulk, contents)
    choice = routing.choose(wish, contents.updates, seen.total_bytes, seen.batches, pace)
    route = choice.route
    if route.via is Via.SINGLE:
        seen = _survey_single(updates, replace(by_bulk, route=route), contents)
        calls = seen.sendable
        seconds = routing.single_seconds(calls, pace)
    else:
        calls = seen.batches
        seconds = routing.bulk_seconds(calls, seen.total_bytes, pace)
    warnings = routing.warnings(route, id_type, account_uses_ecid=settings.account_uses_ecid)
    return _identified(given, contents, route, now) | {
        "sources": sources,
        "route": str(route),
        "route_reason": choice.reason,
        "other_route": choice.other,
        "records": {
            "read": tally.read,
            "rejected": tally.rejected,
            "skipped": tally.skipped,
            "merged": contents.merged,
        },
        "updates": {"planned": contents.updates},
        "reasons": dict(tally.reasons),
        "examples": tally.examples,
        "unsendable": {reason.value: count for reason, count in seen.unsendable.items()},
        "calls_needed": calls,
        "bytes": seen.total_bytes,
        "expected_seconds": round(seconds, 1),
        "warnings": [*warnings, *tally.cautions],
    }


def _identified(given: Input, contents: Contents, route: Route, now: datetime) -> dict[str, Any]:
    """What tells the plan from others, and how it is read back."""
    return {
        "format": FORMAT,
        "uploader": __version__,
        "digest": digest_of(contents.names, given.mapping.id_type, route, contents.rows_sha256),
        "input_identity": given.identity,
        "made_at": now.isoformat(),
        "names": list(contents.names),
        "mapping": given.mapping.as_json(),
        "delimiter": given.delimiter,
        "route_wish": given.wish.as_json(),
        "route_chosen": {
            "via": route.via.value,
            "bulk_version": route.bulk_version,
            "method": route.method.value,
        },
    }


def _survey_single(updates: Updates, wire: Wire, contents: Contents) -> Survey:
    """Count what single calls will take; read again, since bodies hold names as well."""
    unsendable: Counter[Any] = Counter()
    size = 0
    for item in single_calls(updates, wire, _URL_PREFIX_BYTES):
        if isinstance(item, SingleCall):
            size += len(item.payload)
        else:
            unsendable[item.reason] += 1
    sendable = contents.updates - unsendable.total()
    return Survey(sendable, 0, size, dict(unsendable))


def pace_of(settings: Settings) -> routing.Pace:
    """The settings that decide how long sending takes."""
    return routing.Pace(
        settings.single_max_updates,
        settings.daily_cap,
        settings.calls_per_second,
        settings.workers,
        settings.bulk_calls_per_minute,
    )
