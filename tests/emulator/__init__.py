"""The emulator against the documents: real sockets, no waiting for a clock."""
