//! A log that grows and is rotated.

use super::{FILE_KIND, check_settle, path_as_written, read_path};
use crate::files::source::compressed::has_compressed_name;
use crate::files::source::follow;
use crate::files::source::follow::log_dir::path_of;
use crate::files::source::replay::{FileReplay, has_bytes};
use crate::files::source::settings::{LogReads, WatchTimes};
use crate::limits;
use millstream_base::error::Result;
use millstream_connect::receiver::{check_path, receive_on_thread, wrong};
use millstream_job::spec::{InputPath, Origin, Replay, SourceConfig, SourceSpec, SourceStart};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, parts};
use millstream_rows::batch::position::Position;
use millstream_rows::formats::Format;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

impl LogReads {
    /// Follows a log, with the default times.
    pub fn new(path: impl Into<PathBuf>) -> LogReads {
        let poll = Duration::from_millis(limits::FOLLOW_POLL_MS);
        let settle = Duration::from_millis(limits::SETTLE_MS);
        LogReads { path: path.into(), times: WatchTimes { poll, settle } }
    }

    pub(super) fn read(r: &Reader<'_>) -> LogReads {
        let LogReads { path, times } = LogReads::new(read_path(r, "path = \"app.log\""));
        let poll = r.time("poll").unwrap_or(times.poll);
        LogReads { path, times: WatchTimes { poll, settle: r.time("settle").unwrap_or(times.settle) } }
    }
}

impl SourceConfig for LogReads {
    fn kind(&self) -> &'static str {
        FILE_KIND
    }

    fn check(&self, _source: &SourceSpec, part: &PartErrors<'_>) {
        parts::file_path("path", &self.path, part);
        part.poll(self.times.poll);
        check_settle(self.times.settle, part);
    }

    fn input(&self) -> Option<InputPath<'_>> {
        Some(InputPath::Log(&self.path))
    }

    fn local_file(&self, dir: &Path, name: &str, position: Position) -> Option<PathBuf> {
        path_of(&dir.join(&self.path), name, position)
    }

    fn has_bytes(&self, source: &SourceSpec, path: &Path, bytes: u64) -> io::Result<bool> {
        has_bytes(source, path, bytes)
    }

    fn has_header(&self) -> bool {
        true
    }

    fn no_frames(&self, _format: &Format) -> Option<&'static str> {
        Some("a log that grows is read by lines; remove `follow`, and read complete files")
    }

    fn identity<'a>(&'a self, written: &dyn Fn(&str) -> Option<&'a str>) -> String {
        format!("follow {}", path_as_written(&self.path, written))
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

    /// The log may not exist yet, but its directory must.
    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        if has_compressed_name(&self.path) {
            let what = format!(
                "`{}` is the name of a compressed file, and a growing log is not compressed; remove `follow`, or follow the log itself",
                self.path.display()
            );
            return Err(wrong(source, origin, "path", what));
        }
        let path = origin.dir.join(&self.path);
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && dir.is_dir() => Ok(()),
            Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => {
                let what =
                    format!("`{}` is not a regular file, so it cannot be followed; remove `follow`", path.display());
                Err(wrong(source, origin, "path", what))
            }
            _ => check_path(source, &path, false, origin),
        }
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let (source, from, times) = (start.source.clone(), start.from.clone(), self.times);
        let path = start.origin.dir.join(&self.path);
        receive_on_thread(&start, move |inbox, runtime| follow::receive(&source, &path, times, &from, inbox, runtime));
        Ok(())
    }
}
