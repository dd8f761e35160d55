//! Determines which state files of checkpoints a startup can use.

use millstream_base::error::Result;
use millstream_base::threads;
use millstream_engine::checkpoint::state_file;
use millstream_engine::checkpoint::store::Store;
use millstream_engine::checkpoint::types::{Checkpoint, StateFile};
use millstream_engine::running::Options;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

/// Maximum number of threads that check large files concurrently.
const THREADS_MAX: usize = 8;

/// Returns the missing or damaged state files of checkpoints, with the reason. Shared files are read once. Files that
/// were read before this process took the job over are only checked for existence.
pub fn damaged(
    store: &dyn Store,
    checkpoints: &[Checkpoint],
    objects: &[String],
    options: &Options,
) -> Result<BTreeMap<String, String>> {
    let files = checkpoints.iter().flat_map(|checkpoint| &checkpoint.tables).flat_map(|table| &table.files);
    let objects: BTreeSet<&String> = objects.iter().collect();
    let was_read = |file: &StateFile| {
        options.ahead.as_ref().is_some_and(|ahead| ahead.is_intact(file)) && objects.contains(&file.path)
    };
    let files: BTreeMap<&String, &StateFile> =
        files.filter(|file| !was_read(file)).map(|file| (&file.path, file)).collect();
    let (indexed, others): (Vec<&StateFile>, Vec<&StateFile>) =
        files.into_values().partition(|file| !file.footer.is_empty());
    // Of these files only some bytes are in memory at a time. Other files are loaded completely.
    let mut damaged = damaged_of_indexed(store, &indexed)?;
    for file in others {
        damaged.extend(damage_of(store, file)?);
    }
    Ok(damaged)
}

/// Checks these files, some of them concurrently.
fn damaged_of_indexed(store: &dyn Store, files: &[&StateFile]) -> Result<BTreeMap<String, String>> {
    let next = AtomicUsize::new(0);
    let check = || {
        let mut damaged = Vec::new();
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            damaged.extend(damage_of(store, file)?);
        }
        Ok(damaged)
    };
    let count = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX).min(files.len());
    thread::scope(|scope| {
        let readers: Vec<_> = (0..count).map(|_| scope.spawn(check)).collect();
        let ended = |reader: ScopedJoinHandle<'_, Result<Vec<_>>>| {
            reader.join().unwrap_or_else(|panic| Err(threads::panicked("a thread that checked state files", &*panic)))
        };
        let damaged = readers.into_iter().map(ended).collect::<Result<Vec<_>>>()?;
        Ok(damaged.into_iter().flatten().collect())
    })
}

/// Returns the path of a file and what is wrong with it, if anything.
fn damage_of(store: &dyn Store, expected: &StateFile) -> Result<Option<(String, String)>> {
    // The batches of a file with an index have their own checksums, which are checked before a row is used. So nothing
    // is decoded here.
    let file = if expected.footer.is_empty() { None } else { store.open(&expected.path)? };
    let checked = match file {
        Some(file) => state_file::check_file(expected, &file),
        None => match store.read(&expected.path)? {
            None => return Ok(Some((expected.path.clone(), "it is missing".to_owned()))),
            Some(bytes) => state_file::decode(expected, &bytes).map(drop),
        },
    };
    Ok(checked.err().map(|error| (expected.path.clone(), error.message)))
}
