"""Which run a start is: promise 5."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Shop
from uploader.emulator import faults_from_json


def test_the_same_export_twice_is_sent_once(shop: Shop) -> None:
    """The second start reports the first run again, with its exit code."""
    shop.know(30)
    export = shop.csv("crm.csv", 30)
    first = shop("run", export, "--json")
    second = shop("run", export, "--json")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert second.json["run"] == first.json["run"]
    assert second.json["reported_again"]
    assert shop.calls()["single"] == 30


def test_a_run_reported_again_keeps_its_exit_code(shop: Shop) -> None:
    """Rejected records stay rejected: exit 3 both times."""
    shop.know(2)
    export = shop.write("crm.csv", "id,tier\nc00000,gold\n,silver\nc00001,gold\n")
    assert shop("run", export).exit_code == 3
    assert shop("run", export).exit_code == 3
    assert shop.calls()["single"] == 2


def test_again_sends_once_more(shop: Shop) -> None:
    """--again makes a new run of a finished one."""
    shop.know(10)
    export = shop.csv("crm.csv", 10)
    first = shop("run", export, "--json").json["run"]
    second = shop("run", export, "--again", "--json").json["run"]
    assert first != second
    assert shop.calls()["single"] == 20


def test_monday_tuesday_monday_are_three_runs(shop: Shop) -> None:
    """Monday's export after Tuesday's is news: it is sent again."""
    shop.know(10)
    monday, tuesday = shop.csv("monday.csv", 10, tier="m"), shop.csv("tuesday.csv", 10, tier="t")
    runs = [shop("run", export, "--json").json["run"] for export in (monday, tuesday, monday)]
    assert len(set(runs)) == 3
    assert shop.calls()["single"] == 30
    assert shop.profiles()["c00001"]["tier"] == "m1"


def test_mapping_and_route_make_another_run(shop: Shop) -> None:
    """The same bytes, asked for otherwise, are other work."""
    shop.know(10)
    export = shop.csv("crm.csv", 10)
    runs = {
        shop("run", export, *arguments, "--json").json["run"]
        for arguments in ([], ["--attribute", "tier"], ["--via", "bulk"])
    }
    assert len(runs) == 3


def test_an_unfinished_run_goes_on_where_it_was(shop: Shop) -> None:
    """SIGTERM in the middle, the same command again: every update once, books balanced."""
    shop.know(3_000)
    export = shop.csv("crm.csv", 3_000)
    slow = {"UPLOADER_CALLS_PER_SECOND": "400"}
    process = shop.start("run", export, "--json", environment=slow)
    while shop.calls()["single"] < 300:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 4, out + err
    assert '"stopped_by": "signal"' in out
    sent_before = shop.calls()["single"]
    ended = shop("run", export, "--json")
    assert ended.exit_code == 0, ended.stderr
    assert ended.json["starts"] == 2
    assert ended.json["updates"]["delivered"] == 3_000
    assert ended.json["balanced"]
    assert shop.calls()["single"] == ended.json["calls"]["single"] == 3_000 > sent_before


def test_resume_goes_on_without_the_exports(shop: Shop) -> None:
    """The plan is in the run's folder; the export may be gone."""
    shop.know(100)
    export = shop.csv("crm.csv", 100)
    shop.emulator.set_token("another")
    assert shop("run", export).exit_code == 4
    Path(export).unlink()
    shop.emulator.set_token(None)
    ended = shop("resume", "--json")
    assert ended.exit_code == 0
    assert ended.json["updates"]["delivered"] == 100
    assert shop("resume").exit_code == 2


def test_work_older_than_a_finished_run_needs_stale(shop: Shop) -> None:
    """Going on with it would put old values over new ones."""
    shop.know(20)
    monday, tuesday = shop.csv("monday.csv", 20, tier="m"), shop.csv("tuesday.csv", 20, tier="t")
    shop.emulator.set_token("another")
    assert shop("run", monday).exit_code == 4
    shop.emulator.set_token(None)
    assert shop("run", tuesday).exit_code == 0
    for arguments in (["run", monday], ["resume"]):
        refused = shop(*arguments)
        assert refused.exit_code == 2
        assert "--stale" in refused.stderr
    assert shop.profiles()["c00001"]["tier"] == "t1"
    assert shop("resume", "--stale").exit_code == 0
    assert shop.profiles()["c00001"]["tier"] == "m1"


def test_old_dead_letters_need_stale(shop: Shop) -> None:
    """A retry is older work too, once another run has finished."""
    shop.know(5)
    shop.emulator.set_faults(faults_from_json({"refuse_ids": ["c00002"]}))
    letters = shop("run", shop.csv("monday.csv", 5), "--json").json["dead_letters"]
    shop.emulator.set_faults(faults_from_json({}))
    assert shop("run", shop.csv("tuesday.csv", 5, tier="t")).exit_code == 0
    refused = shop("retry", letters)
    assert (refused.exit_code, "--stale" in refused.stderr) == (2, True)
    assert shop("retry", letters, "--stale").exit_code == 0


