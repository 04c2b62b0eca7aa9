"""Sending, against the emulator and against servers that behave oddly."""
