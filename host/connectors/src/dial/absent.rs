//! What is left of connections with servers that a URL names in builds without these servers.

/// Why something did not work.
#[derive(Debug)]
pub enum Fault {
    /// The server is away, or hangs: it may work later.
    Passing(String),
    /// Somebody has to mend something.
    Lasting(String),
}
