//! Sink `queue`: one JSON line a batch, for tests: `{"batch":1,"time":"2026-11-20T08:30:01.000000Z","rows":[{…}]}`.
//! The file begins anew with every start of the job.

use super::encode::json::Rows;
use super::{Sink, cell, check_writable, commit_failed, open_failed};
use crate::error::Result;
use crate::ids::{BatchId, BatchTime};
use arrow::array::RecordBatch;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes a line for every batch, also for one without rows.
pub(super) struct QueueSink {
    name: String,
    path: PathBuf,
    file: File,
}

impl QueueSink {
    /// Makes or empties the file.
    pub(super) fn open(name: &str, path: &Path) -> Result<QueueSink> {
        let file = File::create(path).map_err(|cause| open_failed(name, "make the file", path, &cause))?;
        Ok(QueueSink { name: name.into(), path: path.into(), file })
    }
}

impl Sink for QueueSink {
    fn commit(&mut self, batch: BatchId, time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        // The file has no buffer of ours: one write of the whole line, and the line is there for every reader.
        line(batch, time, &rows)
            .and_then(|line| self.file.write_all(&line))
            .map_err(|cause| commit_failed(&self.name, batch, self.path.display(), cause))
    }
}

fn line(batch: BatchId, time: BatchTime, rows: &[RecordBatch]) -> io::Result<Vec<u8>> {
    let mut head = format!("{{\"batch\":{batch},\"time\":\"");
    cell::write_rfc3339(&mut head, time.0);
    head.push_str("\",\"rows\":[");
    let mut line = head.into_bytes();
    let mut first = true;
    for part in rows {
        let mut objects = Rows::new(part)?;
        for row in 0..part.num_rows() {
            if !first {
                line.push(b',');
            }
            first = false;
            objects.write(row, &mut line)?;
        }
    }
    line.extend_from_slice(b"]}\n");
    Ok(line)
}

/// Whether the file can be made or, where it is there, emptied. Does neither.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(format!("{} is no file name; write the path of a file", path.display())),
    };
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            Err(format!("{} is a folder; a queue sink writes one file: choose another path", path.display()))
        }
        // Opening anything else, a pipe for one, may wait for its reader.
        Ok(found) if !found.is_file() => Ok(()),
        Ok(_) => fs::OpenOptions::new()
            .append(true)
            .open(path)
            .map(drop)
            .map_err(|cause| format!("cannot write {}: {cause}; choose another path", path.display())),
        Err(_) if !parent.exists() => {
            Err(format!("the folder {} does not exist; make it or choose another path", parent.display()))
        }
        Err(_) if !parent.is_dir() => Err(format!("{} is a file, not a folder; choose another path", parent.display())),
        Err(_) => check_writable(parent),
    }
}
