//! A part that is being written, under a hidden name.

use super::destination::{Destination, Staged};
use super::{Share, part_name};
use crate::sink::encode::Encoder;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, BatchTime, Generation};
use millstream_base::job::spec::FileFormat;
use millstream_base::patience::{io_failed, patiently};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Instant;

/// What all parts that somebody writes have in common.
#[derive(Clone)]
pub struct Writer {
    pub place: Arc<dyn Destination>,
    pub share: Share,
    pub format: FileFormat,
    /// Of the rows in the files.
    pub schema: SchemaRef,
    pub generation: Generation,
    pub failure: Failure,
}

/// A part that grows.
pub struct OpenPart {
    /// Its name, with its folder.
    pub part: String,
    /// Its first batch, which names it.
    pub from: BatchId,
    /// When that was, as batches have it, and by the clock.
    pub since: (BatchTime, Instant),
    /// When it last had rows, in the order of all.
    pub used: u64,
    /// The rows in it.
    pub rows: u64,
    encoder: Encoder<BufWriter<PatientFile>>,
}

/// Where the hidden files of a share are.
pub fn hidden_folder(share: Share) -> String {
    format!("{}-open", super::exactly_once::marker_name(share))
}

/// Where a part is before it gets its name. Each start has names of its own, so that one that comes back late spoils nothing.
pub fn hidden(share: Share, generation: Generation, part: &str) -> String {
    format!("{}/{:06}-{}.tmp", hidden_folder(share), generation.0, Digest::of(part.as_bytes()).hex())
}

impl Writer {
    /// The name of the part of a folder that begins with this batch.
    pub fn part(&self, folder: &str, from: BatchId) -> String {
        let name = part_name(from, self.share, self.format);
        if folder.is_empty() { name } else { format!("{folder}/{name}") }
    }

    /// Begins a part of a folder.
    pub fn begin(&self, folder: &str, from: BatchId, time: BatchTime) -> Result<OpenPart> {
        let part = self.part(folder, from);
        let hidden = hidden(self.share, self.generation, &part);
        let file = patiently(&self.failure, || self.place.begin(&hidden))?;
        let file = PatientFile { file, what: format!("write {part}"), failure: self.failure.clone(), bytes: 0 };
        let encoder = Encoder::begin(self.format, &self.schema, BufWriter::with_capacity(64 << 10, file));
        let encoder = encoder.map_err(|cause| not_written(&part, &cause))?;
        Ok(OpenPart { part, from, since: (time, Instant::now()), used: 0, rows: 0, encoder })
    }

    /// Completes a part and makes it durable under its hidden name.
    pub fn finish(&self, open: OpenPart) -> Result<Staged> {
        let OpenPart { part, encoder, rows, .. } = open;
        let hidden = hidden(self.share, self.generation, &part);
        let finished = encoder.finish().and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error));
        let mut file = finished.map_err(|cause| not_written(&part, &cause))?.file;
        patiently(&self.failure, || self.place.stage(&hidden, &mut file))?;
        Ok((part, Some(rows)))
    }
}

impl OpenPart {
    /// Adds rows.
    pub fn add(&mut self, rows: &[RecordBatch]) -> Result<()> {
        let added = self.encoder.add(rows);
        added.map_err(|cause| not_written(&self.part, &cause))?;
        self.rows += rows.iter().map(|rows| rows.num_rows() as u64).sum::<u64>();
        Ok(())
    }

    /// How large it is by now.
    pub fn bytes(&self) -> u64 {
        let out = self.encoder.out();
        out.get_ref().bytes + out.buffer().len() as u64 + self.encoder.held()
    }
}

/// Why a part was not written: the file could not be, or an encoder refuses the rows, however often that is tried.
fn not_written(part: &str, cause: &io::Error) -> Error {
    let mut from: Option<&(dyn std::error::Error + 'static)> = Some(cause);
    while let Some(error) = from {
        if let Some(failed) = error.downcast_ref::<Error>() {
            return failed.clone();
        }
        // The error within one of the file's is not among its sources.
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        from = within.map(|within| within as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    match cause.raw_os_error() {
        Some(_) => io_failed(format!("write {part}"), cause).into(),
        None => Error::plugin(format!("cannot write {part}: {cause}")),
    }
}

/// A file that waits where its disk is full: an encoder cannot begin again in the middle.
struct PatientFile {
    file: File,
    what: String,
    failure: Failure,
    bytes: u64,
}

impl Write for PatientFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (file, what) = (&mut self.file, &self.what);
        let written = patiently(&self.failure, || match file.write(bytes) {
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
