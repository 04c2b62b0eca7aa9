"""The control API, the thread and the process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from uploader.emulator import (
    CallFaults,
    ControlError,
    EmulatorSettings,
    EmulatorThread,
    Faults,
    RemoteControl,
)

from .driving import Client, FakeClock, drive


def post(url: str, body: str) -> str:
    with urllib.request.urlopen(url, body.encode()) as answer:  # noqa: S310
        text: str = answer.read().decode()
        return text


def test_a_thread_is_driven_by_remote_control() -> None:
    """Known ids, updates, visits, profiles, calls, stats and reset, from synchronous code."""
    settings = EmulatorSettings(known_pc_ids=(str(n) for n in [1]), batch_delay_seconds=0)
    with EmulatorThread(settings) as emulator:
        emulator.add_known(["ä"])
        post(emulator.url + "/m2/demo/profile/update", "mbox3rdPartyId=%C3%A4&profile.x=%E2%82%AC")
        assert emulator.visit(["ä", "b"], ["1"]) == 2
        found = sorted(emulator.profiles(), key=lambda item: str(item["type"]))
        assert found == [
            {"type": "pcId", "id": "1", "attributes": {}},
            {"type": "thirdPartyId", "id": "ä", "attributes": {"x": "€"}},
        ]
        assert {api: len(times) for api, times in emulator.calls().items()} == {
            "single": 1, "bulk": 0, "status": 0, "fetch": 0,
        }  # fmt: skip
        emulator.reset()
        assert [item["id"] for item in emulator.profiles()] == ["1"]
        assert emulator.stats()["calls"]["single"] == 0


def test_faults_and_token_change_at_run_time() -> None:
    """By remote control; nonsense is refused with the reason."""
    with EmulatorThread(EmulatorSettings()) as emulator:
        emulator.set_token("secret")
        emulator.set_faults(Faults(single=CallFaults(next_calls=(("503", 1),))))
        for status in (503, 401):
            with pytest.raises(urllib.error.HTTPError) as caught:
                post(emulator.url + "/m2/demo/profile/update", "mboxPC=1")
            caught.value.close()
            assert caught.value.code == status
        emulator.set_token(None)
        assert "success" in post(emulator.url + "/m2/demo/profile/update", "mboxPC=1")
        with pytest.raises(ControlError, match="unknown key 'nope'"):
            emulator._call("PUT", "faults", {"nope": 1})
        with pytest.raises(ControlError, match="no such control call"):
            emulator._call("GET", "nothing")
        with pytest.raises(ControlError):
            emulator._call("POST", "known", {"ids": []})
        with pytest.raises(ControlError):
            emulator._call("PUT", "token", {"tokn": "x"})


def test_a_port_in_use_is_told_to_the_starter() -> None:
    """The thread's failure arrives where it was started."""
    with EmulatorThread(EmulatorSettings()) as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(OSError, match="address already in use"):
            EmulatorThread(EmulatorSettings(), port=port).__enter__()


def test_stats_tell_the_batches() -> None:
    """Id, version, rows, bytes, state and counts."""

    async def scenario(client: Client) -> None:
        await client.apply("batch=thirdPartyId,x\na,1\nb/c,1\nd,2", version=1)
        _, text = await client.call("GET", "/_emulator/stats")
        stats = json.loads(text)
        (batch,) = stats["batches"]
        assert batch.pop("id").startswith("demo-1700000000000-")
        assert batch == {
            "version": 1, "id_type": "thirdPartyId", "rows": 3, "bytes": 34,
            "status": "complete", "consumed": 3, "successful": 1, "not_found": 1, "failed": 1,
        }  # fmt: skip
        assert stats["calls"]["bulk"] == 1
        assert client.emulator.calls()["bulk"] == [1_700_000_000.0]

    drive(scenario, FakeClock(), known_third_party_ids=["a"])


def test_control_calls_are_not_the_accounts() -> None:
    """They need no token and count nowhere."""

    async def scenario(client: Client) -> None:
        assert (await client.call("GET", "/_emulator/stats"))[0] == 200
        assert (await client.call("PUT", "/_emulator/faults", b"{no json"))[0] == 400
        assert set(client.emulator.stats()["calls"].values()) == {0}

    drive(scenario, token="t")


def test_a_reset_drops_unfinished_batches_and_changed_faults() -> None:
    """Back to the settings."""

    async def scenario(client: Client) -> None:
        await client.submit("batch=thirdPartyId,x\na,1")
        client.emulator.set_faults(Faults(refuse_batches=True))
        await client.call("POST", "/_emulator/reset")
        assert client.emulator.stats()["batches"] == []
        assert client.emulator.plan.faults == Faults()
        assert (await client.submit("batch=thirdPartyId,x\na,1"))[0] == 200

    drive(scenario, batch_delay_seconds=60)


def test_a_process_serves_until_it_is_told_to_end() -> None:
    """SIGTERM ends it in order, with exit code 0."""
    program = (
        "import asyncio\n"
        "from uploader.emulator import EmulatorSettings, serve\n"
        "asyncio.run(serve(EmulatorSettings(), on_ready=lambda url: print(url, flush=True)))\n"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        control = RemoteControl(process.stdout.readline().strip())
        post(control.url + "/m2/demo/profile/update", "mboxPC=1")
        assert control.stats()["calls"]["single"] == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
