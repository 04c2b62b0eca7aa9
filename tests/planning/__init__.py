"""Planning: records in, a plan out."""
