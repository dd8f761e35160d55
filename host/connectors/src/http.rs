//! The connector `http`: a source that listens or polls, and a sink.

pub mod sink;
pub mod source;
