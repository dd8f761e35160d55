//! Joins: rows of two inputs side by side. No I/O, no clock.
