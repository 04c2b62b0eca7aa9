"""What people read: plans, reports, runs and quotas as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from uploader.planning.routing import spoken
from uploader.storage.ledger import Standing, Window

_MEANING = {
    0: "Everything was delivered.",
    1: "The books don't balance: a fault of this program. Please report it.",
    2: "Nothing was sent.",
    3: "It is finished, but not everything was delivered.",
    4: "It stopped early and can go on.",
}


_WINDOWS = {
    "single": "single updates, in any 24 hours",
    "bulk": "batch files and status questions, in any minute",
    "bulk_rows": "rows of batch files, in any 24 hours",
}


# What to do about a reason, where its name doesn't say it.
_HINTS = {
    "bad_encoding": ": save the export as UTF-8",
    "batch_refused": ": the letters have the edge's words",
    "batch_stuck": ": the edge gave up on them; uploader retry sends them again",
    "refused": ": the letters have the edge's words; is UPLOADER_CLIENT_CODE right?",
    "retries_exhausted": ": uploader retry sends them again",
}


def report_text(report: dict[str, Any]) -> str:
    """A report for somebody who has a minute."""
    records, updates, calls = report["records"], report["updates"], report["calls"]
    again = " (reported again: nothing was sent this time; --again sends once more)"
    lines = [
        f"Run {report['run']}: {report['state']} after {spoken(report['seconds'])}, exit "
        f"{report['exit_code']}. {_meaning(report)}"
        + (again if report.get("reported_again") else ""),
    ]
    if report.get("stopped_because"):
        lines.append(f"Stopped by {report['stopped_by']}: {report['stopped_because']}.")
    lines += [
        "",
        _records(records, updates["planned"]),
        _updates(updates),
        _row("books", "balanced" if report["balanced"] else "NOT BALANCED"),
        _row("route", f"{report['route']}: {report['route_reason']}"),
        _row(
            "calls",
            f"{calls['single']:,} single, {calls['bulk']:,} bulk, {calls['status']:,} status; "
            f"{calls['retries']:,} of them repeats",
        ),
    ]
    if report["batches"]:
        lines.append(_row("batches", _batches(report)))
    lines += _reasons(report["reasons"], report["examples"])
    lines += [_row("warning", warning) for warning in report["warnings"]]
    lines.append(_row("letters", report["dead_letters"] or "none"))
    if report["new_state"]:
        lines.append(
            _row("state", "the state store is new: right for a first run; else, where is the old?")
        )
    lines += _what_next(report)
    return "\n".join(lines)


def _meaning(report: dict[str, Any]) -> str:
    if report["exit_code"] == 0 and not report["records"]["read"]:
        return "There was nothing to deliver: no record was read."
    return _MEANING[report["exit_code"]]


def plan_text(plan: dict[str, Any]) -> str:
    """A plan for somebody who has to approve it."""
    records, updates = plan["records"], plan["updates"]
    dead = sum(plan["unsendable"].values())
    lines = [
        _outlook(plan),
        "",
        _records(records, updates["planned"]),
        _row("route", f"{plan['route']}: {plan['route_reason']}"),
        _row("instead", plan["other_route"]),
        _row(
            "sent as",
            f"{plan['id_type']}, with {len(plan['names'])} attributes: {_some(plan['names'])}",
        ),
    ]
    lines += _reasons(plan["reasons"], plan["examples"])
    if dead:
        lines += [_row("no call", f"{dead:,} updates can't be sent and become dead letters:")]
        lines += _reasons(plan["unsendable"], {})
    lines += [_row("warning", warning) for warning in plan["warnings"]]
    lines.append(_row("digest", plan["plan_digest"]))
    if plan["plan"]:
        lines += [
            _row("plan", plan["plan"]),
            "",
            f"Send exactly this: uploader send {plan['plan']}",
        ]
    else:
        lines += ["", "To send exactly this later, keep it: uploader plan … -o FOLDER"]
    return "\n".join(lines)


def _outlook(plan: dict[str, Any]) -> str:
    calls = plan["calls_needed"]
    return (
        f"{plan['updates']['planned']:,} updates by {plan['route']}: {calls:,} "
        f"call{'' if calls == 1 else 's'}, {plan['bytes']:,} bytes, about "
        f"{spoken(plan['expected_seconds'])} (until {plan['expected_end_at']} if begun now). "
        "Nothing was sent."
    )


def _records(records: dict[str, int], planned: int) -> str:
    return _row(
        "records",
        f"{records['read']:,} read = {records['rejected']:,} rejected + {records['skipped']:,} "
        f"skipped + {records['merged']:,} merged + {planned:,} planned",
    )


def _updates(updates: dict[str, int]) -> str:
    return _row(
        "updates",
        f"{updates['planned']:,} planned = {updates['delivered']:,} delivered + "
        f"{updates['not_applied']:,} not applied + {updates['dead_lettered']:,} dead-lettered + "
        f"{updates['pending']:,} pending",
    )


def runs_text(runs: Sequence[dict[str, Any]]) -> str:
    """The latest runs, a line each."""
    if not runs:
        return "No run yet."
    line = "{:<24} {:<12} {:<4} {:<12} {:<21} {:>11} {:>11}  {}"
    heads = ("run", "state", "exit", "stopped by", "started", "delivered", "pending", "account")
    lines = [line.format(*heads)]
    for run in runs:
        code = "" if run["exit_code"] is None else run["exit_code"]
        updates = run["updates"] or {}
        counts = [f"{updates[key]:,}" if updates else "" for key in ("delivered", "pending")]
        columns = (run["run"], run["state"], code, run["stopped_by"] or "", run["started_at"])
        lines.append(line.format(*columns, *counts, run["account"]))
    return "\n".join(lines)


def quota_text(windows: Iterable[tuple[Window, int, Standing]]) -> str:
    """What is used and left in each window, and when it frees."""
    lines = []
    for window, cap, standing in windows:
        left = max(cap - standing.used, 0)
        lines.append(
            f"{_WINDOWS.get(window.name, window.name)}: {standing.used:,} of {cap:,} used, "
            f"{left:,} left"
        )
        lines += [
            f"    {calls:,} free at {at:%Y-%m-%d %H:%M:%S} UTC" for at, calls in _few(standing)
        ]
    return "\n".join(lines)


def _few(standing: Standing) -> list[tuple[datetime, int]]:
    """At most five moments: the rest frees with the last of them or later."""
    frees = list(standing.frees)
    return [*frees[:4], *frees[-1:]] if len(frees) > 5 else frees  # noqa: PLR2004 - five lines


def _row(name: str, text: str) -> str:
    return f"  {name:<9} {text}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return shown + (", …" if len(names) > 8 else "")  # noqa: PLR2004 - what a line holds


def _reasons(reasons: dict[str, int], examples: dict[str, str]) -> list[str]:
    ordered = sorted(reasons.items(), key=lambda item: -item[1])
    places = {reason: f" (first: {place})" for reason, place in examples.items()}
    return [
        _row("", f"{count:,} {reason}{places.get(reason, '')}{_HINTS.get(reason, '')}")
        for reason, count in ordered
    ]


def _batches(report: dict[str, Any]) -> str:
    by_status: dict[str, int] = {}
    for batch in report["batches"]:
        by_status[batch["status"]] = by_status.get(batch["status"], 0) + 1
    text = ", ".join(f"{count:,} {status}" for status, count in sorted(by_status.items()))
    if report["not_found"]:
        text += f"; {report['not_found']:,} profiles were not found at the edge"
    return text


def _what_next(report: dict[str, Any]) -> list[str]:
    if report["state"] == "stopped":
        return ["", "To go on: start the same command again, or uploader resume."]
    if report["dead_letters"] and report["exit_code"] == 3:  # noqa: PLR2004 - the contract's code
        retry = f"uploader retry {report['dead_letters']}"
        return ["", f"The letters tell each reason. Mend them if they need it, then: {retry}"]
    return []
