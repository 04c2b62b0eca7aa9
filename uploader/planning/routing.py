"""Which route a plan takes, why, and what the other would have cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from uploader.errors import SettingsError
from uploader.limits import DAY_SECONDS, MINUTE_SECONDS
from uploader.model import IdType, Method, Route, RouteWish, Via

# What an upload is reckoned with before anything was measured: bytes a second.
_ASSUMED_UPLOAD_RATE: Final = 2_000_000
# And a single call, where no pace is set: seconds a call and worker.
_ASSUMED_CALL_SECONDS: Final = 0.1


# Bulk v1 updates profiles that exist; v2 also creates what it doesn't find.
CREATING_VERSION: Final = 2


@dataclass(frozen=True)
class Pace:
    """The settings that decide how long a route takes."""

    single_max_updates: int
    daily_cap: int
    calls_per_second: float
    workers: int
    bulk_calls_per_minute: int


@dataclass(frozen=True)
class Choice:
    """A route, the reason for it, and what the other would have cost."""

    route: Route
    reason: str
    other: str


def refuse_contradictions(wish: RouteWish) -> None:
    """Check that what was asked for can be had together.

    Raises:
        SettingsError: it can't; the message says what to leave out.
    """
    if wish.create_profiles and wish.via is Via.SINGLE:
        message = (
            "--create-profiles needs the bulk route: single updates create nothing; "
            "leave out one of --via single and --create-profiles"
        )
        raise SettingsError(message)
    if wish.create_profiles and wish.bulk_version == 1:
        message = (
            "--create-profiles needs bulk version 2: version 1 creates nothing; "
            "leave out one of --bulk-version 1 and --create-profiles"
        )
        raise SettingsError(message)
    if wish.bulk_version is not None and wish.via is Via.SINGLE:
        message = "--bulk-version says nothing about --via single; leave out one of them"
        raise SettingsError(message)
    if wish.method is Method.GET and (
        wish.via is Via.BULK or wish.create_profiles or wish.bulk_version is not None
    ):
        message = "--method GET is for single updates; a batch file always goes by POST"
        raise SettingsError(message)


def choose(wish: RouteWish, updates: int, total_bytes: int, batches: int, pace: Pace) -> Choice:
    """The route for *updates*, by the rule of the house: size never decides about creating.

    *total_bytes* and *batches* are what the bulk route would send.
    """
    bulk = Route(Via.BULK, wish.bulk_version or (CREATING_VERSION if wish.create_profiles else 1))
    single = Route(Via.SINGLE, method=wish.method)
    single_cost = (
        f"single: {_count(updates, 'call')}, about {spoken(single_seconds(updates, pace))}"
    )
    bulk_cost = (
        f"{bulk}: {_count(batches, 'batch file')} of {total_bytes:,} bytes in all, "
        f"about {spoken(bulk_seconds(batches, total_bytes, pace))}"
    )
    if wish.via is Via.SINGLE:
        return Choice(single, "asked for (--via single)", bulk_cost)
    if wish.create_profiles:
        return Choice(bulk, "profiles may be created, and only bulk v2 creates", single_cost)
    if wish.bulk_version is not None:
        return Choice(bulk, f"asked for (--bulk-version {wish.bulk_version})", single_cost)
    if wish.via is Via.BULK:
        return Choice(bulk, "asked for (--via bulk); v1, since nothing may be created", single_cost)
    limit = pace.single_max_updates
    if updates <= limit:
        reason = f"{_count(updates, 'update')}, up to {limit:,} go one by one"
        return Choice(single, reason, bulk_cost)
    reason = (
        f"{_count(updates, 'update')}, over {limit:,} go as batch files; "
        "v1, since nothing may be created"
    )
    return Choice(bulk, reason, single_cost)


def warnings(route: Route, id_type: IdType, *, account_uses_ecid: bool) -> list[str]:
    """What Adobe advises otherwise about *route*.

    Raises:
        SettingsError: pcId by bulk v2 on an account that uses the Experience Cloud ID.
    """
    if route.bulk_version == CREATING_VERSION and id_type is IdType.PC_ID:
        if account_uses_ecid:
            message = (
                "accounts that use the Experience Cloud ID must not send pcId by bulk v2; "
                "use --bulk-version 1, or thirdPartyId (UPLOADER_ACCOUNT_USES_ECID is set)"
            )
            raise SettingsError(message)
        return ["pcId by bulk v2: not allowed for accounts that use the Experience Cloud ID"]
    if route.bulk_version == 1 and id_type is IdType.THIRD_PARTY_ID:
        advice = (
            "thirdPartyId by bulk v1: Adobe advises v2 for third-party ids; "
            "v2 would also create profiles (--create-profiles)"
        )
        return [advice]
    return []


def single_seconds(updates: int, pace: Pace) -> float:
    """How long so many single updates take under the pace and the daily cap."""
    rate = pace.calls_per_second or pace.workers / _ASSUMED_CALL_SECONDS
    days = max(updates - 1, 0) // pace.daily_cap
    return days * DAY_SECONDS + (updates - days * pace.daily_cap) / rate


def bulk_seconds(batches: int, total_bytes: int, pace: Pace) -> float:
    """How long the sending of batch files takes; the edge's own work on them is not in it."""
    waiting = max(batches - pace.bulk_calls_per_minute, 0)
    return max(
        total_bytes / _ASSUMED_UPLOAD_RATE, waiting * MINUTE_SECONDS / pace.bulk_calls_per_minute
    )


def spoken(seconds: float) -> str:
    """A duration as people say it."""
    for size, name in ((DAY_SECONDS, "day"), (3_600, "hour"), (MINUTE_SECONDS, "minute")):
        if seconds >= size:
            return f"{seconds / size:.1f} {name}s"
    return f"{seconds:.0f} seconds" if round(seconds) > 1 else "a second"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
