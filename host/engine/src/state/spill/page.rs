//! Rows as spill files have them, in pages with a checksum each.
//!
//! A page: its checksum, the number of its rows, their bytes together (8, 4 and 4 bytes, the smallest first), the rows, and zeros
//! up to a multiple of [`PAGE_BYTES`]. A row: its length, the hash of its key, the key's length, whether a checkpoint has the key,
//! when the key was last touched (4, 8, 4, 1 and 8 bytes), the key, and the state columns one behind the other.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A page is a multiple of this, and no more than once where a single row is not larger.
pub const PAGE_BYTES: usize = 4096;
/// What stands in a page before its rows.
const HEAD_BYTES: usize = 16;
/// What stands in a row before its key.
const ROW_HEAD_BYTES: usize = 25;

/// A row, read where it lies.
#[derive(Clone, Copy, Debug)]
pub struct ColdRow<'a> {
    /// The hash of the key.
    pub hash: u64,
    /// The key.
    pub key: &'a [u8],
    /// Whether files of checkpoints had the key when the row was written.
    pub written: bool,
    /// When the key was last touched.
    pub touched: i64,
    /// The state columns.
    pub columns: &'a [u8],
    /// All of it, to be copied.
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
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&hash.to_le_bytes());
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.push(u8::from(written));
    out.extend_from_slice(&touched.to_le_bytes());
    out.extend_from_slice(key);
    columns(out);
    let length = (out.len() - start) as u32;
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

/// How long a row of so many bytes may be at most: lengths have four bytes.
pub const ROW_BYTES_MAX: usize = 1 << 30;

/// A page that is being filled.
#[derive(Default)]
pub struct PageBuilder {
    bytes: Vec<u8>,
    rows: u32,
}

impl PageBuilder {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether a row of so many bytes goes in: one always does.
    pub fn fits(&self, row: usize) -> bool {
        self.rows == 0 || self.bytes.len() + row <= PAGE_BYTES - HEAD_BYTES
    }

    /// Adds a row.
    pub fn add(&mut self, row: &[u8]) {
        self.bytes.extend_from_slice(row);
        self.rows += 1;
    }

    /// Appends the page, and begins the next one. `seed` tells where the page is.
    pub fn put(&mut self, seed: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.bytes);
        out.resize(start + (HEAD_BYTES + self.bytes.len()).next_multiple_of(PAGE_BYTES), 0);
        let checksum = out.get(start + 8..).map_or(0, |page| xxh3_64_with_seed(page, seed));
        if let Some(place) = out.get_mut(start..start + 8) {
            place.copy_from_slice(&checksum.to_le_bytes());
        }
        self.bytes.clear();
        self.rows = 0;
    }
}

/// Whether a page is as it was written, at the place of this seed.
pub fn is_whole(page: &[u8], seed: u64) -> bool {
    let told = page.first_chunk().map(|told| u64::from_le_bytes(*told));
    page.get(8..).is_some_and(|rest| told == Some(xxh3_64_with_seed(rest, seed)))
}

/// The rows of a page that is whole with their places, from the first whose hash is not below this one; `None` for one that nobody
/// can have written.
pub fn rows_from(page: &[u8], hash: u64) -> impl Iterator<Item = (u32, Option<ColdRow<'_>>)> {
    let number = |at: usize| Some(u32::from_le_bytes(page.get(at..at + 4)?.try_into().ok()?));
    let head = number(8).zip(number(12));
    let mut rest = head.and_then(|(_, bytes)| page.get(HEAD_BYTES..HEAD_BYTES.checked_add(bytes as usize)?));
    let mut places = 0..head.map_or(1, |(rows, _)| rows);
    std::iter::from_fn(move || {
        for place in places.by_ref() {
            let Some((row, others)) = rest.take().and_then(first_of) else { return Some((place, None)) };
            rest = Some(others);
            if hash_of(row).is_none_or(|own| own >= hash) {
                return Some((place, row_of(row)));
            }
        }
        None
    })
}

/// Rows that lie behind each other, as [`put_row`] wrote them; `None` for one that it did not write.
pub fn rows(mut rest: &[u8]) -> impl Iterator<Item = Option<ColdRow<'_>>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (row, others) = first_of(rest).unwrap_or_default();
        rest = others;
        Some(row_of(row))
    })
}

/// The bytes of the first row, and those behind it.
fn first_of(rows: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_le_bytes(*rows.first_chunk()?);
    rows.split_at_checked(usize::try_from(length).ok()?)
}

fn hash_of(row: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(row.get(4..12)?.try_into().ok()?))
}

/// A row of these bytes.
pub fn row_of(bytes: &[u8]) -> Option<ColdRow<'_>> {
    let (head, rest) = bytes.split_at_checked(ROW_HEAD_BYTES)?;
    let key = usize::try_from(u32::from_le_bytes(head.get(12..16)?.try_into().ok()?)).ok()?;
    let (key, columns) = rest.split_at_checked(key)?;
    Some(ColdRow {
        hash: hash_of(head)?,
        key,
        written: *head.get(16)? != 0,
        touched: i64::from_le_bytes(head.get(17..25)?.try_into().ok()?),
        columns,
        bytes,
    })
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
            [vec![], vec![(1, &b""[..], 0)], vec![(5, &b"key"[..], 9), (6, b"another", 3)], vec![(8, b"k", 9000)]]
        {
            let page = page(&rows_in);
            assert!(page.len().is_multiple_of(PAGE_BYTES) && is_whole(&page, 3) && !is_whole(&page, 4));
            let found: Vec<_> = rows_from(&page, 0).map(|(_, row)| row.unwrap()).collect();
            assert_eq!(found.len(), rows_in.len());
            for (found, (hash, key, columns)) in found.iter().zip(&rows_in) {
                let same = (found.hash, found.key, found.columns.len()) == (*hash, *key, *columns);
                assert!(same && found.written == (hash % 2 == 0) && found.touched == -(*hash as i64));
            }
        }
        let page = page(&[(5, b"a", 9), (5, b"b", 3), (7, b"c", 3)]);
        for (hash, places) in [(0, 0..3), (5, 0..3), (6, 2..3), (7, 2..3), (8, 3..3)] {
            assert!(rows_from(&page, hash).map(|(place, _)| place).eq(places), "{hash}");
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
            assert!(!is_whole(&damaged, 3), "bit {bit}");
            // With a fitting checksum it may be anything.
            assert!(rows_from(&damaged, 0).take(10_000).count() > 0 || rows_from(&damaged, 0).next().is_none());
        }
        for length in 0..88 {
            assert!(rows_from(&page[..length], 0).all(|(_, row)| row.is_none()), "{length}");
        }
    }
}
