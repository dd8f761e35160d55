//! Whether a caller still waits for a call.

use millstream_base::error::{Error, Result};
use std::sync::Arc;

/// Checks whether a caller still waits for the result of a call.
#[derive(Clone)]
pub struct CancelCheck(Arc<dyn Fn() -> bool + Send + Sync>);

impl CancelCheck {
    /// Creates the check from a function that is called between two calls of the plugin.
    pub fn new(is_wanted: impl Fn() -> bool + Send + Sync + 'static) -> CancelCheck {
        CancelCheck(Arc::new(is_wanted))
    }

    /// Returns an error if no caller waits.
    pub fn check(&self) -> Result<()> {
        match (self.0)() {
            false => Err(Error::environment("the call was interrupted")),
            true => Ok(()),
        }
    }
}
