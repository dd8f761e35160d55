//! One file, once.

use super::{FILE_KIND, path_as_written, read_path, restored_end};
use crate::files::source::file;
use crate::files::source::replay::{FileReplay, has_bytes};
use crate::files::source::settings::FileReads;
use millstream_base::error::Result;
use millstream_connect::receiver::{check_path, receive_on_thread};
use millstream_job::spec::{InputPath, Origin, Replay, SourceConfig, SourceSpec, SourceStart};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, parts};
use millstream_rows::batch::position::Position;
use millstream_rows::decode::spec::RecordBounds;
use std::io;
use std::path::Path;

impl FileReads {
    pub(super) fn read(r: &Reader<'_>) -> FileReads {
        for key in ["poll", "settle"].into_iter().filter(|key| r.has(key)) {
            r.wrong(key, format!("`{key}` is for a file that grows; remove it, or write follow = true"));
        }
        FileReads { path: read_path(r, "path = \"input.txt\"") }
    }
}

impl SourceConfig for FileReads {
    fn kind(&self) -> &'static str {
        FILE_KIND
    }

    fn check(&self, _source: &SourceSpec, part: &PartErrors<'_>) {
        parts::file_path("path", &self.path, part);
    }

    fn bounds(&self) -> RecordBounds {
        RecordBounds::File
    }

    fn input(&self) -> Option<InputPath<'_>> {
        Some(InputPath::File(&self.path))
    }

    fn restored(&self, dir: &Path, _name: &str, end: Position) -> Position {
        restored_end(Some(dir.join(&self.path)), end)
    }

    fn has_bytes(&self, source: &SourceSpec, path: &Path, bytes: u64) -> io::Result<bool> {
        has_bytes(source, path, bytes)
    }

    fn has_header(&self) -> bool {
        true
    }

    fn identity<'a>(&'a self, written: &dyn Fn(&str) -> Option<&'a str>) -> String {
        format!("file {}", path_as_written(&self.path, written))
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

    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        check_path(source, &origin.dir.join(&self.path), false, origin)
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let (source, from) = (start.source.clone(), start.from.clone());
        let path = start.origin.dir.join(&self.path);
        receive_on_thread(&start, move |inbox, runtime| file::receive(&source, &path, &from, inbox, runtime));
        Ok(())
    }
}
