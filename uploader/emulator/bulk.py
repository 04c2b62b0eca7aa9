"""Bulk Profile Update: batch files in, batch states out."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, quote

from aiohttp import web

from .answers import Answer, batch_accepted, batch_status, plain, refusal
from .batch_file import BatchFileError, Header, count_rows, marked_ids, read_header
from .edge import Edge
from .ingestion import INCOMPLETE, Batch
from .limits import MAX_BATCH_BYTES, MAX_BATCH_ROWS
from .wire import Body, read_body


async def submit(edge: Edge, request: web.BaseRequest, version: int) -> Answer:
    """Answer a batch file: accepted with the URL of its status, or refused as a whole.

    Documented: less than 50 MB, at most 500,000 rows, ``batch=`` first. Assumptions:
    exactly 50,000,000 bytes still pass; the HTTP status of refusals; the content
    type is not looked at, nor is the query string; a file without rows is empty.
    """
    if request.method != "POST":
        await read_body(request, 0)
        return plain(405, "Method Not Allowed")
    faults = edge.plan.faults
    body = await read_body(request, MAX_BATCH_BYTES)
    try:
        if body is None:
            message = "Batch is larger than 50 MB"
            raise BatchFileError(message)
        header = read_header(body)
        rows = await count_rows(body, header)
        if not rows:
            message = "Batch is empty"
            raise BatchFileError(message)
        if rows > MAX_BATCH_ROWS:
            message = "Batch has more than 500000 rows"
            raise BatchFileError(message)
        marks = await marked_ids(body, header, faults.refuse_batch_ids | faults.stuck_batch_ids)
        if faults.refuse_batches or not faults.refuse_batch_ids.isdisjoint(marks):
            message = "Batch refused"
            raise BatchFileError(message)
    except BatchFileError as error:
        return refusal(faults.refusal_status, str(error))
    return _accept(edge, version, header, rows, body, stuck=edge.plan.batch_is_stuck(marks))


def _accept(
    edge: Edge, version: int, header: Header, rows: int, body: Body, *, stuck: bool
) -> Answer:
    now, client = edge.clock(), edge.settings.client_code
    batch = Batch(
        id=f"{client}-{int(now * 1000)}-{next(edge.batch_numbers)}",
        version=version,
        header=header,
        rows=rows,
        size_bytes=len(body),
        due=now + edge.settings.batch_delay_seconds,
        will_be_stuck=stuck,
        body=body,
    )
    edge.queue.add(batch, edge.plan.row_failure())
    base = (edge.settings.status_url_base or edge.url).rstrip("/")
    path = f"/m2/{quote(client, safe='')}/profile/batchStatus"
    return batch_accepted(f"{base}{path}?batchId={quote(batch.id, safe='')}")


async def status(edge: Edge, request: web.BaseRequest, query: str) -> Answer:
    """Answer how far a batch is.

    Documented: the fields, and which of them need ``showDetails=true``; in older
    pages one row per profile, later only the failed ones. Assumptions: 404 for an
    unknown batch; in the two older forms a row without profile counts as failed.
    """
    if request.method != "GET":
        await read_body(request, 0)
        return plain(405, "Method Not Allowed")
    asked = parse_qs(query)
    batch = edge.queue.batches.get(asked.get("batchId", [""])[0])
    if batch is None:
        return refusal(404, "Batch not found")
    fields: dict[str, str | int] = {
        "batchId": batch.id,
        "status": batch.status,
        "batchSize": batch.rows,
    }
    if asked.get("showDetails", [""])[0] == "true":
        fields["consumedCount"] = batch.consumed
        fields["successfulUpdates"] = batch.successful
        fields["profilesNotFound"] = batch.not_found
        fields["failedUpdates"] = batch.failed
    return batch_status(fields, _row_states(batch, edge.settings.status_form))


def _row_states(batch: Batch, form: str) -> Iterator[tuple[str, str]]:
    """(id, status) for the older forms of the answer."""
    if form == "failed_rows":
        yield from ((identity, "failed") for identity, success in batch.outcomes if not success)
    elif form == "rows":
        for identity, success in batch.outcomes:
            yield identity, "success" if success else "error"
        if batch.status == INCOMPLETE and not batch.outcomes:
            for identity in batch.pending_ids():
                yield identity, "pending"
