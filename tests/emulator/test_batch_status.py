"""What the state of a batch tells, and how often it may be asked for."""

from __future__ import annotations

from .driving import Client, FakeClock, drive, element


def test_a_batch_is_incomplete_and_invisible_until_it_is_due() -> None:
    """The clock decides, not the waiting."""
    clock = FakeClock()

    async def scenario(client: Client) -> None:
        _, text = await client.submit("batch=thirdPartyId,x\na,1")
        assert (await client.status(text))["status"] == "incomplete"
        assert client.attributes("a") is None
        clock.now += 5
        assert (await client.finish(text))["status"] == "complete"
        assert client.attributes("a") == {"x": "1"}

    drive(scenario, clock, batch_delay_seconds=5)


def test_an_unknown_batch_is_not_found() -> None:
    """404, success false."""

    async def scenario(client: Client) -> None:
        status, text = await client.call("GET", "/m2/demo/profile/batchStatus?batchId=nope")
        assert (status, element(text, "success")) == (404, "false")

    drive(scenario)


def test_submits_and_polls_share_fifty_calls_a_minute() -> None:
    """Over it 503; single updates don't count; calls are free again after a minute."""
    clock = FakeClock()

    async def scenario(client: Client) -> None:
        _, text = await client.submit("batch=pcId,x\n1,2")
        path = "/m2/" + element(text, "batchStatus").split("/m2/")[1]
        for _ in range(49):
            assert (await client.call("GET", path))[0] == 200
        assert (await client.call("GET", path))[0] == 503
        assert (await client.submit("batch=pcId,x\n1,2"))[0] == 503
        assert (await client.update("mboxPC=1"))[0] == 200
        clock.now += 60
        assert (await client.call("GET", path))[0] == 200
        assert client.emulator.stats()["over_bulk_limit"] == 2

    drive(scenario, clock, bulk_calls_per_minute=50)


def test_older_states_tell_every_row() -> None:
    """Pending before, success or error after."""
    clock = FakeClock()

    async def scenario(client: Client) -> None:
        _, text = await client.submit("batch=pcId,x\na%26b,1\n,2", version=1)
        path = "/m2/" + element(text, "batchStatus").split("/m2/")[1]
        _, before = await client.call("GET", path)
        assert "<profile><id>a&amp;b</id><status>pending</status></profile>" in before
        clock.now += 1
        await client.finish(text)
        _, after = await client.call("GET", path)
        assert "<profile><id>a&amp;b</id><status>success</status></profile>" in after
        assert after.count("<status>error</status>") == 1

    drive(scenario, clock, status_form="rows", batch_delay_seconds=1, known_pc_ids=["a&b"])


def test_later_states_tell_failed_rows_only() -> None:
    """A profile element for each failure, none for successes."""

    async def scenario(client: Client) -> None:
        _, text = await client.submit("batch=thirdPartyId,x\nok,1\na%2Fb,2")
        await client.finish(text)
        _, after = await client.call("GET", "/m2/" + element(text, "batchStatus").split("/m2/")[1])
        assert after.count("<profile>") == 1
        assert "<profile><id>a/b</id><status>failed</status></profile>" in after

    drive(scenario, status_form="failed_rows")
