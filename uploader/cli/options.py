"""Flags made from the settings they set: one description, one default, one environment name."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic_core import PydanticUndefined

from uploader.settings import PREFIX, Settings

F = TypeVar("F", bound=Callable[..., Any])


def setting(
    name: str,
    flag: str | None = None,
    *,
    metavar: str | None = None,
    choices: list[str] | None = None,
    multiple: bool = False,
    shown_default: str | None = None,
) -> Callable[[F], F]:
    """A flag for the setting *name*; its help comes from the settings model."""
    about = Settings.model_fields[name]
    default = shown_default if shown_default is not None else _default_text(about.default)
    notes = f" [default: {default}]" if default else ""
    text = f"{about.description}{notes} [env: {PREFIX}{name.upper()}]"
    flag = flag or "--" + name.replace("_", "-")
    if about.annotation is bool:
        return click.option(flag, name, is_flag=True, default=None, help=text)
    kind: Any = click.Choice(choices) if choices else str
    return click.option(
        flag, name, type=kind, metavar=metavar, multiple=multiple, default=None, help=text
    )


def _default_text(default: Any) -> str:
    if default is PydanticUndefined or default is None or default == [] or default is False:
        return ""
    if isinstance(default, Enum):
        return str(default.value)
    if isinstance(default, float):
        return f"{default:g}"
    return str(default)


def together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, shown in the order given."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


FILE = click.Path(dir_okay=False, path_type=Path)

mapping_options = together(
    setting("id_column", metavar="NAME"),
    setting("id_type", choices=["thirdPartyId", "pcId"]),
    setting("attributes", "--attribute", metavar="COLUMN[=NAME]", multiple=True),
    setting("leave_out", metavar="COLUMN", multiple=True),
    setting("constants", "--constant", metavar="NAME=VALUE", multiple=True),
    setting("latest_by", metavar="COLUMN"),
    setting("delimiter", metavar="CHARACTER"),
    setting("strict_limits"),
    setting("max_rejected", metavar="N|N%"),
)

route_options = together(
    setting("via", choices=["auto", "single", "bulk"]),
    setting("create_profiles"),
    setting("bulk_version", choices=["1", "2"]),
    setting("method", choices=["POST", "GET"]),
)

sending_options = together(
    setting("workers", metavar="N"),
    click.option(
        "--report", type=FILE, help="Write the report here, as JSON, besides what is printed."
    ),
    click.option(
        "--dead-letters",
        type=FILE,
        help="Write what was not delivered here. [default: dead-letters.jsonl in the run's folder]",
    ),
    setting("deadline", metavar="DURATION|TIME"),
    setting("on_quota", choices=["stop", "wait"]),
    setting("wait", metavar="DURATION", shown_default="1h"),
    click.option(
        "--again", is_flag=True, help="Send once more what a finished run has sent already."
    ),
    click.option(
        "--alongside",
        is_flag=True,
        help="Send although another run of the account is sending: their profiles don't overlap.",
    ),
    click.option(
        "--stale",
        is_flag=True,
        help="Go on with work that is older than a finished run, putting old values over new ones.",
    ),
)

common_options = together(
    click.option(
        "--config",
        type=FILE,
        help="A TOML file with settings. [default: config/uploader.toml, where it exists] "
        "[env: UPLOADER_CONFIG]",
    ),
    setting(
        "state_url", "--state", metavar="URL", shown_default="SQLite in $XDG_STATE_HOME/uploader"
    ),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print the result as JSON on stdout; everything else goes to stderr.",
    ),
    setting("log_format", choices=["console", "json"]),
    setting("log_level", choices=["debug", "info", "warning", "error"]),
)
