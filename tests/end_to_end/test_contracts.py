"""Commands, exit codes, reports and files: what other people's scripts rely on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Shop

REPORT_KEYS = {
    "run",
    "state",
    "exit_code",
    "stopped_by",
    "new_state",
    "records",
    "updates",
    "calls",
    "batches",
    "reasons",
    "route",
    "route_reason",
    "balanced",
    "started_at",
    "seconds",
    "dead_letters",
}
PLAN_KEYS = {
    "records",
    "updates",
    "reasons",
    "route",
    "route_reason",
    "calls_needed",
    "bytes",
    "expected_seconds",
    "expected_end_at",
    "plan",
    "plan_digest",
}


def test_the_report_has_every_key_of_the_contract(shop: Shop) -> None:
    """On stdout with --json, in the file with --report, and both the same."""
    shop.know(5)
    path = shop.folder / "report.json"
    ended = shop("run", shop.csv("crm.csv", 5), "--via", "bulk", "--json", "--report", path)
    report = ended.json
    assert report.keys() >= REPORT_KEYS
    assert json.loads(path.read_text()) == report
    assert report["records"] == {"read": 5, "rejected": 0, "skipped": 0, "merged": 0}
    assert report["updates"].keys() == {
        "planned",
        "delivered",
        "not_applied",
        "dead_lettered",
        "pending",
    }
    assert report["calls"].keys() == {"single", "bulk", "status", "retries"}
    assert report["batches"][0].keys() >= {
        "id",
        "rows",
        "bytes",
        "status",
        "successful",
        "failed",
        "not_found",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", report["started_at"])
    assert (report["state"], report["route"], report["new_state"]) == ("finished", "bulk v1", True)


def test_the_plan_has_every_key_of_the_contract(shop: Shop) -> None:
    """plan and run --dry-run say the same, and send nothing."""
    export = shop.csv("crm.csv", 5)
    planned, dry = (
        shop("plan", export, "--json").json,
        shop("run", export, "--dry-run", "--json").json,
    )
    assert planned.keys() >= PLAN_KEYS
    assert planned["plan_digest"] == dry["plan_digest"]
    assert planned["updates"] == {"planned": 5}
    assert sum(shop.calls().values()) == 0


def test_rejected_records_are_dead_letters_with_all_that_was_read(shop: Shop) -> None:
    """The first line tells how to redrive; each letter tells where, why, and what."""
    shop.know(1)
    export = shop.write("crm.csv", "id,tier\r\nc00000,gold\r\n\r\n,silver\r\na,b,c\r\n")
    ended = shop("run", export, "--json")
    assert ended.exit_code == 3
    assert ended.json["reasons"] == {"missing_id": 1, "too_many_columns": 1}
    head, missing, wide = shop.letters(ended.json["dead_letters"])
    assert head["dead_letters"] == 1
    assert head["run"] == ended.json["run"]
    assert head["columns"] == ["id", "tier"]
    assert head.keys() >= {"dialect", "mapping", "route"}
    assert missing | {"at": ""} == {
        "kind": "rejected",
        "reason": "missing_id",
        "detail": missing["detail"],
        "source": export,
        "record_number": 2,
        "line": 4,
        "record": {"id": "", "tier": "silver"},
        "raw": None,
        "at": "",
    }
    assert (wide["record_number"], wide["line"], wide["record"], wide["raw"]) == (
        3,
        5,
        None,
        "a,b,c",
    )


def test_a_mended_dead_letter_is_delivered(shop: Shop) -> None:
    """Written by hand into record, it wins over raw."""
    shop.know(3)
    export = shop.write("crm.csv", "id,tier\nc00000,gold\n,silver\nc00002,gold,plated\n")
    letters = Path(shop("run", export, "--json").json["dead_letters"])
    head, first, second = letters.read_text().splitlines()
    mended = [json.loads(first), json.loads(second)]
    mended[0]["record"]["id"] = "c00001"
    mended[1]["record"] = {"id": "c00002", "tier": "gold-plated"}
    target = shop.folder / "mended.jsonl"
    target.write_text("\n".join([head, *map(json.dumps, mended)]) + "\n")
    ended = shop("retry", target, "--json", "--dead-letters", shop.folder / "still-dead.jsonl")
    assert ended.exit_code == 0, ended.stderr
    assert shop.profiles()["c00001"] == {"tier": "silver"}
    assert shop.profiles()["c00002"] == {"tier": "gold-plated"}
    assert len(shop.letters(shop.folder / "still-dead.jsonl")) == 1


USAGE_ERRORS = {
    "no such file": (["run", "nowhere.csv"], {}, "nowhere.csv: can't be read"),
    "no match": (["run", "*.nothing"], {}, "no file matches"),
    "no id column named": (["run", "crm.csv"], {"UPLOADER_ID_COLUMN": ""}, "--id-column"),
    "missing id column": (["run", "crm.csv", "--id-column", "Id"], {}, "there is 'id'"),
    "missing attribute": (["run", "crm.csv", "--attribute", "tear"], {}, "no column 'tear'"),
    "other delimiter": (["run", "semi.csv"], {}, "--delimiter ';'"),
    "doubled column": (["run", "doubled.csv"], {}, "one name for several columns (columns 2, 3)"),
    "colliding names": (["run", "colliding.csv"], {}, "'tier'"),
    "reserved name": (["run", "reserved.csv"], {}, "'mboxPC'"),
    "gzip": (["run", "packed.csv.gz"], {}, "gzip"),
    "unknown setting": (["run", "crm.csv"], {"UPLOADER_WORKRES": "3"}, "UPLOADER_WORKERS"),
    "bad value": (["run", "crm.csv", "--workers", "many"], {}, "--workers"),
    "no client code": (["run", "crm.csv"], {"UPLOADER_CLIENT_CODE": ""}, "UPLOADER_CLIENT_CODE"),
    "contradiction": (["run", "crm.csv", "--create-profiles", "--via", "single"], {}, "bulk"),
    "token over http": (
        ["run", "crm.csv"],
        {"UPLOADER_EDGE_URL": "http://edge.example", "UPLOADER_TOKEN": "t"},
        "https",
    ),
    "password in a flag": (
        ["status", "--state", "postgresql://me:hidden@host/db"],
        {},
        "UPLOADER_STATE_URL",
    ),
    "no plan": (["send", "nowhere"], {}, "no plan"),
    "no letters": (["retry", "crm.csv"], {}, "not a dead-letter file"),
}


@pytest.mark.parametrize(
    ("arguments", "environment", "says"), USAGE_ERRORS.values(), ids=USAGE_ERRORS
)
def test_wrong_usage_exits_2_and_says_what_to_do(
    shop: Shop, arguments: list[str], environment: dict[str, str], says: str
) -> None:
    """Nothing was sent, the message is one line, and no password or value is in it."""
    shop.csv("crm.csv", 3)
    shop.write("semi.csv", "id;tier\na;b\n")
    shop.write("doubled.csv", "id,tier,tier\na,b,c\n")
    shop.write("colliding.csv", "id,tier,profile.tier\na,b,c\n")
    shop.write("reserved.csv", "id,mboxPC\na,b\n")
    shop.write("packed.csv.gz", b"\x1f\x8b\x08\x00 and so on")
    ended = shop(*arguments, **environment)
    assert ended.exit_code == 2, ended.stdout + ended.stderr
    assert says in ended.stderr
    assert "hidden" not in ended.stderr
    assert "Traceback" not in ended.stderr
    assert sum(shop.calls().values()) == 0


@pytest.mark.parametrize(
    ("text", "says"), [("", "without a header"), ("id,tier\n", "read 0")], ids=["empty", "header"]
)
def test_an_empty_export_is_nothing_to_do(shop: Shop, text: str, says: str) -> None:
    """Read 0, exit 0: a till that sold nothing is no fault."""
    ended = shop("run", shop.write("crm.csv", text))
    assert ended.exit_code == 0, ended.stderr
    assert "0 read = 0 rejected" in ended.stdout
    assert says in ended.stdout or says == "read 0"


def test_an_export_that_is_plainly_not_meant_is_not_sent(shop: Shop) -> None:
    """Over --max-rejected: exit 2, dead letters written, nothing sent."""
    rows = "".join(f"c{i:05d},x\n" if i % 5 else ",x\n" for i in range(1_000))
    export = shop.write("crm.csv", "id,tier\n" + rows)
    ended = shop("run", export, "--dead-letters", shop.folder / "dead.jsonl")
    assert ended.exit_code == 2
    assert "200 of 1,000" in ended.stderr
    assert len(shop.letters(shop.folder / "dead.jsonl")) == 201
    assert sum(shop.calls().values()) == 0
    assert shop("run", export, "--max-rejected", "20%").exit_code == 3
    assert shop.calls()["single"] == 800


def test_standard_input_is_an_export(shop: Shop) -> None:
    """- is spooled first, so that it can be hashed and read like a file."""
    shop.know(20)
    export = Path(shop.csv("crm.csv", 20))
    with export.open("rb") as stream:
        process = shop.start("run", "-", "--json", stdin=stream)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["updates"]["delivered"] == 20


def test_several_exports_are_one_input(shop: Shop) -> None:
    """In the order given; a pattern's matches by name; the last value that isn't empty wins."""
    shop.know(1)
    shop.write("b.csv", "id,tier,city\nc00000,gold,\n")
    shop.write("a.csv", "id,tier,city\nc00000,silver,Rome\n")
    shop.write("c.jsonl", '{"id": "c00000", "score": {"now": 22222222222222222222.50}}\n')
    ended = shop("run", "*.csv", "c.jsonl", "--json")
    assert ended.exit_code == 0, ended.stderr
    assert ended.json["sources"] == ["a.csv", "b.csv", "c.jsonl"]
    assert ended.json["records"]["merged"] == 2
    assert shop.profiles()["c00000"] == {
        "tier": "gold",
        "city": "Rome",
        "score.now": "22222222222222222222.50",
    }


def test_an_update_without_attributes_is_a_dead_letter(shop: Shop) -> None:
    """Empty values are never sent, and an update of nothing is no update."""
    shop.know(2)
    ended = shop("run", shop.write("crm.csv", "id,tier\nc00000,gold\nc00001,\n"), "--json")
    assert ended.exit_code == 3
    assert ended.json["reasons"] == {"no_attributes": 1}
    assert ended.json["updates"]["dead_lettered"] == 1
    assert shop.calls()["single"] == 1


def test_quota_tells_what_is_used_and_when_it_frees(shop: Shop) -> None:
    """Calls of a run count for a day; the window slides."""
    shop.know(25)
    shop("run", shop.csv("crm.csv", 25))
    windows = {entry["window"]: entry for entry in shop("quota", "--json").json["windows"]}
    assert windows["single"]["used"] == 25
    assert windows["single"]["left"] == 1_000_000 - 25
    assert sum(free["calls"] for free in windows["single"]["frees"]) == 25


def test_a_used_up_quota_stops_the_run_and_keeps_the_rest(shop: Shop) -> None:
    """Exit 4, by quota; no more calls than the cap."""
    shop.know(50)
    ended = shop("run", shop.csv("crm.csv", 50), "--json", UPLOADER_DAILY_CAP="30")
    assert ended.exit_code == 4
    assert ended.json["stopped_by"] == "quota"
    assert ended.json["updates"]["delivered"] == 30
    assert ended.json["updates"]["pending"] == 20
    assert shop.calls()["single"] == 30


def test_status_lists_runs_without_anybodys_data(shop: Shop) -> None:
    """Each run with its state and books."""
    shop.know(5)
    run = shop("run", shop.csv("crm.csv", 5), "--json").json["run"]
    listed = shop("status", "--json").json["runs"]
    assert [(entry["run"], entry["state"]) for entry in listed] == [(run, "finished")]
    assert run in shop("status").stdout


def test_a_finished_run_leaves_only_what_is_needed(shop: Shop) -> None:
    """The plan and all scratch are gone; files are for their owner alone."""
    shop.know(5)
    assert shop("run", shop.csv("crm.csv", 5)).exit_code == 0
    state = shop.folder / "state"
    assert list((state / "runs").iterdir()) == []
    assert list((state / "scratch").iterdir()) == []
    assert all(path.stat().st_mode & 0o077 == 0 for path in state.rglob("*"))


def test_a_config_file_is_read_and_flags_win(shop: Shop) -> None:
    """TOML below environment below flags; an unknown key is named with its nearest."""
    shop.know(3)
    export = shop.csv("crm.csv", 3)
    shop.write("mine.toml", 'attributes = ["tier=level"]\nvia = "bulk"\n')
    ended = shop("run", export, "--config", "mine.toml", "--via", "single", "--json")
    assert ended.exit_code == 0, ended.stderr
    assert ended.json["route"] == "single"
    assert shop.profiles()["c00001"] == {"level": "gold1"}
    shop.write("wrong.toml", 'atributes = ["tier"]\n')
    refused = shop("run", export, "--config", "wrong.toml")
    assert refused.exit_code == 2
    assert "attributes" in refused.stderr


def test_looking_makes_no_state_store(shop: Shop) -> None:
    """A forgotten volume must not be hidden by somebody who only looked."""
    assert shop("status", "--json").json == {"runs": []}
    assert shop("quota", "--json").json["windows"][0]["used"] == 0
    assert not (shop.folder / "state" / "state.db").exists()
    shop.know(1)
    assert shop("run", shop.csv("crm.csv", 1), "--json").json["new_state"]
    assert not shop("run", shop.csv("crm.csv", 1), "--again", "--json").json["new_state"]


def test_rows_of_batch_files_can_have_a_cap_of_their_own(shop: Shop) -> None:
    """For accounts with such a cap: the next batch waits for room, or the run stops."""
    shop.know(10)
    cap = {"UPLOADER_BULK_ROWS_PER_DAY": "500000"}
    assert shop("run", shop.csv("crm.csv", 10), "--via", "bulk", **cap).exit_code == 0
    windows = {entry["window"]: entry for entry in shop("quota", "--json", **cap).json["windows"]}
    assert windows["bulk_rows"]["used"] == 10


def test_what_the_edge_did_otherwise_is_a_warning(shop: Shop) -> None:
    """Profiles that don't exist, rows that weren't applied: said in words, not only in counts."""
    shop.know(3)
    ended = shop("run", shop.csv("crm.csv", 10), "--via", "bulk")
    assert ended.exit_code == 0
    assert "7 profiles don't exist at the edge" in ended.stdout


def test_a_port_that_is_taken_is_no_fault_of_the_program(shop: Shop) -> None:
    """Another emulator may be running."""
    taken = shop("emulate", "--port", shop.emulator.url.rpartition(":")[2])
    assert taken.exit_code == 2
    assert "can't listen there" in taken.stderr
