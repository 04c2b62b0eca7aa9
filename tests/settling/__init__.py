"""Following batches, dead letters, books."""
