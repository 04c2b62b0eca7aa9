"""Single Profile Update."""

from __future__ import annotations

import pytest

from .driving import Client, FakeClock, drive

XML = (
    "<response><success>true</success><message>Request successfully submitted</message></response>"
)


def test_a_form_updates_a_known_profile() -> None:
    """POST with a form body; names lose their prefix, text is UTF-8."""

    async def scenario(client: Client) -> None:
        answer = await client.update("mbox3rdPartyId=a&profile.Stadt=M%C3%BCnchen&profile.n%20m=1")
        assert answer == (200, XML)
        assert client.attributes("a") == {"Stadt": "München", "n m": "1"}

    drive(scenario, known_third_party_ids=["a"])


def test_a_query_string_updates_as_well() -> None:
    """GET and POST both read the query string; POST reads it beside the form."""

    async def scenario(client: Client) -> None:
        path = "/m2/demo/profile/update?mboxPC=1-2.01_00&profile.x=1"
        assert (await client.call("GET", path))[0] == 200
        await client.call("POST", path, b"profile.y=2")
        assert client.attributes("1-2.01_00", "pcId") == {"x": "1", "y": "2"}

    drive(scenario, known_pc_ids=["1-2.01_00"])


def test_an_unknown_visitor_is_accepted_and_not_created() -> None:
    """The answer doesn't tell whether the visitor exists."""

    async def scenario(client: Client) -> None:
        assert await client.update("mbox3rdPartyId=a&profile.x=1") == (200, XML)
        assert client.attributes("a") is None
        assert client.emulator.stats()["updates_unknown"] == 1

    drive(scenario)


def test_later_updates_add_up_whatever_their_number() -> None:
    """Layers are folded without losing, reordering or reviving anything."""

    async def scenario(client: Client) -> None:
        for number in range(20):
            await client.update(f"mbox3rdPartyId=a&profile.last={number}&profile.p{number}=x")
        found = client.attributes("a")
        assert found is not None
        assert found["last"] == "19"
        assert len(found) == 21

    drive(scenario, known_third_party_ids=["a"])


def test_names_are_case_sensitive_and_nothing_is_trimmed() -> None:
    """Text is kept exactly; a plus is a space unless it is encoded."""

    async def scenario(client: Client) -> None:
        await client.update("mbox3rdPartyId=a&profile.X=%20u+v%2B&profile.x=%0A%26%3D&other=1")
        assert client.attributes("a") == {"X": " u v+", "x": "\n&="}

    drive(scenario, known_third_party_ids=["a"])


def test_an_encoded_prefix_is_still_the_prefix() -> None:
    """Names are decoded before they are looked at."""

    async def scenario(client: Client) -> None:
        await client.update("mbox3rdPartyId=a&profile%2Ex=1&%70rofile.y%3D=2")
        assert client.attributes("a") == {"x": "1", "y=": "2"}

    drive(scenario, known_third_party_ids=["a"])


def test_raw_line_breaks_cannot_break_the_store() -> None:
    """A body with unencoded newlines is read as it stands."""

    async def scenario(client: Client) -> None:
        await client.update("mbox3rdPartyId=a&profile.x=1\n&profile.y=!")
        assert client.attributes("a") == {"x": "1\n", "y": "!"}

    drive(scenario, known_third_party_ids=["a"])


def test_empty_values_change_nothing() -> None:
    """There is no way to remove an attribute."""

    async def scenario(client: Client) -> None:
        await client.update("mbox3rdPartyId=a&profile.x=1")
        await client.update("mbox3rdPartyId=a&profile.x=")
        assert client.attributes("a") == {"x": "1"}

    drive(scenario, known_third_party_ids=["a"])


@pytest.mark.parametrize(("extra", "status"), [(0, 200), (1, 413)])
def test_a_body_may_have_60000_bytes(extra: int, status: int) -> None:
    """The limit itself still passes."""

    async def scenario(client: Client) -> None:
        form = "mbox3rdPartyId=a&profile.x="
        assert (await client.update(form.ljust(60_000 + extra, "v")))[0] == status

    drive(scenario)


