//! The files of a log: the current one at its path, and the rotated ones next to it.

use millstream_rows::batch::identity;
use millstream_rows::batch::identity::FileIdentity;
use millstream_rows::batch::position::Position;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Suffixes of compressed files.
const COMPRESSED_SUFFIXES: [&str; 7] = [".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip", ".Z"];

/// How much of the bytes read last is kept, to recognize a copy without the last lines.
const RECENT_BYTES_MAX: usize = 64 << 10;

/// A file of a log.
#[derive(Clone, Debug)]
pub struct LogFile {
    /// Its path.
    pub path: PathBuf,
    /// Its inode.
    pub inode: u64,
    /// Its length.
    pub bytes: u64,
    /// When it was last modified.
    pub modified: SystemTime,
    /// Its first bytes.
    pub head: Vec<u8>,
    /// Whether it is at the path of the log.
    pub current: bool,
    /// Whether its name alone makes it a file of the log.
    pub rotated: bool,
    /// The number at the end of its name.
    number: u64,
}

/// The files in the directory of a log.
#[derive(Debug, Default)]
pub struct LogDir {
    /// Regular files, ordered by modification time, and last the one at the path.
    pub files: Vec<LogFile>,
    /// Names of compressed files of the log.
    pub compressed: Vec<String>,
}

impl LogDir {
    /// Scans the directory of `path`. `inodes`: files to find under any name.
    ///
    /// The file at the path is scanned first: if it was truncated, its former content is in complete copies by then. In the other order, a copy could
    /// be seen empty, and then the current file with what was written after the truncation.
    pub fn look(path: &Path, inodes: &[u64]) -> io::Result<LogDir> {
        let mut log_dir = LogDir::default();
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let entries = std::fs::read_dir(dir)?;
        if let Some(found) = LogFile::open(path)? {
            log_dir.files.push(LogFile { current: true, ..found });
        }
        for entry in entries {
            let entry = entry?;
            let other = entry.file_name().to_string_lossy().into_owned();
            if other == name {
                continue;
            }
            let suffix = other.strip_prefix(&name).filter(|suffix| is_rotation(suffix));
            if suffix.is_some() && COMPRESSED_SUFFIXES.iter().any(|end| other.ends_with(end)) {
                log_dir.compressed.push(other);
                continue;
            }
            let wanted = suffix.is_some() || entry.metadata().is_ok_and(|m| inodes.contains(&m.ino()));
            if !wanted {
                continue;
            }
            if let Some(mut found) = LogFile::open(&entry.path())? {
                found.rotated = suffix.is_some();
                found.number = suffix.map_or(0, last_number);
                log_dir.files.push(found);
            }
        }
        // A file that has two names for a moment counts once.
        let current = log_dir.files.iter().find(|found| found.current).map(|found| found.inode);
        log_dir.files.retain(|found| found.current || Some(found.inode) != current);
        // Of two with the same time, the one with the larger number is older.
        log_dir.files.sort_by_key(|found| (found.current, found.modified, Reverse(found.number), found.path.clone()));
        Ok(log_dir)
    }

