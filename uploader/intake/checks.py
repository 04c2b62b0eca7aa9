"""The API's rules for one record, each with its reason code, and what is only worth a word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uploader.intake.ordering import OrderKeys
from uploader.limits import (
    FORBIDDEN_IN_THIRD_PARTY_ID,
    PAGE_ATTRIBUTE_NAME_CHARACTERS,
    PAGE_ATTRIBUTE_VALUE_CHARACTERS,
    PAGE_THIRD_PARTY_ID_CHARACTERS,
)
from uploader.model import IdType, IntakeBlock, Reason, RecordBlock, Rejected

_FORBIDDEN_ID = "[" + FORBIDDEN_IN_THIRD_PARTY_ID + "]"


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
        count = len(block.ids)
        verdicts: dict[int, tuple[Reason, str]] = {}
        self._judge_ids(block, source, verdicts)
        self._judge_sizes(block, source, verdicts)
        order = None
        if latest is not None and self.order is not None:
            keys = self.order.keys(latest.to_pylist())
            for index, key in enumerate(keys):
                if key is None:
                    detail = f"{self.order.expected()} expected in the --latest-by column"
                    verdicts.setdefault(index, (Reason.BAD_LATEST_BY, detail))
            order = pa.array([key or "" for key in keys], pa.string())
        rejected = tuple(
            Rejected(
                reason,
                detail,
                source,
                block.numbers[index].as_py(),
                block.lines[index].as_py(),
                record=original(index),
            )
            for index, (reason, detail) in sorted(verdicts.items())
        )
        kept = _with_order(block, order)
        if verdicts:
            keep = np.ones(count, dtype=bool)
            keep[list(verdicts)] = False
            kept = _filtered(kept, pa.array(keep))
        return IntakeBlock(read=count, records=kept, rejected=rejected)

    def _judge_ids(
        self, block: RecordBlock, source: str, verdicts: dict[int, tuple[Reason, str]]
    ) -> None:
        for index in _where(pc.equal(pc.binary_length(block.ids), 0)):
            verdicts[index] = (Reason.MISSING_ID, "the id column is empty")
        if self.id_type is not IdType.THIRD_PARTY_ID:
            return
        for index in _where(pc.match_substring_regex(block.ids, _FORBIDDEN_ID)):
            detail = "a third-party id can't hold '+' or '/'"
            verdicts.setdefault(index, (Reason.ID_FORBIDDEN_CHARACTER, detail))
        limit = PAGE_THIRD_PARTY_ID_CHARACTERS
        found = _where(pc.greater(pc.utf8_length(block.ids), limit))
        self._over_limit(found, Reason.ID_TOO_LONG, f"id over {limit} characters", block, source, verdicts)

    def _judge_sizes(
        self, block: RecordBlock, source: str, verdicts: dict[int, tuple[Reason, str]]
    ) -> None:
        limit = PAGE_ATTRIBUTE_VALUE_CHARACTERS
        for name, values in zip(block.names, block.values, strict=True):
            longest = pc.max(pc.binary_length(values)).as_py() or 0
            if longest > limit:
                found = _where(pc.greater(pc.utf8_length(values), limit))
                what = f"value over {limit} characters in attribute {name!r}"
                self._over_limit(found, Reason.VALUE_TOO_LONG, what, block, source, verdicts)

    def _over_limit(
        self,
        found: list[int],
        reason: Reason,
        what: str,
        block: RecordBlock,
        source: str,
        verdicts: dict[int, tuple[Reason, str]],
    ) -> None:
        """A limit that is stated for page calls: a reason when strict, else a word."""
        if not found:
            return
        if self.strict:
            for index in found:
                verdicts.setdefault(index, (reason, what))
            return
        where = place(source, block.lines[found[0]].as_py())
        self.cautions.note(what, len(found), where)


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


def _with_order(block: RecordBlock, order: pa.Array | None) -> RecordBlock:
    if order is None:
        return block
    return RecordBlock(
        block.source, block.ids, block.numbers, block.lines, block.names, block.values, order
    )


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
