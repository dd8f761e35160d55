//! Replay of planned chunks: the same bytes, ends, header, rejected records and extent as when they were received.

use millstream_base::error::{Error, Result};
use millstream_base::limits::PART_ROWS_MAX;
use millstream_job::spec::{Origin, Replay, RereadClient, SourceSpec};
use millstream_rows::batch::chunk::{Chunk, PlannedChunk};
use millstream_rows::batch::position::Position;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Recreates the chunks of one planned batch of this source. Errors are of kind `Job`, because a restart does not fix them: what the plan refers to
/// no longer exists, or has changed. They name the file and say what to do.
///
/// `moved`: how far the batch moved the source's positions, which distinguishes files of a log. `again`: what is kept from one batch to the next
/// during a replay.
pub fn replay(
    source: &SourceSpec,
    origin: &Origin,
    chunks: &[PlannedChunk],
    moved: &[(String, Position)],
    again: &mut RereadClient,
) -> Result<Vec<Chunk>> {
    if let Some(read) = source.kind.declared().and_then(|config| config.reread(source, origin, chunks, again)) {
        let mut read = read?.into_iter();
        // Chunks that the plan holds are in between.
        let chunk = |planned: &PlannedChunk| match &planned.kept {
            Some(kept) => of_plan(kept, planned).map_err(|why| cannot(source, &why)),
            None => read.next().ok_or_else(|| Error::bug("a chunk of a topic was not read again")),
        };
        return chunks.iter().map(chunk).collect();
    }
    let config = source.kind.declared();
    let mut replayer = config.and_then(|config| config.replay(source, origin, moved)).unwrap_or(Box::new(NoReplay));
    let chunk = |planned: &PlannedChunk| {
        let made = match &planned.kept {
            Some(kept) => of_plan(kept, planned),
            None => replayer.chunk(planned).and_then(|found| as_planned(found, planned)),
        };
        made.map_err(|why| cannot(source, &format!("{}{why}", replayer.message_prefix(&planned.extent))))
    };
    chunks.iter().map(chunk).collect()
}

/// The replay of a source whose plans keep its rows.
struct NoReplay;

impl Replay for NoReplay {
    fn chunk(&mut self, _planned: &PlannedChunk) -> Result<Chunk, String> {
        Err("its plan does not contain the rows, and its source cannot read them again".into())
    }
}

fn cannot(source: &SourceSpec, why: &str) -> Error {
    Error::job(format!("source `{}`: a batch cannot be replayed: {why}{TO_DO}", source.name))
}

const TO_DO: &str = "; restore the original state, or resume from an earlier batch with `--resume-from`";

/// Updates the positions that replayed batches moved, for the files that they read: a file that was restored for the replay is not new at its end.
pub fn restored<'a>(
    source: &SourceSpec,
    origin: &Origin,
    files: &BTreeSet<String>,
    moved: impl Iterator<Item = &'a mut (String, Position)>,
) {
    let Some(config) = source.kind.declared() else { return };
    for (name, position) in moved.filter(|(name, position)| position.ended() && files.contains(name)) {
        *position = config.restored(&origin.dir, name, *position);
    }
}

/// Returns the path of a local file by its name in positions and extents, and a position in it; `None`: there can be none.
pub fn file_of(source: &SourceSpec, origin: &Origin, name: &str, position: Position) -> Option<PathBuf> {
    source.kind.declared()?.local_file(&origin.dir, name, position)
}

/// Why something that is not a regular file cannot be replayed.
pub const NOT_A_FILE: &str = "it is not a regular file, so it cannot be read again";

/// Recreates the rows of a planned chunk, for a source that generates them from their numbers.
pub fn recreate(planned: &PlannedChunk, rows: impl FnOnce(std::ops::Range<u64>) -> Chunk) -> Result<Chunk, String> {
    let first = planned.extent.row;
    let end = first.checked_add(u64::from(planned.rows)).filter(|_| planned.rows as usize <= PART_ROWS_MAX);
    let end = end.ok_or("its plan lists more rows than a chunk can have")?;
    Ok(rows(first..end))
}

/// Returns a recreated chunk, if it is as planned.
fn as_planned(found: Chunk, planned: &PlannedChunk) -> Result<Chunk, String> {
    match found.rows() == planned.rows as usize && found.extent == planned.extent {
        true => Ok(found),
        false => Err(changed(planned, found.rows())),
    }
}

/// Returns why a replay failed that found this many records.
pub fn changed(planned: &PlannedChunk, found: usize) -> String {
    let more = if found > planned.rows as usize { "at least " } else { "" };
    format!("the file was changed: {} records are planned, {more}{found} found", planned.rows)
}

/// Returns a chunk that the plan itself holds.
fn of_plan(kept: &Chunk, planned: &PlannedChunk) -> Result<Chunk, String> {
    match (kept.ready.is_some() || is_complete(kept)) && kept.rows() == planned.rows as usize {
        true => Ok(kept.clone()),
        false => Err("the rows that its plan holds are damaged".into()),
    }
}

/// Returns whether the ends of a chunk are ends of records.
fn is_complete(chunk: &Chunk) -> bool {
    chunk.ends.is_sorted() && chunk.ends.last().map_or(0, |end| *end as usize) == chunk.bytes.len()
}
