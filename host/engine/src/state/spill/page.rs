//! Rows in the format of spill files, in pages with one checksum each.
//!
//! A page: its checksum, the number of its rows, their total bytes (8, 4 and 4 bytes, little-endian), the rows, and zeros up to a multiple of
//! [`PAGE_BYTES`]. A row: the hash of its key (8 bytes), a flags byte, the time of the last touch (8 bytes, if touched), the lengths of the key and
//! of the state columns (varints, as in Protobuf), the key, and the concatenated state columns. The flags are whether a checkpoint has the key and
//! whether it was ever touched.

use crate::state::idle::IdleTracker;
use millstream_base::error::Error;
use millstream_rows::decode::varint;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The unit of page sizes. A page has one unit unless it holds a single larger row.
pub const PAGE_BYTES: usize = 4096;
/// The bytes of a page before its rows.
const HEAD_BYTES: usize = 16;
/// The flags of a row: a checkpoint has the key; the key was touched.
const WRITTEN: u8 = 1;
const TOUCHED: u8 = 2;

/// A row, borrowed from its page.
#[derive(Clone, Copy, Debug)]
pub struct ColdRow<'a> {
    /// The hash of the key.
    pub hash: u64,
    /// The key.
    pub key: &'a [u8],
    /// Whether files of checkpoints had the key when the row was written.
    pub written: bool,
    /// Whether it only marks its key as removed, which overrides older files of a checkpoint. Spill files have no such rows.
    pub removed: bool,
    /// When the key was last touched.
    pub touched: i64,
    /// The state columns.
    pub columns: &'a [u8],
    /// The complete encoded row, for copying.
    pub bytes: &'a [u8],
}

/// Appends a row; `columns` appends its state columns.
pub fn put_row(
    out: &mut Vec<u8>,
    (hash, key): (u64, &[u8]),
    written: bool,
    touched: i64,
    columns: impl FnOnce(&mut Vec<u8>),
) {
    out.extend_from_slice(&hash.to_le_bytes());
    let is_touched = touched != IdleTracker::NEVER;
    out.push(u8::from(written) * WRITTEN + u8::from(is_touched) * TOUCHED);
    if is_touched {
        out.extend_from_slice(&touched.to_le_bytes());
    }
    varint::write(key.len() as u64, out);
    // Most lengths take one byte.
    let start = out.len();
    out.push(0);
    out.extend_from_slice(key);
    columns(out);
    let length = out.len() - start - 1 - key.len();
    if let (true, Some(byte)) = (length < 0x80, out.get_mut(start)) {
        *byte = length as u8;
    } else {
        let mut encoded = Vec::new();
        varint::write(length as u64, &mut encoded);
        out.splice(start..=start, encoded);
    }
}

/// Parses a length, and returns the rest.
fn parse_length(mut bytes: &[u8]) -> Option<(usize, &[u8])> {
    let length = varint::read(&mut bytes, "").ok()?;
    Some((usize::try_from(length).ok()?, bytes))
}

/// Approximate maximum length of a row.
pub const ROW_BYTES_MAX: usize = 1 << 30;

/// A page that is being filled.
#[derive(Default)]
pub struct PageBuilder {
    bytes: Vec<u8>,
    rows: u32,
}

impl PageBuilder {
    /// Returns whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Returns whether a row of this length fits; the first always does.
    pub fn fits(&self, row: usize) -> bool {
        self.rows == 0 || self.bytes.len() + row <= PAGE_BYTES - HEAD_BYTES
    }

    /// Adds a row.
    pub fn add(&mut self, row: &[u8]) {
        self.bytes.extend_from_slice(row);
        self.rows += 1;
    }

    /// Appends the page, and begins the next one. `seed` identifies the location of the page.
    pub fn put(&mut self, seed: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.bytes);
        out.resize(start + (HEAD_BYTES + self.bytes.len()).next_multiple_of(PAGE_BYTES), 0);
        let checksum = out.get(start + 8..).map_or(0, |page| xxh3_64_with_seed(page, seed));
        if let Some(checksum_bytes) = out.get_mut(start..start + 8) {
            checksum_bytes.copy_from_slice(&checksum.to_le_bytes());
        }
        self.bytes.clear();
        self.rows = 0;
    }
}

/// Returns whether a page is intact and belongs to the location of this seed.
pub fn is_intact(page: &[u8], seed: u64) -> bool {
    let checksum = page.first_chunk().map(|checksum| u64::from_le_bytes(*checksum));
    page.get(8..).is_some_and(|rest| checksum == Some(xxh3_64_with_seed(rest, seed)))
}

