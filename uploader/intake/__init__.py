"""Bytes in, records out, rules applied: nothing is lost here and nothing is guessed."""
