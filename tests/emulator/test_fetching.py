"""Fetching profiles."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from .driving import Client, FakeClock, drive


def test_a_profile_is_fetched_with_its_times() -> None:
    """The documented shape; the profile's time is its latest attribute's."""
    clock = FakeClock()

    async def scenario(client: Client) -> None:
        await client.update("mbox3rdPartyId=a&profile.country=france")
        clock.now += 1.5
        await client.apply("batch=thirdPartyId,city\na,Paris", version=1)
        status, text = await client.call("GET", "/rest/v1/profiles/thirdPartyId/a?client=demo")
        assert status == 200
        early, late = "2023-11-14T22:13:20.000+00:00", "2023-11-14T22:13:21.500+00:00"
        assert json.loads(text) == {
            "client": "demo",
            "visitorId": "a",
            "modifiedAt": late,
            "profileAttributes": {
                "country": {"value": "france", "modifiedAt": early},
                "city": {"value": "Paris", "modifiedAt": late},
            },
        }

    drive(scenario, clock, known_third_party_ids=["a"])


def test_a_profile_is_fetched_by_tnt_id() -> None:
    """Straight after the prefix."""

    async def scenario(client: Client) -> None:
        await client.apply("batch=pcId,x\n111-353046.01_00,1")
        _, text = await client.call("GET", "/rest/v1/profiles/111-353046.01_00?client=demo")
        assert json.loads(text)["profileAttributes"]["x"]["value"] == "1"

    drive(scenario)


@pytest.mark.parametrize("identity", ["a/b", "a b", "a+b", "ü€😀", "%2F", "a?b#c", "..", "x&y=z"])
def test_any_id_can_be_fetched(identity: str) -> None:
    """Ids in the path are decoded exactly once."""

    async def scenario(client: Client) -> None:
        path = f"/rest/v1/profiles/thirdPartyId/{quote(identity, safe='')}?client=demo"
        status, text = await client.call("GET", path)
        assert (status, json.loads(text)["visitorId"]) == (200, identity)

    drive(scenario, known_third_party_ids=[identity])


def test_an_unknown_profile_is_not_found() -> None:
    """The documented 404; the wrong client too."""

    async def scenario(client: Client) -> None:
        status, text = await client.call("GET", "/rest/v1/profiles/thirdPartyId/b?client=demo")
        assert status == 404
        message = "No profile found for client demo with third party id=b"
        assert json.loads(text) == {"status": 404, "message": message}
        assert (await client.call("GET", "/rest/v1/profiles/thirdPartyId/a?client=x"))[0] == 404

    drive(scenario, known_third_party_ids=["a"])
