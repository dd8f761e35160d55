//! Sinks of kind `plugin`: the plugin loader checks and opens them. This module has what the job language needs to know.

use crate::batch::sink::Sink;
use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::ids::BatchId;
use crate::job::part_errors::PartErrors;
use crate::job::parts;
use crate::job::spec::{PluginSinkSpec, SinkConfig, SinkStart};
use arrow::datatypes::SchemaRef;

impl SinkConfig for PluginSinkSpec {
    fn kind(&self) -> &'static str {
        "plugin"
    }

    fn check(&self, part: &PartErrors<'_>) {
        parts::check_end(&self.plugin, part);
    }

    fn open(&self, start: SinkStart<'_>, _schema: &SchemaRef, _failure: &Failure) -> Result<Box<dyn Sink>> {
        Err(no_writer(start))
    }

    fn committed(&self, start: SinkStart<'_>, _job_id: &str) -> Result<Option<BatchId>> {
        Err(no_writer(start))
    }
}

fn no_writer(start: SinkStart<'_>) -> Error {
    Error::bug(format!("sink `{}` is a plugin, but no writer was set", start.spec.name))
}
