//! What a file, or an object of a bucket, is known by, so that one that changes after it was read is not passed over in silence.

use millstream_base::batch::position::Position;
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
pub struct FileFacts {
    /// Its length.
    pub bytes: u64,
    /// When it was last written to.
    pub modified: SystemTime,
    /// What changes when somebody writes to it: that time, or the version of an object.
    version: u64,
    /// Which file it is, whatever its name: its inode, and when that was made, as numbers of inodes are used again. No object is
    /// written to: what comes in its place is another one.
    pub identity: u64,
    /// Nobody can write to it.
    object: bool,
}

/// What became of a file since its end was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// It is as it was.
    Same,
    /// Another file has its name.
    Replaced,
    /// Somebody wrote to it.
    Changed,
}

impl FileFacts {
    /// Those of a file.
    pub fn of(metadata: &Metadata) -> FileFacts {
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let made_ns = metadata.created().map_or(0, ns);
        let identity = xxh3_64(&[metadata.ino().to_le_bytes(), made_ns.to_le_bytes()].concat());
        FileFacts { bytes: metadata.len(), modified, version: ns(modified), identity, object: false }
    }

    /// Those of an object: its length and its etag tell it from any other, or where it has no etag the second in which it was
    /// written.
    pub fn of_object(bytes: u64, modified: SystemTime, etag: Option<&str>) -> FileFacts {
        let version = match etag {
            // Listings, and headers of answers, put it into quotes or do not.
            Some(etag) => xxh3_64(etag.trim_start_matches("W/").trim_matches('"').as_bytes()),
            None => ns(modified) / 1_000_000_000,
        };
        let identity = xxh3_64(&[version.to_le_bytes(), bytes.to_le_bytes()].concat());
        FileFacts { bytes, modified, version, identity, object: true }
    }

    /// What all records of an object are known by, in the marks of positions within it: even, and not 0. A file, to which somebody
    /// may write, has 0.
    pub fn known_by(&self) -> i64 {
        if self.object { self.mark() & !1 } else { 0 }
    }

    /// The mark of a position at the end of this file: odd, and two digests.
    pub fn mark(&self) -> i64 {
        let number = digest(self.version) << (HALF_BITS + 1) | (digest(self.identity) | 1) << 1 | 1;
        i64::try_from(number).unwrap_or(MARK_OF_OLD)
    }

    /// The end of a file of which batches are read again, from this one. Another one in its place, as long as that was, is what
    /// somebody brought back for them, as messages ask for; a longer or shorter one counts as written to. Neither is new.
    pub fn brought_back(&self, end: Position) -> Position {
        if self.since(end) != FileChange::Replaced {
            return end;
        }
        if self.bytes == end.offset {
            return Position { mark: self.mark(), ..end };
        }
        let identity = HALF << 1;
        Position { mark: end.mark & !(identity as i64) | self.mark() & identity as i64, ..end }
    }

    /// What became of the file whose end was reached so.
    pub fn since(&self, end: Position) -> FileChange {
        let (modified, identity) = ((end.mark >> (HALF_BITS + 1)) as u64, (end.mark >> 1) as u64 & HALF);
        let known = end.mark != MARK_OF_OLD;
        if self.bytes == end.offset && (!known || digest(self.version) == modified) {
            FileChange::Same
        } else if known && identity != digest(self.identity) | 1 {
            FileChange::Replaced
        } else {
            FileChange::Changed
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

    fn file(bytes: u64, modified: SystemTime, identity: u64) -> FileFacts {
        FileFacts { bytes, modified, version: ns(modified), identity, object: false }
    }

    #[test]
    fn an_object_is_the_same_while_its_length_and_etag_are() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7);
        let read = FileFacts::of_object(10, at(5), Some("\"e\""));
        let end = Position { offset: 10, mark: read.mark() };
        assert!(end.ended() && read.known_by() == end.mark - 1 && read.known_by() > 0);
        assert_eq!(FileFacts::of_object(10, at(9), Some("W/\"e\"")).since(end), FileChange::Same);
        assert_eq!(FileFacts::of_object(10, at(9), Some("e")).known_by(), read.known_by());
        for other in [FileFacts::of_object(10, at(5), Some("\"f\"")), FileFacts::of_object(11, at(5), Some("\"e\""))] {
            assert_eq!(other.since(end), FileChange::Replaced, "{other:?}");
            assert_ne!(other.known_by(), read.known_by());
        }
        let no_tag = FileFacts::of_object(10, at(5), None);
        let second = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        assert_eq!(FileFacts::of_object(10, second, None).known_by(), no_tag.known_by());
        assert_ne!(FileFacts::of_object(10, at(6), None).known_by(), no_tag.known_by());
        assert_eq!(file(10, at(5), 7).known_by(), 0);
    }

    #[test]
    fn a_file_is_told_from_one_that_was_written_to_and_from_another_of_its_name() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let read = file(10, at(5), 7);
        let end = Position { offset: 10, mark: read.mark() };
        assert!(end.ended() && end.mark > 1, "{end:?}");
        assert_eq!(read.since(end), FileChange::Same);
        assert_eq!(FileFacts { identity: 8, ..read }.since(end), FileChange::Same, "brought back as it was");
        assert_eq!(FileFacts { bytes: 11, ..read }.since(end), FileChange::Changed);
        assert_eq!(file(10, at(6), 7).since(end), FileChange::Changed);
        let new = file(10, at(6), 8);
        assert_eq!(new.since(end), FileChange::Replaced);
        assert_eq!(new.since(new.brought_back(end)), FileChange::Same);
        for other in [FileFacts { bytes: 11, ..new }, FileFacts { bytes: 9, ..new }] {
            let brought = other.brought_back(end);
            assert!(brought.ended() && brought.offset == 10, "{brought:?}");
            assert_eq!(other.since(brought), FileChange::Changed, "{other:?}");
        }
        for same_file in [read, FileFacts { bytes: 11, ..read }, file(10, at(6), 7)] {
            assert_eq!(same_file.brought_back(end), end);
        }
        let old = Position { offset: 10, mark: 1 };
        assert_eq!(new.brought_back(old), old);
        assert_eq!(new.since(old), FileChange::Same, "no more is known");
        assert_eq!(FileFacts { bytes: 9, identity: 8, ..read }.since(old), FileChange::Changed);
    }
}
