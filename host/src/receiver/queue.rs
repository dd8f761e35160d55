//! Source `queue`: a file with one JSON array of rows a line, a line a batch. For tests of jobs.

use super::file::failed;
use super::inbox::Inbox;
use crate::batch::chunk::Chunk;
use crate::batch::decode::json::array_elements;
use crate::error::Error;
use crate::job::spec::SourceSpec;
use crate::limits::{PART_BYTES_MAX, PART_ROWS_MAX};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use tokio::runtime::Handle;

/// Bytes of one line, which is one batch held in memory.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// Reads the file to its end; the source is finished then. A line that is not an array fails the source.
pub fn receive(source: &SourceSpec, path: &Path, inbox: &Inbox, runtime: &Handle) {
    match read(source, path, inbox, runtime) {
        Ok(true) => inbox.finish(),
        Ok(false) => {}
        Err(error) => inbox.fail(error),
    }
}

fn read(source: &SourceSpec, path: &Path, inbox: &Inbox, runtime: &Handle) -> Result<bool, Error> {
    let file = File::open(path).map_err(|error| failed(source, path, &error))?;
    let mut file = BufReader::new(file);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if read.map_err(|error| failed(source, path, &error))? == 0 {
            break;
        }
        let chunks = batch(&line).map_err(|reason| {
            Error::environment(format!(
                "source `{}`: {}:{number}: {reason}; expected one JSON array of rows on each line, a line a batch: \
                 [{{\"k\":\"a\",\"v\":1}}, …], and [] for a batch without rows",
                source.name,
                path.display()
            ))
        })?;
        if let Some(chunks) = chunks
            && !runtime.block_on(inbox.put_batch(chunks))
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The rows of one line, each a record of undecoded JSON; `None` for a blank line.
fn batch(line: &[u8]) -> Result<Option<Vec<Chunk>>, String> {
    if line.len() as u64 == LINE_BYTES_MAX {
        return Err(format!("the line is longer than {LINE_BYTES_MAX} bytes"));
    }
    let text = std::str::from_utf8(line).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to()))?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let mut chunks = Vec::new();
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for row in array_elements(text)? {
        if ends.len() == PART_ROWS_MAX || (!ends.is_empty() && bytes.len() + row.len() > PART_BYTES_MAX) {
            let bytes = std::mem::take(&mut bytes).into();
            chunks.push(Chunk { bytes, ends: std::mem::take(&mut ends), ..Chunk::default() });
        }
        bytes.extend_from_slice(row.as_bytes());
        ends.push(bytes.len() as u32);
    }
    chunks.push(Chunk { bytes: bytes.into(), ends, ..Chunk::default() });
    Ok(Some(chunks))
}
