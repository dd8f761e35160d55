//! Rows that `millstream retry` gives back to a stage which rejected them: the files of a directory next to the job file. Each is read once, like
//! those of a `directory` source.

use super::declaration::{path_as_written, restored_end};
use super::directory::{self, WatchedFiles, os_name};
use super::replay::FileReplay;
use super::settings::{FilesRead, WatchTimes};
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::error::Result;
use millstream_base::limits::RECORD_BYTES_MAX_MAX;
use millstream_connect::receiver::receive;
use millstream_job::retry_source::{POLL, dir, name_of};
use millstream_job::spec::{Origin, Replay, SourceConfig, SourceSpec, SourceStart};
use millstream_rows::batch::position::Position;
use millstream_rows::formats::Format;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Reads retried rows: JSON lines in the files of a directory, which need not exist. No job waits for them.
#[derive(Clone, Debug, PartialEq)]
struct RetriedRows {
    /// The directory.
    path: PathBuf,
    /// The columns of the stage's input.
    columns: SchemaRef,
}

/// Returns the source of the rows for a stage's input. Its columns are known when the stage is checked, see [`SourceSpec::set_columns`].
pub fn source(job: &str, stage: &str, input: Option<&str>) -> SourceSpec {
    let path = input.map_or_else(|| dir(job, stage), |input| dir(job, stage).join(input));
    SourceSpec::from_config(name_of(stage, input), RetriedRows { path, columns: Arc::new(Schema::empty()) })
}

impl SourceConfig for RetriedRows {
    fn kind(&self) -> &'static str {
        "retry"
    }

    fn format(&self) -> Format {
        Format::Json
    }

    /// Written as JSON, a row may be longer than it was in its source.
    fn record_bytes_max(&self) -> u64 {
        RECORD_BYTES_MAX_MAX
    }

    fn local_file(&self, dir: &Path, name: &str, _position: Position) -> Option<PathBuf> {
        os_name(name).map(|name| dir.join(&self.path).join(name))
    }

    fn restored(&self, dir: &Path, name: &str, end: Position) -> Position {
        restored_end(self.local_file(dir, name, end), end)
    }

    fn names_files(&self) -> bool {
        true
    }

    fn retry_dir(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn row_schema(&self) -> Option<&SchemaRef> {
        Some(&self.columns)
    }

    fn with_row_schema(&self, schema: &SchemaRef) -> Option<Arc<dyn SourceConfig>> {
        Some(Arc::new(RetriedRows { path: self.path.clone(), columns: schema.clone() }))
    }

    fn identity<'a>(&'a self, written: &dyn Fn(&str) -> Option<&'a str>) -> String {
        format!("directory {}", path_as_written(&self.path, written))
    }

    fn keeps_rows(&self) -> bool {
        false
    }

    fn replay<'a>(
        &'a self,
        source: &'a SourceSpec,
        origin: &'a Origin,
        moved: &'a [(String, Position)],
    ) -> Option<Box<dyn Replay + 'a>> {
        Some(Box::new(FileReplay::new(source, origin, moved)))
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        // Files to retry are moved into the directory when they are complete.
        let times = WatchTimes { poll: POLL, settle: Duration::ZERO };
        let path = start.origin.dir.join(&self.path);
        let watched = WatchedFiles { path, files: FilesRead::default(), times };
        let (source, from, inbox) = (start.source.clone(), start.from.clone(), start.inbox.clone());
        receive(&start, async move { directory::receive(source, watched, from, inbox).await });
        Ok(())
    }
}
