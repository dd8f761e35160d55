//! Files as they are read: as they stand, or decompressed where gzip or zstd made them. Positions count decompressed bytes, and
//! reading on from one means decompressing what is before it once more.
//!
//! What stands before damage is read, always up to the same byte: a decoder is asked for blocks of one length from the
//! file's beginning on, whoever reads and from wherever, so a batch that runs again finds the same.

use super::content::Content;
use super::file_facts::FileFacts;
use super::parquet::ParquetLines;
use millstream_base::error::Error;
use millstream_base::job::spec::{ColumnSpec, Format, SourceKind, SourceSpec};
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

/// How much is decompressed at a time.
const BLOCK_BYTES: usize = 32 << 10;
/// How much of a compressed file is read at a time.
const READ_BYTES: usize = 64 << 10;
/// How far back in what it made a zstd decoder may have to look, as a power of two: this many bytes of memory. The tool itself
/// refuses more unless told otherwise.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// How compressed files begin, and how their names end.
const KINDS: [(Kind, &[u8], &str); 2] =
    [(Kind::Gzip, &[0x1f, 0x8b], ".gz"), (Kind::Zstd, &[0x28, 0xb5, 0x2f, 0xfd], ".zst")];

/// What made a file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Gzip,
    Zstd,
    /// Not compressed as a whole; its rows come as lines of JSON.
    Parquet,
}

/// An open file from which the bytes of its records come.
pub struct Stream {
    file: Content,
    packed: Option<Decompression>,
}

/// What is decompressed of a file.
struct Decompression {
    kind: Kind,
    columns: Arc<[ColumnSpec]>,
    file: Content,
    /// The file before the last block was decompressed.
    facts: FileFacts,
    decoder: Box<dyn Read + Send>,
    /// The block at hand, and how much of it was given out.
    block: Vec<u8>,
    given: usize,
    /// How many bytes were given out.
    at: u64,
    /// The decoder has nothing more; or cannot go on, and why.
    end: Option<Option<String>>,
}

/// Whether the name says that the file is compressed.
pub fn is_named_so(path: &Path) -> bool {
    kind_of_name(path).is_some()
}

fn kind_of_name(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_string_lossy();
    KINDS.iter().find(|(_, _, end)| name.len() > end.len() && name.ends_with(end)).map(|(kind, _, _)| *kind)
}

/// What made this file, by its name or by its first bytes. Where any bytes may stand, in binary records, its name alone counts;
/// so it does for what is no regular file. An empty file is empty.
fn kind_of(source: &SourceSpec, path: &Path, file: &mut Content) -> io::Result<Option<Kind>> {
    if !matches!(source.kind, SourceKind::File { .. } | SourceKind::Directory { .. } | SourceKind::Objects { .. }) {
        return Ok(None);
    }
    let named = kind_of_name(path);
    if source.format == Format::Parquet {
        let words = "files of Parquet are read from their end, and this is not a regular file; copy it into one";
        return if file.is_regular()? { Ok(Some(Kind::Parquet)) } else { Err(io::Error::other(words)) };
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
    Ok(KINDS.iter().find(|(_, begin, _)| first.starts_with(begin)).map(|(kind, _, _)| *kind))
}

impl Stream {
    /// Of a file that stands at its beginning.
    pub fn of(source: &SourceSpec, path: &Path, file: impl Into<Content>) -> io::Result<Stream> {
        let mut file = file.into();
        let kind = kind_of(source, path, &mut file)?;
        let packed = kind.map(|kind| Decompression::new(kind, &source.schema.clone().into(), &file)).transpose()?;
        Ok(Stream { file, packed })
    }

    /// What the file itself is known by, compressed or not.
    pub fn facts(&self) -> io::Result<FileFacts> {
        self.file.facts()
    }

    /// Whether it has a length, and can be read a second time.
    pub fn is_regular(&self) -> io::Result<bool> {
        self.file.is_regular()
    }

    /// Whether the file is compressed.
    pub fn is_packed(&self) -> bool {
        self.packed.is_some()
    }

    /// The same behind the last record. Of a compressed file as it was before the read that met its end: what came later was not
    /// read.
    pub fn facts_at_end(&self) -> io::Result<FileFacts> {
        self.packed.as_ref().map_or_else(|| self.file.facts(), |packed| Ok(packed.facts))
    }

    /// Whether there is more to read in a compressed file.
    pub fn goes_on(&mut self) -> io::Result<bool> {
        let Some(packed) = &mut self.packed else { return Ok(false) };
        packed.fill()?;
        Ok(!packed.left().is_empty())
    }

    /// Goes to a byte. Whether the file has so many before it.
    pub fn seek_to(&mut self, offset: u64) -> io::Result<bool> {
        let Some(packed) = &mut self.packed else {
            self.file.seek_to(offset)?;
            return Ok(self.file.facts()?.bytes >= offset);
        };
        if packed.at > offset {
            self.file.seek_to(0)?;
            *packed = Decompression::new(packed.kind, &packed.columns.clone(), &self.file)?;
        }
        packed.skip_to(offset)
    }

    /// Adds at most so many bytes to the buffer; less is the end.
    pub fn fill(&mut self, buffer: &mut Vec<u8>, bytes_max: u64) -> io::Result<usize> {
        match self.packed {
            None => self.file.fill(buffer, bytes_max),
            Some(_) => self.take(bytes_max).read_to_end(buffer),
        }
    }

    /// Why nothing can be read here, though the file goes on; `None`: it does not, or something can.
    pub fn damage(&mut self) -> io::Result<Option<String>> {
        let Some(packed) = &mut self.packed else { return Ok(None) };
        packed.fill()?;
        let at = packed.at;
        let damage = packed.end.as_ref().filter(|_| packed.left().is_empty()).and_then(Option::as_ref);
        Ok(damage.map(|why| format!("it is damaged, or not whole, behind {at} bytes as decompressed: {why}")))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.packed {
            Some(packed) => packed.read(buffer),
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
            // Several, one behind the other, are one.
            Kind::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(bytes)),
            Kind::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        };
        let (columns, block) = (columns.clone(), Vec::with_capacity(BLOCK_BYTES));
        Ok(Decompression { kind, columns, file, facts, decoder, block, given: 0, at: 0, end: None })
    }

    /// What is left of the block at hand.
    fn left(&self) -> &[u8] {
        self.block.get(self.given..).unwrap_or_default()
    }

    /// Decompresses the next block, where nothing is left of the one at hand. An error is one of the file's disk, or
    /// of kind `Unsupported`: the file is whole, and cannot be read here.
    fn fill(&mut self) -> io::Result<()> {
        if !self.left().is_empty() || self.end.is_some() {
            return Ok(());
        }
        self.facts = self.file.facts()?;
        self.block.resize(BLOCK_BYTES, 0);
        self.given = 0;
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
        let there = self.left();
        let count = there.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), there.get(..count)) {
            to.copy_from_slice(from);
        }
        self.given += count;
        self.at += count as u64;
        Ok(count)
    }

    fn skip_to(&mut self, offset: u64) -> io::Result<bool> {
        while self.at < offset {
            self.fill()?;
            let there = self.left().len() as u64;
            let count = there.min(offset - self.at);
            if count == 0 {
                return Ok(false);
            }
            self.given += count as usize;
            self.at += count;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