def test_one_run_sends_per_account_at_a_time(shop: Shop) -> None:
    """A second start says who is at work and exits 4; --alongside lets it send."""
    shop.know(2_000)
    slow = {"UPLOADER_CALLS_PER_SECOND": "300"}
    process = shop.start("run", shop.csv("crm.csv", 1_000), environment=slow)
    while shop.calls()["single"] < 5:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    other = shop.csv("other.csv", 5, first=1_500)
    blocked = shop("run", other, "--json")
    assert blocked.exit_code == 4
    assert blocked.json["stopped_by"] == "other_run"
    assert shop("run", other, "--alongside", "--json").exit_code == 0
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("route", ["single", "bulk"])
def test_a_plan_is_looked_at_first_and_sent_later(shop: Shop, route: str) -> None:
    """plan -o, then send; the plan stays where it was asked for, and is sent once."""
    shop.know(10)
    plan = shop.folder / "backfill.plan"
    planned = shop("plan", shop.csv("crm.csv", 10), "-o", plan, "--via", route, "--json")
    assert planned.exit_code == 0
    assert sum(shop.calls().values()) == 0
    assert planned.json["plan"] == str(plan)
    sent = shop("send", plan, "--json")
    assert sent.exit_code == 0, sent.stderr
    assert sent.json["plan_digest"] == planned.json["plan_digest"]
    assert len(shop.profiles()["c00001"]) == 2
    assert shop("send", plan, "--json").json["reported_again"]
    assert (plan / "updates.parquet").exists()


def test_a_killed_run_goes_on_and_is_shown_as_interrupted(shop: Shop) -> None:
    """SIGKILL in the middle: nothing is lost, and little is sent twice."""
    shop.know(2_000)
    export = shop.csv("crm.csv", 2_000)
    process = shop.start("run", export, environment={"UPLOADER_CALLS_PER_SECOND": "400"})
    while shop.calls()["single"] < 700:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    assert shop("status", "--json").json["runs"][0]["state"] == "sending"
    process.kill()
    process.communicate()
    assert shop("status", "--json").json["runs"][0]["state"] == "interrupted"
    ended = shop("run", export, "--json")
    assert ended.exit_code == 0, ended.stderr
    assert ended.json["updates"]["delivered"] == 2_000
    assert ended.json["balanced"]
    # About a second's worth at 400 a second, and what was in flight.
    assert 2_000 <= shop.calls()["single"] <= 2_000 + 2 * 400 + 32
    assert len([1 for profile in shop.profiles().values() if profile]) == 2_000


def test_a_plan_older_than_a_finished_run_needs_stale(shop: Shop) -> None:
    """What was approved yesterday must not undo last night's run unasked."""
    shop.know(5)
    plan = shop.folder / "monday.plan"
    assert shop("plan", shop.csv("monday.csv", 5, tier="m"), "-o", plan).exit_code == 0
    assert shop("run", shop.csv("tuesday.csv", 5, tier="t")).exit_code == 0
    refused = shop("send", plan)
    assert (refused.exit_code, "--stale" in refused.stderr) == (2, True)
    assert shop.profiles()["c00001"]["tier"] == "t1"
    assert shop("send", plan, "--stale").exit_code == 0


def test_letters_may_be_mended_and_retried_bit_by_bit(shop: Shop) -> None:
    """Redrives of a run's own letters are no news to it: none of them needs --stale."""
    shop.know(3)
    export = shop.write("crm.csv", "id,tier\nc00000,gold\n,silver\n,bronze\n")
    letters = Path(shop("run", export, "--json").json["dead_letters"])
    assert shop("retry", letters).exit_code == 3
    for index in (1, 2):
        lines = letters.read_text().splitlines()
        lines[index] = lines[index].replace('"id": ""', f'"id": "c0000{index}"')
        letters.write_text("\n".join(lines) + "\n")
        retried = shop("retry", letters, "--json")
        assert retried.exit_code == (3 if index == 1 else 0), retried.stderr
    assert shop.profiles()["c00002"] == {"tier": "bronze"}
    assert shop("retry", letters, "--json").json["reported_again"]


def test_a_new_run_tells_of_an_unfinished_one(shop: Shop) -> None:
    """From then on the older one needs --stale, and nobody should learn that too late."""
    shop.know(5)
    shop.emulator.set_token("another")
    first = shop("run", shop.csv("monday.csv", 5), "--json").json["run"]
    shop.emulator.set_token(None)
    report = shop("run", shop.csv("tuesday.csv", 5, tier="t"), "--json").json
    assert any(first in warning and "--stale" in warning for warning in report["warnings"])
