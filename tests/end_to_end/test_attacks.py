"""What attackers of the promises found once, and must not find again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Shop
from uploader.emulator import faults_from_json


def pending_batch(shop: Shop, plan: Path, *arguments: str) -> str:
    """A run from *plan* whose one batch is still worked on; its name."""
    slow = {"stuck_next_batches": 1}
    shop.emulator.set_faults(faults_from_json(slow))
    ended = shop("send", plan, "--wait", "0s", "--json", *arguments)
    assert ended.exit_code == 4, ended.stdout
    run: str = ended.json["run"]
    return run


def test_a_stopped_run_of_a_kept_plan_still_finishes(shop: Shop) -> None:
    """Its dead letters have a folder to go to."""
    shop.know(10)
    plan = shop.folder / "n.plan"
    assert shop("plan", shop.csv("a.csv", 10), "--via", "bulk", "-o", plan).exit_code == 0
    run = pending_batch(shop, plan)
    ended = shop("send", plan, "--json")
    assert (ended.exit_code, ended.json["run"]) == (3, run)
    assert ended.json["reasons"] == {"batch_stuck": 10}
    assert len(shop.letters(ended.json["dead_letters"])) == 11


@pytest.mark.parametrize("arguments", [["--bulk-version", "1"], ["--bulk-version", "2"]])
def test_the_bulk_version_can_be_given_by_hand(shop: Shop, arguments: list[str]) -> None:
    """By flag and by environment."""
    shop.know(3)
    ended = shop("run", shop.csv("a.csv", 3), *arguments, "--json")
    assert ended.exit_code == 0, ended.stderr
    assert ended.json["route"] == f"bulk v{arguments[1]}"
    by_environment = shop("plan", shop.csv("b.csv", 3), "--json", UPLOADER_BULK_VERSION="1")
    assert by_environment.json["route"] == "bulk v1"


def test_another_plan_in_the_same_folder_is_not_taken_for_the_old_one(shop: Shop) -> None:
    """Monday's run must not be closed with Tuesday's people."""
    shop.know(10)
    plan = shop.folder / "n.plan"
    shop("plan", shop.csv("monday.csv", 10, tier="m"), "--via", "bulk", "-o", plan)
    monday = pending_batch(shop, plan)
    shutil.rmtree(plan)
    shop("plan", shop.csv("tuesday.csv", 10, tier="t"), "--via", "bulk", "-o", plan)
    ended = shop("send", plan, "--json")
    assert ended.exit_code == 0, ended.stderr
    assert any(monday in warning for warning in ended.json["warnings"])
    assert shop("status", monday, "--json").json["state"] == "stopped"


def test_results_never_take_the_place_of_an_input(shop: Shop) -> None:
    """Nor of one another, nor of nothing at all: found before anything is sent."""
    export = shop.csv("crm.csv", 3)
    before = Path(export).read_bytes()
    for arguments in (
        ["--dead-letters", export],
        ["--report", shop.folder / "." / "crm.csv"],
        ["--report", "one.json", "--dead-letters", "one.json"],
        ["--report", "nowhere/report.json"],
    ):
        assert shop("run", export, *arguments).exit_code == 2
    assert Path(export).read_bytes() == before
    assert sum(shop.calls().values()) == 0


def test_one_edge_spelt_twice_is_one_account(shop: Shop) -> None:
    """The cap and the lock hang on it."""
    shop.know(40)
    spelt = {"UPLOADER_EDGE_URL": shop.emulator.url.replace("http://", "HTTP://")}
    cap = {"UPLOADER_DAILY_CAP": "30"}
    assert shop("run", shop.csv("a.csv", 20), **cap).exit_code == 0
    ended = shop("run", shop.csv("b.csv", 40, tier="b"), "--json", **cap, **spelt)
    assert (ended.exit_code, ended.json["stopped_by"]) == (4, "quota")
    assert shop.calls()["single"] == 30


def test_locks_lie_beside_the_store_wherever_the_work_is(shop: Shop) -> None:
    """Two work folders, or a link to the store, make no two accounts."""
    shop.know(1_500)
    export = shop.csv("a.csv", 1_000)
    slow = {"UPLOADER_CALLS_PER_SECOND": "300"}
    process = shop.start("run", export, environment=slow)
    while shop.calls()["single"] < 5:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    link = shop.folder / "elsewhere" / "linked.db"
    link.parent.mkdir()
    link.symlink_to(shop.folder / "state" / "state.db")
    elsewhere = {"UPLOADER_WORK_DIR": str(shop.folder / "work")}
    linked = {"UPLOADER_STATE_URL": f"sqlite:///{link}"}
    for environment in (elsewhere, linked):
        blocked = shop("run", export, "--json", **environment)
        assert blocked.json["stopped_by"] == "other_run"
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_run_alongside_leaves_a_live_run_alone(shop: Shop) -> None:
    """Its batches, its plan and its letters are its own business."""
    shop.know(50)
    shop.emulator.set_faults(faults_from_json({"status": {"latency_seconds": 1.0}}))
    letters = shop.folder / "mine.jsonl"
    export = shop.write("a.csv", "id,tier\nc00001,gold\n,silver\n")
    process = shop.start("run", export, "--via", "bulk", "--dead-letters", str(letters))
    while not shop.calls()["status"]:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    other = shop("run", shop.csv("b.csv", 5, first=20), "--alongside", "--json")
    assert other.exit_code == 0, other.stderr
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, out + err
    assert len(shop.letters(letters)) == 2


def test_values_of_a_run_that_has_only_begun_are_newer_too(shop: Shop) -> None:
    """An older run doesn't go on over what a later, unfinished one has sent."""
    shop.know(30)
    old, new = shop.csv("old.csv", 30, tier="old"), shop.csv("new.csv", 30, tier="new")
    assert shop("run", old, UPLOADER_DAILY_CAP="5").exit_code == 4
    assert shop("run", new, UPLOADER_DAILY_CAP="15").exit_code == 4
    refused = shop("run", old)
    assert (refused.exit_code, "--stale" in refused.stderr) == (2, True)
    assert shop("run", new).exit_code == 0
    assert {profile["tier"][:3] for profile in shop.profiles().values()} == {"new"}


