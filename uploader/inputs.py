"""What a plan is made of: exports or dead letters, looked at once, with an identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from uploader.errors import ExportError
from uploader.intake.locations import Export, expand, open_exports
from uploader.intake.redrive import Letters, open_letters
from uploader.model import Mapping, RouteWish
from uploader.planning import routing
from uploader.planning.plan import file_sha256
from uploader.settings import Settings


@dataclass(frozen=True)
class Input:
    """What a plan is made of: exports, or the letters of a redrive; and its identity."""

    mapping: Mapping
    wish: RouteWish
    delimiter: str
    identity: str
    exports: tuple[Export, ...] = ()
    letters: Letters | None = None

    @property
    def origin_run(self) -> str | None:
        """The run that wrote the letters."""
        return None if self.letters is None else self.letters.run

    @property
    def paths(self) -> list[Path]:
        """The files that it is read from."""
        if self.letters is not None:
            return [self.letters.path]
        return [export.path for export in self.exports]

    @property
    def names(self) -> list[str]:
        """What it is called."""
        if self.letters is not None:
            return [str(self.letters.path)]
        return [export.name for export in self.exports]


def read_exports(
    arguments: Sequence[str],
    settings: Settings,
    spool: Path,
    stopped: Callable[[], bool] = lambda: False,
) -> Input:
    """Look at every export, and give the input its identity: bytes in order, mapping, route.

    Raises:
        ExportError: an export can't be read.
        SettingsError: the mapping or the route asked for makes no sense.
    """
    mapping, wish = settings.mapping, settings.wish
    routing.refuse_contradictions(wish)
    exports = tuple(open_exports(expand(arguments), spool, stopped))
    hashes = [export.sha256 for export in exports]
    identity = _identity(hashes, mapping, wish, settings.delimiter)
    return Input(mapping, wish, settings.delimiter, identity, exports=exports)


def read_letters(path: Path) -> Input:
    """As :func:`read_exports`, for a dead-letter file, which knows its mapping and route.

    Raises:
        ExportError: it is no dead-letter file.
    """
    letters = open_letters(path)
    try:
        wish = RouteWish.from_json(letters.route)
    except (KeyError, ValueError, TypeError) as error:
        message = f"{path}: not a dead-letter file of this program (route: {error})"
        raise ExportError(message) from error
    identity = _identity([file_sha256(path)], letters.mapping, wish, letters.delimiter)
    return Input(letters.mapping, wish, letters.delimiter, identity, letters=letters)


def _identity(hashes: list[str], mapping: Mapping, wish: RouteWish, delimiter: str) -> str:
    parts = [hashes, mapping.as_json(), wish.as_json(), delimiter]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
