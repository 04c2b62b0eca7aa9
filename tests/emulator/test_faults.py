"""Every fault, as a client meets it."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from yarl import URL

from uploader.emulator import CallFaults, FaultError, Faults, faults_from_json

from .driving import Client, drive, element

UPDATE = "mbox3rdPartyId=a&profile.x=1"


def faulty(kind: str, **more: Any) -> dict[str, Any]:
    """Settings under which the next single call meets *kind*."""
    calls = CallFaults(next_calls=((kind, 1),), **more)
    return {"faults": Faults(single=calls), "known_third_party_ids": ["a"]}


@pytest.mark.parametrize("kind", ["401", "403", "429", "500", "503"])
def test_a_status_fault_answers_and_applies_nothing(kind: str) -> None:
    """For as many calls as were asked for, then all is well."""

    async def scenario(client: Client) -> None:
        assert (await client.update(UPDATE))[0] == int(kind)
        assert client.attributes("a") == {}
        assert (await client.update(UPDATE))[0] == 200
        assert client.emulator.stats()["answers"]["single"] == {kind: 1, "200": 1}

    drive(scenario, **faulty(kind))


@pytest.mark.parametrize("kind", ["429", "503"])
def test_retry_after_is_sent_where_asked_for(kind: str) -> None:
    """With 429 and 503."""

    async def scenario(client: Client) -> None:
        async with client.session.get(client.emulator.url + "/m2/demo/profile/update") as answer:
            assert answer.headers["Retry-After"] == "7"

    drive(scenario, **faulty(kind, retry_after_seconds=7))


@pytest.mark.parametrize(("kind", "applied"), [("reset_before", {}), ("reset_after", {"x": "1"})])
def test_a_reset_comes_before_or_after_the_update(kind: str, applied: dict[str, str]) -> None:
    """The client sees RST, and can't know which of both it was."""

    async def scenario(client: Client) -> None:
        address = URL(client.emulator.url)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        body = UPDATE.encode()
        head = "POST /m2/demo/profile/update HTTP/1.1\r\nHost: x\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        assert client.attributes("a") == applied

    drive(scenario, **faulty(kind))


def test_a_cut_body_ends_in_its_middle() -> None:
    """Applied, but the answer can't be read to its end."""

    async def scenario(client: Client) -> None:
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.update(UPDATE)
        assert client.attributes("a") == {"x": "1"}

    drive(scenario, **faulty("cut_body"))


@pytest.mark.parametrize("status", ["413", "503"])
def test_an_early_answer_comes_before_the_body_is_sent(status: str) -> None:
    """The answer is there though the client has hardly begun; then the connection ends."""

    async def scenario(client: Client) -> None:
        address = URL(client.emulator.url)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        head = "POST /m2/demo/v2/profile/batchUpdate HTTP/1.1\r\nHost: x\r\n"
        writer.write(f"{head}Content-Length: 40000000\r\n\r\nbatch=".encode())
        assert (await reader.readline()).split()[1] == status.encode()
        await reader.read()
        assert reader.at_eof()
        writer.close()
        assert client.emulator.stats()["batches"] == []

    drive(scenario, faults=Faults(bulk=CallFaults(rates={f"early_{status}": 1})))


def test_a_refusal_has_success_false_and_its_status_can_be_chosen() -> None:
    """200 unless told otherwise."""

    async def scenario(client: Client) -> None:
        status, text = await client.update(UPDATE)
        assert (status, element(text, "success")) == (200, "false")
        faults = Faults(single=CallFaults(rates={"refuse": 1.0}), refusal_status=422)
        client.emulator.set_faults(faults)
        assert (await client.update(UPDATE))[0] == 422
        assert client.attributes("a") == {}

    drive(scenario, **faulty("refuse"))


def test_a_hanging_call_never_answers_and_ends_with_the_emulator() -> None:
    """The client is let go when the emulator stops."""

    async def scenario(client: Client) -> None:
        call = asyncio.create_task(client.update(UPDATE))
        while not client.emulator.stats()["answers"]["single"]:
            await asyncio.sleep(0.001)
        assert not call.done()
        await client.emulator.stop()
        with pytest.raises(aiohttp.ClientError):
            await call
        assert client.attributes("a") == {}

    drive(scenario, **faulty("hang"))


def test_a_redirect_names_another_address() -> None:
    """302 with a Location where nothing is."""

    async def scenario(client: Client) -> None:
        url = client.emulator.url + "/m2/demo/profile/update"
        async with client.session.post(url, data=UPDATE, allow_redirects=False) as answer:
            assert answer.status == 302
            assert answer.headers["Location"].startswith(client.emulator.url)

    drive(scenario, **faulty("redirect"))


def test_latency_delays_and_does_not_fail() -> None:
    """Fixed and jitter together."""

    async def scenario(client: Client) -> None:
        assert (await client.update(UPDATE))[0] == 200
        assert client.emulator.plan.latency_seconds("single") >= 0.01
        assert client.emulator.plan.latency_seconds("bulk") == 0

    drive(scenario, faults=Faults(single=CallFaults(latency_seconds=0.01, jitter_seconds=0.01)))


