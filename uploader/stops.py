"""Signals: the first asks for a stop, the second ends the grace for calls in flight."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

from uploader.errors import StoppedBy

if TYPE_CHECKING:
    from uploader.pipeline import Pipeline


@contextlib.contextmanager
def stop_on_signals(pipeline: Pipeline) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop *pipeline* while the block runs."""
    loop = asyncio.get_running_loop()

    def asked(name: str) -> None:
        if pipeline.stop.requested:
            pipeline.hurry()
        pipeline.stop.request(
            StoppedBy.SIGNAL, f"{name} was received; start again and it goes on where it was"
        )

    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, asked, signal.Signals(number).name)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