    /// Returns the file that was read up to this position, if it exists: the file itself, or with `copies` a copy. `taken`: files that are known to
    /// be others.
    pub fn find(
        &self,
        known: &FileIdentity,
        position: Position,
        copies: bool,
        taken: &[usize],
    ) -> io::Result<Option<usize>> {
        for (index, found) in self.files.iter().enumerate() {
            let copy = found.inode != known.inode;
            // A head of this length does not change, so the file need not be opened.
            let other = found.head.len() >= known.head_bytes && !known.begins(&found.head);
            if copy != copies || copy && !found.rotated || other || taken.contains(&index) {
                continue;
            }
            // Its current state: since the scan, a copy may have been completed, and the file itself truncated.
            let Some(file) = open(&found.path)? else { continue };
            let bytes = file.metadata()?.len();
            // A copy of a file that was read to its end has the same length.
            let long = if copy && position.ended() { bytes == position.offset } else { bytes >= position.offset };
            if long && known.begins(&identity::head_of(&file)?) && identity::fits(&file, position)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Finds a rotated copy of a file that was read, without its last lines: they were written after the copy and are lost. The copy is a prefix of
    /// what was read. Returns also where it ends. `taken`: files that are known to be others.
    pub fn short_copy(
        &self,
        known: &FileIdentity,
        recent: &RecentBytes,
        taken: &[usize],
    ) -> io::Result<Option<(usize, Position)>> {
        for (index, found) in self.files.iter().enumerate() {
            let copy = found.rotated && found.inode != known.inode && !taken.contains(&index);
            if !copy || found.bytes == 0 || !known.begins(&found.head) {
                continue;
            }
            let Some(file) = open(&found.path)? else { continue };
            let bytes = file.metadata()?.len();
            let tail = identity::tail_of(&file, bytes)?;
            if recent.before(bytes).is_some_and(|before| before.ends_with(&tail)) {
                return Ok(Some((index, Position { offset: bytes, mark: identity::mark(&tail, true) })));
            }
        }
        Ok(None)
    }

    /// Returns whether a rotated file is a copy of the one at the path, which is about to be truncated. Until then, the one at the path is the one to
    /// read. It is if it begins with the complete copy and is older: of two logs with equal beginnings, the rotated one is older.
    pub fn is_copy_of_current(&self, found: &LogFile) -> io::Result<bool> {
        let Some(current) = self.files.iter().find(|file| file.current) else { return Ok(false) };
        // The copy is read first, so that a truncation of the other in the meantime is noticed.
        let (Some(copy), Some(log)) = (open(&found.path)?, open(&current.path)?) else { return Ok(false) };
        let (of_copy, of_log) = (copy.metadata()?, log.metadata()?);
        let older = match (of_log.created(), of_copy.created()) {
            (Ok(log), Ok(copy)) => log <= copy,
            // If the file system does not store creation times.
            _ => modified(&of_log) <= modified(&of_copy),
        };
        if found.current || of_copy.ino() == of_log.ino() || of_copy.len() > of_log.len() || !older {
            return Ok(false);
        }
        let (head, tail) = (identity::head_of(&copy)?, identity::tail_of(&copy, of_copy.len())?);
        Ok(identity::head_of(&log)?.starts_with(&head) && identity::tail_of(&log, of_copy.len())? == tail)
    }

    /// Returns whether another scan found the same files.
    pub fn is_same_dir(&self, other: &LogDir) -> bool {
        let files =
            |log_dir: &LogDir| log_dir.files.iter().map(|f| (f.path.clone(), f.inode)).collect::<BTreeMap<_, _>>();
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
    /// Creates it for a file that is read from this position.
    pub fn from(file: &File, offset: u64) -> io::Result<RecentBytes> {
        Ok(RecentBytes { bytes: identity::before(file, offset, RECENT_BYTES_MAX)?, end: offset })
    }

    /// Adds bytes that were read.
    pub fn read(&mut self, block: &[u8]) {
        self.end += block.len() as u64;
        let kept = block.get(block.len().saturating_sub(RECENT_BYTES_MAX)..).unwrap_or_default();
        let over = (self.bytes.len() + kept.len()).saturating_sub(RECENT_BYTES_MAX);
        self.bytes.drain(..over.min(self.bytes.len()));
        self.bytes.extend_from_slice(kept);
    }

    /// Returns the kept bytes before this offset of the file; `None`: none are kept, or the file was not read that far.
    fn before(&self, index: u64) -> Option<&[u8]> {
        let left = usize::try_from(self.end.checked_sub(index)?).ok()?;
        self.bytes.get(..self.bytes.len().checked_sub(left)?).filter(|before| !before.is_empty())
    }
}

impl LogFile {
    /// Returns a regular file; `None`: it does not exist or is something else.
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

/// Opens a regular file; `None`: it does not exist or is something else.
pub fn open(path: &Path) -> io::Result<Option<File>> {
    let or_missing = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) };
    match std::fs::metadata(path) {
        // Opening a pipe would wait for its writer.
        Ok(metadata) if metadata.is_file() => millstream_base::regular::open(path).map(Some).or_else(or_missing),
        Ok(_) => Ok(None),
        Err(error) => or_missing(error),
    }
}

/// Returns when a file was last modified.
pub fn modified(metadata: &Metadata) -> SystemTime {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Returns the path of the file with this name in positions and plans, which contains the bytes before this position.
pub fn path_of(path: &Path, name: &str, position: Position) -> Option<PathBuf> {
    let known = FileIdentity::parse(name)?;
    let log_dir = LogDir::look(path, &[known.inode]).ok()?;
    // More may have been written to it since.
    let position = Position { mark: position.mark & !1, ..position };
    let itself = log_dir.find(&known, position, false, &[]).ok()?;
    let index = itself.or_else(|| log_dir.find(&known, position, true, &[]).ok()?)?;
    log_dir.files.get(index).map(|found| found.path.clone())
}

/// Returns whether a rotation appends such a suffix to a log's name: `.1`, `-20261121`, `.2026-11-21`, `.old`.
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
        let other_dir = LogDir::look(&path, &[]).unwrap();
        let log = other_dir.files.iter().find(|found| found.current).unwrap();
        let known = FileIdentity::new(0, log.inode, &log.head);
        let position = Position { offset: 4, mark: identity::mark(b"one\n", false) };
        std::fs::copy(&path, &copy).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        assert_eq!(other_dir.find(&known, position, false, &[]).unwrap(), None);
        let index = other_dir.find(&known, position, true, &[]).unwrap().unwrap();
        assert_eq!(other_dir.files[index].path, copy);
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