/// Returns the rows of an intact page with their indices, from the first whose hash is not below this one; `None` for an invalid row.
pub fn rows_from(page: &[u8], hash: u64) -> impl Iterator<Item = (u32, Option<ColdRow<'_>>)> {
    let number = |at: usize| Some(u32::from_le_bytes(page.get(at..at + 4)?.try_into().ok()?));
    let head = number(8).zip(number(12));
    let mut rest = head.and_then(|(_, bytes)| page.get(HEAD_BYTES..HEAD_BYTES.checked_add(bytes as usize)?));
    let mut numbers = 0..head.map_or(1, |(rows, _)| rows);
    std::iter::from_fn(move || {
        for row_number in numbers.by_ref() {
            let Some((row, others)) = rest.take().and_then(parse_first) else { return Some((row_number, None)) };
            rest = Some(others);
            if row.hash >= hash {
                return Some((row_number, Some(row)));
            }
        }
        None
    })
}

/// Returns concatenated rows, as [`put_row`] wrote them; `None` for an invalid row.
pub fn rows(mut rest: &[u8]) -> impl Iterator<Item = Option<ColdRow<'_>>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let first = parse_first(rest);
        rest = first.map_or(&[], |(_, others)| others);
        Some(first.map(|(row, _)| row))
    })
}

/// Parses the first row, and returns the rest.
fn parse_first(bytes: &[u8]) -> Option<(ColdRow<'_>, &[u8])> {
    let (hash, rest) = bytes.split_first_chunk()?;
    let (says, mut rest) = rest.split_first()?;
    let mut touched = IdleTracker::NEVER;
    if says & TOUCHED != 0 {
        let (first_bytes, after) = rest.split_first_chunk()?;
        (touched, rest) = (i64::from_le_bytes(*first_bytes), after);
    }
    let (key, rest) = parse_length(rest)?;
    let (columns, rest) = parse_length(rest)?;
    let (key, rest) = rest.split_at_checked(key)?;
    let (columns, rest) = rest.split_at_checked(columns)?;
    let bytes = bytes.get(..bytes.len() - rest.len())?;
    Some((
        ColdRow {
            hash: u64::from_le_bytes(*hash),
            key,
            written: says & WRITTEN != 0,
            removed: false,
            touched,
            columns,
            bytes,
        },
        rest,
    ))
}

/// Parses a row.
pub fn parse_row(bytes: &[u8]) -> Option<ColdRow<'_>> {
    parse_first(bytes).filter(|(_, rest)| rest.is_empty()).map(|(row, _)| row)
}

/// Returns the error for an intact row that does not belong to this table.
pub fn invalid_row_error() -> Error {
    Error::bug("a cold row that is not of its table")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rows: &[(u64, &[u8], usize)]) -> Vec<u8> {
        let (mut builder, mut page) = (PageBuilder::default(), Vec::new());
        for (hash, key, columns) in rows {
            let mut row = Vec::new();
            put_row(&mut row, (*hash, key), hash % 2 == 0, -(*hash as i64), |out| out.extend(vec![7; *columns]));
            assert!(builder.fits(row.len()));
            builder.add(&row);
        }
        builder.put(3, &mut page);
        page
    }

    #[test]
    fn a_page_gives_back_its_rows() {
        for rows_in in
            [vec![], vec![(1, &b""[..], 0)], vec![(5, &b"key"[..], 127), (6, &[9; 200], 128)], vec![(8, b"k", 20_000)]]
        {
            let page = page(&rows_in);
            assert!(page.len().is_multiple_of(PAGE_BYTES) && is_intact(&page, 3) && !is_intact(&page, 4));
            let found: Vec<_> = rows_from(&page, 0).map(|(_, row)| row.unwrap()).collect();
            assert_eq!(found.len(), rows_in.len());
            for (found, (hash, key, columns)) in found.iter().zip(&rows_in) {
                let same = (found.hash, found.key, found.columns.len()) == (*hash, *key, *columns);
                assert!(same && found.written == (hash % 2 == 0) && found.touched == -(*hash as i64));
            }
        }
        let page = page(&[(5, b"a", 9), (5, b"b", 3), (7, b"c", 3)]);
        for (hash, numbers) in [(0, 0..3), (5, 0..3), (6, 2..3), (7, 2..3), (8, 3..3)] {
            assert!(rows_from(&page, hash).map(|(row_number, _)| row_number).eq(numbers), "{hash}");
        }
        let mut builder = PageBuilder::default();
        builder.add(&[0; 4000]);
        assert!(builder.fits(80) && !builder.fits(81));
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_hostile_pages_do_no_harm() {
        let page = page(&[(5, b"key", 9), (6, b"another", 3)]);
        for bit in 0..page.len() * 8 {
            let mut damaged = page.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_intact(&damaged, 3), "bit {bit}");
            // With a valid checksum, the content may be anything.
            assert!(rows_from(&damaged, 0).take(10_000).count() > 0 || rows_from(&damaged, 0).next().is_none());
        }
        let end = HEAD_BYTES + u32::from_le_bytes(page[12..16].try_into().unwrap()) as usize;
        assert_eq!(rows_from(&page[..end], 0).filter(|(_, row)| row.is_some()).count(), 2);
        for length in 0..end {
            assert!(rows_from(&page[..length], 0).all(|(_, row)| row.is_none()), "{length}");
        }
    }
}
