//! The job that owns an external output, such as a directory or a table, and the format of its marker.

use crate::ids::Generation;

/// Version of everything that is written into a checkpoint directory or next to a sink's rows. A newer one is rejected.
pub const FORMAT_VERSION: u32 = 1;

/// The owner of a sink. It is stored next to the sink's marker, so that a sink knows its job and rejects one that was replaced.
#[derive(Clone, Debug, Default)]
pub struct Owner {
    /// The job's name.
    pub job: String,
    /// See `Manifest::job_id` of the checkpoint.
    pub job_id: String,
    /// The generation of this startup.
    pub generation: Generation,
}
