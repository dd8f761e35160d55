//! The lookup table of a stage with `enrich`, as a source that is not in the job file. When the content of the file or the
//! result of the query changes, all of it is one record. It becomes part of a batch, and of the batch's plan, so a
//! replayed batch uses the same table.

mod content;
mod guess;
mod lookup;
pub mod rows;

pub use content::columns_of;
pub use lookup::Lookup;

use super::{panicked, plain, run_until_closed};
use bytes::Bytes;
use millstream_base::error::{Error, Result};
use millstream_base::fault;
use millstream_base::limits::ENRICH_BYTES_MAX;
use millstream_base::retry::StartupRetry;
use millstream_job::spec::TableQuery;
use millstream_job::spec::{EnrichSpec, EnrichTable, Origin, SourceSpec};
use millstream_job::table_source::{error_prefix, stage_of};
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::batch::position::{Extent, Positions};
use millstream_rows::inbox::Inbox;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::{info, warn};
use xxhash_rust::xxh3::xxh3_64;

/// A table is not looked at more often than this.
const POLL_MIN: Duration = Duration::from_millis(1);

/// Checks what can be checked of a table without requesting it. A file may be missing if the job resumes.
pub fn check(enrich: &EnrichSpec) -> Result<()> {
    match &enrich.table {
        EnrichTable::File { .. } => Ok(()),
        EnrichTable::Query { kind, url, .. } => (kind.0.check_start)(url).map_err(Error::job),
    }
}

/// Whether the file of a table can be read.
pub fn check_file(enrich: &EnrichSpec, origin: &Origin) -> Result<()> {
    match &enrich.table {
        EnrichTable::File { path, .. } => open(path, origin).map(drop).map_err(Error::job),
        EnrichTable::Query { .. } => Ok(()),
    }
}

/// Returns the current content of a table. `who` names the client to a database; `servers` is the wait for an unreachable one.
pub fn fetch(enrich: &EnrichSpec, origin: &Origin, who: &str, servers: StartupRetry) -> Result<Bytes> {
    match &enrich.table {
        EnrichTable::File { path, .. } => read(path, origin).map_err(Error::job),
        EnrichTable::Query { kind, url, query, wait } => {
            (kind.0.fetch)(TableQuery { url, query, origin, who, wait: *wait, servers })
        }
    }
}

/// Puts the table into the inbox, unless it is the one in effect, and periodically checks it for changes. The source counts
/// as finished: a job does not wait for tables that may change. It waits for the first one, as `servers` says.
pub fn start(
    source: &SourceSpec,
    enrich: &EnrichSpec,
    origin: &Origin,
    inbox: Arc<Inbox>,
    runtime: &Handle,
    from: &Positions,
    servers: StartupRetry,
) {
    let position = from.get("").copied().unwrap_or_default();
    let mut watch = WatchedTable {
        stage: stage_of(&source.name).to_owned(),
        enrich: enrich.clone(),
        origin: origin.clone(),
        in_effect: (position.offset > 0).then_some(position.mark),
        version: position.offset,
        rejected: None,
        reported_error: None,
    };
    inbox.suppress_batches();
    // A job that has a table continues with it.
    let servers = if watch.in_effect.is_some() { StartupRetry::No } else { servers };
    match watch.check_content(&error_prefix(source, origin), servers) {
        Ok(changed) => watch.put(changed, &inbox),
        // The job has a table, and continues with it as without a restart.
        Err(error) if watch.in_effect.is_some() => watch.keep_table(error),
        Err(error) => return inbox.fail(error.within(error_prefix(source, origin))),
    }
    inbox.finish();
    let poll = enrich.poll.max(POLL_MIN);
    let (reading, name) = (inbox.clone(), format!("the reader of the table of stage `{}`", watch.stage));
    run_until_closed(inbox, runtime, &name, async move { watch.go_on(poll, &reading).await });
}

/// State of a table while the job runs.
struct WatchedTable {
    stage: String,
    enrich: EnrichSpec,
    origin: Origin,
    /// Digest of the content that batches see, or are about to.
    in_effect: Option<i64>,
    /// Number of contents so far.
    version: u64,
    /// Digest of an invalid content, which is not parsed again.
    rejected: Option<i64>,
    /// The last reported error.
    reported_error: Option<String>,
}

