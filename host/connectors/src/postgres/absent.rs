//! What is left of PostgreSQL in builds without it: waiting for servers.

mod patience;

pub use self::patience::ServerWait;

/// What went wrong with a server.
#[derive(Debug)]
pub struct DatabaseError {
    /// For a person to read.
    pub message: String,
    passes: bool,
}

impl DatabaseError {
    /// Something that may go away by itself.
    pub fn passing(message: String) -> DatabaseError {
        DatabaseError { message, passes: true }
    }

    /// Whether it may go away by itself.
    pub fn passes(&self) -> bool {
        self.passes
    }
}
