"""Bulk Profile Update."""

from __future__ import annotations

import asyncio
import random
import re

import pytest

from .driving import Client, drive, element


def test_a_batch_is_accepted_and_completes() -> None:
    """The documented answer, and the documented fields of the state."""

    async def scenario(client: Client) -> None:
        status, text = await client.submit("batch=thirdPartyId,p1,p2\n123,v1\n124,,M%C3%BCn%2C\n")
        assert status == 200
        pattern = (
            r"<response><success>true</success><batchStatus>(http://127\.0\.0\.1:\d+)/m2/demo/"
            r"profile/batchStatus\?batchId=demo-\d+-\d+</batchStatus>"
            r"<message>Batch submitted for processing</message></response>"
        )
        found = re.fullmatch(pattern, text)
        assert found and found[1] == client.emulator.url
        state = await client.finish(text)
        assert list(state) == [
            "batchId", "status", "batchSize", "consumedCount", "successfulUpdates",
            "profilesNotFound", "failedUpdates",
        ]  # fmt: skip
        assert list(state.values())[1:] == ["complete", "2", "2", "2", "0", "0"]
        assert list(await client.status(text, "")) == ["batchId", "status", "batchSize"]
        assert client.attributes("123") == {"p1": "v1"}
        assert client.attributes("124") == {"p2": "Mün,"}

    drive(scenario)


def test_the_status_url_can_name_another_host_over_plain_http() -> None:
    """As the real edge does."""

    async def scenario(client: Client) -> None:
        _, text = await client.submit("batch=pcId,x\n1,2")
        assert element(text, "batchStatus").startswith("http://mboxedge45.tt.omtrdc.net/m2/demo/")

    drive(scenario, status_url_base="http://mboxedge45.tt.omtrdc.net")


def test_v1_updates_existing_profiles_only() -> None:
    """The others are counted as not found."""

    async def scenario(client: Client) -> None:
        state = await client.apply("batch=pcId,x\n1,a\n2,b", version=1)
        assert (state["successfulUpdates"], state["profilesNotFound"]) == ("1", "1")
        assert client.attributes("1", "pcId") == {"x": "a"}
        assert client.attributes("2", "pcId") is None

    drive(scenario, known_pc_ids=["1"])


def test_consecutive_v2_batches_override_each_other() -> None:
    """What the second lacks is lost; what single updates and v1 brought stays."""

    async def scenario(client: Client) -> None:
        await client.update("mbox3rdPartyId=a&profile.single=1&profile.both=1")
        await client.apply("batch=thirdPartyId,v1\na,1", version=1)
        await client.apply("batch=thirdPartyId,x,y,both\na,1,1,2")
        assert client.attributes("a") == {"single": "1", "v1": "1", "x": "1", "y": "1", "both": "2"}
        await client.apply("batch=thirdPartyId,y,z\na,2,2")
        assert client.attributes("a") == {"single": "1", "v1": "1", "y": "2", "z": "2"}

    drive(scenario, known_third_party_ids=["a"])


def test_a_visit_prevents_overriding() -> None:
    """After a visit the attributes of the first batch stay, also later."""

    async def scenario(client: Client) -> None:
        await client.apply("batch=thirdPartyId,x\na,wow!")
        assert client.emulator.visit(["a", "unknown"]) == 1
        await client.apply("batch=thirdPartyId,y\na,1")
        await client.apply("batch=thirdPartyId,z\na,1")
        assert client.attributes("a") == {"x": "wow!", "z": "1"}

    drive(scenario)


@pytest.mark.parametrize("between", ["single", "v1"])
def test_another_update_in_between_prevents_overriding(between: str) -> None:
    """Only a batch whose predecessor was a v2 batch overrides."""

    async def scenario(client: Client) -> None:
        await client.apply("batch=thirdPartyId,x\na,1")
        if between == "single":
            await client.update("mbox3rdPartyId=a&profile.s=1")
        else:
            await client.apply("batch=thirdPartyId,s\na,1", version=1)
        await client.apply("batch=thirdPartyId,y\na,1")
        assert client.attributes("a") == {"x": "1", "s": "1", "y": "1"}

    drive(scenario)


def test_batches_by_pc_id_do_not_override() -> None:
    """The documents speak of thirdPartyId only."""

    async def scenario(client: Client) -> None:
        await client.apply("batch=pcId,x\n1,1")
        await client.apply("batch=pcId,y\n1,1")
        assert client.attributes("1", "pcId") == {"x": "1", "y": "1"}

    drive(scenario)


def test_a_profile_twice_in_one_batch_adds_up() -> None:
    """Rows of one batch merge column by column, the later value wins."""

    async def scenario(client: Client) -> None:
        await client.apply("batch=thirdPartyId,x,y,z\na,1,1\na,2,,3")
        assert client.attributes("a") == {"x": "2", "y": "1", "z": "3"}

    drive(scenario)


def test_empty_values_are_ignored() -> None:
    """An empty value clears nothing and a row of them overrides nothing."""

    async def scenario(client: Client) -> None:
        await client.apply("batch=thirdPartyId,x,y\na,1,1")
        state = await client.apply("batch=thirdPartyId,x,y\na,,\nb,1")
        assert state["successfulUpdates"] == "2"
        assert client.attributes("a") == {"x": "1", "y": "1"}
        await client.apply("batch=thirdPartyId,x,y\nc,,", version=2)
        assert client.attributes("c") is None

    drive(scenario)


