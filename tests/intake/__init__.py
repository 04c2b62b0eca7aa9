"""Intake: bytes in, records out."""
