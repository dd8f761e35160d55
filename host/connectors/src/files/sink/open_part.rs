//! A part that is being written under a hidden name.

use super::destination::{Destination, StagedPart};
use super::{Share, part_name};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, BatchTime, Generation};
use millstream_base::retry::{io_failed, retry_transient};
use millstream_connect::sink::encode::Encoder;
use millstream_rows::formats::FileFormat;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Instant;

/// What all parts of one writer have in common.
#[derive(Clone)]
pub struct Writer {
    pub destination: Arc<dyn Destination>,
    pub share: Share,
    pub format: FileFormat,
    /// The schema of the rows in the files.
    pub schema: SchemaRef,
    pub generation: Generation,
    pub failure: Failure,
}

/// A part that grows.
pub struct OpenPart {
    /// Its name, including its directory.
    pub part: String,
    /// Its first batch, which names it.
    pub from: BatchId,
    /// The time of its first batch, as batch time and by the clock.
    pub since: (BatchTime, Instant),
    /// When it last received rows, as a counter over all parts.
    pub used: u64,
    /// The number of its rows.
    pub rows: u64,
    encoder: Encoder<BufWriter<RetryingFile>>,
}

/// Returns the directory of a share's hidden files.
pub fn hidden_dir(share: Share) -> String {
    format!("{}-open", super::exactly_once::marker_name(share))
}

/// Returns the hidden name of a part. Each run has its own names, so that a delayed earlier process cannot damage anything.
pub fn hidden(share: Share, generation: Generation, part: &str) -> String {
    format!("{}/{:06}-{}.tmp", hidden_dir(share), generation.0, Digest::compute(part.as_bytes()).hex())
}

impl Writer {
    /// Returns the name of the part of a directory that begins with this batch.
    pub fn part(&self, dir: &str, from: BatchId) -> String {
        let name = part_name(from, self.share, self.format);
        if dir.is_empty() { name } else { format!("{dir}/{name}") }
    }

    /// Begins a part of a directory.
    pub fn begin(&self, dir: &str, from: BatchId, time: BatchTime) -> Result<OpenPart> {
        let part = self.part(dir, from);
        let hidden = hidden(self.share, self.generation, &part);
        let file = retry_transient(&self.failure, || self.destination.begin(&hidden))?;
        let file = RetryingFile { file, what: format!("write {part}"), failure: self.failure.clone(), bytes: 0 };
        let encoder = Encoder::begin(self.format, &self.schema, BufWriter::with_capacity(64 << 10, file));
        let encoder = encoder.map_err(|cause| write_error(&part, &cause))?;
        Ok(OpenPart { part, from, since: (time, Instant::now()), used: 0, rows: 0, encoder })
    }

    /// Completes a part and makes it durable under its hidden name.
    pub fn finish(&self, open: OpenPart) -> Result<StagedPart> {
        let OpenPart { part, encoder, rows, .. } = open;
        let hidden = hidden(self.share, self.generation, &part);
        let finished = encoder.finish().and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error));
        let mut file = finished.map_err(|cause| write_error(&part, &cause))?.file;
        retry_transient(&self.failure, || self.destination.stage(&hidden, &mut file))?;
        Ok((part, Some(rows)))
    }
}

impl OpenPart {
    /// Adds rows.
    pub fn add(&mut self, rows: &[RecordBatch]) -> Result<()> {
        let added = self.encoder.add(rows);
        added.map_err(|cause| write_error(&self.part, &cause))?;
        self.rows += rows.iter().map(|rows| rows.num_rows() as u64).sum::<u64>();
        Ok(())
    }

    /// Returns the current size in bytes.
    pub fn bytes(&self) -> u64 {
        let out = self.encoder.out();
        out.get_ref().bytes + out.buffer().len() as u64 + self.encoder.buffered_bytes()
    }
}

/// Returns why a part was not written: the file could not be written, or an encoder rejects the rows permanently.
fn write_error(part: &str, cause: &io::Error) -> Error {
    let mut from: Option<&(dyn std::error::Error + 'static)> = Some(cause);
    while let Some(error) = from {
        if let Some(failed) = error.downcast_ref::<Error>() {
            return failed.clone();
        }
        // An error inside an I/O error is not among its sources.
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        from = within.map(|within| within as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    match cause.raw_os_error() {
        Some(_) => io_failed(format!("write {part}"), cause).into(),
        None => Error::plugin(format!("cannot write {part}: {cause}")),
    }
}

/// A file that retries while its disk is full, as an encoder cannot restart in the middle.
struct RetryingFile {
    file: File,
    what: String,
    failure: Failure,
    bytes: u64,
}

impl Write for RetryingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (file, what) = (&mut self.file, &self.what);
        let written = retry_transient(&self.failure, || match file.write(bytes) {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => Ok(None),
            written => written.map(Some).map_err(|cause| io_failed(what.clone(), &cause)),
        });
        let written = written.map_err(io::Error::other)?;
        let written = written.ok_or(io::ErrorKind::Interrupted)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
