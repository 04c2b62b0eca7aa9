"""The keys of JSON Lines: no header names them, so they are judged as they come."""

from __future__ import annotations

from collections.abc import Iterable

from uploader.errors import MappingError
from uploader.intake.checks import place
from uploader.intake.jsonlines import Record
from uploader.intake.mapping import attribute_name, objection, refuse_names
from uploader.model import Mapping, Reason, Rejected


class Keys:
    """The keys of one JSON Lines export: which are sent, and under which name.

    The first record's keys are judged like a header; a later key that collides rejects
    its record only.
    """

    def __init__(self, mapping: Mapping, where: str, *, lenient: bool = False) -> None:
        """*where* begins messages; when *lenient*, not even the first record stops the run."""
        self._mapping = mapping
        self._where = where
        self._lenient = lenient
        self._chosen: dict[str, list[str]] = {}
        for key, name in mapping.attributes:
            self._chosen.setdefault(key, []).append(name)
        self._owner = {name: f"constant {name}" for name, _ in mapping.constants}
        self._bad: dict[str, str] = {}
        self.seen: dict[str, None] = {}
        self._names: dict[str, list[str]] = {}
        if self._chosen:
            refuse_names(mapping, mapping.attributes, where)

    def pairs(self, keys: Iterable[str]) -> list[tuple[str, str]]:
        """Those of *keys* that are sent, each with its attribute's name."""
        return [(key, name) for key in keys for name in self._names.get(key, ())]

    def admit(self, record: Record) -> Rejected | None:
        """Learn the record's new keys; the rejection it earns if one of them can't be sent."""
        new = [key for key in record.fields if key not in self.seen]
        first = not self.seen
        for key in new:
            self._learn(key, record, first=first)
        for key in self._bad:
            if key in record.fields:
                return Rejected(
                    Reason.NAME_COLLISION,
                    self._bad[key],
                    self._where,
                    record.number,
                    record.line,
                    record=record.fields,
                )
        return None

    def _learn(self, key: str, record: Record, *, first: bool) -> None:
        self.seen[key] = None
        mapping = self._mapping
        if key in mapping.leave_out:
            return
        if self._chosen:
            self._names[key] = self._chosen.get(key, [])
            return
        if key == mapping.id_column:
            return
        name = attribute_name(key)
        reason = objection(name)
        if reason is None and name in self._owner:
            reason = f"{self._owner[name]!r} is sent under that name"
        if reason is None:
            self._owner[name] = key
            self._names[key] = [name]
            return
        detail = f"key {key!r} can't be sent as attribute {name!r}: {reason}"
        if first and not self._lenient:
            remedy = "rename it (--attribute KEY=NAME) or leave it out (--leave-out KEY)"
            message = f"{place(self._where, record.line)}: {detail}; {remedy}"
            raise MappingError(message)
        self._bad[key] = detail
