"""Records in, a plan out: no network, no clock."""
