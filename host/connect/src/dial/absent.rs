//! Stands in for `dial` in builds without these servers.

/// Why an operation failed.
#[derive(Debug)]
pub enum Fault {
    /// The server is unreachable or does not respond: a retry may succeed.
    Transient(String),
    /// A user has to fix the cause.
    Permanent(String),
}
