"""The state store, in real files and real processes."""
