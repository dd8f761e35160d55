//! Whether anybody still waits for a call.

use millstream_base::error::{Error, Result};
use std::sync::Arc;

/// Whether anybody still waits for what a call makes.
#[derive(Clone)]
pub struct CancelCheck(Arc<dyn Fn() -> bool + Send + Sync>);

impl CancelCheck {
    /// For as long as this says so. It is asked between two calls of the plugin.
    pub fn new(is_wanted: impl Fn() -> bool + Send + Sync + 'static) -> CancelCheck {
        CancelCheck(Arc::new(is_wanted))
    }

    /// An error where nobody does.
    pub fn check(&self) -> Result<()> {
        match (self.0)() {
            false => Err(Error::environment("the call was interrupted")),
            true => Ok(()),
        }
    }
}