impl WatchedTable {
    /// Returns the table and its number of rows, if it is not the one in effect. Fails if it is missing or invalid.
    fn check_content(&mut self, who: &str, servers: StartupRetry) -> Result<Option<(Chunk, usize)>> {
        let content = fetch(&self.enrich, &self.origin, who, servers)?;
        let digest = digest(&content);
        if self.in_effect == Some(digest) {
            self.rejected = None;
            return Ok(None);
        }
        if self.rejected == Some(digest) {
            return Err(Error::job(self.reported_error.as_deref().unwrap_or("it is unchanged")));
        }
        let read = Lookup::read(&self.enrich, &content);
        self.rejected = read.is_err().then_some(digest);
        let rows = read.map_err(|message| Error::job(named(&self.enrich, message)))?.rows().num_rows();
        let extent = Extent { start: digest.unsigned_abs(), row: self.version, ..Extent::default() };
        self.in_effect = Some(digest);
        self.version = self.version.saturating_add(1);
        let ends = vec![u32::try_from(content.len()).unwrap_or(u32::MAX)];
        Ok(Some((Chunk { bytes: content, ends, extent, ..Chunk::default() }, rows)))
    }

    /// Hands over a table that changed, with how many rows it has.
    fn put(&self, changed: Option<(Chunk, usize)>, inbox: &Inbox) {
        let Some((chunk, rows)) = changed else { return };
        inbox.replace_waiting(chunk);
        info!("stage `{}`: its table has {rows} rows now", self.stage);
    }

    /// Warns, once per error, that the previous table stays in use.
    fn keep_table(&mut self, error: Error) {
        if self.reported_error.as_ref() != Some(&error.message) {
            warn!("stage `{}`: enrich: {}; the previous table stays in use", self.stage, error.message);
            self.reported_error = Some(error.message);
        }
    }

    /// Looks for changes until it is dropped.
    async fn go_on(mut self, poll: Duration, inbox: &Inbox) {
        loop {
            tokio::time::sleep(poll).await;
            let looking = move || {
                fault::thread("table-reader");
                let found = self.check_content("", StartupRetry::No);
                (self, found)
            };
            let (watch, found) = match tokio::task::spawn_blocking(looking).await {
                Ok(looked) => looked,
                Err(error) => return inbox.fail(panicked("the reader of a table", error)),
            };
            self = watch;
            match found {
                Ok(changed) => {
                    self.reported_error = None;
                    self.put(changed, inbox);
                }
                Err(error) => self.keep_table(error),
            }
        }
    }
}

/// Returns an error about a content, with the file's name.
pub fn named(enrich: &EnrichSpec, message: String) -> String {
    match &enrich.table {
        EnrichTable::File { path, .. } => format!("`{}`: {message}", path.display()),
        EnrichTable::Query { .. } => message,
    }
}

/// The digest of a content as positions hold it: not below zero.
fn digest(content: &[u8]) -> i64 {
    (xxh3_64(content) >> 1) as i64
}

fn open(path: &Path, origin: &Origin) -> Result<std::fs::File, String> {
    let (shown, full_path) = (path.display(), origin.dir.join(path));
    if full_path.is_dir() {
        return Err(format!("`{shown}` is a directory; write the path of a csv, JSON lines or parquet file"));
    }
    millstream_base::regular::open(full_path).map_err(|error| format!("`{shown}` cannot be read: {}", plain(&error)))
}

fn read(path: &Path, origin: &Origin) -> Result<Bytes, String> {
    let mut content = Vec::new();
    let read = open(path, origin)?.take(ENRICH_BYTES_MAX + 1).read_to_end(&mut content);
    read.map_err(|error| format!("`{}` cannot be read: {}", path.display(), plain(&error)))?;
    if content.len() as u64 > ENRICH_BYTES_MAX {
        return Err(too_large(&format!("`{}`", path.display())));
    }
    Ok(content.into())
}

/// Returns the error of a table above the limit.
pub fn too_large(what: &str) -> String {
    format!(
        "{what} has more than {} MiB, and each worker holds all of it in memory; select only what you need, or join \
         streams instead",
        ENRICH_BYTES_MAX >> 20
    )
}
