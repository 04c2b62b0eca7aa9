"""Commands that need no account: the emulator, and the demo that runs against it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from uploader.cli import running
from uploader.cli.demo import show_demo
from uploader.cli.options import FILE
from uploader.emulator import EmulatorSettings, serve
from uploader.errors import SettingsError


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=int, default=8080, show_default=True, help="0 takes a free one.")
@click.option("--client-code", default="demo", show_default=True, help="The account to play.")
@click.option("--token", default=None, help="Require this token of every call.")
@click.option(
    "--known", type=FILE, help="A file of third-party ids, one a line, whose profiles exist."
)
@click.option(
    "--batch-delay",
    type=float,
    default=1.0,
    show_default=True,
    help="Seconds until a batch is complete.",
)
@click.option(
    "--faults", type=FILE, help="A JSON file of faults to play; docs/emulator.md tells them."
)
@click.option("--ready-file", type=FILE, help="Write the address here once it listens.")
def emulate(
    host: str,
    port: int,
    client_code: str,
    token: str | None,
    known: Path | None,
    batch_delay: float,
    faults: Path | None,
    ready_file: Path | None,
) -> None:
    """Play Adobe Target's profile APIs on this machine, for rehearsals and tests.

    \b
    Example:
      uploader emulate --port 8080 --known ids.txt
      UPLOADER_EDGE_URL=http://127.0.0.1:8080 UPLOADER_CLIENT_CODE=demo uploader run …
    """
    with running.explained(as_json=False, report=None):
        ids = running.lines_of(known)
        settings = EmulatorSettings(
            client_code=client_code,
            token=token,
            known_third_party_ids=ids,
            batch_delay_seconds=batch_delay,
            faults=running.faults_of(faults),
        )

        def ready(url: str) -> None:
            if ready_file is not None:
                ready_file.write_text(url + "\n")
            click.echo(f"The emulator listens at {url} for client code {client_code}.")
            nobody = "" if ids else ": only bulk v2 changes anything, unless --known names some"
            click.echo(f"It knows {len(ids):,} profiles{nobody}.")
            click.echo(f"What it received: {url}/_emulator/stats and /_emulator/profiles")

        try:
            asyncio.run(serve(settings, host, port, ready))
        except OSError as error:
            message = (
                f"{host}, port {port}: can't listen there: {error.strerror}; try another --port"
            )
            raise SettingsError(message) from error


@click.command()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the exports and the state here. [default: a temporary folder, removed at the end]",
)
def demo(folder: Path | None) -> None:
    """Show a whole run with real retail data against the emulator; no account is needed."""
    with running.explained(as_json=False, report=None):
        sys.exit(show_demo(folder))
