//! The files of a log: the one at its path and, beside it, those that it was before it was rotated.

use millstream_base::batch::identity;
use millstream_base::batch::identity::FileIdentity;
use millstream_base::batch::position::Position;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Ends of names of files that hold a log in another form.
const PACKED_ENDS: [&str; 7] = [".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip", ".Z"];

/// How much of what was read last is kept, to know a copy that lacks the last lines.
const RECENT_BYTES_MAX: usize = 64 << 10;

/// A file of a log.
#[derive(Clone, Debug)]
pub struct LogFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its inode.
    pub inode: u64,
    /// Its length.
    pub bytes: u64,
    /// When it was last written to.
    pub modified: SystemTime,
    /// Its first bytes.
    pub head: Vec<u8>,
    /// Whether it stands at the path of the log.
    pub current: bool,
    /// Whether its name alone makes it one of the log.
    pub rotated: bool,
    /// The number at the end of its name.
    number: u64,
}

/// What stands in the folder of a log.
#[derive(Debug, Default)]
pub struct LogDir {
    /// Regular files, those that were written to last at the end, and the one at the path behind all others.
    pub files: Vec<LogFile>,
    /// Names of files of the log that are packed.
    pub packed: Vec<String>,
}

impl LogDir {
    /// Looks at the folder of `path`. `inodes`: of files that are looked for under any name.
    ///
    /// The file at the path is looked at first: what it was before it was truncated is in copies by then, which are whole. The
    /// other way round a copy could be seen empty, and behind it what was written after the truncation.
    pub fn look(path: &Path, inodes: &[u64]) -> io::Result<LogDir> {
        let mut beside = LogDir::default();
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let entries = std::fs::read_dir(dir)?;
        if let Some(found) = LogFile::open(path)? {
            beside.files.push(LogFile { current: true, ..found });
        }
        for entry in entries {
            let entry = entry?;
            let other = entry.file_name().to_string_lossy().into_owned();
            if other == name {
                continue;
            }
            let suffix = other.strip_prefix(&name).filter(|suffix| is_rotation(suffix));
            if suffix.is_some() && PACKED_ENDS.iter().any(|end| other.ends_with(end)) {
                beside.packed.push(other);
                continue;
            }
            let wanted = suffix.is_some() || entry.metadata().is_ok_and(|m| inodes.contains(&m.ino()));
            if !wanted {
                continue;
            }
            if let Some(mut found) = LogFile::open(&entry.path())? {
                found.rotated = suffix.is_some();
                found.number = suffix.map_or(0, last_number);
                beside.files.push(found);
            }
        }
        // A file that has two names for a moment is one.
        let current = beside.files.iter().find(|found| found.current).map(|found| found.inode);
        beside.files.retain(|found| found.current || Some(found.inode) != current);
        // Of two that were written to at the same moment, the one with the larger number is the older one.
        beside.files.sort_by_key(|found| (found.current, found.modified, Reverse(found.number), found.path.clone()));
        Ok(beside)
    }