def test_rates_are_kept_and_repeatable() -> None:
    """The same seed gives the same faults in the same order."""

    async def outcomes(client: Client) -> list[int]:
        return [(await client.update(UPDATE))[0] for _ in range(200)]

    async def scenario(client: Client) -> None:
        faults = Faults(seed=3, single=CallFaults(rates={"503": 0.2, "500": 0.1}))
        client.emulator.set_faults(faults)
        first = await outcomes(client)
        client.emulator.set_faults(faults)
        assert await outcomes(client) == first
        assert 20 <= first.count(503) <= 60
        assert 5 <= first.count(500) <= 40

    drive(scenario)


def test_each_api_has_its_own_faults() -> None:
    """Single, bulk, status and fetch apart."""

    async def scenario(client: Client) -> None:
        assert (await client.update(UPDATE))[0] == 200
        assert (await client.submit("batch=pcId,x\n1,2"))[0] == 500
        assert (await client.call("GET", "/m2/demo/profile/batchStatus?batchId=1"))[0] == 503
        assert (await client.call("GET", "/rest/v1/profiles/1?client=demo"))[0] == 429

    faults = Faults(
        bulk=CallFaults(rates={"500": 1}),
        status=CallFaults(next_calls=(("503", 1),)),
        fetch=CallFaults(next_calls=(("429", 1),)),
    )
    drive(scenario, faults=faults)


def test_single_updates_of_chosen_ids_are_refused() -> None:
    """Each time, and only theirs."""

    async def scenario(client: Client) -> None:
        for _ in range(2):
            _, text = await client.update("mbox3rdPartyId=b%2B%C3%A4&profile.x=1")
            assert element(text, "success") == "false"
        assert element((await client.update(UPDATE))[1], "success") == "true"

    drive(scenario, faults=Faults(refuse_ids=frozenset({"b+ä"})))


def test_batches_with_chosen_ids_are_refused_at_once() -> None:
    """The culprit may stand anywhere, encoded; without it the batch passes."""

    async def scenario(client: Client) -> None:
        rows = "batch=thirdPartyId,x\n" + "a,1\n" * 30_000
        assert element((await client.submit(rows + "b%20c,1"))[1], "success") == "false"
        assert element((await client.submit(rows))[1], "success") == "true"
        client.emulator.set_faults(Faults(refuse_batches=True))
        assert element((await client.submit(rows))[1], "success") == "false"

    drive(scenario, faults=Faults(refuse_batch_ids=frozenset({"b c"})))


@pytest.mark.parametrize(
    ("faults", "states"),
    [
        (Faults(stuck_batches=True), ["stuck", "stuck"]),
        (Faults(stuck_next_batches=1), ["stuck", "complete"]),
        (Faults(stuck_batch_ids=frozenset({"b"})), ["complete", "stuck"]),
    ],
)
def test_batches_get_stuck(faults: Faults, states: list[str]) -> None:
    """All, the next ones, or those with an id; what is stuck applies nothing."""

    async def scenario(client: Client) -> None:
        found = [
            (await client.apply(f"batch=thirdPartyId,x\n{identity},1"))["status"]
            for identity in ("a", "b")
        ]
        assert found == states
        kept = [client.attributes(identity) is not None for identity in ("a", "b")]
        assert kept == [state == "complete" for state in states]

    drive(scenario, faults=faults)


def test_rows_fail_by_id_and_by_fraction() -> None:
    """Counted as failed and not applied."""

    async def scenario(client: Client) -> None:
        state = await client.apply("batch=thirdPartyId,x\na,1\nb,1")
        assert (state["failedUpdates"], state["successfulUpdates"]) == ("1", "1")
        assert client.attributes("b") is None
        client.emulator.set_faults(Faults(fail_rows_fraction=0.5))
        rows = "".join(f"\n{number},1" for number in range(1000))
        failed = int((await client.apply("batch=pcId,x" + rows))["failedUpdates"])
        assert 400 <= failed <= 600
        assert client.emulator.stats()["profiles"]["pcId"] == 1000 - failed

    drive(scenario, faults=Faults(fail_row_ids=frozenset({"b"})))


def test_faults_survive_json() -> None:
    """What is written is read back as it was."""
    faults = Faults(
        seed=5,
        single=CallFaults(rates={"503": 0.25}, next_calls=(("hang", 2),), retry_after_seconds=1.5),
        refuse_ids=frozenset({"ä"}),
        stuck_batches=True,
    )
    assert faults_from_json(faults.to_json()) == faults
    assert faults_from_json({}) == Faults()


@pytest.mark.parametrize(
    "shape",
    [
        [],
        {"sngle": {}},
        {"single": {"rate": {}}},
        {"single": {"rates": {"418": 1}}},
        {"single": {"rates": {"503": 1.5}}},
        {"single": {"rates": {"503": "often"}}},
        {"single": {"next_calls": [["503"]]}},
        {"single": {"latency_seconds": -1}},
        {"seed": "x"},
        {"stuck_batches": 1},
        {"refuse_ids": [1]},
        {"fail_rows_fraction": 2},
    ],
)
def test_nonsense_faults_are_refused(shape: object) -> None:
    """Unknown keys, unknown kinds, values that mean nothing."""
    with pytest.raises(FaultError):
        faults_from_json(shape)
