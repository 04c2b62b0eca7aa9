"""The edge misbehaves: nothing is lost, calls are counted truly, the exit code tells."""

from __future__ import annotations

import json

from tests.end_to_end.conftest import TOKEN, Shop
from uploader.emulator import EmulatorSettings, EmulatorThread, faults_from_json

FIFTH = {"503": 0.05, "429": 0.05, "reset_before": 0.05, "cut_body": 0.05}


def test_a_fifth_of_all_calls_fails_and_everything_is_delivered(shop: Shop) -> None:
    """503, 429, resets and cut answers are retried; our count of calls is the edge's."""
    shop.know(1_500)
    shop.emulator.set_faults(faults_from_json({"seed": 3, "single": {"rates": FIFTH}}))
    ended = shop("run", shop.csv("crm.csv", 1_500), "--via", "single", "--json")
    report = ended.json
    assert ended.exit_code == 0, ended.stderr
    assert report["updates"]["delivered"] == 1_500
    assert len([1 for profile in shop.profiles().values() if profile]) == 1_500
    assert report["calls"]["single"] == shop.calls()["single"] > 1_500
    assert report["calls"]["retries"] == report["calls"]["single"] - 1_500


def test_bulk_calls_that_fail_are_sent_again(shop: Shop) -> None:
    """Batch files and status questions survive a bad edge, and are counted truly."""
    shop.know(300)
    faults = {
        "bulk": {"next_calls": [["503", 1], ["reset_before", 1], ["cut_body", 1]]},
        "status": {"next_calls": [["503", 1], ["cut_body", 1]]},
    }
    shop.emulator.set_faults(faults_from_json(faults))
    ended = shop("run", shop.csv("crm.csv", 300), "--via", "bulk", "--json")
    assert ended.exit_code == 0, ended.stderr
    calls, seen = ended.json["calls"], shop.calls()
    assert (calls["bulk"], calls["status"]) == (seen["bulk"], seen["status"])
    assert calls["bulk"] == 4
    assert len([1 for profile in shop.profiles().values() if profile]) == 300


def test_refused_credentials_stop_the_run_and_lose_nothing(shop: Shop) -> None:
    """Exit 4, nothing dead-lettered, and the token in nothing that was printed."""
    shop.know(100)
    shop.emulator.set_token("another")
    ended = shop(
        "run", shop.csv("crm.csv", 100), "--json", "--log-level", "debug", UPLOADER_TOKEN=TOKEN
    )
    assert ended.exit_code == 4
    assert ended.json["stopped_by"] == "credentials"
    assert ended.json["updates"]["dead_lettered"] == 0
    assert ended.json["updates"]["pending"] == 100
    assert ended.json["dead_letters"] is None
    assert TOKEN not in ended.stdout + ended.stderr
    written = [path for path in shop.folder.rglob("*") if path.is_file()]
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
    shop.emulator.set_token(TOKEN)
    again = shop("run", str(shop.folder / "crm.csv"), "--json", UPLOADER_TOKEN=TOKEN)
    assert again.exit_code == 0
    assert again.json["run"] == ended.json["run"]
    assert again.json["updates"]["delivered"] == 100


def test_a_refused_batch_becomes_dead_letters_that_a_retry_delivers(shop: Shop) -> None:
    """Its rows are kept with the edge's message until the edge relents."""
    shop.know(50)
    shop.emulator.set_faults(faults_from_json({"refuse_batches": True}))
    letters = shop.folder / "dead.jsonl"
    ended = shop(
        "run", shop.csv("crm.csv", 50), "--via", "bulk", "--json", "--dead-letters", str(letters)
    )
    assert ended.exit_code == 3
    assert ended.json["reasons"] == {"batch_refused": 50}
    assert ended.json["updates"]["dead_lettered"] == 50
    _, *lines = shop.letters(letters)
    assert len(lines) == 50
    assert lines[3] | {"at": ""} == {
        "kind": "undelivered",
        "reason": "batch_refused",
        "detail": lines[3]["detail"],
        "identity": {"type": "thirdPartyId", "value": "c00003"},
        "attributes": {"tier": "gold3", "points": "3.50"},
        "records": 1,
        "source": str(shop.folder / "crm.csv"),
        "line": 5,
        "attempts": 1,
        "http_status": 200,
        "at": "",
    }
    assert letters.stat().st_mode & 0o777 == 0o600
    shop.emulator.set_faults(faults_from_json({}))
    retried = shop("retry", str(letters), "--json")
    assert retried.exit_code == 0, retried.stdout + retried.stderr
    assert retried.json["records"]["read"] == 50
    assert shop.profiles()["c00003"] == {"tier": "gold3", "points": "3.50"}


