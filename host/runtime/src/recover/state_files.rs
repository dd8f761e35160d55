//! Which state files of checkpoints a start can use.

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

/// So many threads look at large files side by side.
const THREADS_MAX: usize = 8;

/// The state files of checkpoints that are missing or damaged, with the reason. Files that they share are read once, and those that
/// were read before this process took the job over are only looked for.
pub fn damaged(
    store: &dyn Store,
    checkpoints: &[Checkpoint],
    objects: &[String],
    options: &Options,
) -> Result<BTreeMap<String, String>> {
    let files = checkpoints.iter().flat_map(|checkpoint| &checkpoint.tables).flat_map(|table| &table.files);
    let objects: BTreeSet<&String> = objects.iter().collect();
    let was_read = |file: &StateFile| {
        options.ahead.as_ref().is_some_and(|ahead| ahead.is_whole(file)) && objects.contains(&file.path)
    };
    let files: BTreeMap<&String, &StateFile> =
        files.filter(|file| !was_read(file)).map(|file| (&file.path, file)).collect();
    let (indexed, others): (Vec<&StateFile>, Vec<&StateFile>) =
        files.into_values().partition(|file| !file.footer.is_empty());
    // Of these only some bytes at a time are in memory, of others all.
    let mut damaged = some_at_once(store, &indexed)?;
    for file in others {
        damaged.extend(what_is_wrong(store, file)?);
    }
    Ok(damaged)
}

/// The same of these files, some side by side.
fn some_at_once(store: &dyn Store, files: &[&StateFile]) -> Result<BTreeMap<String, String>> {
    let next = AtomicUsize::new(0);
    let check = || {
        let mut damaged = Vec::new();
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            damaged.extend(what_is_wrong(store, file)?);
        }
        Ok(damaged)
    };
    let count = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX).min(files.len());
    thread::scope(|scope| {
        let readers: Vec<_> = (0..count).map(|_| scope.spawn(check)).collect();
        let ended = |reader: ScopedJoinHandle<'_, Result<Vec<_>>>| {
            reader.join().unwrap_or_else(|panic| Err(threads::panicked("a thread that looked at state files", &*panic)))
        };
        let damaged = readers.into_iter().map(ended).collect::<Result<Vec<_>>>()?;
        Ok(damaged.into_iter().flatten().collect())
    })
}

/// What is wrong with a file, if anything is, with its path.
fn what_is_wrong(store: &dyn Store, told: &StateFile) -> Result<Option<(String, String)>> {
    // Batches of those with an index have checksums of their own, which are looked at again before a row is used: nothing has to be
    // decoded.
    let file = if told.footer.is_empty() { None } else { store.open(&told.path)? };
    let checked = match file {
        Some(file) => state_file::check_file(told, &file),
        None => match store.read(&told.path)? {
            None => return Ok(Some((told.path.clone(), "it is missing".to_owned()))),
            Some(bytes) => state_file::decode(told, &bytes).map(drop),
        },
    };
    Ok(checked.err().map(|error| (told.path.clone(), error.message)))
}
