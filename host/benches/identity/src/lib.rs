//! Returns its input.

use millstream_sdk::transform::Output;
use millstream_sdk::{Batch, Context, Description, Error, Stage, Transform, transform};

/// The plugin.
pub struct Identity;

#[transform]
impl Transform for Identity {
    fn new(_: &Stage) -> Result<Self, Error> {
        Ok(Identity)
    }

    fn describe(&self, stage: &Stage) -> Result<Description, Error> {
        let mut description = Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), "Returns its input.");
        description.input = stage.input();
        description.output = stage.input();
        Ok(description)
    }

    fn process(&mut self, _: &Context, rows: Batch) -> Result<Output, Error> {
        Ok(Output { rows, rejected: Vec::new() })
    }
}
