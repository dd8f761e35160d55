//! How a stage wants its plugin loaded.

use super::code_kind::{CodeKind, Metering};
use millstream_base::job::spec::{OnError, PluginSpec};
use std::time::Duration;

/// How a stage wants its plugin loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadOptions {
    /// How its calls are stopped.
    pub metering: Metering,
    /// Its call stack, in bytes.
    pub stack_bytes_max: u64,
    /// How long compiling may take.
    pub compile_time_max: Duration,
    /// Whether it may ask over HTTP.
    pub http: bool,
    /// The digest that the file must have; `None`: any.
    pub pinned: Option<millstream_base::digest::Digest>,
    /// Who has signed it and is trusted; `None`: it is no package.
    pub signers: Option<Vec<String>>,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions::of(&PluginSpec::new(""))
    }
}

impl LoadOptions {
    /// As a job says.
    pub fn of(spec: &PluginSpec) -> LoadOptions {
        let metering = match (spec.on_error, spec.limits.time_max.is_zero()) {
            (OnError::Reject, _) => Metering::Fuel,
            (OnError::Fail, false) => Metering::Epochs,
            (OnError::Fail, true) => Metering::None,
        };
        LoadOptions {
            metering,
            stack_bytes_max: spec.limits.stack_bytes_max,
            compile_time_max: spec.limits.compile_time_max,
            http: spec.grant.http.is_some(),
            pinned: spec.pinned,
            signers: spec.signers.clone(),
        }
    }

    pub(super) fn code_kind(&self) -> CodeKind {
        CodeKind::here(self.metering, self.stack_bytes_max)
    }
}
