//! Replaces the reading of objects in builds without object stores.

use super::file_facts::FileFacts;
use millstream_base::error::Error;
use millstream_connect::objects::Bucket;
use millstream_job::spec::SourceSpec;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Waits for this time; returns whether to continue.
pub type Pause = Arc<dyn Fn(Duration) -> bool + Send + Sync>;

/// Reads the bucket of a source. This build cannot open a bucket.
pub struct BucketReader {
    /// The bucket.
    pub bucket: Bucket,
}

/// An object: there is none.
#[derive(Clone)]
pub enum Object {}

/// Returns the bucket that a source reads.
pub fn bucket_of(source: &SourceSpec) -> Result<Bucket, Error> {
    let url = source.kind.bucket().unwrap_or_default();
    Bucket::open(url)
}

/// Returns the path of an object for messages.
pub fn shown(location: &str, name: &str) -> PathBuf {
    Path::new(location).join(name)
}

impl BucketReader {
    /// Opens the bucket of a source.
    pub fn new(source: &SourceSpec, _pause: Pause) -> Result<BucketReader, Error> {
        BucketReader::patient(source)
    }

    /// Opens the bucket of a source.
    pub fn patient(source: &SourceSpec) -> Result<BucketReader, Error> {
        let bucket = bucket_of(source).map_err(|error| error.within(format!("source `{}`", source.name)))?;
        Ok(BucketReader { bucket })
    }

    /// Opens an object.
    pub fn open(&self, _name: &str) -> Result<Option<Object>, Error> {
        match self.bucket {}
    }
}

impl Object {
    /// Returns its facts.
    pub fn facts(&self) -> FileFacts {
        match *self {}
    }

    /// Seeks to an offset.
    pub fn seek_to(&mut self, _offset: u64) {
        match *self {}
    }

    /// Reads the first bytes.
    pub fn first(&mut self, _bytes: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    /// Appends bytes to the buffer.
    pub fn fill(&mut self, _buffer: &mut Vec<u8>, _bytes_max: u64) -> io::Result<usize> {
        match *self {}
    }
}

impl Read for Object {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }
}
