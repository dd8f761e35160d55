//! Reads files as they are, or decompresses gzip and zstd. Positions count decompressed bytes, so resuming at one means decompressing everything
//! before it again.
//!
//! Data before a damaged byte is read, always up to the same byte. The decoder is always read in blocks of one length from the beginning of the file.
//! So a replayed batch finds the same data.

use super::content::Content;
use super::file_facts::FileFacts;
use super::parquet_lines::ParquetLines;
use millstream_base::error::Error;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::decode::spec::RecordBounds;
use millstream_rows::formats::Format;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

/// Bytes that are decompressed at a time.
const BLOCK_BYTES: usize = 32 << 10;
/// Bytes of a compressed file that are read at a time.
const READ_BYTES: usize = 64 << 10;
/// Maximum window of the zstd decoder, as a power of two: this much memory. The zstd tool also rejects more by default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// The first bytes and the name suffixes of compressed files.
const KINDS: [(Kind, &[u8], &str); 2] =
    [(Kind::Gzip, &[0x1f, 0x8b], ".gz"), (Kind::Zstd, &[0x28, 0xb5, 0x2f, 0xfd], ".zst")];

/// The encoding of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Gzip,
    Zstd,
    /// Not compressed as a whole; its rows are read as lines of JSON.
    Parquet,
}

/// An open file that yields the bytes of its records.
pub struct Stream {
    file: Content,
    decompression: Option<Decompression>,
}

/// The state of decompressing a file.
struct Decompression {
    kind: Kind,
    columns: Arc<[ColumnSpec]>,
    file: Content,
    /// Facts of the file before the last block was decompressed.
    facts: FileFacts,
    decoder: Box<dyn Read + Send>,
    /// The current block, and how much of it was consumed.
    block: Vec<u8>,
    consumed: usize,
    /// How many bytes were consumed.
    at: u64,
    /// Set when the decoder has ended; the inner value is the error if the data is damaged.
    end: Option<Option<String>>,
}

/// Returns whether the name is that of a compressed file.
pub fn has_compressed_name(path: &Path) -> bool {
    kind_of_name(path).is_some()
}

fn kind_of_name(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_string_lossy();
    KINDS.iter().find(|(_, _, suffix)| name.len() > suffix.len() && name.ends_with(suffix)).map(|(kind, _, _)| *kind)
}

/// Determines the encoding of a file by its name or its first bytes. Binary records may start with any bytes, so only the name counts for them. The
/// same is true for input that is not a regular file. An empty file is not compressed.
fn kind_of(source: &SourceSpec, path: &Path, file: &mut Content) -> io::Result<Option<Kind>> {
    if source.kind.bounds() != RecordBounds::File {
        return Ok(None);
    }
    let named = kind_of_name(path);
    if source.format == Format::Parquet {
        let message = "Parquet files are read from their end, but this is not a regular file; copy it into a \
            regular file";
        return if file.is_regular()? { Ok(Some(Kind::Parquet)) } else { Err(io::Error::other(message)) };
    }
    if !file.is_regular()? {
        return Ok(named);
    }
    if file.facts()?.bytes == 0 {
        return Ok(None);
    }
    if named.is_some() || matches!(source.format, Format::Binary { .. } | Format::Protobuf(_)) {
        return Ok(named);
    }
    let mut first = [0; 4];
    let read = file.first(&mut first)?;
    let first = first.get(..read).unwrap_or_default();
    Ok(KINDS.iter().find(|(_, magic, _)| first.starts_with(magic)).map(|(kind, _, _)| *kind))
}

impl Stream {
    /// Opens a stream at the beginning of a file.
    pub fn of(source: &SourceSpec, path: &Path, file: impl Into<Content>) -> io::Result<Stream> {
        let mut file = file.into();
        let kind = kind_of(source, path, &mut file)?;
        let decompression =
            kind.map(|kind| Decompression::new(kind, &source.schema.clone().into(), &file)).transpose()?;
        Ok(Stream { file, decompression })
    }

    /// Returns the facts of the file itself, compressed or not.
    pub fn facts(&self) -> io::Result<FileFacts> {
        self.file.facts()
    }

    /// Returns whether it has a length and can be read repeatedly.
    pub fn is_regular(&self) -> io::Result<bool> {
        self.file.is_regular()
    }

    /// Returns whether the file is compressed.
    pub fn is_compressed(&self) -> bool {
        self.decompression.is_some()
    }

