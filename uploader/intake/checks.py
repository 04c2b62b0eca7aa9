"""The API's rules for one record, each with its reason code, and what is only worth a word."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uploader.intake.ordering import OrderKeys
from uploader.limits import (
    FORBIDDEN_IN_THIRD_PARTY_ID,
    MAX_ID_BYTES,
    MAX_PROFILE_BYTES,
    PAGE_ATTRIBUTE_NAME_CHARACTERS,
    PAGE_ATTRIBUTE_VALUE_CHARACTERS,
    PAGE_THIRD_PARTY_ID_CHARACTERS,
)
from uploader.model import IdType, IntakeBlock, Reason, RecordBlock, Rejected

_FORBIDDEN_ID = "[" + FORBIDDEN_IN_THIRD_PARTY_ID + "]"
_UNRESERVED = f"{string.ascii_letters}{string.digits}-._~".encode()


@dataclass
class Cautions:
    """What is delivered all the same, but worth a word: a count and one example's place."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def note(self, what: str, count: int, where: str) -> None:
        """Count *what*; the first *where* is kept."""
        self.counts[what] = self.counts.get(what, 0) + count
        self.examples.setdefault(what, where)

    def lines(self) -> list[str]:
        """One sentence for each, without any value."""
        return [
            f"{what}: {count:,} (first at {self.examples[what]})"
            for what, count in self.counts.items()
        ]


@dataclass
class Checks:
    """Judges blocks of records; what page calls limit is a reason only when *strict*."""

    id_type: IdType
    strict: bool = False
    cautions: Cautions = field(default_factory=Cautions)
    order: OrderKeys | None = None

    def judge(
        self,
        block: RecordBlock,
        source: str,
        original: Callable[[int], dict[str, str]],
        latest: pa.Array | None = None,
    ) -> IntakeBlock:
        """Split *block* into the records that can be used and the rejected.

        *original* gives the columns of the block's n-th record as the export has them;
        *latest* holds the texts of the ``--latest-by`` column.
        """
        verdicts = _Verdicts(block, source, self.cautions if not self.strict else None)
        self._judge_ids(block, verdicts)
        _judge_values(block, verdicts)
        _judge_whole(block, verdicts)
        order = self._order(latest, verdicts)
        rejected = tuple(
            Rejected(
                reason,
                detail,
                source,
                block.numbers[index].as_py(),
                block.lines[index].as_py(),
                record=original(index),
            )
            for index, (reason, detail) in sorted(verdicts.reasons.items())
        )
        kept = block if order is None else replace(block, order=order)
        if rejected:
            keep = np.ones(len(block.ids), dtype=bool)
            keep[list(verdicts.reasons)] = False
            kept = _filtered(kept, pa.array(keep))
        return IntakeBlock(read=len(block.ids), records=kept, rejected=rejected)

    def _judge_ids(self, block: RecordBlock, verdicts: _Verdicts) -> None:
        empty = pc.equal(pc.binary_length(block.ids), 0)
        verdicts.reject(_where(empty), Reason.MISSING_ID, "the id column is empty")
        large = _where(pc.greater(pc.binary_length(block.ids), MAX_ID_BYTES))
        detail = f"an id over {MAX_ID_BYTES:,} bytes, which no call could carry encoded"
        verdicts.reject(large, Reason.ID_TOO_LONG, detail)
        if self.id_type is not IdType.THIRD_PARTY_ID:
            return
        forbidden = _where(pc.match_substring_regex(block.ids, _FORBIDDEN_ID))
        detail = "a third-party id can't hold '+' or '/'"
        verdicts.reject(forbidden, Reason.ID_FORBIDDEN_CHARACTER, detail)
        limit = PAGE_THIRD_PARTY_ID_CHARACTERS
        long = _where(pc.greater(pc.utf8_length(block.ids), limit))
        verdicts.over_page_limit(long, Reason.ID_TOO_LONG, f"id over {limit} characters")

    def _order(self, latest: pa.Array | None, verdicts: _Verdicts) -> pa.Array | None:
        if latest is None or self.order is None:
            return None
        keys = self.order.keys(latest.to_pylist())
        bad = [index for index, key in enumerate(keys) if key is None]
        detail = f"{self.order.expected()} expected in the --latest-by column"
        verdicts.reject(bad, Reason.BAD_LATEST_BY, detail)
        return pa.array([key or "" for key in keys], pa.string())


