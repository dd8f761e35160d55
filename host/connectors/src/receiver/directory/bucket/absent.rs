//! What stands for what is below a prefix of a bucket in builds without object stores.

use super::{Content, Dir, FileFacts, OpenedFile, ScanResult, SourceFile};
use crate::receiver::object::BucketReader;
use millstream_base::batch::position::Position;
use millstream_base::error::Error;
use millstream_base::job::spec::SourceSpec;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// What is below a prefix: nothing.
pub enum BucketDir {}

impl BucketDir {
    /// Of a source.
    pub fn new(_source: &SourceSpec, reader: BucketReader) -> BucketDir {
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
