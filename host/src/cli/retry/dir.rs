//! The files of retried rows. Each is named by the digest of what the sink wrote, so repeated rows are recognized.

use millstream_base::durable;
use millstream_base::error::{Error, Result};
use millstream_engine::checkpoint::types::TableOf;
use millstream_engine::checkpoint::{manifest, positions, read, store};
use millstream_engine::graph::Graph;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::position::Positions;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How often positions are read, each time from a newer manifest: a running job deletes what no checkpoint needs.
const READS_MAX: usize = 3;
const END: &str = ".jsonl";

/// The directory of one source.
pub struct RetryDir {
    path: PathBuf,
    /// The directory of the job file, which exists.
    root: PathBuf,
    /// The names of files that the job has read. Some may have been deleted.
    read: BTreeSet<String>,
}

impl RetryDir {
    /// Returns the directory of this source of a job with a checkpoint.
    pub fn new(graph: &Graph, source: &SourceSpec) -> Result<RetryDir> {
        let path = source.kind.retry_dir().ok_or_else(|| Error::bug("a source of another kind"))?;
        let root = graph.spec.origin.dir.clone();
        let read = read_positions(graph, &source.name)?.into_keys().collect();
        Ok(RetryDir { path: root.join(path), root, read })
    }

    /// Writes rows, one per line. Returns `false` if they were written before and `again` is not set. `nth`: their
    /// index among the rows with this digest, as sinks of several workers may have written the same. With `dry_run`
    /// nothing is written.
    pub fn write_rows(&self, digest: u128, nth: u64, rows: &[String], again: bool, dry_run: bool) -> Result<bool> {
        let failed =
            |error: io::Error| Error::environment(format!("cannot write into {}: {error}", self.path.display()));
        let last = self.last(digest).map_err(failed)?.unwrap_or(0);
        let mut number = if again { last.saturating_add(1) } else { nth };
        if last >= nth && !again {
            return Ok(false);
        }
        if dry_run {
            return Ok(true);
        }
        self.make().map_err(failed)?;
        let mut file = tempfile::Builder::new()
            .prefix(".")
            .suffix(".tmp")
            // The default permissions: the job may run as another user.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(&self.path)
            .map_err(failed)?;
        let text = rows.join("\n") + "\n";
        file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        loop {
            match file.persist_noclobber(self.path.join(name(digest, number))) {
                Ok(_) => break,
                // Another process retried the same rows at the same time.
                Err(error) if error.error.kind() == ErrorKind::AlreadyExists && !again => return Ok(false),
                Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
                    number = number.saturating_add(1);
                    file = error.file;
                }
                Err(error) => return Err(failed(error.error)),
            }
        }
        durable::sync_dir(&self.path).map_err(failed)?;
        Ok(true)
    }

    /// Returns how often rows of this digest were written.
    fn last(&self, digest: u128) -> io::Result<Option<u64>> {
        let mut names = self.read.clone();
        match fs::read_dir(&self.path) {
            Ok(entries) => {
                for entry in entries {
                    names.extend(entry?.file_name().into_string());
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(names.iter().filter_map(|name| number_of(name, digest)).max())
    }

    /// Creates the directory durably.
    fn make(&self) -> io::Result<()> {
        let missing: Vec<&Path> = self.path.ancestors().take_while(|dir| !dir.exists()).collect();
        fs::create_dir_all(&self.path)?;
        // A new name is durable once its parent directory is synced.
        missing
            .iter()
            .filter_map(|dir| dir.parent())
            .filter(|dir| dir.starts_with(&self.root))
            .try_for_each(durable::sync_dir)
    }
}

/// Returns the name of the file of rows that are retried for the `number`-th time.
fn name(digest: u128, number: u64) -> String {
    match number {
        1 => format!("{digest:032x}{END}"),
        _ => format!("{digest:032x}-{number}{END}"),
    }
}

/// Returns the count in a file name, or `None` for another digest.
fn number_of(file: &str, digest: u128) -> Option<u64> {
    match file.strip_suffix(END)?.strip_prefix(&format!("{digest:032x}"))? {
        "" => Some(1),
        number => number.strip_prefix('-')?.parse().ok(),
    }
}

/// Returns what the newest checkpoint contains about the files of a source.
fn read_positions(graph: &Graph, source: &str) -> Result<Positions> {
    let Some(checkpoint) = &graph.spec.checkpoint else { return Ok(Positions::new()) };
    let store = store::open(&checkpoint.dir, &graph.spec.origin.dir)?;
    let mut before = None;
    for _ in 0..READS_MAX {
        let Some((manifest, _)) = manifest::read(&*store)? else { break };
        let tables = manifest.newest().into_iter().flat_map(|newest| &newest.tables);
        let mut tables = tables.filter(|table| table.of == TableOf::Source && table.name == source);
        let Some(table) = tables.next() else { return Ok(Positions::new()) };
        let (first, end) = positions::ALL_GROUPS;
        match read::load_table(&*store, table, first, end, None) {
            Ok(rows) => return positions::restore(source, &rows),
            Err(error) => before = Some(error),
        }
    }
    before.map_or_else(|| Ok(Positions::new()), Err)
}