def test_a_batch_of_only_empty_values_is_skipped() -> None:
    """It completes and consumes nothing."""

    async def scenario(client: Client) -> None:
        state = await client.apply("batch=thirdPartyId,x,y\na,,\nb,\nc\n")
        assert (state["status"], state["batchSize"]) == ("complete", "3")
        assert (state["consumedCount"], state["successfulUpdates"]) == ("0", "0")

    drive(scenario)


def test_rows_that_cannot_be_fail() -> None:
    """Too long, without id, or with + or / in a third-party id."""

    async def scenario(client: Client) -> None:
        rows = "batch=thirdPartyId,x\nlong,1,2\n,1\na%2Bb,1\na/b,1\na%2Fb,1\ngood,1"
        state = await client.apply(rows)
        assert (state["failedUpdates"], state["successfulUpdates"]) == ("5", "1")
        assert [item["id"] for item in client.emulator.profiles()] == ["good"]
        state = await client.apply("batch=pcId,x\na%2Bb,1\na/b,1")
        assert state["failedUpdates"] == "0"

    drive(scenario)


@pytest.mark.parametrize(
    "body", ["", "thirdPartyId,x\n1,2", '{"batch": 1}', "batch=thirdPartyId,x\n", "\nbatch=pcId,x"]
)
def test_a_body_without_batch_is_empty(body: str) -> None:
    """Success false with the known message."""

    async def scenario(client: Client) -> None:
        status, text = await client.submit(body)
        assert status == 200
        assert element(text, "success") == "false"
        assert element(text, "message") == "Batch is empty"

    drive(scenario)


def test_the_first_column_has_to_be_an_id() -> None:
    """Here the third-party id is not called mbox3rdPartyId."""

    async def scenario(client: Client) -> None:
        _, text = await client.submit("batch=mbox3rdPartyId,x\n1,2")
        assert element(text, "success") == "false"

    drive(scenario)


def test_half_a_million_rows_are_the_most() -> None:
    """500,000 pass, blank lines don't count, one more is refused."""

    async def scenario(client: Client) -> None:
        rows = b"batch=pcId,x" + b"\n\n1,2" * 500_000 + b"\r\n\r\n"
        _, text = await client.submit(rows)
        assert element(text, "success") == "true"
        assert client.emulator.stats()["batches"][0]["rows"] == 500_000
        _, text = await client.submit(rows + b"1,2")
        assert element(text, "success") == "false"

    drive(scenario, batch_delay_seconds=60)


def test_fifty_million_bytes_are_the_most() -> None:
    """50,000,000 pass, one more is refused after it was read."""

    async def scenario(client: Client) -> None:
        body = b"batch=pcId,x\n1,".ljust(50_000_000, b"v")
        assert element((await client.submit(body))[1], "success") == "true"
        assert element((await client.submit(body + b"v"))[1], "success") == "false"

    drive(scenario, batch_delay_seconds=60)


def test_rows_are_read_the_same_wherever_slices_end() -> None:
    """Counting and parsing agree over many slices, with LF and with CRLF."""
    source = random.Random(1)
    values = {f"id{number}": "v" * source.randrange(200) + str(number) for number in range(5000)}
    rows = [f"{identity},{value}" for identity, value in values.items()]

    async def scenario(client: Client) -> None:
        for end in ("\n", "\r\n"):
            state = await client.apply(end.join(["batch=pcId,x", *rows]) + end)
            assert state["batchSize"] == state["successfulUpdates"] == "5000"
        found = {item["id"]: item["attributes"]["x"] for item in client.emulator.profiles()}
        assert found == values

    drive(scenario)


def test_a_client_that_goes_away_in_the_middle_leaves_no_batch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Half a file is nothing, and nothing to complain about."""

    async def scenario(client: Client) -> None:
        port = int(client.emulator.url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = "POST /m2/demo/v2/profile/batchUpdate HTTP/1.1\r\nHost: x\r\n"
        writer.write(f"{head}Content-Length: 4000\r\n\r\nbatch=pcId,x\n1,2\n".encode())
        while not client.emulator.stats()["calls"]["bulk"]:
            await asyncio.sleep(0.001)
        writer.transport.abort()
        while not client.emulator.stats()["answers"]["bulk"]:
            await asyncio.sleep(0.001)
        stats = client.emulator.stats()
        assert (stats["answers"]["bulk"], stats["batches"]) == ({"client_gone": 1}, [])

    drive(scenario)
    assert not [record for record in caplog.records if record.name.startswith("aiohttp")]


def test_an_unfinished_batch_does_not_keep_the_emulator_from_stopping() -> None:
    """Stopping drops it."""

    async def scenario(client: Client) -> None:
        await client.submit("batch=pcId,x\n1,2")
        await client.emulator.stop()
        await asyncio.sleep(0)
        assert client.emulator.stats()["batches"][0]["status"] == "incomplete"

    drive(scenario, batch_delay_seconds=60)
