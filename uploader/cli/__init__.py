"""The door: commands, their options, and what they say."""

from uploader.cli.commands import main

__all__ = ["main"]
