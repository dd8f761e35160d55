//! What stands for objects that are read in builds without object stores.

use super::file_facts::FileFacts;
use crate::objects::Bucket;
use millstream_base::error::Error;
use millstream_base::job::spec::SourceSpec;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Waits for so long; whether to go on.
pub type Pause = Arc<dyn Fn(Duration) -> bool + Send + Sync>;

/// A source's way to its bucket: there is none.
pub struct BucketReader {
    /// The bucket.
    pub bucket: Bucket,
}

/// An object: there is none.
#[derive(Clone)]
pub enum Object {}

/// The bucket that a source reads.
pub fn bucket_of(source: &SourceSpec) -> Result<Bucket, Error> {
    let url = source.kind.bucket().unwrap_or_default();
    Bucket::open(url)
}

/// Where an object is, for people.
pub fn shown(place: &str, name: &str) -> PathBuf {
    Path::new(place).join(name)
}

impl BucketReader {
    /// Of a source.
    pub fn new(source: &SourceSpec, _pause: Pause) -> Result<BucketReader, Error> {
        BucketReader::patient(source)
    }

    /// Of a source.
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
    /// What it is known by.
    pub fn facts(&self) -> FileFacts {
        match *self {}
    }

    /// Goes to a byte.
    pub fn seek_to(&mut self, _offset: u64) {
        match *self {}
    }

    /// The first bytes.
    pub fn first(&mut self, _bytes: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    /// Adds bytes to the buffer.
    pub fn fill(&mut self, _buffer: &mut Vec<u8>, _bytes_max: u64) -> io::Result<usize> {
        match *self {}
    }
}

impl Read for Object {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }
}
