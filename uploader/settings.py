"""Every setting: one typed model, with each one's default and what it does.

:mod:`uploader.configuration` reads it from flags, environment and files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from uploader.errors import SettingsError
from uploader.limits import BULK_CALLS_PER_MINUTE, MAX_BATCH_ROWS, SINGLE_CALLS_PER_DAY
from uploader.model import IdType, Method, RouteWish, Via
from uploader.model import Mapping as RecordMapping

PREFIX: Final = "UPLOADER_"

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]?B)", re.IGNORECASE)
_UNIT_BYTES: Final = {"B": 1, "KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}


def parse_duration(text: str) -> float:
    """Seconds from ``90s``, ``10m`` or ``1h30m``.

    Raises:
        ValueError: *text* is no duration.
    """
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise ValueError("a duration is written like 90s, 10m or 3h")
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)


def parse_size(text: object) -> object:
    """Bytes from ``400MB`` or ``1.5 GB`` (1 MB = 1,000,000 bytes).

    Raises:
        ValueError: *text* is no size.
    """
    if not isinstance(text, str) or text.strip().isdecimal():
        return text
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError("a size is written like 400MB or 2GB")
    return int(float(match[1]) * _UNIT_BYTES[match[2].upper()])


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _number(value: object) -> object:
    """A flag's or variable's text as a number; a literal type doesn't read it itself."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


Duration = Annotated[float, BeforeValidator(_duration), Field(ge=0)]
Size = Annotated[int, BeforeValidator(parse_size)]


