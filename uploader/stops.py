"""Signals: the first asks for a stop, the second ends the grace for calls in flight."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

from uploader.errors import StoppedBy
from uploader.sending.stopping import Stop


@contextlib.contextmanager
def stop_on_signals(stop: Stop, hurry: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask for *stop* while the block runs; a second one calls *hurry*."""
    loop = asyncio.get_running_loop()

    def asked(name: str) -> None:
        if stop.requested:
            hurry()
        stop.request(
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
