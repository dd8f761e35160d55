//! The job file: reading, checking, and the typed job that the rest works with.

pub mod spec;
