//! What a file is known by, so that one that changes after it was read is not passed over in silence.

use crate::batch::position::Position;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;
use xxhash_rust::xxh3::xxh3_64;

/// The end of a file that a version before this one has read: only its length is known.
const MARK_OF_OLD: i64 = 1;
const HALF_BITS: u32 = 31;
const HALF: u64 = (1 << HALF_BITS) - 1;

/// A file as it is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its length.
    pub bytes: u64,
    /// When it was last written to.
    pub modified: SystemTime,
    /// Which file it is, whatever its name: its inode, and when that was made, as numbers of inodes are used again.
    pub identity: u64,
}

/// What became of a file since its end was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// It is as it was.
    Same,
    /// Another file has its name.
    Replaced,
    /// Somebody wrote to it.
    Changed,
}

impl Facts {
    /// Those of a file.
    pub fn of(metadata: &Metadata) -> Facts {
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let made_ns = metadata.created().map_or(0, ns);
        let identity = xxh3_64(&[metadata.ino().to_le_bytes(), made_ns.to_le_bytes()].concat());
        Facts { bytes: metadata.len(), modified, identity }
    }

    /// The mark of a position at the end of this file: odd, and two digests.
    pub fn mark(&self) -> i64 {
        let number = digest(ns(self.modified)) << (HALF_BITS + 1) | (digest(self.identity) | 1) << 1 | 1;
        i64::try_from(number).unwrap_or(MARK_OF_OLD)
    }

    /// The end of a file of which batches are read again, from this one. Another one in its place, as long as that was, is what
    /// somebody brought back for them, as messages ask for; a longer or shorter one counts as written to. Neither is new.
    pub fn brought_back(&self, end: Position) -> Position {
        if self.since(end) != Since::Replaced {
            return end;
        }
        if self.bytes == end.offset {
            return Position { mark: self.mark(), ..end };
        }
        let identity = HALF << 1;
        Position { mark: end.mark & !(identity as i64) | self.mark() & identity as i64, ..end }
    }

    /// What became of the file whose end was reached so.
    pub fn since(&self, end: Position) -> Since {
        let (modified, identity) = ((end.mark >> (HALF_BITS + 1)) as u64, (end.mark >> 1) as u64 & HALF);
        let known = end.mark != MARK_OF_OLD;
        if self.bytes == end.offset && (!known || digest(ns(self.modified)) == modified) {
            Since::Same
        } else if known && identity != digest(self.identity) | 1 {
            Since::Replaced
        } else {
            Since::Changed
        }
    }
}

fn ns(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

fn digest(number: u64) -> u64 {
    xxh3_64(&number.to_le_bytes()) & HALF
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_file_is_told_from_one_that_was_written_to_and_from_another_of_its_name() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let read = Facts { bytes: 10, modified: at(5), identity: 7 };
        let end = Position { offset: 10, mark: read.mark() };
        assert!(end.ended() && end.mark > 1, "{end:?}");
        assert_eq!(read.since(end), Since::Same);
        assert_eq!(Facts { identity: 8, ..read }.since(end), Since::Same, "brought back as it was");
        assert_eq!(Facts { bytes: 11, ..read }.since(end), Since::Changed);
        assert_eq!(Facts { modified: at(6), ..read }.since(end), Since::Changed);
        assert_eq!(Facts { modified: at(6), identity: 8, ..read }.since(end), Since::Replaced);
        let new = Facts { modified: at(6), identity: 8, ..read };
        assert_eq!(new.since(new.brought_back(end)), Since::Same);
        for other in [Facts { bytes: 11, ..new }, Facts { bytes: 9, ..new }] {
            let brought = other.brought_back(end);
            assert!(brought.ended() && brought.offset == 10, "{brought:?}");
            assert_eq!(other.since(brought), Since::Changed, "{other:?}");
        }
        for same_file in [read, Facts { bytes: 11, ..read }, Facts { modified: at(6), ..read }] {
            assert_eq!(same_file.brought_back(end), end);
        }
        let old = Position { offset: 10, mark: 1 };
        assert_eq!(new.brought_back(old), old);
        assert_eq!(Facts { modified: at(6), identity: 8, ..read }.since(old), Since::Same, "no more is known");
        assert_eq!(Facts { bytes: 9, identity: 8, ..read }.since(old), Since::Changed);
    }
}