@pytest.mark.parametrize(("extra", "status"), [(0, 200), (1, 414), (90_000, 414)])
def test_a_url_may_have_8000_bytes(extra: int, status: int) -> None:
    """The whole URL counts, from its scheme on."""

    async def scenario(client: Client) -> None:
        path = "/m2/demo/profile/update?mbox3rdPartyId=a&profile.x="
        width = 8_000 + extra - len(client.emulator.url)
        assert (await client.call("GET", path.ljust(width, "v")))[0] == status

    drive(scenario)


def test_no_identity_is_refused() -> None:
    """Success false, with status 400."""

    async def scenario(client: Client) -> None:
        status, text = await client.update("profile.x=1")
        assert status == 400
        assert "<success>false</success>" in text

    drive(scenario)


def test_another_client_code_is_not_found() -> None:
    """An account exists at its own path only."""

    async def scenario(client: Client) -> None:
        assert (await client.call("GET", "/m2/other/profile/update?mboxPC=1"))[0] == 404

    drive(scenario)


def test_other_methods_are_not_allowed() -> None:
    """GET and POST only."""

    async def scenario(client: Client) -> None:
        assert (await client.call("PUT", "/m2/demo/profile/update?mboxPC=1"))[0] == 405

    drive(scenario)


def test_the_bare_text_can_be_had() -> None:
    """The answer as the pages print it."""

    async def scenario(client: Client) -> None:
        assert await client.update("mboxPC=1") == (200, "trueRequest successfully submitted")

    drive(scenario, bare_text=True)


def test_a_body_that_is_no_form_is_not_read() -> None:
    """JSON in a single update says nothing."""

    async def scenario(client: Client) -> None:
        headers = {"Content-Type": "application/json"}
        assert (await client.update("mbox3rdPartyId=a&profile.x=1", **headers))[0] == 400

    drive(scenario)


def test_the_cap_slides_over_24_hours() -> None:
    """Over it 429 and nothing applied; a call is free again after exactly a day."""
    clock = FakeClock()

    async def scenario(client: Client) -> None:
        for number in range(3):
            status, _ = await client.update(f"mbox3rdPartyId=a&profile.x={number}")
            assert status == (200 if number < 2 else 429)
            clock.now += 3600
        assert client.attributes("a") == {"x": "1"}
        clock.now += 21 * 3600 - 1
        assert (await client.update("mbox3rdPartyId=a&profile.x=3"))[0] == 429
        clock.now += 1
        assert (await client.update("mbox3rdPartyId=a&profile.x=4"))[0] == 200
        assert (await client.update("mbox3rdPartyId=a&profile.x=5"))[0] == 429
        assert client.emulator.stats()["over_cap"] == 3

    drive(scenario, clock, known_third_party_ids=["a"], daily_cap=2)


def test_a_token_is_asked_for_and_a_new_one_kills_the_old() -> None:
    """401 without the right bearer, at every API."""

    async def scenario(client: Client) -> None:
        assert (await client.update("mboxPC=1"))[0] == 401
        assert (await client.update("mboxPC=1", Authorization="Bearer one"))[0] == 200
        client.emulator.set_token("two")
        assert (await client.update("mboxPC=1", Authorization="Bearer one"))[0] == 401
        assert (await client.submit("batch=pcId,x\n1,2"))[0] == 401
        assert (await client.call("GET", "/m2/demo/profile/batchStatus?batchId=1"))[0] == 401
        assert (await client.call("GET", "/rest/v1/profiles/1?client=demo"))[0] == 401
        assert client.emulator.stats()["updates_unknown"] == 1

    drive(scenario, token="one")


def test_profiles_need_not_be_kept() -> None:
    """Updates are counted and forgotten."""

    async def scenario(client: Client) -> None:
        await client.update("mbox3rdPartyId=a&profile.x=1")
        state = await client.apply("batch=thirdPartyId,x\na,1\nb,1")
        assert state["successfulUpdates"] == "2"
        assert list(client.emulator.profiles()) == [
            {"type": "thirdPartyId", "id": "a", "attributes": {}}
        ]
        assert client.emulator.stats()["updates_applied"] == 1

    drive(scenario, known_third_party_ids=["a"], keep_profiles=False)
