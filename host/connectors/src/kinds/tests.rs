//! Tests of job files as authors write them, valid and invalid.

mod changes;
mod good;
mod mistakes;
mod replaced;
mod robust;

use super::all;
use millstream_base::error::Result;
use millstream_job::parse;
use millstream_job::spec::JobSpec;
use std::path::Path;

/// Parses a string as the file `job.toml` of the directory `jobs`.
fn read(text: &str) -> Result<JobSpec> {
    parse(text, all(), Path::new("job.toml"), Path::new("jobs"), &[])
}

/// Like `read`, with `--set`.
fn read_with(text: &str, sets: &[(&str, &str)]) -> Result<JobSpec> {
    let sets: Vec<_> = sets.iter().map(|(path, value)| (path.to_string(), value.to_string())).collect();
    parse(text, all(), Path::new("job.toml"), Path::new("jobs"), &sets)
}
