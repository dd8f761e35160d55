//! The files of a directory, or the objects of a bucket.

use super::{DIRECTORY_KIND, check_settle, path_as_written, read_path, restored_end};
use crate::files::source::directory::{self, WatchedFiles, os_name};
use crate::files::source::object;
use crate::files::source::replay::{FileReplay, has_bytes};
use crate::files::source::settings::{DirectoryReads, FilesRead, WatchTimes, split_pattern};
use millstream_base::error::Result;
use millstream_connect::receiver::{check_path, receive, wrong};
use millstream_job::spec::{InputPath, Origin, Replay, SourceConfig, SourceSpec, SourceStart};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, parts};
use millstream_rows::batch::position::Position;
use millstream_rows::decode::spec::RecordBounds;
use millstream_rows::formats::Format;
use std::io;
use std::path::{Path, PathBuf};

impl DirectoryReads {
    pub(super) fn read(r: &Reader<'_>) -> DirectoryReads {
        let path = read_path(r, "path = \"incoming\"");
        let (poll, settle) = (r.time("poll"), r.time("settle"));
        let spread = r.flag("spread").unwrap_or(false);
        let pattern = r.text("pattern", "pattern = \"*.jsonl\"").map(str::to_owned);
        let subfolders = r.flag("subfolders");
        let (path, files) = match split_pattern(&path) {
            None => (path, FilesRead { pattern, subfolders: subfolders.unwrap_or(false) }),
            Some((dir, in_path)) => {
                for key in ["pattern", "subfolders"].into_iter().filter(|key| r.has(key)) {
                    r.wrong(
                        key,
                        format!("`path` already selects the files; remove `{key}`, or set `path` to a directory"),
                    );
                }
                let subfolders = in_path.contains('/');
                (dir, FilesRead { pattern: Some(in_path), subfolders })
            }
        };
        let reads = DirectoryReads::new(path);
        let is_bucket = reads.bucket().is_some();
        if is_bucket && r.has("settle") {
            r.wrong(
                "settle",
                "`settle` is for files, which may still be growing; an object is always complete; remove it",
            );
        }
        let times = WatchTimes {
            poll: poll.unwrap_or(reads.times.poll),
            settle: settle.filter(|_| !is_bucket).unwrap_or(reads.times.settle),
        };
        DirectoryReads { files, times, spread, ..reads }
    }

    /// Checks the pattern of files.
    fn check_pattern(&self, part: &PartErrors<'_>) {
        let Some(pattern) = &self.files.pattern else { return };
        let key = part.existing_path(["path", "pattern"]);
        if let Err(error) = glob::Pattern::new(pattern) {
            let what = format!(
                "`{pattern}` is not a valid pattern: {error}; write one such as \"*.jsonl\" or \"2026-*/**/*.csv\""
            );
            part.wrong(key, what);
        } else if pattern.contains('/') && !self.files.subfolders {
            part.wrong(key, format!("`{pattern}` has a `/`, but subdirectories are not read; write subfolders = true"));
        } else if pattern.starts_with('/') || pattern.split('/').any(|name| matches!(name, "" | "." | "..")) {
            part.wrong(
                key,
                format!(
                    "`{pattern}` cannot match paths within the directory; write names with a single `/` between \
                         them"
                ),
            );
        }
    }
}

impl SourceConfig for DirectoryReads {
    fn kind(&self) -> &'static str {
        DIRECTORY_KIND
    }

    fn check(&self, _source: &SourceSpec, part: &PartErrors<'_>) {
        match self.bucket() {
            Some(url) => parts::url_of_bucket(url, part),
            None => parts::file_path("path", &self.path, part),
        }
        part.poll(self.times.poll);
        self.check_pattern(part);
        check_settle(self.times.settle, part);
    }

    fn bounds(&self) -> RecordBounds {
        RecordBounds::File
    }

    fn input(&self) -> Option<InputPath<'_>> {
        Some(match self.bucket() {
            Some(url) => InputPath::Bucket(url),
            None => InputPath::Dir { path: &self.path, all: self.files.pattern.is_none() },
        })
    }

    fn accepts_file(&self, name: &Path) -> bool {
        directory::accepts(&self.files, name)
    }

    fn local_file(&self, dir: &Path, name: &str, _position: Position) -> Option<PathBuf> {
        let name = os_name(name).filter(|_| self.bucket().is_none())?;
        Some(dir.join(&self.path).join(name))
    }

    fn restored(&self, dir: &Path, name: &str, end: Position) -> Position {
        restored_end(self.local_file(dir, name, end), end)
    }

    fn has_bytes(&self, source: &SourceSpec, path: &Path, bytes: u64) -> io::Result<bool> {
        has_bytes(source, path, bytes)
    }

    fn names_files(&self) -> bool {
        true
    }

    fn is_spread(&self) -> bool {
        self.spread
    }

    fn has_header(&self) -> bool {
        true
    }

    fn no_frames(&self, format: &Format) -> Option<&'static str> {
        let is_unsupported = self.bucket().is_some() && matches!(format, Format::Protobuf(_));
        is_unsupported.then_some("they cannot be read from buckets yet; copy the objects into a directory")
    }

    /// Files that are shared among processes have other watermarks, so neither form resumes from the positions of the other.
    fn identity<'a>(&'a self, written: &dyn Fn(&str) -> Option<&'a str>) -> String {
        let spread = if self.spread { " with spread = true" } else { "" };
        format!("directory {}{spread}", path_as_written(&self.path, written))
    }

    fn keeps_rows(&self) -> bool {
        false
    }

    fn replay<'a>(
        &'a self,
        source: &'a SourceSpec,
        origin: &'a Origin,
        moved: &'a [(String, Position)],
    ) -> Option<Box<dyn Replay + 'a>> {
        Some(Box::new(FileReplay::new(source, origin, moved)))
    }

    /// The reader checks whether a bucket exists, as it waits for an unreachable server.
    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        match self.bucket() {
            Some(_) => object::bucket_of(source)
                .map(drop)
                .map_err(|error| wrong(source, origin, "path", format!("cannot be used: {error}"))),
            None => check_path(source, &origin.dir.join(&self.path), true, origin),
        }
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let path = match self.bucket() {
            Some(url) => url.into(),
            None => start.origin.dir.join(&self.path),
        };
        let watched = WatchedFiles { path, files: self.files.clone(), times: self.times };
        let (source, from, inbox) = (start.source.clone(), start.from.clone(), start.inbox.clone());
        if self.spread {
            let shares = (start.share, start.job.processes);
            directory::spread::start((source, watched), &from, inbox, start.runtime, shares);
        } else {
            receive(&start, async move { directory::receive(source, watched, from, inbox).await });
        }
        Ok(())
    }
}