    /// Returns the facts of the file after its last record. For a compressed file these are from before the read that reached the end, as data added
    /// later was not read.
    pub fn facts_at_end(&self) -> io::Result<FileFacts> {
        self.decompression.as_ref().map_or_else(|| self.file.facts(), |decompression| Ok(decompression.facts))
    }

    /// Returns whether a compressed file has more to read.
    pub fn has_more(&mut self) -> io::Result<bool> {
        let Some(decompression) = &mut self.decompression else { return Ok(false) };
        decompression.fill()?;
        Ok(!decompression.rest_of_input().is_empty())
    }

    /// Seeks to an offset. Returns whether the file is that long.
    pub fn seek_to(&mut self, offset: u64) -> io::Result<bool> {
        let Some(decompression) = &mut self.decompression else {
            self.file.seek_to(offset)?;
            return Ok(self.file.facts()?.bytes >= offset);
        };
        if decompression.at > offset {
            self.file.seek_to(0)?;
            *decompression = Decompression::new(decompression.kind, &decompression.columns.clone(), &self.file)?;
        }
        decompression.skip_to(offset)
    }

    /// Appends at most `bytes_max` bytes to the buffer; fewer means the end.
    pub fn fill(&mut self, buffer: &mut Vec<u8>, bytes_max: u64) -> io::Result<usize> {
        match self.decompression {
            None => self.file.fill(buffer, bytes_max),
            Some(_) => self.take(bytes_max).read_to_end(buffer),
        }
    }

    /// Returns why nothing more can be read of a damaged file. `None`: the file has ended, or more can be read.
    pub fn damage(&mut self) -> io::Result<Option<String>> {
        let Some(decompression) = &mut self.decompression else { return Ok(None) };
        decompression.fill()?;
        let at = decompression.at;
        let damage =
            decompression.end.as_ref().filter(|_| decompression.rest_of_input().is_empty()).and_then(Option::as_ref);
        Ok(damage.map(|why| format!("it is damaged or incomplete after {at} decompressed bytes: {why}")))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.decompression {
            Some(decompression) => decompression.read(buffer),
            None => self.file.read(buffer),
        }
    }
}

impl Decompression {
    fn new(kind: Kind, columns: &Arc<[ColumnSpec]>, file: &Content) -> io::Result<Decompression> {
        let (file, facts) = (file.try_clone()?, file.facts()?);
        let bytes = BufReader::with_capacity(READ_BYTES, file.try_clone()?);
        let decoder: Box<dyn Read + Send> = match kind {
            Kind::Parquet => Box::new(ParquetLines::new(file.try_clone()?, columns)?),
            // Concatenated gzip members are one file.
            Kind::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(bytes)),
            Kind::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        };
        let (columns, block) = (columns.clone(), Vec::with_capacity(BLOCK_BYTES));
        Ok(Decompression { kind, columns, file, facts, decoder, block, consumed: 0, at: 0, end: None })
    }

    /// Returns the unread rest of the current block.
    fn rest_of_input(&self) -> &[u8] {
        self.block.get(self.consumed..).unwrap_or_default()
    }

    /// Decompresses the next block if the current one was consumed. An error is an I/O error of the file, or of kind `Unsupported`: the file is
    /// intact, but cannot be read here.
    fn fill(&mut self) -> io::Result<()> {
        if !self.rest_of_input().is_empty() || self.end.is_some() {
            return Ok(());
        }
        self.facts = self.file.facts()?;
        self.block.resize(BLOCK_BYTES, 0);
        self.consumed = 0;
        let mut filled = 0;
        while filled < BLOCK_BYTES && self.end.is_none() {
            match self.decoder.read(self.block.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => self.end = Some(None),
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if error.raw_os_error().is_some()
                        || error.kind() == ErrorKind::Unsupported
                        || error.get_ref().is_some_and(|why| why.is::<Error>()) =>
                {
                    self.block.truncate(filled);
                    return Err(error);
                }
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    self.end = Some(Some("it ends in the middle".into()));
                }
                Err(error) => self.end = Some(Some(error.to_string())),
            }
        }
        self.block.truncate(filled);
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill()?;
        let available = self.rest_of_input();
        let count = available.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), available.get(..count)) {
            to.copy_from_slice(from);
        }
        self.consumed += count;
        self.at += count as u64;
        Ok(count)
    }

    fn skip_to(&mut self, offset: u64) -> io::Result<bool> {
        while self.at < offset {
            self.fill()?;
            let available = self.rest_of_input().len() as u64;
            let count = available.min(offset - self.at);
            if count == 0 {
                return Ok(false);
            }
            self.consumed += count as usize;
            self.at += count;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