class TomlValues(PydanticBaseSettingsSource):
    """The values of the TOML file that :func:`uploader.configuration.load` has read."""

    values: ClassVar[Mapping[str, Any]] = {}

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """One value; part of the library's interface."""
        del field
        return self.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All values."""
        return dict(self.values)


class Settings(BaseSettings):
    """Everything that can be set, with its default and what it does."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="forbid",
        hide_input_in_errors=True,
        frozen=True,
        env_ignore_empty=True,
    )

    # The account
    client_code: str | None = Field(
        None, description="The account's client code at Adobe Target; part of host and path."
    )
    token: SecretStr | None = Field(
        None, description="The API's access token, where the account requires one."
    )
    edge_url: str | None = Field(
        None, description="Where the edge is. Default: https://CLIENT_CODE.tt.omtrdc.net"
    )
    status_hosts: list[str] = Field(
        [], description="Further hosts that batch status URLs may point to."
    )
    account_uses_ecid: bool = Field(
        False, description="The account uses the Experience Cloud ID: pcId by bulk v2 is an error."
    )

    # Mapping
    id_column: str | None = Field(None, description="The column that holds the profiles' ids.")
    id_type: IdType = Field(
        IdType.THIRD_PARTY_ID, description="What the ids are: your own, or Target's."
    )
    attributes: list[str] = Field(
        [], description="A column to send, COLUMN or COLUMN=NAME. None given: every other column."
    )
    leave_out: list[str] = Field([], description="A column not to send.")
    constants: list[str] = Field([], description="An attribute that every update gets, NAME=VALUE.")
    latest_by: str | None = Field(
        None, description="The column (numbers or ISO dates) that decides which record is last."
    )
    delimiter: str = Field(
        ",", description="What divides the columns of a CSV export; \\t is a tab."
    )
    strict_limits: bool = Field(
        False, description="Reject what is over the limits that Adobe states for page calls only."
    )
    max_rejected: str = Field(
        "10%",
        description="Send nothing if more records are rejected: a number, or a share of at least "
        "1,000 records read.",
    )

    # Route
    via: Via = Field(Via.AUTO, description="Which API to use.")
    create_profiles: bool = Field(
        False, description="Profiles that don't exist may be created: bulk v2 alone."
    )
    bulk_version: Annotated[Literal[1, 2] | None, BeforeValidator(_number)] = Field(
        None, description="Use this version of the bulk API."
    )
    method: Method = Field(Method.POST, description="How single updates are carried.")
    single_max_updates: int = Field(
        10_000, ge=0, description="Up to so many updates, auto takes single calls."
    )

    # Sending
    workers: int = Field(
        32, ge=1, le=1_000, description="Never more than so many requests at once."
    )
    daily_cap: int = Field(
        SINGLE_CALLS_PER_DAY,
        ge=1,
        le=SINGLE_CALLS_PER_DAY,
        description="Single calls in any rolling 24 hours.",
    )
    bulk_calls_per_minute: int = Field(
        40,
        ge=1,
        le=BULK_CALLS_PER_MINUTE,
        description="Batch files and status questions in any rolling minute; others use the "
        "account too.",
    )
    bulk_rows_per_day: int = Field(
        0,
        ge=0,
        description="Rows of batch files in any rolling 24 hours, for accounts with such a cap "
        "(at least 500,000); 0 is none.",
    )
    bulk_workers: int = Field(
        3, ge=1, le=16, description="Batch files sent at once; each is held in memory, 50 MB."
    )
    calls_per_second: float = Field(
        500, ge=0, description="Pace of single calls; 0 is as fast as workers and edge allow."
    )
    timeout: Duration = Field(
        30.0, description="How long a call may take; batch files get more, by their size."
    )
    max_attempts: int = Field(
        8, ge=1, description="Attempts for one call while others get through."
    )
    retry_base: Duration = Field(
        0.5, description="The first retry's longest pause; it doubles each time, up to a minute."
    )
    outage_after: Duration = Field(
        300.0, description="Stop when nothing has got through for so long."
    )
    deadline: str | None = Field(
        None, description="Stop starting calls after a duration (3h) or at a time (06:00)."
    )
    on_quota: Literal["stop", "wait"] = Field(
        "stop", description="What to do when the quota is used up for more than a minute."
    )
    wait: Duration = Field(3_600.0, description="How long to follow batches after sending.")
    grace: Duration = Field(
        10.0, description="How long calls in flight may still take after Ctrl-C or SIGTERM."
    )

    # Where things are
    state_url: str | None = Field(
        None,
        description="The state store: quota, runs and outcomes.",
    )
    work_dir: Path | None = Field(
        None, description="Where run folders lie. Default: beside the SQLite state store."
    )
    keep_plans: bool = Field(False, description="Keep a finished run's plan in its folder.")
    memory: Size = Field(
        400_000_000, ge=100_000_000, description="What planning may use for sorting."
    )
    timezone: str | None = Field(
        None, description="For times such as a deadline of 06:00. Default: the process's own."
    )
    log_format: Literal["console", "json"] = Field("console", description="How log lines look.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Which log lines are written."
    )

    @field_validator("delimiter")
    @classmethod
    def _one_byte(cls, value: str) -> str:
        value = {"\\t": "\t", "tab": "\t"}.get(value, value)
        if len(value.encode()) != 1 or value in '"\r\n\0':
            raise ValueError("a delimiter is one ASCII character, and no quote or line end")
        return value

    @field_validator("bulk_rows_per_day")
    @classmethod
    def _a_batch_or_none(cls, value: int) -> int:
        if 0 < value < MAX_BATCH_ROWS:
            raise ValueError(f"at least {MAX_BATCH_ROWS:,}, the rows of one batch file, or 0")
        return value

    @field_validator("max_rejected")
    @classmethod
    def _number_or_share(cls, value: str) -> str:
        if not re.fullmatch(r"\d+|\d+(\.\d+)?%", value, re.ASCII):
            raise ValueError("write a number such as 100, or a share such as 10%")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("a time zone is written like Europe/Berlin") from error
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, environment, secrets, then the TOML file."""
        del dotenv_settings  # an environment is set by whoever starts us
        return init_settings, env_settings, file_secret_settings, TomlValues(settings_cls)

    @property
    def mapping(self) -> RecordMapping:
        """How columns become updates.

        Raises:
            SettingsError: the id column isn't named, or a pair isn't one.
        """
        if self.id_column is None:
            message = "which column holds the ids? Name it: --id-column NAME (UPLOADER_ID_COLUMN)"
            raise SettingsError(message)
        return RecordMapping(
            self.id_column,
            self.id_type,
            tuple(map(_column_pair, self.attributes)),
            tuple(self.leave_out),
            tuple(map(_constant_pair, self.constants)),
            self.latest_by,
        )

    @property
    def wish(self) -> RouteWish:
        """The route that was asked for."""
        return RouteWish(self.via, self.create_profiles, self.bulk_version, self.method)

    @property
    def edge(self) -> str:
        """The edge's address.

        Raises:
            SettingsError: neither it nor the client code is set.
        """
        return self.edge_url or f"https://{self.account_code}.tt.omtrdc.net"

    @property
    def account_code(self) -> str:
        """The client code.

        Raises:
            SettingsError: it isn't set.
        """
        if not self.client_code:
            message = (
                "which account? Set its client code: UPLOADER_CLIENT_CODE, or client_code in "
                "config/uploader.toml"
            )
            raise SettingsError(message)
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", self.client_code):
            message = (
                "a client code holds letters, digits, '-', '_' and '.' only (UPLOADER_CLIENT_CODE)"
            )
            raise SettingsError(message)
        return self.client_code


def _column_pair(text: str) -> tuple[str, str]:
    column, equals, name = text.rpartition("=")
    if not equals:
        return text, text.removeprefix("profile.")
    if not column or not name:
        message = f"--attribute {text!r}: write COLUMN or COLUMN=NAME"
        raise SettingsError(message)
    return column, name.removeprefix("profile.")


def _constant_pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        message = f"--constant {text!r}: write NAME=VALUE"
        raise SettingsError(message)
    return name.removeprefix("profile."), value
