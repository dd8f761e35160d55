//! Replaces the objects of a bucket in builds without object stores.

use super::{Content, Dir, FileFacts, OpenedFile, ScanResult, SourceFile};
use crate::files::source::object::BucketReader;
use crate::files::source::settings::FilesRead;
use millstream_base::error::Error;
use millstream_rows::batch::position::Position;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The objects below a prefix. This build cannot open a bucket.
pub enum BucketDir {}

impl BucketDir {
    /// Creates the directory of a source.
    pub fn new(_files: &FilesRead, reader: BucketReader) -> BucketDir {
        match reader.bucket {}
    }
}

impl Dir for BucketDir {
    fn look(&mut self, _see: &mut dyn FnMut(OsString, Option<FileFacts>)) -> Result<ScanResult, (PathBuf, io::Error)> {
        match *self {}
    }

    fn open(&self, _name: &str, _path: &Path) -> Result<Option<Content>, Error> {
        match *self {}
    }

    fn open_again<'a>(&self, _part: SourceFile<'a>, _from: Position) -> Result<Option<OpenedFile<'a>>, Error> {
        match *self {}
    }
}
