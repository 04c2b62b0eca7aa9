"""The vocabulary: what the parts hand to one another. Frozen, and without behaviour of weight.

Five folders never import one another; what passes between them is defined here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa


class IdType(StrEnum):
    """What the id column holds, spelt as a batch file spells it."""

    THIRD_PARTY_ID = "thirdPartyId"
    PC_ID = "pcId"

    @property
    def single_parameter(self) -> str:
        """The parameter's name in a single update."""
        return "mboxPC" if self is IdType.PC_ID else "mbox3rdPartyId"


class Via(StrEnum):
    """The two ways to the edge, and the wish that the plan should choose."""

    AUTO = "auto"
    SINGLE = "single"
    BULK = "bulk"


class Method(StrEnum):
    """How a single update is carried. POST keeps personal data out of URLs and their logs."""

    POST = "POST"
    GET = "GET"


class Reason(StrEnum):
    """Why a record was rejected or an update not delivered (dead letters, report)."""

    MISSING_ID = "missing_id"
    ID_FORBIDDEN_CHARACTER = "id_forbidden_character"
    ID_TOO_LONG = "id_too_long"
    VALUE_TOO_LONG = "value_too_long"
    NO_ATTRIBUTES = "no_attributes"
    TOO_MANY_COLUMNS = "too_many_columns"
    TOO_FEW_COLUMNS = "too_few_columns"
    BAD_ENCODING = "bad_encoding"
    BAD_QUOTING = "bad_quoting"
    BAD_JSON = "bad_json"
    BAD_LATEST_BY = "bad_latest_by"
    NAME_COLLISION = "name_collision"
    RECORD_TOO_LARGE = "record_too_large"
    BODY_TOO_LARGE = "body_too_large"
    STRAY_CARRIAGE_RETURN = "stray_carriage_return"
    REFUSED = "refused"
    RETRIES_EXHAUSTED = "retries_exhausted"
    BATCH_STUCK = "batch_stuck"
    BATCH_REFUSED = "batch_refused"


