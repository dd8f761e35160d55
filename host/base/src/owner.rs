//! Which job owns an output outside of this process, such as a folder or a table, and the format of what says so.

use crate::ids::Generation;

/// Version of everything that is written into a checkpoint folder or beside a sink's rows. A newer one is refused.
pub const FORMAT_VERSION: u32 = 1;

/// Who commits to a sink: kept beside its marker, so that a sink knows its job and refuses one that lost it.
#[derive(Clone, Debug, Default)]
pub struct Owner {
    /// The job's name.
    pub job: String,
    /// See `Manifest::job_id` of the checkpoint.
    pub job_id: String,
    /// Of this start.
    pub generation: Generation,
}
