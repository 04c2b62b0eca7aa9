"""Plans made of real exports, and the updates in them as plain texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from uploader.intake.locations import inspect
from uploader.intake.reading import Reading
from uploader.model import Mapping, Rejected
from uploader.planning.folding import UPDATES
from uploader.planning.plan import Contents, Updates, write_updates

MEMORY_BYTES = 200_000_000


@dataclass
class Planned:
    """A plan's contents, and the books of its making."""

    contents: Contents
    updates: Updates
    read: int
    skipped: int
    rejected: list[Rejected]

    @property
    def profiles(self) -> dict[str, dict[str, str]]:
        """Identity to attributes, decoded; fails if an identity comes twice."""
        found: dict[str, dict[str, str]] = {}
        for update in self.updates.each():
            identity = unquote(update.identity, errors="strict")
            assert identity not in found
            cells = update.attributes.split(",")
            found[identity] = {
                name: unquote(cell, errors="strict")
                for name, cell in zip(self.contents.names, cells, strict=False)
                if cell
            }
        return found


def plan_exports(folder: Path, *contents: bytes, mapping: Mapping | None = None) -> Planned:
    """Read exports with these contents and plan their updates."""
    exports = []
    for number, content in enumerate(contents):
        path = folder / f"{number}.txt"
        path.write_bytes(content)
        exports.append(inspect(path.name, path))
    reading = Reading(mapping or Mapping("id"))
    blocks = list(reading.blocks(exports))
    records = (block.records for block in blocks if block.records is not None)
    written = write_updates(records, folder, folder, MEMORY_BYTES)
    return Planned(
        written,
        Updates(folder / "updates.parquet"),
        sum(block.read for block in blocks),
        sum(block.skipped for block in blocks),
        [rejected for block in blocks for rejected in block.rejected],
    )


def updates_of(folder: Path, rows: list[tuple[str, str]]) -> tuple[Updates, Contents]:
    """Updates with these encoded identities and attributes, as a plan holds them."""
    identities, lines = [row[0] for row in rows], [row[1] for row in rows]
    table = pa.table(
        [
            pa.array(identities, pa.string()),
            pa.array(lines, pa.string()),
            pa.array([1] * len(rows), pa.int32()),
            pa.array([0] * len(rows), pa.int32()),
            pa.array(range(2, len(rows) + 2), pa.int64()),
        ],
        schema=UPDATES,
    )
    pq.write_table(table, folder / "updates.parquet", row_group_size=65_536)
    sizes = [len(identity) + len(line) + 2 for identity, line in rows]
    empty = lines.count("")
    contents = Contents((), len(rows), 0, sum(sizes), max(sizes, default=0), empty, "")
    return Updates(folder / "updates.parquet"), contents
