"""The only reader of environment, secrets and configuration files.

Precedence: flag, environment ``UPLOADER_*``, secrets directory, TOML file, default. A key
that isn't known is refused by name, with the nearest one that is.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from uploader.errors import SettingsError
from uploader.settings import PREFIX, Settings, TomlValues

CONFIG_VARIABLE: Final = "UPLOADER_CONFIG"
SECRETS_VARIABLE: Final = "UPLOADER_SECRETS_DIR"
DEFAULT_CONFIG: Final = Path("config/uploader.toml")
_DEFAULT_SECRETS: Final = Path("/run/secrets")


def load(flags: Mapping[str, Any], config: Path | None = None) -> Settings:
    """Read all sources; *flags* holds only what was given by hand.

    Raises:
        SettingsError: a key isn't known, or a value can't be used; the message names
            where it came from, never the value of a secret.
    """
    _refuse_unknown(
        [name.removeprefix(PREFIX).lower() for name in os.environ if name.startswith(PREFIX)],
        lambda key: f"environment variable {PREFIX}{key.upper()}",
        also=("config", "secrets_dir"),
    )
    path = config or _path_from(CONFIG_VARIABLE)
    if path is None and DEFAULT_CONFIG.exists():
        path = DEFAULT_CONFIG
    values = {} if path is None else _read_toml(path)
    _refuse_unknown(list(values), lambda key: f"{path}: key {key!r}")
    secrets = _path_from(SECRETS_VARIABLE) or _DEFAULT_SECRETS
    TomlValues.values = values
    try:
        given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
        given["_secrets_dir"] = secrets if secrets.is_dir() else None
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError(_explained(error, flags, values, path)) from None
    except ValueError as error:  # of the library: a list that is no JSON, a file that can't be read
        if "Secrets" in str(error):
            message = f"{secrets}: a secrets file can't be read; check its permissions"
        else:
            message = f'{error}; lists are written as JSON in the environment: ["a", "b"]'
        raise SettingsError(message) from None
    finally:
        TomlValues.values = {}


def _path_from(variable: str) -> Path | None:
    text = os.environ.get(variable)
    return Path(text) if text else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        message = f"{path}: can't be read: {error.strerror or error}"
        raise SettingsError(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{path}: not TOML: {error}"
        raise SettingsError(message) from error


def _refuse_unknown(keys: Iterable[str], name: Any, also: tuple[str, ...] = ()) -> None:
    known = [*Settings.model_fields, *also]
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {name(near[0]).rpartition(' ')[2]}?" if near else ""
            message = f"{name(key)} is no setting of uploader{hint}"
            raise SettingsError(message)


def _explained(
    error: ValidationError, flags: Mapping[str, Any], values: Mapping[str, Any], path: Path | None
) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        key = str(problem["loc"][0])
        if flags.get(key) is not None:
            origin = "--" + key.replace("_", "-")
        elif PREFIX + key.upper() in os.environ:
            origin = PREFIX + key.upper()
        elif key in values:
            origin = f"{path}: {key}"
        else:
            origin = key
        lines.append(f"{origin}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines)
