//! Files with a line a batch, for tests.

pub mod sink;
