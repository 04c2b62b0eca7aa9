"""The tables. SQLAlchemy Core, nothing that only one database has.

Times are seconds since 1970, UTC. Outcomes point into the plan by position: no id, value or
token is stored, but for what the edge's own messages may quote (``detail``).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

VERSION: Final = 1

metadata = MetaData()

about = Table(
    "uploader_about",
    metadata,
    Column("key", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)

# Calls that still count, by the moment when they no longer do (rounded up to a bucket).
usage = Table(
    "uploader_usage",
    metadata,
    Column("account", String(300), primary_key=True),
    Column("window", String(20), primary_key=True),
    Column("counts_until", BigInteger, primary_key=True, autoincrement=False),
    Column("calls", BigInteger, nullable=False),
)

# Calls set aside for one process and not settled yet: all of them count.
leases = Table(
    "uploader_leases",
    metadata,
    Column("lease", String(40), primary_key=True),
    Column("account", String(300), nullable=False),
    Column("window", String(20), nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("counts_until", Float, nullable=False),
    Index("uploader_leases_account", "account", "window"),
)

# Wall time and uptime at the first look within a boot: see ledger.LedgerClock.
boots = Table(
    "uploader_boots",
    metadata,
    Column("boot", String(64), primary_key=True),
    Column("wall_at", Float, nullable=False),
    Column("uptime_seconds", Float, nullable=False),
)

runs = Table(
    "uploader_runs",
    metadata,
    Column("run", String(40), primary_key=True),
    Column("account", String(300), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("input_identity", String(64), nullable=False),
    Column("state", String(20), nullable=False),
    Column("plan_digest", String(64)),
    Column("folder", Text, nullable=False),
    Column("plan_folder", Text),
    Column("options", Text, nullable=False),
    Column("report", Text),
    Column("exit_code", Integer),
    Column("stopped_by", String(20)),
    Column("started_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("seconds", Float, nullable=False, default=0.0),
    Column("starts", Integer, nullable=False, default=0),
    Column("calls_single", BigInteger, nullable=False, default=0),
    Column("calls_bulk", BigInteger, nullable=False, default=0),
    Column("calls_status", BigInteger, nullable=False, default=0),
    Column("calls_retries", BigInteger, nullable=False, default=0),
    Index("uploader_runs_account", "account", "sequence", unique=True),
)

outcomes = Table(
    "uploader_outcomes",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("run", String(40), ForeignKey("uploader_runs.run"), nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("fate", String(20), nullable=False),
    Column("reason", String(40)),
    Column("detail", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("http_status", Integer),
    Column("at", Float, nullable=False),
    Index("uploader_outcomes_run", "run", "first"),
)

batches = Table(
    "uploader_batches",
    metadata,
    Column("run", String(40), ForeignKey("uploader_runs.run"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("remote_id", Text, nullable=False),
    Column("status_url", Text, nullable=False),
    Column("successful", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("not_found", Integer, nullable=False),
    Column("detail", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("http_status", Integer),
    Column("at", Float, nullable=False),
)
