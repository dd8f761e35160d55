//! Key columns: hashing, grouping, and the worker that owns a key.
