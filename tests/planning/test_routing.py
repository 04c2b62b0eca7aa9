"""The route, why, and what the other would have cost."""

from __future__ import annotations

import pytest

from uploader.errors import SettingsError
from uploader.model import IdType, Method, Route, RouteWish, Via
from uploader.planning.routing import (
    Pace,
    bulk_seconds,
    choose,
    refuse_contradictions,
    single_seconds,
    spoken,
    warnings,
)

PACE = Pace(10_000, 1_000_000, 500, 32, 40)


@pytest.mark.parametrize(
    ("wish", "updates", "route"),
    [
        (RouteWish(), 10_000, "single"),
        (RouteWish(), 10_001, "bulk v1"),
        (RouteWish(create_profiles=True), 1, "bulk v2"),
        (RouteWish(create_profiles=True), 10_001, "bulk v2"),
        (RouteWish(bulk_version=1), 1, "bulk v1"),
        (RouteWish(bulk_version=2), 1, "bulk v2"),
        (RouteWish(via=Via.BULK), 1, "bulk v1"),
        (RouteWish(via=Via.SINGLE), 5_000_000, "single"),
    ],
)
def test_size_never_decides_about_creating(wish: RouteWish, updates: int, route: str) -> None:
    """Only the flags lead to v2; auto chooses between single and bulk v1."""
    choice = choose(wish, updates, 1_000_000, 1, PACE)
    assert str(choice.route) == route
    assert choice.reason


def test_the_other_route_s_cost_is_told() -> None:
    """Calls, bytes and time."""
    by_bulk = choose(RouteWish(), 30_000, 4_000_000, 1, PACE)
    assert by_bulk.other == "single: 30,000 calls, about 1.0 minutes"
    assert by_bulk.reason.startswith("30,000 updates, over 10,000 go as batch files; v1")
    by_single = choose(RouteWish(), 1, 4_000_000, 1, PACE)
    assert by_single.other == "bulk v1: 1 batch file of 4,000,000 bytes in all, about 2 seconds"
    assert by_single.reason == "1 update, up to 10,000 go one by one"


@pytest.mark.parametrize(
    "wish",
    [
        RouteWish(via=Via.SINGLE, create_profiles=True),
        RouteWish(create_profiles=True, bulk_version=1),
        RouteWish(via=Via.SINGLE, bulk_version=1),
        RouteWish(via=Via.BULK, method=Method.GET),
        RouteWish(create_profiles=True, method=Method.GET),
        RouteWish(bulk_version=2, method=Method.GET),
    ],
)
def test_wishes_that_contradict_each_other_are_refused(wish: RouteWish) -> None:
    """Before anything is read; the message names the flags."""
    with pytest.raises(SettingsError, match="--"):
        refuse_contradictions(wish)


def test_what_adobe_advises_otherwise_is_a_warning() -> None:
    """An error only where the account is known to use the Experience Cloud ID."""
    v1, v2, single = Route(Via.BULK, 1), Route(Via.BULK, 2), Route(Via.SINGLE)
    third, pc = IdType.THIRD_PARTY_ID, IdType.PC_ID
    assert "Adobe advises v2" in warnings(v1, third, account_uses_ecid=True)[0]
    assert "pcId by bulk v2" in warnings(v2, pc, account_uses_ecid=False)[0]
    for route, id_type in ((v1, pc), (v2, third), (single, pc), (single, third)):
        assert warnings(route, id_type, account_uses_ecid=True) == []
    with pytest.raises(SettingsError, match="UPLOADER_ACCOUNT_USES_ECID"):
        warnings(v2, pc, account_uses_ecid=True)


def test_estimates_follow_pace_and_caps() -> None:
    """A day for each million of single calls, a minute for each forty batches."""
    assert single_seconds(0, PACE) == 0
    assert single_seconds(1_000_000, PACE) == 2_000
    assert single_seconds(1_000_001, PACE) == pytest.approx(86_400.002)
    assert single_seconds(320, Pace(1, 1_000_000, 0, 32, 40)) == 1
    assert bulk_seconds(40, 2_000_000, PACE) == 1
    assert bulk_seconds(80, 2_000_000, PACE) == 60
    assert [spoken(s) for s in (0.1, 45, 90, 5_400, 129_600)] == [
        "a second",
        "45 seconds",
        "1.5 minutes",
        "1.5 hours",
        "1.5 days",
    ]
