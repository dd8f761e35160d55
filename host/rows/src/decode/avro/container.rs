//! Avro files: a header with the schema, and blocks of records, each ended by the file's sync marker.
//!
//! Pure functions over bytes; the caller reads the file. No length in a file is trusted before the bytes are there.

use super::cursor::Cursor;
use super::schema::{SCHEMA_BYTES_MAX, Schema};
use bytes::Bytes;

/// First bytes of a file.
pub const MAGIC: &[u8; 4] = b"Obj\x01";
/// Size of the marker that ends each block.
pub const SYNC_BYTES: usize = 16;
/// Maximum size of a file's header; the schema is most of it.
pub const HEADER_BYTES_MAX: usize = SCHEMA_BYTES_MAX + (64 << 10);
/// Maximum keys of a header.
const KEYS_MAX: u64 = 10_000;

/// The header of a file.
#[derive(Debug)]
pub struct Header {
    /// The schema of all records, as text.
    pub schema: Bytes,
    /// How blocks are compressed.
    pub codec: Codec,
    /// The marker after each block.
    pub sync: [u8; SYNC_BYTES],
    /// Size of the header.
    pub bytes: usize,
}

/// How blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

/// The head of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockHead {
    /// Number of records.
    pub records: u64,
    /// Compressed bytes after this head, without the marker.
    pub bytes: u64,
    /// Size of this head.
    pub head: usize,
}

/// Result of parsing the beginning of some bytes of a file: the value, a need for more bytes, or an error.
#[derive(Debug)]
pub enum Scanned<T> {
    Complete(T),
    /// More bytes are needed.
    More,
    /// The bytes are invalid, and why.
    Wrong(String),
}

impl Header {
    /// Parses the header at the beginning of a file.
    pub fn read(bytes: &[u8]) -> Scanned<Header> {
        let begin = bytes.get(..MAGIC.len()).unwrap_or(bytes);
        if !MAGIC.starts_with(begin) {
            return Scanned::Wrong("it does not begin as Avro files do".into());
        }
        if begin.len() < MAGIC.len() {
            return Scanned::More;
        }
        match Header::after_magic(bytes) {
            Ok(header) => Scanned::Complete(header),
            Err(why) if why.is_empty() => Scanned::More,
            Err(_) if bytes.len() >= HEADER_BYTES_MAX => {
                Scanned::Wrong(format!("its header is broken, or longer than {HEADER_BYTES_MAX} bytes"))
            }
            // A cursor cannot distinguish incomplete from invalid bytes; more bytes show it.
            Err(why) if why.starts_with("the record is cut short") => Scanned::More,
            Err(why) => Scanned::Wrong(why),
        }
    }

    fn after_magic(bytes: &[u8]) -> Result<Header, String> {
        let mut cursor = Cursor::new(bytes.get(MAGIC.len()..).unwrap_or_default());
        let (mut schema, mut codec, mut keys) = (None, Codec::Null, 0_u64);
        loop {
            let (count, _) = cursor.items()?;
            if count == 0 {
                break;
            }
            keys = keys.saturating_add(count);
            if keys > KEYS_MAX {
                return Err("its header has too many keys".into());
            }
            for _ in 0..count {
                let key = cursor.sized()?;
                let value = cursor.sized()?;
                match key {
                    b"avro.schema" => schema = Some(Bytes::copy_from_slice(value)),
                    b"avro.codec" => codec = Codec::parse(value)?,
                    _ => {}
                }
            }
        }
        let sync = cursor.take(SYNC_BYTES)?.first_chunk().copied().unwrap_or_default();
        let schema = schema.ok_or("its header has no schema")?;
        Ok(Header { schema, codec, sync, bytes: bytes.len() - cursor.remaining() })
    }
}

impl Codec {
    fn parse(name: &[u8]) -> Result<Codec, String> {
        Ok(match name {
            b"" | b"null" => Codec::Null,
            b"deflate" => Codec::Deflate,
            b"snappy" => Codec::Snappy,
            b"zstandard" => Codec::Zstandard,
            other => {
                let name = String::from_utf8_lossy(other.get(..40).unwrap_or(other)).into_owned();
                return Err(format!(
                    "its blocks are compressed with `{name}`, which is not supported; write it with deflate, snappy \
                    or zstandard"
                ));
            }
        })
    }
}

impl BlockHead {
    /// Parses the head of a block of at most `bytes_max` bytes.
    pub fn read(bytes: &[u8], bytes_max: u64) -> Scanned<BlockHead> {
        let mut cursor = Cursor::new(bytes);
        let numbers = (cursor.long(), cursor.long());
        match numbers {
            (Ok(records @ 0..), Ok(length @ 0..)) => {
                let block = BlockHead {
                    records: records.unsigned_abs(),
                    bytes: length.unsigned_abs(),
                    head: bytes.len() - cursor.remaining(),
                };
                if block.bytes > bytes_max {
                    return Scanned::Wrong(format!("a block of {length} bytes, more than {bytes_max}"));
                }
                Scanned::Complete(block)
            }
            (Ok(records), Ok(length)) => Scanned::Wrong(format!("a block of {records} records and {length} bytes")),
            _ if bytes.len() < 20 => Scanned::More,
            _ => Scanned::Wrong("a block without a header".into()),
        }
    }
}

/// Returns the end of each record in a block's bytes, and why the rest cannot be read.
pub fn record_ends(schema: &Schema, bytes: &[u8], records: u64) -> (Vec<usize>, Option<String>) {
    let mut cursor = Cursor::new(bytes);
    let mut ends = Vec::with_capacity(usize::try_from(records).unwrap_or(usize::MAX).min(bytes.len()));
    if records > (bytes.len() as u64).max(1) {
        return (ends, Some(format!("a block of {} bytes cannot hold {records} records", bytes.len())));
    }
    for _ in 0..records {
        if let Err(why) = schema.skip(0, &mut cursor, 0) {
            return (ends, Some(why));
        }
        ends.push(bytes.len() - cursor.remaining());
    }
    let left = cursor.remaining();
    (ends, (left > 0).then(|| format!("{left} bytes follow the last record of a block")))
}
