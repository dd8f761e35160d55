//! Replay of planned lines.

use super::{QueueReads, reread};
use millstream_connect::receiver::plain;
use millstream_connect::receiver::replay::{NOT_A_FILE, changed};
use millstream_job::spec::{Origin, Replay};
use millstream_rows::batch::chunk::{Chunk, PlannedChunk};
use millstream_rows::batch::position::Extent;
use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::path::PathBuf;

/// Replays the lines of a file.
pub struct LineReplay {
    path: PathBuf,
    /// The line that was read last, by its first byte.
    line: Option<(u64, Vec<Chunk>)>,
}

impl LineReplay {
    /// Creates the replay of this source's file.
    pub fn new(reads: &QueueReads, origin: &Origin) -> LineReplay {
        LineReplay { path: origin.dir.join(&reads.path), line: None }
    }

    /// Opens the file, if it is long enough.
    fn open(&self, extent: &Extent) -> Result<File, String> {
        let metadata = std::fs::metadata(&self.path).map_err(|error| plain(&error))?;
        if !metadata.is_file() {
            return Err(NOT_A_FILE.into()); // Opening a pipe would wait for its writer.
        }
        match extent.start.checked_add(extent.length()) {
            Some(end) if end <= metadata.len() => {
                millstream_base::regular::open(&self.path).map_err(|error| plain(&error))
            }
            _ => Err(format!("the file has shrunk to {} bytes", metadata.len())),
        }
    }
}

impl Replay for LineReplay {
    fn chunk(&mut self, planned: &PlannedChunk) -> Result<Chunk, String> {
        let Extent { start, bytes, row, .. } = planned.extent;
        if self.line.as_ref().is_none_or(|(at, _)| *at != start) {
            let mut file = self.open(&planned.extent)?;
            file.seek(SeekFrom::Start(start)).map_err(|error| plain(&error))?;
            let read = reread(&mut file, start, bytes).map_err(|error| plain(&error))?;
            self.line = Some((start, read.ok_or_else(|| changed(planned, 0))?));
        }
        let mut chunks = self.line.iter().flat_map(|(_, chunks)| chunks);
        let mut chunk = chunks.rfind(|chunk| chunk.extent.row <= row).cloned().unwrap_or_default();
        let before = usize::try_from(row.saturating_sub(chunk.extent.row)).unwrap_or(usize::MAX);
        if before > 0 {
            let _ = chunk.cut_front(before);
        }
        Ok(chunk.cut_front(planned.rows as usize))
    }

    fn message_prefix(&self, extent: &Extent) -> String {
        let (start, end) = (extent.start, extent.start.saturating_add(extent.length()));
        format!("bytes {start} to {end} of `{}`: ", self.path.display())
    }
}
