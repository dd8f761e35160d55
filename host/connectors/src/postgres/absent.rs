//! What is left of PostgreSQL in builds without it: waiting for servers.

mod patience;

pub use self::patience::ServerWait;

/// What went wrong with a server: nothing was asked.
#[derive(Debug)]
pub struct DatabaseError;

impl DatabaseError {
    /// Whether it may go away by itself.
    pub fn passes(&self) -> bool {
        false
    }
}
