"""The first thing that runs: the console script, and ``python -m uploader``.

As process 1 of a container, a program that has no handler yet isn't stopped by SIGTERM at
all. So one is set before the heavy imports; until a command takes over, nothing has begun
that could be lost.
"""

from __future__ import annotations

import os
import signal
from typing import Any

_STOPPED_EARLY = 4


def _end_at_once(number: int, _: Any) -> None:
    os.write(2, f"uploader: {signal.Signals(number).name} before anything began\n".encode())
    os._exit(_STOPPED_EARLY)


def start() -> None:
    """Set the handlers, then load and run the command line."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end_at_once)
    from uploader.cli import main  # noqa: PLC0415 - after the handlers

    main()


if __name__ == "__main__":
    start()
