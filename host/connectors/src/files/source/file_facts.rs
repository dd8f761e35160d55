//! Identifies files and objects, to detect changes after they were read.

use millstream_rows::batch::position::Position;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;
use xxhash_rust::xxh3::xxh3_64;

/// The mark at the end of a file that was read by an older version: only the length is known.
const LEGACY_MARK: i64 = 1;
const HALF_BITS: u32 = 31;
const HALF: u64 = (1 << HALF_BITS) - 1;

/// The current facts about a file or object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Its length.
    pub bytes: u64,
    /// When it was last modified.
    pub modified: SystemTime,
    /// Changes when the file is written to: that time, or the version of an object.
    version: u64,
    /// Identifies the file independently of its name: a digest of its inode and creation time, as inode numbers are reused. Objects are never written
    /// to: a replacement is a different object.
    pub identity: u64,
    /// Whether it is an object, which cannot be written to.
    object: bool,
}

/// How a file has changed since its end was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// It is unchanged.
    Same,
    /// Another file has its name.
    Replaced,
    /// It was written to.
    Changed,
}

impl FileFacts {
    /// Returns the facts of a file.
    pub fn of(metadata: &Metadata) -> FileFacts {
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let created_ns = metadata.created().map_or(0, ns);
        let identity = xxh3_64(&[metadata.ino().to_le_bytes(), created_ns.to_le_bytes()].concat());
        FileFacts { bytes: metadata.len(), modified, version: ns(modified), identity, object: false }
    }

    /// Returns the facts of an object. Its length and ETag identify it; without an ETag, the second in which it was written does.
    pub fn of_object(bytes: u64, modified: SystemTime, etag: Option<&str>) -> FileFacts {
        let version = match etag {
            // Listings and response headers may or may not quote the ETag.
            Some(etag) => xxh3_64(etag.trim_start_matches("W/").trim_matches('"').as_bytes()),
            None => ns(modified) / 1_000_000_000,
        };
        let identity = xxh3_64(&[version.to_le_bytes(), bytes.to_le_bytes()].concat());
        FileFacts { bytes, modified, version, identity, object: true }
    }

    /// Returns the identity of an object, which is part of the marks of positions within it: even, and not 0. It is 0 for a file, which may be
    /// written to.
    pub fn object_id(&self) -> i64 {
        if self.object { self.mark() & !1 } else { 0 }
    }

    /// Returns the mark of a position at the end of this file: odd, with two digests.
    pub fn mark(&self) -> i64 {
        let number = digest(self.version) << (HALF_BITS + 1) | (digest(self.identity) | 1) << 1 | 1;
        i64::try_from(number).unwrap_or(LEGACY_MARK)
    }

    /// Returns the end of a restored file whose batches are replayed from it. A replacement of the same length is what the user restored, as messages
    /// ask for. A longer or shorter one counts as written to. Neither counts as new.
    pub fn restored(&self, end: Position) -> Position {
        if self.since(end) != FileChange::Replaced {
            return end;
        }
        if self.bytes == end.offset {
            return Position { mark: self.mark(), ..end };
        }
        let identity = HALF << 1;
        Position { mark: end.mark & !(identity as i64) | self.mark() & identity as i64, ..end }
    }

    /// Returns how the file has changed since its end was reached at `end`.
    pub fn since(&self, end: Position) -> FileChange {
        let (modified, identity) = ((end.mark >> (HALF_BITS + 1)) as u64, (end.mark >> 1) as u64 & HALF);
        let has_digests = end.mark != LEGACY_MARK;
        if self.bytes == end.offset && (!has_digests || digest(self.version) == modified) {
            FileChange::Same
        } else if has_digests && identity != digest(self.identity) | 1 {
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
        assert!(end.ended() && read.object_id() == end.mark - 1 && read.object_id() > 0);
        assert_eq!(FileFacts::of_object(10, at(9), Some("W/\"e\"")).since(end), FileChange::Same);
        assert_eq!(FileFacts::of_object(10, at(9), Some("e")).object_id(), read.object_id());
        for other in [FileFacts::of_object(10, at(5), Some("\"f\"")), FileFacts::of_object(11, at(5), Some("\"e\""))] {
            assert_eq!(other.since(end), FileChange::Replaced, "{other:?}");
            assert_ne!(other.object_id(), read.object_id());
        }
        let no_tag = FileFacts::of_object(10, at(5), None);
        let second = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        assert_eq!(FileFacts::of_object(10, second, None).object_id(), no_tag.object_id());
        assert_ne!(FileFacts::of_object(10, at(6), None).object_id(), no_tag.object_id());
        assert_eq!(file(10, at(5), 7).object_id(), 0);
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
        assert_eq!(new.since(new.restored(end)), FileChange::Same);
        for other in [FileFacts { bytes: 11, ..new }, FileFacts { bytes: 9, ..new }] {
            let brought = other.restored(end);
            assert!(brought.ended() && brought.offset == 10, "{brought:?}");
            assert_eq!(other.since(brought), FileChange::Changed, "{other:?}");
        }
        for same_file in [read, FileFacts { bytes: 11, ..read }, file(10, at(6), 7)] {
            assert_eq!(same_file.restored(end), end);
        }
        let old = Position { offset: 10, mark: 1 };
        assert_eq!(new.restored(old), old);
        assert_eq!(new.since(old), FileChange::Same, "no more is known");
        assert_eq!(FileFacts { bytes: 9, identity: 8, ..read }.since(old), FileChange::Changed);
    }
}
