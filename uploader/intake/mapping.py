"""Columns to an identity and attributes: names judged once, before anything is sent."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from uploader.errors import MappingError
from uploader.limits import ATTRIBUTE_PREFIX, RESERVED_NAMES, RESERVED_PREFIX
from uploader.model import Mapping

_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}


@dataclass(frozen=True)
class Columns:
    """Where a header's cells go: indices into it, attributes under their final names."""

    id_index: int
    attributes: tuple[tuple[int, str], ...]
    latest_index: int | None


def attribute_name(column: str) -> str:
    """The name that *column* is sent under: one leading ``profile.`` is stripped."""
    return column.removeprefix(ATTRIBUTE_PREFIX)


def objection(name: str) -> str | None:
    """Why *name* can't be an attribute's name, or None where it can."""
    if not name:
        return "it is empty"
    if name in RESERVED_NAMES or name.startswith(RESERVED_PREFIX):
        return "the API keeps it for itself"
    return None


def resolve(mapping: Mapping, columns: Sequence[str], where: str) -> Columns:
    """Apply *mapping* to a header.

    Raises:
        MappingError: the id column or the ``--latest-by`` column is missing, a name can't
            be sent, or two columns end up under one name; *where* begins the message.
    """
    index = {column: position for position, column in enumerate(columns)}
    demand(columns, [(mapping.id_column, ID_ROLE)], where)
    pairs = [
        (index[column], name)
        for column, name in mapping.attributes or own_names(mapping, columns)
        if column in index and column not in mapping.leave_out
    ]
    refuse_names(mapping, [(columns[position], name) for position, name in pairs], where)
    latest = None if mapping.latest_by is None else index.get(mapping.latest_by)
    return Columns(index[mapping.id_column], tuple(pairs), latest)


ID_ROLE = "the id column (--id-column)"
LATEST_ROLE = "the column that decides (--latest-by)"


def chosen_columns(mapping: Mapping) -> list[tuple[str, str]]:
    """The columns that have to be in at least one export, each with its role."""
    latest = [] if mapping.latest_by is None else [(mapping.latest_by, LATEST_ROLE)]
    return [
        *latest,
        *((column, "an attribute (--attribute)") for column, _ in mapping.attributes),
        *((column, "to be left out (--leave-out)") for column in mapping.leave_out),
    ]


def demand(columns: Sequence[str], wanted: Sequence[tuple[str, str]], where: str) -> None:
    """Check that each of *wanted* (column, role) is among *columns*.

    Raises:
        MappingError: one is missing; the message tells what there is.
    """
    for column, role in wanted:
        if column not in columns:
            there = _what_there_is(column, columns)
            message = f"{where}: there is no column {column!r}, {role}; {there}"
            raise MappingError(message)


def own_names(mapping: Mapping, columns: Sequence[str]) -> list[tuple[str, str]]:
    """Every column but the id, under its own name: what holds when no attribute is named."""
    return [(column, attribute_name(column)) for column in columns if column != mapping.id_column]


def refuse_names(mapping: Mapping, pairs: Sequence[tuple[str, str]], where: str) -> None:
    """Check the final names of *pairs* (column, name), constants included.

    Raises:
        MappingError: as :func:`resolve`.
    """
    seen: dict[str, str] = {}
    for column, name in [*pairs, *((f"constant {name}", name) for name, _ in mapping.constants)]:
        if reason := objection(name):
            rename = f"rename it (--attribute '{column}=NAME') or " if column else ""
            message = (
                f"{where}: column {column!r} can't be sent as attribute {name!r}: {reason}; "
                f"{rename}leave it out (--leave-out '{column}')"
            )
            raise MappingError(message)
        if name in seen:
            message = (
                f"{where}: columns {seen[name]!r} and {column!r} would both be sent as attribute "
                f"{name!r}; rename one (--attribute COLUMN=NAME) or leave it out (--leave-out)"
            )
            raise MappingError(message)
        seen[name] = column


def _what_there_is(column: str, columns: Sequence[str]) -> str:
    near = [name for name in columns if name.strip().casefold() == column.strip().casefold()]
    if near:
        return f"there is {near[0]!r}: names compare letter by letter"
    if len(columns) == 1:
        for delimiter, plural in _OTHER_DELIMITERS.items():
            if column in [cell.strip('"') for cell in columns[0].split(delimiter)]:
                shown = "'\\t'" if delimiter == "\t" else f"'{delimiter}'"
                return f"its cells seem to be divided by {plural}: use --delimiter {shown}"
    # Not the others: a file without a header has somebody's data there.
    similar = difflib.get_close_matches(column, columns, 3)
    if similar:
        return "the nearest are " + ", ".join(map(repr, similar))
    return f"the first line has {len(columns)} columns, and none is called like that"
