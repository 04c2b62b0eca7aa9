"""Accepted is not applied: batches are followed, dead letters written, the books balanced."""
