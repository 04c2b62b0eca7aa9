"""An emulator of Adobe Target's profile APIs, for demos, tests and rehearsals.

Nobody on this project can reach the real service, so the emulator is built from
the documents alone, and shares no code with the client: a misreading that both had
would cancel out. What the documents leave open is named as an assumption in the
docstring of the module or function that decides it.

``async with Emulator(EmulatorSettings(client_code="demo")) as emulator:`` gives an
edge on ``emulator.url``; :func:`serve` runs one until a signal; and
:class:`EmulatorThread` one beside code that has no event loop.

Not emulated: the 64 KB limit of one profile's data, expiry of profiles, throttling
by the hour of day, and the up to 0.1 % of a large batch that may get lost (but see
``fail_rows_fraction``).
"""

from __future__ import annotations

from .faults import CallFaults, FaultError, Faults, faults_from_json
from .profiles import PC_ID, THIRD_PARTY_ID
from .remote import ControlError, EmulatorThread, RemoteControl
from .server import Emulator, serve
from .settings import EmulatorSettings, StatusForm

__all__ = [
    "PC_ID",
    "THIRD_PARTY_ID",
    "CallFaults",
    "ControlError",
    "Emulator",
    "EmulatorSettings",
    "EmulatorThread",
    "FaultError",
    "Faults",
    "RemoteControl",
    "StatusForm",
    "faults_from_json",
    "serve",
]
