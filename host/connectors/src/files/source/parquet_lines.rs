//! Reads Parquet files as lines of JSON, one object per row, which are then split and decoded like other JSON. Positions count the bytes of these
//! lines, as they count decompressed bytes. Only columns of the job are read. The text of a row must not change between versions, as a job may stop
//! within a file.

use super::content::Content;
use arrow::array::RecordBatch;
use bytes::Bytes;
use millstream_base::panics::caught;
use millstream_connect::receiver::parquet::damaged;
use millstream_connect::receiver::parquet::open::FileRows;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::json::JsonRows;
use millstream_rows::decode::parquet::{is_copy, reject};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that are read at a time if the length is unknown.
const READ_BYTES: u64 = 8 << 10;

/// Reads the rows of a file as lines.
pub struct ParquetLines {
    file: SharedFile,
    columns: Vec<ColumnSpec>,
    rows: Option<FileRows>,
    /// The current lines, and how much of them was consumed.
    lines: Vec<u8>,
    consumed: usize,
}

impl ParquetLines {
    /// Opens a file for these columns.
    pub fn new(content: Content, columns: &[ColumnSpec]) -> io::Result<ParquetLines> {
        let bytes = content.facts()?.bytes;
        let file =
            SharedFile(Arc::new(SharedContent { content: Mutex::new(content), bytes, failed: Mutex::new(None) }));
        Ok(ParquetLines { file, columns: columns.to_vec(), rows: None, lines: Vec::new(), consumed: 0 })
    }

    /// Reads the next rows into `lines`. Returns whether there are any.
    fn next(&mut self) -> io::Result<bool> {
        self.lines.clear();
        self.consumed = 0;
        // The library may panic on a damaged file.
        let read = caught(|| self.read_rows());
        let read = read.unwrap_or_else(|panic| Err(damaged(format!("it cannot be read: {panic}"))));
        read.map_err(|error| self.file.failure().unwrap_or(error))
    }

    fn read_rows(&mut self) -> io::Result<bool> {
        if self.rows.is_none() {
            self.rows = Some(FileRows::open(&self.file, &self.columns)?);
        }
        let Some(found) = self.rows.as_mut().map(|rows| rows.next(&self.columns)).transpose()?.flatten() else {
            return Ok(false);
        };
        let mut encoder = JsonRows::new(&found.rows)?;
        // A rejected row shows each column of the file once.
        let shown = (!found.rejected.is_empty()).then(|| without_copies(&found.rows)).transpose()?;
        let mut shown_encoder = shown.as_ref().map(JsonRows::new).transpose()?;
        for row in 0..found.rows.num_rows() {
            match (found.rejected.get(&row), &mut shown_encoder) {
                (Some(reason), Some(shown)) => {
                    shown.write(row, &mut self.lines)?;
                    reject(&mut self.lines, reason);
                }
                _ => encoder.write(row, &mut self.lines)?,
            }
            self.lines.push(b'\n');
        }
        Ok(true)
    }
}

fn without_copies(rows: &RecordBatch) -> io::Result<RecordBatch> {
    let fields = rows.schema_ref().fields().iter().enumerate();
    let own: Vec<usize> = fields.filter(|(_, field)| !is_copy(field.name())).map(|(index, _)| index).collect();
    rows.project(&own).map_err(damaged)
}

impl Read for ParquetLines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.consumed >= self.lines.len() {
            if !self.next()? {
                return Ok(0);
            }
        }
        let left = self.lines.get(self.consumed..).unwrap_or_default();
        let count = left.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), left.get(..count)) {
            to.copy_from_slice(from);
        }
        self.consumed += count;
        Ok(count)
    }
}

/// A file that the library reads at random offsets.
#[derive(Clone)]
struct SharedFile(Arc<SharedContent>);

struct SharedContent {
    content: Mutex<Content>,
    bytes: u64,
    /// The I/O error of the disk or server, as opposed to damage of the file.
    failed: Mutex<Option<io::Error>>,
}

impl SharedFile {
    fn failure(&self) -> Option<io::Error> {
        self.0.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn read_at(&self, start: u64, bytes: u64) -> io::Result<Vec<u8>> {
        let mut content = self.0.content.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = bytes.min(self.0.bytes.saturating_sub(start));
        let mut buffer = Vec::new();
        let read = content.seek_to(start).and_then(|()| {
            while (buffer.len() as u64) < wanted {
                let left = wanted - buffer.len() as u64;
                if content.fill(&mut buffer, left)? == 0 {
                    break;
                }
            }
            Ok(())
        });
        read.map(|()| buffer).map_err(|error| {
            let reported = io::Error::other(error.to_string());
            *self.0.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            reported
        })
    }
}

impl Length for SharedFile {
    fn len(&self) -> u64 {
        self.0.bytes
    }
}

impl ChunkReader for SharedFile {
    type T = OffsetReader;

    fn get_read(&self, start: u64) -> ParquetResult<OffsetReader> {
        Ok(OffsetReader { file: self.clone(), at: start, piece: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let bytes = self.read_at(start, length as u64)?;
        match bytes.len() == length {
            true => Ok(bytes.into()),
            false => Err(ParquetError::EOF(format!(
                "{length} bytes are declared from byte {start} on, but {} exist",
                bytes.len()
            ))),
        }
    }
}

/// Reads a file from an offset.
struct OffsetReader {
    file: SharedFile,
    at: u64,
    piece: Bytes,
}

impl Read for OffsetReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece = self.file.read_at(self.at, READ_BYTES)?.into();
            self.at += self.piece.len() as u64;
        }
        let count = self.piece.len().min(buffer.len());
        let consumed = self.piece.split_to(count);
        if let Some(to) = buffer.get_mut(..count) {
            to.copy_from_slice(&consumed);
        }
        Ok(count)
    }
}