def test_a_stuck_batch_becomes_dead_letters(shop: Shop) -> None:
    """The edge will not finish it, so its rows are not delivered."""
    shop.know(20)
    shop.emulator.set_faults(faults_from_json({"stuck_batches": True}))
    ended = shop("run", shop.csv("crm.csv", 20), "--via", "bulk", "--json")
    assert ended.exit_code == 3
    assert ended.json["reasons"] == {"batch_stuck": 20}


def test_refused_updates_are_dead_letters_while_others_get_through(shop: Shop) -> None:
    """One update's refusal is about that update."""
    shop.know(200)
    shop.emulator.set_faults(faults_from_json({"refuse_ids": ["c00007", "c00150"]}))
    ended = shop("run", shop.csv("crm.csv", 200), "--json")
    assert ended.exit_code == 3
    assert ended.json["reasons"] == {"refused": 2}
    dead = [line["identity"]["value"] for line in shop.letters(ended.json["dead_letters"])[1:]]
    assert dead == ["c00007", "c00150"]


def test_fifty_refusals_and_no_success_stop_the_run(shop: Shop) -> None:
    """Then the run is wrong, not the rows: nothing is dead-lettered."""
    ended = shop("run", shop.csv("crm.csv", 300), "--json", UPLOADER_CLIENT_CODE="typo")
    assert ended.exit_code == 4
    assert ended.json["stopped_by"] == "refused"
    assert ended.json["updates"]["pending"] == 300
    assert "UPLOADER_CLIENT_CODE" in ended.json["stopped_because"]


def test_a_redirect_is_never_followed(shop: Shop) -> None:
    """A body or a token goes to no address that an answer names."""
    shop.emulator.set_faults(faults_from_json({"single": {"rates": {"redirect": 1.0}}}))
    ended = shop("run", shop.csv("crm.csv", 40), "--json")
    assert ended.exit_code == 4
    assert ended.json["stopped_by"] == "redirect"
    assert ended.json["updates"]["pending"] == 40


def test_an_edge_that_is_gone_stops_the_run_and_keeps_everything(shop: Shop) -> None:
    """Exit 4, edge_down, all pending; when it is back, the same command finishes."""
    export = shop.csv("crm.csv", 500)
    gone = {"UPLOADER_EDGE_URL": "http://127.0.0.1:9", "UPLOADER_OUTAGE_AFTER": "1s"}
    ended = shop("run", export, "--json", **gone)
    assert ended.exit_code == 4
    assert ended.json["stopped_by"] == "edge_down"
    assert ended.json["updates"]["pending"] == 500
    assert ended.json["reasons"] == {}


def test_values_and_ids_are_in_no_log_and_no_message(shop: Shop) -> None:
    """What is printed tells of columns and lines, never of people."""
    rows = "\n".join(f"secretid{i},secretvalue{i}" for i in range(30))
    export = shop.write(
        "crm.csv", f"id,tier\n{rows}\nsecret/id,secretvalue\nsecretid,secret,value\n"
    )
    shop.emulator.set_faults(faults_from_json({"refuse_ids": ["secretid5"]}))
    ended = shop("run", export, "--log-level", "debug", "--log-format", "json")
    assert ended.exit_code == 3
    assert "secret" not in ended.stdout + ended.stderr
    assert [json.loads(line) for line in ended.stderr.splitlines()]


def test_batches_that_are_still_worked_on_are_asked_for_by_the_next_start(shop: Shop) -> None:
    """Pending, exit 4; any later run of the account settles them."""
    slow = EmulatorSettings(client_code="demo", batch_delay_seconds=1.5)
    with EmulatorThread(slow) as emulator:
        emulator.add_known(third_party_ids=[f"c{i:05d}" for i in range(30)])
        there = {"UPLOADER_EDGE_URL": emulator.url}
        first = shop(
            "run", shop.csv("monday.csv", 20), "--via", "bulk", "--wait", "1s", "--json", **there
        )
        assert first.exit_code == 4
        assert first.json["stopped_by"] == "batches"
        assert first.json["updates"]["pending"] == 20
        while emulator.stats()["batches"][0]["status"] != "complete":
            pass
        other = shop(
            "run", shop.csv("tuesday.csv", 5, first=20), "--via", "single", "--json", **there
        )
        assert other.exit_code == 0
        settled = shop("status", first.json["run"], "--json", **there).json
        assert settled["state"] == "finished"
        assert settled["updates"]["delivered"] == 20
        assert settled["exit_code"] == 0
        # All of it had been sent: neither run has anything to warn of.
        said = [*settled["warnings"], *other.json["warnings"]]
        assert not [warning for warning in said if "--stale" in warning]
