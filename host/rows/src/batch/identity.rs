//! Recognizes a file of a rotated log by its content, whatever its current name: the file itself or a copy.
//!
//! Positions, extents and plans name such a file by its first bytes. The mark of a position holds a digest of the bytes immediately before it.

use crate::batch::chunk::Chunk;
use crate::batch::position::Position;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use xxhash_rust::xxh3::xxh3_64;

/// How many of a file's first bytes are compared.
pub const HEAD_BYTES_MAX: usize = 1024;
/// How many bytes before a position are compared.
pub const TAIL_BYTES_MAX: usize = 64;
/// Prefix that no file name has.
const MARK: &str = "//";
/// Bit widths of a position's mark: whether the file was read to its end, how many bytes were digested, and their digest.
const TAIL_BITS: u32 = 7;
const DIGEST_BITS: u32 = 55;

/// Identity of a file of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// Ordinal of the file among those read.
    pub number: u64,
    /// Its inode when reading began.
    pub inode: u64,
    /// Number of its first bytes that existed then.
    pub head_bytes: usize,
    /// Digest of these bytes.
    pub head: u64,
}

impl FileIdentity {
    /// Returns the identity of a file whose reading begins now.
    pub fn new(number: u64, inode: u64, head: &[u8]) -> FileIdentity {
        FileIdentity { number, inode, head_bytes: head.len(), head: xxh3_64(head) }
    }

    /// Returns the name in positions and extents.
    pub fn name(&self) -> String {
        let FileIdentity { number, inode, head_bytes, head } = self;
        format!("{MARK}{number}.{inode}.{head_bytes}.{head:016x}")
    }

    /// Parses a name.
    pub fn parse(name: &str) -> Option<FileIdentity> {
        let mut parts = name.strip_prefix(MARK)?.split('.');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (number, inode, head_bytes) = (number()?, number()?, usize::try_from(number()?).ok()?);
        let head = u64::from_str_radix(parts.next()?, 16).ok()?;
        (head_bytes <= HEAD_BYTES_MAX && parts.next().is_none()).then_some(FileIdentity {
            number,
            inode,
            head_bytes,
            head,
        })
    }

    /// Returns whether a file with these first bytes may be this one.
    pub fn begins(&self, head: &[u8]) -> bool {
        head.get(..self.head_bytes).is_some_and(|head| xxh3_64(head) == self.head)
    }
}

/// Returns whether this is the name of a log's file.
pub fn is_name(name: &str) -> bool {
    name.starts_with(MARK)
}

/// Reads the first bytes of a file.
pub fn head_of(file: &File) -> io::Result<Vec<u8>> {
    read_at(file, 0, HEAD_BYTES_MAX)
}

/// Reads the bytes immediately before an offset.
pub fn tail_of(file: &File, offset: u64) -> io::Result<Vec<u8>> {
    before(file, offset, TAIL_BYTES_MAX)
}

/// Reads at most `bytes_max` bytes before an offset.
pub fn before(file: &File, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
    let bytes = offset.min(bytes_max as u64);
    read_at(file, offset - bytes, bytes as usize)
}

fn read_at(file: &File, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; bytes_max];
    let mut filled = 0;
    while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read_at(room, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Returns the position after the records of a chunk.
pub fn position_after(chunk: &Chunk) -> Position {
    let offset = chunk.extent.start.saturating_add(chunk.extent.bytes);
    // The chunk does not hold the last bytes of a record that was too long.
    let cut = chunk.rejected.iter().rev().find(|rejection| rejection.dropped > 0);
    let cut_end = cut.map_or(0, |rejection| chunk.ends.get(rejection.row as usize).map_or(0, |end| *end as usize));
    let start = chunk.bytes.len().saturating_sub(TAIL_BYTES_MAX).max(cut_end);
    Position { offset, mark: mark(chunk.bytes.get(start..).unwrap_or_default(), false) }
}

/// Returns the mark of a position; `tail` holds the last bytes before it.
pub fn mark(tail: &[u8], ended: bool) -> i64 {
    let digest = xxh3_64(tail) & ((1 << DIGEST_BITS) - 1);
    let digest = if tail.is_empty() { 0 } else { digest };
    (digest << (TAIL_BITS + 1) | (tail.len() as u64) << 1 | u64::from(ended)) as i64
}

/// Returns whether the file still has the same bytes before this position.
pub fn fits(file: &File, position: Position) -> io::Result<bool> {
    if file.metadata()?.len() < position.offset {
        return Ok(false);
    }
    let bytes = (position.mark >> 1) as u64 & ((1 << TAIL_BITS) - 1);
    if bytes == 0 || bytes > position.offset {
        return Ok(bytes == 0);
    }
    let tail = read_at(file, position.offset - bytes, bytes as usize)?;
    Ok(mark(&tail, position.ended()) == position.mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_name_says_which_file_it_is() {
        let identity = FileIdentity::new(3, u64::MAX, b"first line\n");
        assert_eq!(FileIdentity::parse(&identity.name()), Some(identity.clone()));
        assert!(is_name(&identity.name()) && identity.begins(b"first line\nsecond") && !identity.begins(b"first lin"));
        for wrong in ["", "//", "//1.2.3", "//1.2.3.zz", "//1.2.3.00.4", "//1.2.2000.00", "1.2.3.00"] {
            assert_eq!(FileIdentity::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_position_fits_where_the_bytes_before_it_are_the_same() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one\ntwo\nthree\n").unwrap();
        for ended in [false, true] {
            let at = |offset: u64, tail: &[u8]| Position { offset, mark: mark(tail, ended) };
            assert!(at(8, b"one\ntwo\n").mark >= 0);
            assert_eq!(at(8, b"two\n").ended(), ended);
            assert!(fits(&file, at(8, b"two\n")).unwrap());
            assert!(fits(&file, at(8, b"")).unwrap(), "nothing is known of it");
            assert!(!fits(&file, at(8, b"tow\n")).unwrap());
            assert!(!fits(&file, at(4, b"two\n")).unwrap());
            assert!(!fits(&file, at(15, b"")).unwrap(), "it is shorter");
        }
    }
}
