//! How a stage wants its plugin loaded.

use super::code_kind::{CodeKind, Metering};
use millstream_job::spec::{OnError, PluginSpec};
use std::time::Duration;

/// How a stage wants its plugin loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadOptions {
    /// How its calls are stopped.
    pub metering: Metering,
    /// Size of the call stack, in bytes.
    pub stack_bytes_max: u64,
    /// Maximum duration of compilation.
    pub compile_time_max: Duration,
    /// Whether it may send HTTP requests.
    pub http: bool,
    /// The digest that the file must have; `None`: any.
    pub pinned: Option<millstream_base::digest::Digest>,
    /// The trusted signers; `None` if it is not a package.
    pub signers: Option<Vec<String>>,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions::new(&PluginSpec::new(""))
    }
}

impl LoadOptions {
    /// Returns the options of a plugin in a job.
    pub fn new(spec: &PluginSpec) -> LoadOptions {
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
        CodeKind::for_this_process(self.metering, self.stack_bytes_max)
    }
}