@dataclass
class _Verdicts:
    """What is wrong with one block's records: the first reason found for each.

    What is over a limit for page calls goes to *cautions*; without them it is a reason.
    """

    block: RecordBlock
    source: str
    cautions: Cautions | None
    reasons: dict[int, tuple[Reason, str]] = field(default_factory=dict)

    def reject(self, indices: list[int], reason: Reason, detail: str) -> None:
        """Give the records at *indices* a reason, if they have none."""
        for index in indices:
            self.reasons.setdefault(index, (reason, detail))

    def over_page_limit(self, indices: list[int], reason: Reason, what: str) -> None:
        """Tell that the records at *indices* are over a limit stated for page calls."""
        if self.cautions is None:
            self.reject(indices, reason, what)
        elif indices:
            where = place(self.source, self.block.lines[indices[0]].as_py())
            self.cautions.note(what, len(indices), where)


def _judge_values(block: RecordBlock, verdicts: _Verdicts) -> None:
    limit = PAGE_ATTRIBUTE_VALUE_CHARACTERS
    for name, values in zip(block.names, block.values, strict=True):
        if _longest(values) > limit:
            long = _where(pc.greater(pc.utf8_length(values), limit))
            what = f"value over {limit} characters in attribute {name!r}"
            verdicts.over_page_limit(long, Reason.VALUE_TOO_LONG, what)


def _judge_whole(block: RecordBlock, verdicts: _Verdicts) -> None:
    """Reject records whose attributes alone are more than a profile holds.

    Looks closely only where bounds don't settle it: a byte becomes three at most.
    """
    names = [encoded_length(name.encode()) for name in block.names]
    bound = sum(names) + 3 * sum(map(_longest, block.values))
    if bound <= MAX_PROFILE_BYTES:
        return
    most = np.full(len(block.ids), sum(names), np.int64)
    for values in block.values:
        most += 3 * pc.binary_length(values).to_numpy().astype(np.int64)
    for index in np.flatnonzero(most > MAX_PROFILE_BYTES).tolist():
        cells = [values[index].as_buffer().to_pybytes() for values in block.values]
        size = sum(
            name + encoded_length(cell) for name, cell in zip(names, cells, strict=True) if cell
        )
        if size > MAX_PROFILE_BYTES:
            detail = f"{size:,} bytes of encoded attributes; a profile holds {MAX_PROFILE_BYTES:,}"
            verdicts.reject([index], Reason.BODY_TOO_LARGE, detail)


def encoded_length(text: bytes) -> int:
    """How long *text* is once percent-encoded, without encoding it."""
    return len(text) + 2 * len(text.translate(None, _UNRESERVED))


def _longest(values: pa.Array) -> int:
    return pc.max(pc.binary_length(values)).as_py() or 0


def place(source: str, line: int | None) -> str:
    """How a message names a record: ``crm.csv, line 18,204``."""
    return source if line is None else f"{source}, line {line:,}"


def caution_names(cautions: Cautions, names: tuple[str, ...], source: str) -> None:
    """A word on attribute names over what page calls take."""
    limit = PAGE_ATTRIBUTE_NAME_CHARACTERS
    for name in names:
        if len(name) > limit:
            cautions.note(f"attribute name over {limit} characters", 1, source)


def _where(mask: pa.Array) -> list[int]:
    if not pc.any(mask).as_py():
        return []
    found: list[int] = pc.indices_nonzero(mask).to_pylist()
    return found


def _filtered(block: RecordBlock, keep: pa.Array) -> RecordBlock:
    return RecordBlock(
        block.source,
        block.ids.filter(keep),
        block.numbers.filter(keep),
        block.lines.filter(keep),
        block.names,
        tuple(values.filter(keep) for values in block.values),
        None if block.order is None else block.order.filter(keep),
    )