    /// Which of the files was read up to this position, if it is here: itself, or else, with `copies`, a copy. `taken`: files
    /// that are others.
    pub fn find(
        &self,
        known: &FileIdentity,
        position: Position,
        copies: bool,
        taken: &[usize],
    ) -> io::Result<Option<usize>> {
        for (place, found) in self.files.iter().enumerate() {
            let copy = found.inode != known.inode;
            // What a head of this length is, it stays, and saves opening the file.
            let other = found.head.len() >= known.head_bytes && !known.begins(&found.head);
            if copy != copies || copy && !found.rotated || other || taken.contains(&place) {
                continue;
            }
            // As it is now: a copy may have become whole since it was looked at, and the file itself been truncated.
            let Some(file) = open(&found.path)? else { continue };
            let bytes = file.metadata()?.len();
            // A copy of what was read to its end is as long as that.
            let long = if copy && position.ended() { bytes == position.offset } else { bytes >= position.offset };
            if long && known.begins(&identity::head_of(&file)?) && identity::fits(&file, position)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// A rotated file that holds the beginning of what was read of a file, and ends where that has these bytes: a copy that was made
    /// before the last lines were written, which are not to be found any more since. Where it ends. `taken`: files that are others.
    pub fn short_copy(
        &self,
        known: &FileIdentity,
        recent: &RecentBytes,
        taken: &[usize],
    ) -> io::Result<Option<(usize, Position)>> {
        for (place, found) in self.files.iter().enumerate() {
            let copy = found.rotated && found.inode != known.inode && !taken.contains(&place);
            if !copy || found.bytes == 0 || !known.begins(&found.head) {
                continue;
            }
            let Some(file) = open(&found.path)? else { continue };
            let bytes = file.metadata()?.len();
            let tail = identity::tail_of(&file, bytes)?;
            if recent.before(bytes).is_some_and(|before| before.ends_with(&tail)) {
                return Ok(Some((place, Position { offset: bytes, mark: identity::mark(&tail, true) })));
            }
        }
        Ok(None)
    }

    /// Whether a rotated file is a copy of the one at the path, which somebody is about to truncate. Until then the one at the
    /// path is the one to read. It is so as long as it begins with all that the copy holds, and was there before the copy: of
    /// two logs that begin alike, the rotated one is the older one.
    pub fn is_copy_of_current(&self, found: &LogFile) -> io::Result<bool> {
        let Some(current) = self.files.iter().find(|file| file.current) else { return Ok(false) };
        // The copy comes first: where the other is truncated meanwhile, this is seen.
        let (Some(copy), Some(log)) = (open(&found.path)?, open(&current.path)?) else { return Ok(false) };
        let (of_copy, of_log) = (copy.metadata()?, log.metadata()?);
        let older = match (of_log.created(), of_copy.created()) {
            (Ok(log), Ok(copy)) => log <= copy,
            // Where files do not tell when they were made.
            _ => modified(&of_log) <= modified(&of_copy),
        };
        if found.current || of_copy.ino() == of_log.ino() || of_copy.len() > of_log.len() || !older {
            return Ok(false);
        }
        let (head, tail) = (identity::head_of(&copy)?, identity::tail_of(&copy, of_copy.len())?);
        Ok(identity::head_of(&log)?.starts_with(&head) && identity::tail_of(&log, of_copy.len())? == tail)
    }

    /// Whether another look found the same files.
    pub fn same(&self, other: &LogDir) -> bool {
        let files =
            |beside: &LogDir| beside.files.iter().map(|f| (f.path.clone(), f.inode)).collect::<BTreeMap<_, _>>();
        files(self) == files(other)
    }
}

/// The last bytes that were read of a file.
#[derive(Default)]
pub struct RecentBytes {
    bytes: Vec<u8>,
    end: u64,
}

impl RecentBytes {
    /// Of a file that is read on from here.
    pub fn from(file: &File, offset: u64) -> io::Result<RecentBytes> {
        Ok(RecentBytes { bytes: identity::before(file, offset, RECENT_BYTES_MAX)?, end: offset })
    }

    /// These were read.
    pub fn read(&mut self, block: &[u8]) {
        self.end += block.len() as u64;
        let kept = block.get(block.len().saturating_sub(RECENT_BYTES_MAX)..).unwrap_or_default();
        let over = (self.bytes.len() + kept.len()).saturating_sub(RECENT_BYTES_MAX);
        self.bytes.drain(..over.min(self.bytes.len()));
        self.bytes.extend_from_slice(kept);
    }

    /// What is known of what stands before this place of the file; `None`: nothing, or the file was not read as far.
    fn before(&self, place: u64) -> Option<&[u8]> {
        let left = usize::try_from(self.end.checked_sub(place)?).ok()?;
        self.bytes.get(..self.bytes.len().checked_sub(left)?).filter(|before| !before.is_empty())
    }
}

impl LogFile {
    /// A regular file; `None`: it is not there, or something else.
    pub fn open(path: &Path) -> io::Result<Option<LogFile>> {
        let Some(file) = open(path)? else { return Ok(None) };
        let metadata = file.metadata()?;
        Ok(Some(LogFile {
            path: path.to_owned(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: modified(&metadata),
            head: identity::head_of(&file)?,
            current: false,
            rotated: false,
            number: 0,
        }))
    }
}

/// A regular file; `None`: it is not there, or something else.
pub fn open(path: &Path) -> io::Result<Option<File>> {
    let gone = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) };
    match std::fs::metadata(path) {
        // Opening a pipe would wait for its writer.
        Ok(metadata) if metadata.is_file() => millstream_base::regular::open(path).map(Some).or_else(gone),
        Ok(_) => Ok(None),
        Err(error) => gone(error),
    }
}

/// When a file was last written to.
pub fn modified(metadata: &Metadata) -> SystemTime {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Where the file is that positions and plans name so, and that holds what stood at this position.
pub fn path_of(path: &Path, name: &str, position: Position) -> Option<PathBuf> {
    let known = FileIdentity::parse(name)?;
    let beside = LogDir::look(path, &[known.inode]).ok()?;
    // More may have been written to it since.
    let position = Position { mark: position.mark & !1, ..position };
    let itself = beside.find(&known, position, false, &[]).ok()?;
    let place = itself.or_else(|| beside.find(&known, position, true, &[]).ok()?)?;
    beside.files.get(place).map(|found| found.path.clone())
}

/// Whether a rotation puts such a suffix behind a log's name: `.1`, `-20261121`, `.2026-11-21`, `.old`.
fn is_rotation(suffix: &str) -> bool {
    let Some(rest) = suffix.strip_prefix(['.', '-', '_']) else { return false };
    rest == "old" || rest == "prev" || rest.starts_with(|first: char| first.is_ascii_digit())
}

fn last_number(suffix: &str) -> u64 {
    let digits = suffix.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_was_empty_when_it_was_looked_at_is_found_once_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("app.log"), dir.path().join("app.log.1"));
        std::fs::write(&path, "one\ntwo\n").unwrap();
        std::fs::write(&copy, "").unwrap();
        let beside = LogDir::look(&path, &[]).unwrap();
        let log = beside.files.iter().find(|found| found.current).unwrap();
        let known = FileIdentity::new(0, log.inode, &log.head);
        let position = Position { offset: 4, mark: identity::mark(b"one\n", false) };
        std::fs::copy(&path, &copy).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        assert_eq!(beside.find(&known, position, false, &[]).unwrap(), None);
        let place = beside.find(&known, position, true, &[]).unwrap().unwrap();
        assert_eq!(beside.files[place].path, copy);
    }

    #[test]
    fn rotated_files_are_known_by_their_names() {
        for rotation in [".1", "-20261121", ".2026-11-21", "_3", ".old", ".1.gz"] {
            assert!(is_rotation(rotation), "{rotation}");
        }
        for other in ["", ".", ".bak", ".gz", "2", "-errors", ".swp"] {
            assert!(!is_rotation(other), "{other}");
        }
    }
}
