//! Tests of receivers with the connectors that use them.

pub mod receiver;