@dataclass(frozen=True)
class Mapping:
    """How columns become an identity and attributes.

    ``attributes`` pairs a column with the attribute's name; empty means every other
    column under its own name. ``constants`` pairs a name with the value that every
    update gets. ``latest_by`` names the column that decides which record is last.
    """

    id_column: str
    id_type: IdType = IdType.THIRD_PARTY_ID
    attributes: tuple[tuple[str, str], ...] = ()
    leave_out: tuple[str, ...] = ()
    constants: tuple[tuple[str, str], ...] = ()
    latest_by: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Everything that decides what a record becomes, for digests and dead letters."""
        return {
            "id_column": self.id_column,
            "id_type": self.id_type.value,
            "attributes": [list(pair) for pair in self.attributes],
            "leave_out": list(self.leave_out),
            "constants": [list(pair) for pair in self.constants],
            "latest_by": self.latest_by,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Mapping:
        """Read what :meth:`as_json` wrote.

        Raises:
            KeyError, ValueError, TypeError: it was something else.
        """
        return Mapping(
            id_column=str(data["id_column"]),
            id_type=IdType(data["id_type"]),
            attributes=tuple((str(a), str(b)) for a, b in data["attributes"]),
            leave_out=tuple(str(name) for name in data["leave_out"]),
            constants=tuple((str(a), str(b)) for a, b in data["constants"]),
            latest_by=None if data["latest_by"] is None else str(data["latest_by"]),
        )


@dataclass(frozen=True)
class RouteWish:
    """The route that was asked for; part of a run's identity."""

    via: Via = Via.AUTO
    create_profiles: bool = False
    bulk_version: int | None = None
    method: Method = Method.POST

    def as_json(self) -> dict[str, Any]:
        """For digests, plans and dead letters."""
        return {
            "via": self.via.value,
            "create_profiles": self.create_profiles,
            "bulk_version": self.bulk_version,
            "method": self.method.value,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> RouteWish:
        """Read what :meth:`as_json` wrote."""
        version = data["bulk_version"]
        return RouteWish(
            via=Via(data["via"]),
            create_profiles=bool(data["create_profiles"]),
            bulk_version=None if version is None else int(version),
            method=Method(data["method"]),
        )


@dataclass(frozen=True)
class Route:
    """The route that a plan takes. ``bulk_version`` is None for single updates."""

    via: Via
    bulk_version: int | None = None
    method: Method = Method.POST

    def __str__(self) -> str:
        """The report's spelling: ``single``, ``bulk v1``, ``bulk v2``."""
        return "single" if self.via is Via.SINGLE else f"bulk v{self.bulk_version}"


@dataclass(frozen=True)
class Extent:
    """Where a record too large to hold lies in its source: bytes from 0, and their hash."""

    offset: int
    length: int
    sha256: str


@dataclass(frozen=True)
class Rejected:
    """A record that the plan can't use, with all that was read of it.

    Either ``record`` (the original columns) or ``raw`` (the original bytes) is complete;
    ``record_too_large`` alone has neither, and ``extent`` instead.
    ``line`` is the physical line on which the record begins, from 1; None where there
    are no lines. ``record_number`` counts the source's records from 1.
    """

    reason: Reason
    detail: str
    source: str
    record_number: int
    line: int | None
    record: dict[str, str] | None = None
    raw: bytes | None = None
    extent: Extent | None = None


@dataclass(frozen=True)
class RecordBlock:
    """Some thousand mapped and checked records of one source, column by column.

    Every array has one entry a record. ``order`` is None where input order decides;
    else it holds texts that sort as the ``--latest-by`` values do. ``lines`` and
    ``numbers`` tell where each record began; ``values[i]`` belongs to ``names[i]``, and
    an empty text means "no value".
    """

    source: int
    ids: pa.Array
    numbers: pa.Array
    lines: pa.Array
    names: tuple[str, ...]
    values: tuple[pa.Array, ...]
    order: pa.Array | None = None


@dataclass(frozen=True)
class IntakeBlock:
    """What came of one stretch of an export: used, rejected, skipped."""

    read: int
    records: RecordBlock | None = None
    rejected: tuple[Rejected, ...] = ()
    skipped: int = 0


@dataclass(frozen=True)
class Update:
    """One profile's update, as the plan holds it.

    ``identity`` and ``attributes`` are percent-encoded; ``attributes`` stand by position
    (the plan's names), comma-joined, trailing empties left out: a batch file's own line.
    """

    position: int
    identity: str
    attributes: str
    records: int
    source: int
    line: int | None


@dataclass(frozen=True)
class SingleCall:
    """One single update, ready for the wire.

    ``payload`` is the form-encoded parameters; ``in_url`` tells that it goes as a query.
    """

    position: int
    payload: bytes
    in_url: bool = False


@dataclass(frozen=True)
class BatchCall:
    """One batch file, ready for the wire.

    It holds the *rows* sendable updates among positions *first* to *last*, both included.
    """

    number: int
    first: int
    last: int
    rows: int
    size_bytes: int
    pieces: tuple[bytes, ...] = field(repr=False, default=())


@dataclass(frozen=True)
class Unsendable:
    """An update that no call can carry, found before any is made."""

    position: int
    reason: Reason
    detail: str


class Fate(StrEnum):
    """What became of updates, as the journal keeps it."""

    DELIVERED = "delivered"
    DEAD_LETTERED = "dead_lettered"


@dataclass(frozen=True)
class Outcome:
    """What is known to be done for positions first to last, both included."""

    first: int
    last: int
    fate: Fate
    reason: Reason | None = None
    detail: str = ""
    attempts: int = 1
    http_status: int | None = None
    at: datetime | None = None


class BatchState(StrEnum):
    """Where a batch file is on its way."""

    INCOMPLETE = "incomplete"
    COMPLETE = "complete"
    STUCK = "stuck"
    REFUSED = "refused"


@dataclass(frozen=True)
class Batch:
    """A batch file that the edge has answered for, as the journal keeps it."""

    number: int
    first: int
    last: int
    rows: int
    size_bytes: int
    state: BatchState
    remote_id: str = ""
    status_url: str = ""
    successful: int = 0
    failed: int = 0
    not_found: int = 0
    detail: str = ""
    attempts: int = 1
    http_status: int | None = None


@dataclass
class Calls:
    """Attempts that may have reached the edge; ``retries`` are those that were repeats."""

    single: int = 0
    bulk: int = 0
    status: int = 0
    retries: int = 0

    def __add__(self, other: Calls) -> Calls:
        """Both, summed."""
        return Calls(
            self.single + other.single,
            self.bulk + other.bulk,
            self.status + other.status,
            self.retries + other.retries,
        )

    def as_json(self) -> dict[str, int]:
        """The report's ``calls``."""
        return asdict(self)
