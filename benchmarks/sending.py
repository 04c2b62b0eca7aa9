"""Sending single updates: calls a second, beside a bare aiohttp loop against the same edge.

``python benchmarks/sending.py [UPDATES]``. The bare loop does what the fewest lines would do: as
many workers, one POST after the other, no quota, no journal, no retries, no books. Both talk to an
emulator in a process of its own that counts and keeps nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from exports import write_export

WORKERS = 32
SERVER = """
import asyncio, sys
from uploader.emulator import EmulatorSettings, serve
settings = EmulatorSettings(client_code="demo", keep_profiles=False, daily_cap=0)
asyncio.run(serve(settings, on_ready=lambda url: print(url, flush=True)))
"""


async def bare(url: str, bodies: list[bytes]) -> float:
    """Seconds that the fewest lines take."""
    address = f"{url}/m2/demo/profile/update"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    left = iter(bodies)

    async def work(session: aiohttp.ClientSession) -> None:
        for body in left:
            async with session.post(address, data=body, headers=headers) as answer:
                await answer.read()

    begun = time.monotonic()
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(work(session) for _ in range(WORKERS)))
    return time.monotonic() - begun


def ours(url: str, plan: Path, folder: Path, name: str) -> float:
    """Seconds from the first call to the report, without the process's own start."""
    environment = os.environ | {
        "UPLOADER_EDGE_URL": url,
        "UPLOADER_CLIENT_CODE": "demo",
        "UPLOADER_STATE_URL": f"sqlite:///{folder / name}/state.db",
        "UPLOADER_CALLS_PER_SECOND": "0",
        "UPLOADER_WORKERS": str(WORKERS),
    }
    command = [
        sys.executable,
        "-m",
        "uploader",
        "send",
        str(plan),
        "--json",
        "--log-level",
        "error",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    return float(json.loads(done.stdout)["seconds"])


def main(updates: int) -> None:
    """Measure three times in turn, and print the ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export, plan = folder / "crm.csv", folder / "crm.plan"
        write_export(export, updates)
        subprocess.run(
            [
                sys.executable,
                "-m",
                "uploader",
                "plan",
                str(export),
                "--id-column",
                "customer_id",
                "--via",
                "single",
                "-o",
                str(plan),
                "--log-level",
                "error",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"UPLOADER_STATE_URL": f"sqlite:///{folder}/state.db"},
        )
        planned = json.loads((plan / "plan.json").read_text())["updates"]["planned"]
        bodies = [
            f"mbox3rdPartyId=C{k:09d}&profile.tier=gold&profile.points={k}&profile.city=K%C3%B6ln"
            f"&profile.last_store=store%20{k % 403}&profile.segment=seg{k % 17}".encode()
            for k in range(planned)
        ]
        server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        try:
            for turn in range(3):
                plain = asyncio.run(bare(url, bodies))
                full = ours(url, plan, folder, f"state-{turn}")
                print(
                    f"{planned:,} updates: bare loop {planned / plain:,.0f}/s, ours "
                    f"{planned / full:,.0f}/s, ratio {plain / full:.2f}"
                )
        finally:
            server.terminate()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30_000)
