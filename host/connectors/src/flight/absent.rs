//! What is left of Flight in builds without it: its messages, which a stream of Arrow has too.

pub mod messages;