def test_trouble_with_an_older_runs_batch_stops_nothing_else(shop: Shop) -> None:
    """A redirect for its status is told, and the new run goes its way."""
    shop.know(20)
    plan = shop.folder / "n.plan"
    shop("plan", shop.csv("a.csv", 10), "--via", "bulk", "-o", plan)
    pending_batch(shop, plan)
    shop.emulator.set_faults(faults_from_json({"status": {"rates": {"redirect": 1.0}}}))
    assert shop("run", shop.csv("b.csv", 5, tier="b"), "--via", "single").exit_code == 0


def test_a_missing_latest_by_column_is_missed_in_json_lines_too(shop: Shop) -> None:
    """A typo must not let the older record win."""
    export = shop.write("a.jsonl", '{"id": "c00001", "t": 2, "x": "new"}\n')
    refused = shop("run", export, "--latest-by", "tt")
    assert refused.exit_code == 2
    assert "--latest-by" in refused.stderr


def test_a_wait_for_standard_input_can_be_ended(shop: Shop) -> None:
    """SIGTERM, exit 4, although nobody closes the pipe."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin:
        process = shop.start("run", "-", stdin=stdin)
        state = shop.folder / "state" / "scratch"
        while not list(state.glob("*/standard-input")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    os.close(writing)
    assert process.returncode == 4


def test_a_headerless_export_shows_nobodys_data(shop: Shop) -> None:
    """Its first line is a record, and an error isn't the place for it."""
    for text in ("alice@example.com,4711,4711\nbob@example.com,1,2\n", "alice@example.com,4711\n"):
        refused = shop("run", shop.write("a.csv", text))
        assert refused.exit_code == 2
        assert "alice" not in refused.stderr
        assert "4711" not in refused.stderr


def test_a_name_that_is_no_utf8_is_shown_escaped(shop: Shop) -> None:
    """The file is read all the same, and its letters name it."""
    shop.know(1)
    name = os.fsdecode(b"caf\xe9.csv")
    (shop.folder / name).write_bytes(b"id,tier\nc00000,gold\n,x\n")
    done = subprocess.run(
        [sys.executable, "-m", "uploader", "run", name, "--json"],
        cwd=shop.folder,
        env=os.environ | shop.environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["sources"] == ["caf\\xe9.csv"]


@pytest.mark.parametrize("what", ["names", "rows"])
def test_a_plan_that_was_altered_is_refused(shop: Shop, what: str) -> None:
    """Names swapped or rows exchanged: the digest tells."""
    shop.know(5)
    plan, other = shop.folder / "a.plan", shop.folder / "b.plan"
    shop("plan", shop.csv("a.csv", 5), "-o", plan)
    if what == "names":
        text = (plan / "plan.json").read_text()
        (plan / "plan.json").write_text(
            text.replace('"tier"', '"!"').replace('"points"', '"tier"').replace('"!"', '"points"')
        )
    else:
        shop("plan", shop.csv("b.csv", 5, tier="b"), "-o", other)
        (other / "updates.parquet").replace(plan / "updates.parquet")
    refused = shop("send", plan)
    assert (refused.exit_code, "digest" in refused.stderr) == (2, True)
    assert sum(shop.calls().values()) == 0


def test_a_runs_own_plan_that_is_damaged_is_made_again(shop: Shop) -> None:
    """The exports are at hand, and the digest says that it is the same plan."""
    shop.know(50)
    export = shop.csv("a.csv", 50)
    assert shop("run", export, UPLOADER_DAILY_CAP="20").exit_code == 4
    (updates,) = (shop.folder / "state" / "runs").glob("*/plan/updates.parquet")
    updates.write_bytes(updates.read_bytes()[:-100])
    ended = shop("run", export, "--json")
    assert ended.exit_code == 0, ended.stderr
    assert ended.json["starts"] == 2
    assert shop.calls()["single"] == 50
